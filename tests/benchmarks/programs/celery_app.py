"""The application of a `celery beat` with ten tasks a day, and a broker that needs no server."""

from celery import Celery
from celery.schedules import crontab

app = Celery("benchmark", broker="memory://")
app.conf.beat_schedule = {
    f"task-{number}": {"task": "benchmark.nothing", "schedule": crontab(hour=number, minute=0)}
    for number in range(10)
}
