"""Tasks that applications define in their modules `scheduled.py`.

A definition is only kept here: its faults are reported when all are collected, so that a wrong expression does not
stop an application from importing its module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskrunner.model.record import record

if TYPE_CHECKING:
    from typing import Unpack

    from taskrunner.schedule.kinds import Schedule
    from taskrunner.tasks.options import Options

Target = TypeVar("Target")


@record
class Written:
    """One definition as written: its place in the code, what it runs and its keywords, unchecked."""

    module: str
    line: int
    target: Any  # a function, or a Task of Django; None for a management command
    words: tuple[str, ...]  # of a management command
    said: dict[str, Any]  # its name, its schedule and its options


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
    said: dict[str, Any] = {"schedule": schedule, "every": every, "cron": cron, "at": at}
    said |= {"after": after, "boot": boot, "manual": manual, "tz": tz, "now": now, "name": name}
    place = sys._getframe(1)
    words = (management_command, *arguments)
    _keep(place.f_globals["__name__"], place.f_lineno, None, words, {**said, **given})


def _keep(
    module: str, line: int, target: Any, words: tuple[str, ...], said: dict[str, Any]
) -> None:
    """Keep a definition until all are collected."""
    WRITTEN.append(Written(module, line, target, words, said))
