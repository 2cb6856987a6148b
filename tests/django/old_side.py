"""The schedulers that projects leave, really at work: each function is a step of a move, called in the project's folder.

`python -m tests.django.old_side STEP`; a step that fails ends with another exit code than 0.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

PATIENCE = 100  # seconds


def _until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def _django() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "crm.settings"
    django.setup()


# ---- django-apscheduler


def apscheduler_runs() -> None:
    """Let the scheduler in the process that serves register its jobs and execute one; then it ends."""
    os.environ["RUN_MAIN"] = "true"
    _django()
    from django_apscheduler.models import DjangoJob, DjangoJobExecution
    from sales.scheduler import scheduler

    scheduler.modify_job("remind", next_run_time=datetime.now(UTC))
    _until(DjangoJobExecution.objects.filter(job_id="remind", status="Executed").exists)
    scheduler.shutdown()
    assert {*DjangoJob.objects.values_list("id", flat=True)} == {"clear-sessions", "remind"}


def apscheduler_is_down() -> None:
    """Let a job have fallen due while no scheduler ran."""
    _django()
    from django_apscheduler.models import DjangoJob

    DjangoJob.objects.filter(id="remind").update(next_run_time=datetime.now(UTC))


def apscheduler_is_gone() -> None:
    """Check that it has neither tables nor permissions, and that its history was kept."""
    assert _names("django_apscheduler") == []
    assert '"job": "remind", "status": "Executed"' in Path("old-runs.json").read_text()


def _names(label: str) -> list[str]:
    """The tables, permissions and migrations that the database has of an application."""
    _django()
    from django.contrib.auth.models import Permission
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    tables = connection.introspection.table_names()
    applied = MigrationRecorder(connection).applied_migrations()
    return [
        *(name for name in tables if name.startswith(label)),
        *Permission.objects.filter(content_type__app_label=label).values_list("name", flat=True),
        *(name for app, name in applied if app == label),
    ]


# ---- django-crontab


def cron_runs() -> None:
    """Run each line of the crontab as cron would."""
    lines = _crontab()
    assert len(lines) == 2
    env = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "SHELL": "/bin/sh"}
    # As if what is imported from the checkout and its clock were installed.
    env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    for line in lines:
        command = line.split(None, 5)[5]
        subprocess.run(["/bin/sh", "-c", command], env=env, cwd=env["HOME"], check=True)
    assert Path(env["HOME"], "remind.log").read_text() == "0 reminded after 7 days\n"


def cron_has_nothing() -> None:
    """Check that no line is left."""
    assert _crontab() == []


def _crontab() -> list[str]:
    said = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()


# ---- Celery beat


@contextmanager
def _celery(*words: str) -> Iterator[Path]:
    """Run a program of Celery, and give the file with what it says; it is ended as by its service manager."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "said")
        with open(place, "wb") as said:
            command = [sys.executable, "-m", "celery", "-A", "crm", *words, "--loglevel", "info"]
            process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield place
        except AssertionError:
            print(shlex.join(command), place.read_text(), sep="\n")
            raise
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _worker_says(pattern: str) -> None:
    """Let a worker run what is in the queue until it says something."""
    with _celery("worker", "--pool", "solo", "--without-mingle", "--without-gossip") as worker:
        _until(lambda: re.search(pattern, worker.read_text()))


def beat_runs() -> None:
    """Let beat send a task that is due, and a worker execute it."""
    _django()
    from django_celery_beat.models import PeriodicTask

    found = PeriodicTask.objects.filter(name="clean")
    found.update(last_run_at=datetime.now(UTC) - timedelta(hours=1))
    with _celery("beat", "--scheduler", "django", "--pidfile=") as beat:
        _until(lambda: "Sending due task clean (sales.tasks.clean)" in beat.read_text())
        _until(
            found.filter(total_run_count=1).exists
        )  # which it writes down when the message is sent
    assert [*Path("queue").glob("*.celery.msg")]
    _worker_says(r"Task sales\.tasks\.clean\[.*\] succeeded in .*: 'cleaned'")


def beat_is_down() -> None:
    """Let an entry have fallen due while no beat ran."""
    _django()
    from django_celery_beat.models import PeriodicTask

    week = datetime.now(UTC) - timedelta(days=8)
    assert PeriodicTask.objects.filter(name="report to ops").update(last_run_at=week) == 1


def worker_runs() -> None:
    """Let a worker execute what a task of taskrunner has put into the queue."""
    assert _names("django_celery_beat") == []
    _worker_says(r"Task sales\.tasks\.report\[.*\] succeeded in .*: 'sent to the queue'")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
