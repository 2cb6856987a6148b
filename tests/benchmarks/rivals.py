"""What people use instead, each set up so that it does as little as it can."""

import re
import signal
import subprocess
import time
from pathlib import Path

from tests.benchmarks import places, processes, timing
from tests.benchmarks.bench import Bench
from tests.benchmarks.timing import Step

COMMAND = """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    requires_system_checks = []

    def handle(self, *args, **options):
        pass
"""


def manage_py(bench: Bench) -> Step:
    """Return a step: a command of an empty Django project that does nothing, not even the checks."""
    python = places.environment(bench.place, bench.base, "django")
    bench.note_version("Django", python, "django")
    project = bench.place / "project"
    if not project.exists():
        project.mkdir()
        admin = [python, "-m", "django", "startproject", "empty", project]
        subprocess.run(admin, check=True)
        folder = project / "empty/management/commands"
        folder.mkdir(parents=True)
        (folder / "nothing.py").write_text(COMMAND, encoding="utf-8")
        settings = project / "empty/settings.py"
        text = settings.read_text(encoding="utf-8")
        text = text.replace("INSTALLED_APPS = [", "INSTALLED_APPS = ['empty',", 1)
        settings.write_text(text, encoding="utf-8")
    return lambda: timing.run(python, project / "manage.py", "nothing").wall


def apscheduler(bench: Bench) -> tuple[Path, Path]:
    """Return the Python of APScheduler and its store with ten tasks."""
    python = places.environment(bench.place, bench.base, "apscheduler")
    bench.note_version("APScheduler", python, "apscheduler")
    bench.note_version("SQLAlchemy", python, "sqlalchemy")
    store = bench.place / "apscheduler.db"
    if not store.exists():
        timing.run(python, places.PROGRAMS / "apscheduler_pass.py", store, "fill")
    return python, store


def apscheduler_pass(bench: Bench) -> Step:
    """Return a step: open the SQL store, look for what is due, which is nothing, and end."""
    python, store = apscheduler(bench)
    return lambda: timing.run(python, places.PROGRAMS / "apscheduler_pass.py", store).wall


def beat_words(bench: Bench) -> list[str | Path]:
    """Return the command of a `celery beat` with a broker in memory."""
    python = places.environment(bench.place, bench.base, "celery")
    bench.note_version("Celery", python, "celery")
    own = ["--loglevel", "INFO", "--pidfile", "", "--schedule", bench.place / "beat-schedule"]
    return [python, "-m", "celery", "-A", "celery_app", "beat", *own]


def beat_start(bench: Bench) -> Step:
    """Return a step: start `celery beat` up to its line that it starts to beat; its end is not counted."""
    words = beat_words(bench)

    def step() -> float:
        start = time.perf_counter()
        with processes.started(*words, folder=places.PROGRAMS, end=signal.SIGKILL) as beat:
            assert beat.stderr is not None
            for line in beat.stderr:
                if re.search(rb"beat: Starting", line):
                    return time.perf_counter() - start
        raise places.NotHere("celery beat ended without a beat")

    return step
