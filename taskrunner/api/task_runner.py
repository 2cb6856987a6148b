"""`TaskRunner`: all functions of taskrunner, for the command line, web applications and other programs.

    runner = TaskRunner()
    runner.add("report", ["/opt/report.sh"], Every("1d"))
    runner.tick()
    for run in runner.history("report"):
        print(run.slot, run.state)

This layer checks a request and translates it into values of the model; the layers below do the work.
"""

from taskrunner.api.base import find_home
from taskrunner.api.clock import Clock
from taskrunner.api.forecast import Forecast
from taskrunner.api.history import History
from taskrunner.api.notices import Notices
from taskrunner.api.queues import Queues
from taskrunner.api.runs import Runs
from taskrunner.api.taskfiles import TaskFiles
from taskrunner.api.upkeep import Upkeep

__all__ = ["TaskRunner", "find_home"]


class TaskRunner(TaskFiles, Forecast, Runs, History, Clock, Upkeep, Notices, Queues):
    """The taskrunner of one home; a context manager.

    `home` is a path; without it $TASKRUNNER_HOME, else the user's default. `clock` returns an aware datetime
    and replaces the wall clock, for tests. `patience` is how long to wait for other writers before StoreBusy is raised,
    by default 30 s; a web application gives less.
    """
