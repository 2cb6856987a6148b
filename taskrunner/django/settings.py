"""The setting TASKRUNNER of a Django project: its keys, their defaults and their checks."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from taskrunner import errors
from taskrunner.api.base import find_home
from taskrunner.django import project
from taskrunner.django.lazy import plain
from taskrunner.errors import InputError, shown
from taskrunner.home import config
from taskrunner.model.record import record
from taskrunner.schedule import durations
from taskrunner.tasks import options

SHORTEST = timedelta(seconds=1)
OF_ONE = (*options.PYTHON, "args", "django")  # a task of the project brings its own


@record
class Settings:
    """The setting TASKRUNNER, checked."""

    home: str  # absolute path
    clock: bool  # serving processes start a daemon
    interval: timedelta  # between two ticks of that daemon
    linger: timedelta | None  # it ends so long after the last serving process; None: never
    edit: bool  # superusers may define tasks in the admin
    pass_env: tuple[str, ...]  # names of variables that tasks get from serving processes
    defaults: Mapping[str, Any]  # options of tasks that are defined in code


def read() -> Settings:
    """Return the setting TASKRUNNER of the project; raises ImproperlyConfigured.

    Its tests have a home of their own, unless they override the setting.
    """
    given = plain(getattr(settings, "TASKRUNNER", {}))
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(
            f"TASKRUNNER is {shown(given)}: it must be a dictionary, such as {{'INTERVAL': '10s'}}"
        )
    for key in given:
        if key not in KEYS:
            known = f"known are {', '.join(KEYS)}"
            raise ImproperlyConfigured(
                f"TASKRUNNER has the unknown key {shown(key)}: {errors.advice(str(key), KEYS, known)}"
            )
    found = {}
    for key, (default, check) in KEYS.items():
        value = given.get(key, default)
        try:
            found[key.lower()] = check(value)
        except InputError as exc:
            raise ImproperlyConfigured(f"TASKRUNNER[{key!r}]: {exc}") from exc
    if project.in_tests() and project.said_by_module("TASKRUNNER"):
        found["home"] = project.home_of_tests()
    return Settings(**found)


def _home(value: Any) -> str:
    path = None if value is None else _path(value)
    if path == "":
        raise InputError(f"{shown(value)} is not the path of a folder")
    return os.path.abspath(find_home(path))


def _path(value: Any) -> str:
    """Return a path as text, "" for another value, also of a class of paths that gives something else."""
    try:
        return os.fsdecode(value) if isinstance(value, str | os.PathLike) else ""
    except TypeError:
        return ""


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{shown(value)} is neither True nor False")
    return value


def _interval(value: Any) -> timedelta:
    if not isinstance(value, str | timedelta):
        raise InputError(f"{shown(value)} is not a length of time, such as '10s'")
    length = durations.parse(value)
    if length < SHORTEST:
        raise InputError(f"{shown(value)} is too short: give at least 1s")
    return length


def _linger(value: Any) -> timedelta | None:
    try:
        return None if value == durations.FOREVER else _interval(value)
    except InputError as exc:
        raise InputError(f"{exc}; {durations.FOREVER!r} means that it never ends") from exc


def _names(value: Any) -> tuple[str, ...]:
    try:
        return config.names_to_pass(value)
    except InputError as exc:
        raise InputError(f"{shown(value)}: it must be {exc}") from exc


def _defaults(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError("it is not a dictionary of options of a task, such as {'timeout': '10m'}")
    for name in value:
        if name in OF_ONE:
            raise InputError(f"{name} cannot be a default: it belongs to a single task")
        if name not in options.OPTIONS:
            known = f"known are {', '.join(options.OPTIONS)}"
            near = errors.advice(str(name), options.OPTIONS, known)
            raise InputError(f"{shown(name)} is not an option of a task: {near}")
    options.read(value)
    return dict(value)


# Each key with its default and its check.
KEYS: Mapping[str, tuple[Any, Callable[[Any], Any]]] = {
    "HOME": (None, _home),
    "CLOCK": (True, _yes_or_no),
    "INTERVAL": ("10s", _interval),
    "LINGER": ("15s", _linger),
    "EDIT": (False, _yes_or_no),
    "PASS_ENV": ((), _names),
    "DEFAULTS": ({}, _defaults),
}
