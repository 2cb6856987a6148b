"""The clock inside the application: which process serves, so that it keeps a daemon alive.

It must not know how a daemon is kept alive.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started

from taskrunner import keep_clock
from taskrunner.django import environment, project, settings
from taskrunner.errors import TaskRunnerError
from taskrunner.home import config, lock, paths

LOG = logging.getLogger("taskrunner")
SWITCH = "TASKRUNNER_DJANGO_CLOCK"
# Names of programs that serve, the last one that of Passenger.
SERVERS = (
    *("daphne", "granian", "gunicorn", "hypercorn", "uvicorn", "uwsgi"),
    *("waitress-serve", "waitress", "wsgi-loader.py"),
)
# Modules, each with a name that it has only inside a server: mod_wsgi can be installed as a package, too.
INSIDE = (("mod_wsgi", "process_group"), ("uwsgi", "version"))
CLASSES = ("WSGIHandler", "ASGIHandler")  # of Django, inside a server
UID = "taskrunner.clock"
BEGUN: list[str] = []  # the home whose clock this process keeps


def start_if_serving() -> None:
    """Start the clock in a process that serves: now when that is known, else at its first request."""
    if switched_off() or config.inside_run():
        return
    words = sys.argv
    if is_server(words[0] if words else "") or runs_server(words[1:]):
        start()
    elif words[1:2] != ["testserver"]:
        request_started.connect(_at_request, dispatch_uid=UID)


def switched_off() -> bool:
    """Return whether the environment forbids the clock, whatever the settings say."""
    return os.environ.get(SWITCH) == "0"


def is_server(program: str) -> bool:
    """Return whether a process serves, by the path of its program."""
    name = os.path.basename(program)
    if name == "__main__.py":  # python -m gunicorn
        name = os.path.basename(os.path.dirname(program))
    return name in SERVERS or any(
        hasattr(sys.modules.get(module), inside) for module, inside in INSIDE
    )


def runs_server(words: list[str]) -> bool:
    """Return whether this is the process of `manage.py runserver` that serves: its child, unless it has none."""
    if words[:1] != ["runserver"] or {"-h", "--help", "--version"} & {*words}:
        return False
    return "--noreload" in words or os.environ.get("RUN_MAIN") == "true"


def start() -> None:
    """Keep a daemon of the project's home alive as long as this process lives; a fault goes to the log only."""
    try:
        wanted = settings.read()
        if not wanted.clock:
            return
        environment.write(wanted, project.name())  # before a daemon starts a task that reads it
        keep_clock(wanted.home, interval=wanted.interval, linger=wanted.linger)
        BEGUN.append(wanted.home)
    except (ImproperlyConfigured, TaskRunnerError, OSError) as exc:
        LOG.warning("the application is no clock of its tasks: %s", exc)


def expect(wanted: settings.Settings) -> None:
    """Leave the lock of the application in the home, so that advice before its first start knows the clock."""
    if wanted.clock and not switched_off() and not config.inside_run():
        with suppress(TaskRunnerError):  # somebody has it, or there is no home yet
            os.close(lock.share(paths.path(wanted.home, paths.APPLICATION_LOCK)))


def begun() -> bool:
    """Return whether this process keeps the clock."""
    return bool(BEGUN)


def _at_request(sender: Any, **_: Any) -> None:
    """Start the clock at the first request that a server has received: a client of tests is another class."""
    if not {each.__name__ for each in sender.__mro__} & {*CLASSES}:
        return
    request_started.disconnect(dispatch_uid=UID)
    if not project.in_tests():  # a live server of a test
        start()
