"""Processes that a command has left behind, such as those in a session of their own, which nothing of ours reaches.

They are found by the variables of their run. It must not know tasks.
"""

from datetime import datetime

from taskrunner import clock
from taskrunner.home import lock
from taskrunner.model.values import Outcome
from taskrunner.processes import alive


def left_running(run: int | str, started: datetime, outcome: Outcome, output: int) -> str | None:
    """Return a note about the processes that a run has left behind on this machine; None when there are none.

    Each look goes through all processes: it is taken only where there may be some. `output` is its open file.
    """
    stopped = outcome.timed_out or outcome.silent or outcome.stopped or outcome.signal is not None
    hint = stopped or not lock.nobody_else_has_open(output)
    if outcome.error or not hint:
        return None
    started_at = f"TASKRUNNER_STARTED={clock.iso(started)}"
    count = alive.marked(f"TASKRUNNER_RUN={run}".encode(), started_at.encode())
    return f"left {count} process{'es' if count > 1 else ''} running" if count else None
