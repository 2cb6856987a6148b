"""APScheduler as the daemon it is meant to be, over its SQL store: apscheduler_resident.py STORE."""

import sys

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.blocking import BlockingScheduler

scheduler = BlockingScheduler(timezone="UTC")
scheduler.add_jobstore(SQLAlchemyJobStore(url=f"sqlite:///{sys.argv[1]}"))
scheduler.start()
