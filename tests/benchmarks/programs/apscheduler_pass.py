"""One pass of APScheduler over its SQL store, or with `fill` the making of that store: apscheduler_pass.py STORE [fill]."""

import sys

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.base import BaseScheduler

TASKS = 10


class Pass(BaseScheduler):
    """A scheduler without a loop, as its documentation has it for those who bring their own."""

    def wakeup(self) -> None:
        """Do nothing: the one pass is made below."""

    def shutdown(self, wait: bool = True) -> None:
        """End, and let the store go."""
        super().shutdown(wait)


scheduler = Pass(timezone="UTC")
scheduler.add_jobstore(SQLAlchemyJobStore(url=f"sqlite:///{sys.argv[1]}"))
scheduler.start()
if sys.argv[2:] == ["fill"]:
    for number in range(TASKS):
        scheduler.add_job("os:getpid", "interval", days=1, id=f"task-{number}")
scheduler._process_jobs()
scheduler.shutdown()
