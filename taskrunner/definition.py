"""What a task is made of: a request to add or change one, checked and put into columns.

Everything that could be wrong is found here, before anything is written.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock, command, config, options, schedule
from taskrunner.errors import InputError, ScheduleError, StateError, shown
from taskrunner.model import Kind, Task
from taskrunner.opened import OpenHome
from taskrunner.schedule import After, At, Every, Schedule


def work(name: str, argv: Sequence[str] | None, shell: str | None) -> dict[str, Any]:
    """Return name, argv and shell text as stored; exactly one of the two says what to run."""
    if argv is not None and shell is not None:
        raise InputError(f"the task {shown(name)} has a command and a shell text: give one of them")
    if shell is None and not argv:
        raise InputError(
            f"the task {shown(name)} has no command: write it after --, or give --shell TEXT"
        )
    return {
        "name": options.name(name),
        "command": options.argv(argv),
        "shell": options.shell(shell),
    }


def timing(whole: Schedule, moment: datetime, evaluated: datetime | None = None) -> dict[str, Any]:
    """Return the columns that say when, counted from `moment`.

    After a small step back of the clock nothing is due before the task was `evaluated` last.
    """
    if evaluated is not None and timedelta(0) < evaluated - moment <= clock.STEP_BACK:
        moment = evaluated
    delay = isinstance(whole, Every) and whole.from_finish
    first = whole.next_after(moment)
    if first is None and delay and isinstance(whole, Every):
        first = whole.after_finish(moment)
    return {
        "kind": Kind(whole.kind),
        "schedule": whole.text,
        "tz": getattr(whole, "tz", None),
        "anchor": getattr(whole, "anchor", None),
        "from_finish": delay,
        "evaluated": moment,
        "next": first,
        "following": None if first is None or delay else whole.next_after(first),
        "boot_id": clock.boot_id() if whole.kind == Kind.BOOT else None,
        "error": None,
    }


def revived(task: Task) -> dict[str, Any]:
    """Return what a new schedule does to a one-off that has run: it comes due again."""
    retired = task.kind is Kind.AT and task.next is None
    return {"enabled": True} if retired else {}


def check_enabled(task: Task, changes: Mapping[str, Any]) -> None:
    """Refuse a run due at once of a task that is disabled: no tick would start it."""
    if not changes.get("enabled", task.enabled):
        raise StateError(
            f"{task.name} is disabled: enable it first, or use `taskrunner run {task.name}`"
        )


def same_schedule(old: Task | None, given: Schedule, whole: Schedule) -> bool:
    """Whether a task redefined keeps its place in time; an anchor that is not given is no difference."""
    if old is None:
        return False
    anchor = getattr(given, "anchor", None)
    return (
        (old.kind, old.schedule, old.tz) == (whole.kind, whole.text, getattr(whole, "tz", None))
        and old.from_finish == getattr(whole, "from_finish", False)
        and (anchor is None or anchor == old.anchor)
    )


def _check_chain(here: OpenHome, name: str, parent: str) -> None:
    """Raise unless the parent exists and does not itself come after the task."""
    chain, above = [name], parent
    while True:
        if above == name:
            raise StateError(
                f"{name} cannot come after {parent}: that is a circle ({' after '.join([*chain, above])})"
            )
        chain.append(above)
        task = here.store.task(above)
        if task.kind is not Kind.AFTER:
            return
        above = task.schedule.partition(":")[0]


def completed(
    here: OpenHome, given: Schedule, tz: str | None, moment: datetime, before: str | None = None
) -> Schedule:
    """Return a schedule with zone and anchor: its own, the one given beside it, the one before, the default."""
    own = getattr(options.schedule(given, tz), "tz", None)
    if tz is not None and own is not None and tz != own:
        raise InputError(
            f"the zone {shown(tz)} contradicts the {shown(own)} of the schedule: give one of them"
        )
    where = own or tz or before or config.default_zone(here.config)
    return schedule.complete(given, tz=where, now=moment)


def check_new(here: OpenHome, name: str, whole: Schedule, now: bool, moment: datetime) -> None:
    """Refuse a one-off in the past and a chain that bites its tail."""
    if isinstance(whole, At) and whole.instant <= moment and not now:
        raise ScheduleError(
            f"{shown(whole.text)} is in the past: give a later instant, or run it at once with --now"
        )
    if isinstance(whole, After):
        _check_chain(here, name, whole.parent)


def check_group(here: OpenHome, name: str, group: str | None, limit: int | None) -> None:
    """Refuse a limit of a group that contradicts what another of its tasks says."""
    for other in here.store.of_group(group) if group is not None and limit is not None else []:
        if other.name != name and other.group_limit not in (None, limit):
            raise StateError(
                f"--group {group}:{limit} contradicts {other.name}, whose limit of that group is "
                f"{other.group_limit}: give one of the two, or --group {group} without a limit"
            )


def check_account(user: str | None) -> None:
    """Raise StateError unless tasks of ours can run as this user."""
    if user is None:
        return
    command.account(user)
    if os.geteuid() != 0 and user != command.account(None)[0]:
        raise StateError(f"only root can run tasks as {shown(user)}: add the task as that user")
