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

    class Keywords(Options, total=False):
        """The keywords of a definition, for type checkers: its schedule, and the options of its task."""

        schedule: Schedule | None
        every: str | None
        cron: str | None
        on: str | None
        at_time: str | None
        at: str | None
        after: str | None
        boot: bool
        manual: bool
        tz: str | None
        now: bool
        enabled: bool

    class KeywordsOfFunction(Keywords, total=False):
        """Those of a function or a Task of Django."""

        name: str | None
        enqueue: bool


Target = TypeVar("Target")

MODULE = "scheduled"  # of each application
# The keywords of a definition that are no options.
OWN = ("name", "schedule", *taskfile.WHEN, "at_time", "tz", "now", "enabled", "enqueue")
KEYS = (*OWN, *(each for each in options.OPTIONS if each not in settings.OF_ONE), "args")


@record
class InCode:
    """One definition in the code: its place, what it runs and its keywords, unchecked."""

    module: str
    line: int
    target: Any  # a function, or a Task of Django; None for a management command
    words: tuple[str, ...]  # of a management command
    keywords: Mapping[str, Any]  # its name, its schedule and its options

    def fault(self, text: str) -> Fault:
        """Return a fault of this definition."""
        return Fault(self.module, self.line, taskfile.underscored(text))


KEPT: list[InCode] = []


@overload
def scheduled(target: Target, **keywords: Unpack[KeywordsOfFunction]) -> Target: ...


@overload
def scheduled(**keywords: Unpack[KeywordsOfFunction]) -> Callable[[Target], Target]: ...


def scheduled(target: Any = None, **keywords: Any) -> Any:
    """Make a function, or a Task of Django, a task; as a decorator, or called with it.

        @scheduled(every="1h", timeout="10m")
        def remind(): ...

        scheduled(send_report, cron="0 6 * * 1")

    The task has the name of the function unless `name` is given, and the options of `add`. A Task of Django is called
    in the run; with `enqueue` it is handed to its backend instead. The task is added or changed by `migrate`, and by
    `manage.py taskrunner apply`, which also report faults.
    """
    # Of the module that calls; it stands at the line of the decorator when `define` is called.
    place = sys._getframe(1)

    def define(target: Target) -> Target:
        _keep(place.f_globals["__name__"], place.f_lineno, target, (), keywords)
        return target

    return define if target is None else define(target)


def command(
    name: str, management_command: str, *arguments: str, **keywords: Unpack[Keywords]
) -> None:
    """Make a management command of the project a task, with its arguments as on the command line.

        command("clear-sessions", "clearsessions", cron="0 3 * * *")

    The options, and the time of its addition, are as with `scheduled`.
    """
    place = sys._getframe(1)  # of the module that calls
    words = (management_command, *arguments)
    _keep(place.f_globals["__name__"], place.f_lineno, None, words, {"name": name, **keywords})


def _keep(
    module: str, line: int, target: Any, words: tuple[str, ...], keywords: Mapping[str, Any]
) -> None:
    """Keep a definition until all are collected."""
    KEPT.append(InCode(module, line, target, words, keywords))


# ---- definitions as tasks


def collected(wanted: Settings) -> Defined:
    """Import `scheduled.py` of each application, and return the definitions in all of them, with their faults."""
    faults = list(_imported())
    definitions = []
    for each in KEPT:
        try:
            definitions.append(_definition(each, wanted))
        except InputError as exc:
            faults.append(each.fault(str(exc)))
    names = frozenset(each.name for each in definitions)
    return Defined(definitions, faults, names, frozenset({project.source()}))


def _imported() -> Iterator[Fault]:
    """Import the module of each application that has one, and yield the faults of those that cannot be imported."""
    for each in apps.get_app_configs():
        if not module_has_submodule(each.module, MODULE):
            continue
        name = f"{each.name}.{MODULE}"
        try:
            import_module(name)
        except Exception as exc:  # noqa: BLE001  a module may raise anything
            KEPT[:] = [other for other in KEPT if other.module != name]  # those before the fault
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


