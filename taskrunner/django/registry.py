"""Tasks that applications define in their modules `scheduled.py`.

A definition is only kept here: its faults are reported when all are collected, so that a wrong expression does not
stop an application from importing its module.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, overload

from django.apps import apps
from django.conf import settings as of_project
from django.core.management import get_commands
from django.utils.module_loading import module_has_submodule

from taskrunner import errors
from taskrunner.django import environment, project, settings, tasks
from taskrunner.errors import InputError, shown
from taskrunner.home import program
from taskrunner.model.record import record
from taskrunner.tasks import columns, options, python, readers, taskfile
from taskrunner.tasks.taskfile import Defined, Definition, Fault

if TYPE_CHECKING:
    from typing import Unpack

    from taskrunner.django.settings import Settings
    from taskrunner.schedule.kinds import Schedule
    from taskrunner.tasks.options import Options

Target = TypeVar("Target")

MODULE = "scheduled"  # of each application
# The keywords of a definition that are no options.
OWN = ("name", "schedule", *taskfile.WHEN, "at_time", "tz", "now", "enabled", "enqueue")
KEYS = (*OWN, *(each for each in options.OPTIONS if each not in settings.OF_ONE), "args")


@record
class Written:
    """One definition as written: its place in the code, what it runs and its keywords, unchecked."""

    module: str
    line: int
    target: Any  # a function, or a Task of Django; None for a management command
    words: tuple[str, ...]  # of a management command
    said: Mapping[str, Any]  # its name, its schedule and its options

    def fault(self, text: str) -> Fault:
        """Return a fault of this definition."""
        return Fault(self.module, self.line, taskfile.underscored(text))


WRITTEN: list[Written] = []


@overload
def scheduled(target: Target, **said: Any) -> Target: ...


@overload
def scheduled(
    *,
    name: str | None = None,
    schedule: Schedule | None = None,
    every: str | None = None,
    cron: str | None = None,
    on: str | None = None,
    at_time: str | None = None,
    at: str | None = None,
    after: str | None = None,
    boot: bool = False,
    manual: bool = False,
    tz: str | None = None,
    now: bool = False,
    enqueue: bool = False,
    **given: Unpack[Options],
) -> Callable[[Target], Target]: ...


def scheduled(target: Any = None, **said: Any) -> Any:
    """Make a function, or a Task of Django, a task; as a decorator, or called with it.

        @scheduled(every="1h", timeout="10m")
        def remind(): ...

        scheduled(send_report, cron="0 6 * * 1")

    The task has the name of the function unless `name` is given, and the options of `add`. A Task of Django is called
    in the run; with `enqueue` it is handed to its backend instead. The task is added or changed by `migrate`, and by
    `manage.py taskrunner apply`, which also report faults.
    """
    place = sys._getframe(1)

    def written(target: Target) -> Target:
        _keep(place.f_globals["__name__"], place.f_lineno, target, (), said)
        return target

    return written if target is None else written(target)


def command(
    name: str,
    management_command: str,
    *arguments: str,
    schedule: Schedule | None = None,
    every: str | None = None,
    cron: str | None = None,
    on: str | None = None,
    at_time: str | None = None,
    at: str | None = None,
    after: str | None = None,
    boot: bool = False,
    manual: bool = False,
    tz: str | None = None,
    now: bool = False,
    **given: Unpack[Options],
) -> None:
    """Make a management command of the project a task, with its arguments as on the command line.

        command("clear-sessions", "clearsessions", cron="0 3 * * *")

    The options, and the time of its addition, are as with `scheduled`.
    """
    said: dict[str, Any] = {"schedule": schedule, "every": every, "cron": cron, "on": on}
    said |= {
        "at_time": at_time,
        "at": at,
        "after": after,
        "boot": boot,
        "manual": manual,
        "tz": tz,
        "now": now,
        "name": name,
    }
    place = sys._getframe(1)
    words = (management_command, *arguments)
    _keep(place.f_globals["__name__"], place.f_lineno, None, words, {**said, **given})


def _keep(
    module: str, line: int, target: Any, words: tuple[str, ...], said: dict[str, Any]
) -> None:
    """Keep a definition until all are collected."""
    WRITTEN.append(Written(module, line, target, words, said))


# ---- definitions as tasks


def collected(wanted: Settings) -> Defined:
    """Import `scheduled.py` of each application, and return the definitions in all of them, with their faults."""
    faults = list(_imported())
    found = []
    for each in WRITTEN:
        try:
            found.append(_definition(each, wanted))
        except InputError as exc:
            faults.append(each.fault(str(exc)))
    names = frozenset(each.name for each in found)
    return Defined(found, faults, names, frozenset({project.source()}))


def _imported() -> Iterator[Fault]:
    """Import the module of each application that has one, and yield the faults of those that cannot be imported."""
    for each in apps.get_app_configs():
        if not module_has_submodule(each.module, MODULE):
            continue
        name = f"{each.name}.{MODULE}"
        try:
            import_module(name)
        except Exception as exc:  # noqa: BLE001  a module may raise anything
            WRITTEN[:] = [
                other for other in WRITTEN if other.module != name
            ]  # those before the fault
            yield _not_imported(exc, name)


def _not_imported(exc: Exception, module: str) -> Fault:
    """Return the fault of a module whose import failed, with the line, and the place where it failed if that is another."""
    why = " ".join(errors.in_words(exc).split())
    frames = traceback.extract_tb(exc.__traceback__)
    here = [each for each in frames if each.name == "<module>" and _is_of(each.filename, module)]
    last = here[-1].lineno if here else getattr(exc, "lineno", None)
    if here and frames[-1] is not here[-1]:
        why += f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return Fault(module, last or 1, f"it cannot be imported: {why}")


def _is_of(file: str, module: str) -> bool:
    return file.endswith(f"{module.replace('.', os.sep)}.py")


def _definition(given: Written, wanted: Settings) -> Definition:
    """Return a definition as a task; raises InputError."""
    for key in given.said:
        if key not in KEYS:
            near = errors.advice(key, KEYS, f"known are {', '.join(KEYS)}")
            raise InputError(f"{shown(key)} is not an option of a task: {near}")
    chosen = _options(given, wanted)
    if given.words:
        if given.said.get("enqueue"):
            raise InputError("enqueue goes only with a Task of Django, not with a command")
        name, argv = given.said["name"], _command(given.words, chosen)
    else:
        name, argv = _function(given, chosen), None
        chosen["django"] = project.settings_module()
    name = readers.name(name)
    try:
        whole = _schedule(given.said)
    except InputError as exc:
        raise InputError(f"{name}: {exc}") from exc
    return Definition(
        name,
        project.source(),
        whole,
        argv,
        None,
        given.said.get("tz") or _zone(whole),
        _flag(given.said, "now", default=False) is True,
        _flag(given.said, "enabled", default=None),
        chosen,
        given.module,
        {"": given.line},
    )


def _options(given: Written, wanted: Settings) -> dict[str, Any]:
    """Return the options of a definition: its own, else DEFAULTS, else those of each task of the project."""
    said = {key: value for key, value in given.said.items() if key not in OWN}
    chosen = {**wanted.defaults, **said}
    file = environment.place(wanted)
    # A worker of a queue has no file of this host; it has variables of its own.
    usual_file = None if chosen.get("queue") else file
    found: dict[str, Any] = {"cwd": project.folder(), "env_file": usual_file, **chosen}
    if found["env_file"] != file:  # the variables come from whoever starts the run
        found.setdefault("pass_env", wanted.pass_env)
    usual = {**project.variables(), **wanted.defaults.get("env", {})}
    found["env"] = {**usual, **readers.environment(found.get("env", {}))}
    return found


def _command(words: tuple[str, ...], chosen: dict[str, Any]) -> tuple[str, ...]:
    """Return the argv of a management command; the options get what it needs."""
    own = chosen.pop("interpreter", None)
    if own is None and words[0] not in get_commands():
        near = errors.advice(words[0], get_commands(), "see `manage.py help`")
        raise InputError(f"{shown(words[0])} is not a management command of this project: {near}")
    interpreter = own or program.interpreter()
    # Without the second, output is lost with a killed command, and seen late of a running one.
    known = {"DJANGO_SETTINGS_MODULE": project.settings_module(), "PYTHONUNBUFFERED": "1"}
    chosen["env"] = {**known, **chosen["env"]}
    return readers.argv((interpreter, *project.program(), *words))


def _function(given: Written, chosen: dict[str, Any]) -> Any:
    """Return the name of the task for a function or a Task of Django; the options get how to call it."""
    target, enqueue = given.target, _flag(given.said, "enqueue", default=False) is True
    function = target.func if tasks.is_task(target) else target
    spelled = python.spelled(function)
    # Another decorator may have made something else of it.
    there = getattr(sys.modules.get(function.__module__), function.__name__, None)
    if tasks.is_task(there):
        spelled = tasks.spelled(there, spelled, enqueue=enqueue)
    elif enqueue:
        raise InputError(f"enqueue goes only with a Task of Django, which {shown(spelled)} is not")
    chosen.setdefault("interpreter", program.interpreter())
    chosen["python"] = spelled
    return given.said.get("name") or function.__name__


def _schedule(said: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a definition; raises InputError."""
    when = {key: said.get(key) for key in taskfile.WHEN}
    found = columns.schedule_of(said.get("schedule"), when, said.get("at_time"))
    if found is None:
        raise InputError(f"there is no schedule: give one of {', '.join(taskfile.WHEN)}")
    return found


def _zone(whole: Schedule) -> str | None:
    """Return the zone of the project for a schedule that needs one."""
    return of_project.TIME_ZONE if getattr(whole, "tz", "none") is None else None


def _flag(said: Mapping[str, Any], key: str, *, default: bool | None) -> bool | None:
    value = said.get(key, default)
    if value is not default and not isinstance(value, bool):
        raise InputError(f"{key} {shown(value)} is neither True nor False")
    return value