def _definition(given: InCode, wanted: Settings) -> Definition:
    """Return a definition as a task; raises InputError."""
    for key in given.keywords:
        if key not in KEYS:
            near = errors.advice(key, KEYS, f"known are {', '.join(KEYS)}")
            raise InputError(f"{shown(key)} is not an option of a task: {near}")
    chosen = _options(given, wanted)
    if given.words:
        if given.keywords.get("enqueue"):
            raise InputError("enqueue goes only with a Task of Django, not with a command")
        name, argv = given.keywords["name"], _command(given.words, chosen)
    else:
        name, argv = _function(given, chosen), None
        chosen["django"] = project.settings_module()
    name = readers.name(name)
    try:
        schedule = _schedule(given.keywords)
    except InputError as exc:
        raise InputError(f"{name}: {exc}") from exc
    return Definition(
        name,
        project.source(),
        schedule,
        argv,
        None,
        given.keywords.get("tz") or _zone(schedule),
        _flag(given.keywords, "now", default=False) is True,
        _flag(given.keywords, "enabled", default=None),
        chosen,
        given.module,
        {"": given.line},
    )


def _options(given: InCode, wanted: Settings) -> dict[str, Any]:
    """Return the options of a definition: its own, else DEFAULTS, else those of each task of the project."""
    own = {key: value for key, value in given.keywords.items() if key not in OWN}
    chosen = {**wanted.defaults, **own}
    file = environment.place(wanted)
    # A worker of a queue has no file of this host; it has variables of its own.
    usual_file = None if chosen.get("queue") else file
    whole: dict[str, Any] = {"cwd": project.folder(), "env_file": usual_file, **chosen}
    if whole["env_file"] != file:  # the variables come from whoever starts the run
        whole.setdefault("pass_env", wanted.pass_env)
    usual = {**project.variables(), **wanted.defaults.get("env", {})}
    whole["env"] = {**usual, **readers.environment(whole.get("env", {}))}
    return whole


def _command(words: tuple[str, ...], chosen: dict[str, Any]) -> tuple[str, ...]:
    """Return the argv of a management command; the options get what it needs."""
    # With django.db, which waits for the settings.
    from django.core.management import get_commands

    own, known = chosen.pop("interpreter", None), get_commands()
    if own is None and words[0] not in known:
        near = errors.advice(words[0], known, "see `manage.py help`")
        raise InputError(f"{shown(words[0])} is not a management command of this project: {near}")
    interpreter = own or program.interpreter()
    # Without the second, output is lost with a killed command, and seen late of a running one.
    usual = {"DJANGO_SETTINGS_MODULE": project.settings_module(), "PYTHONUNBUFFERED": "1"}
    chosen["env"] = {**usual, **chosen["env"]}
    return readers.argv((interpreter, *project.program(), *words))


def _function(given: InCode, chosen: dict[str, Any]) -> Any:
    """Return the name of the task for a function or a Task of Django; the options get how to call it."""
    target, enqueue = given.target, _flag(given.keywords, "enqueue", default=False) is True
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
    return given.keywords.get("name") or function.__name__


def _schedule(keywords: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a definition; raises InputError."""
    when = {key: keywords.get(key) for key in taskfile.WHEN}
    schedule = columns.schedule_of(keywords.get("schedule"), when, keywords.get("at_time"))
    if schedule is None:
        raise InputError(f"there is no schedule: give one of {', '.join(taskfile.WHEN)}")
    return schedule


def _zone(schedule: Schedule) -> str | None:
    """Return the zone of the project for a schedule that has none though it could."""
    return of_project.TIME_ZONE if getattr(schedule, "tz", "none") is None else None


def _flag(keywords: Mapping[str, Any], key: str, *, default: bool | None) -> bool | None:
    value = keywords.get(key, default)
    if value is not default and not isinstance(value, bool):
        raise InputError(f"{key} {shown(value)} is neither True nor False")
    return value
