"""Add, change and remove tasks: the one way for the command line, the library, task files and crontabs.

A definition becomes a draft with all its options, a draft the columns to write, and these are written with their
events and with the pending runs that they cancel. It must not know where definitions come from.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.decide import ledger
from taskrunner.home.config import Config
from taskrunner.model.record import like, record
from taskrunner.model.values import Event, Task
from taskrunner.notify import log_lines
from taskrunner.processes import account
from taskrunner.schedule import of_task
from taskrunner.schedule.kinds import At, Schedule
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up
from taskrunner.tasks import columns, options
from taskrunner.tasks.taskfile import Definition

# The columns of a definition, without those of its schedule.
COLUMNS = ("command", "shell", "source", "group_limit", *options.OPTIONS)


@record
class Draft:
    """One definition with all its options, as columns, and its schedule apart."""

    given: Definition
    whole: Schedule
    values: dict[str, Any]

    def passed(self, moment: datetime, *, now: bool) -> bool:
        """Return whether its one-off instant is past, and `now` does not ask for a run at once."""
        return isinstance(self.whole, At) and self.whole.instant <= moment and not now


# ---- from definition to draft


def draft(settings: Config, given: Definition, usual: Mapping[str, Any], moment: datetime) -> Draft:
    """Return a definition with all options, the `usual` ones as defaults; raises InputError or StateError."""
    values = options.of_new_task(usual, given.given)
    own = {key: values[key] for key in given.given}
    values |= columns.work(given.name, given.command, given.shell, own)
    values |= {} if given.source is None else {"source": given.source}
    in_file = given.place != ""  # its faults are reported with its name
    columns.check_code(values["code"], values["interpreter"], None if in_file else given.name)
    columns.check_account(values["user"])
    columns.check_mailer(settings, values)
    columns.check_queue(settings, values["queue"])
    whole = columns.completed(settings, given.schedule, given.tz, moment)
    return Draft(given, whole, values)


# ---- the columns to write


def of_new(store: Store, made: Draft, moment: datetime) -> dict[str, Any]:
    """Return the columns of a new task."""
    given = made.given
    enabled = given.enabled is not False and not made.passed(moment, now=given.now)
    values = {**made.values, **columns.timing(store, made.whole, moment)}
    values |= {"enabled": enabled, "created": moment}
    return values | ({"requested": moment} if given.now and enabled else {})


def of_old(
    store: Store, made: Draft, old: Task, moment: datetime, *, now: bool = False
) -> dict[str, Any]:
    """Return the columns of a task that change with its definition, {} when none do.

    `now` asks for a run at once; in a task file it counts only for a new task.
    """
    values = {
        key: made.values[key]
        for key in COLUMNS
        if key in made.values and made.values[key] != getattr(old, key)
    }
    moves = moved(made, old)
    enabled = _enabled(made, old, moves, moment, now)
    if moves or (enabled and not old.enabled):
        whole = made.whole if moves else of_task.value_of(old)
        values |= columns.timing(store, whole, moment, old.evaluated)
    if enabled != old.enabled:
        values |= {"enabled": enabled} | ({} if enabled else {"requested": None})
    return values | ({"requested": moment} if now else {})


def moved(made: Draft, old: Task) -> bool:
    """Return whether a definition gives a task another schedule."""
    return not columns.same_schedule(old, made.given.schedule, made.whole)


def _enabled(made: Draft, old: Task, moves: bool, moment: datetime, now: bool) -> bool:
    """Return whether a task will be enabled: as its definition says, else as it is."""
    if made.given.enabled is False:
        return False
    if made.passed(moment, now=now) and (moves or not old.enabled):
        return False
    if made.given.enabled or (moves and columns.revived(old)):
        return True
    return old.enabled


# ---- writing, inside a transaction of the caller


def add(
    here: OpenHome, tasks: Sequence[Mapping[str, Any]], moment: datetime, by: str | None = None
) -> list[int]:
    """Write new tasks, and return their ids; a single one may raise DuplicateTask."""
    store, who = here.store.tasks, account.author(by)
    ids = [store.add(tasks[0])] if len(tasks) == 1 else store.add_all(tasks)
    added = [
        (Event(moment, "added", who, text=ledger.when(values)), key)
        for key, values in zip(ids, tasks, strict=True)
    ]
    here.store.events.add_all(added)
    for event, key in added:
        log_lines.changed(here.log, key, event.what, who, event.text, moment)
    return ids


def change(
    here: OpenHome,
    old: Task,
    values: Mapping[str, Any],
    moment: datetime,
    by: str | None = None,
) -> None:
    """Write columns of an existing task; nothing when there are none."""
    if not values:
        return
    if "schedule" in values:
        columns.give_up(here, old, moment)
    here.store.tasks.change(old.id, **values)
    new, on = here.store.tasks.get(old.id), values.get("enabled", old.enabled)
    # A task that is enabled again counts from now on; that is not a change of schedule.
    before = like(old, evaluated=new.evaluated) if on and not old.enabled else old
    told = [ledger.difference(before, new), "a run at once" if values.get("requested") else ""]
    if any(told):
        _note(here, "changed", old.id, moment, by, ", ".join(filter(None, told)))
    if on != old.enabled:
        _note(here, "enabled" if on else "disabled", old.id, moment, by)
        if not on:
            follow_up.skip_pending(here, old, f"{old.name} was disabled", moment)


def remove(here: OpenHome, old: Task, moment: datetime, by: str | None = None) -> None:
    """Mark a task as removed; its history stays."""
    follow_up.skip_pending(here, old, f"{old.name} was removed", moment)
    here.store.tasks.change(old.id, enabled=False, removed=moment)
    _note(here, "removed", old.id, moment, by)


def _note(
    here: OpenHome,
    what: str,
    key: int,
    moment: datetime,
    by: str | None,
    text: str | None = None,
) -> None:
    who = account.author(by)
    here.store.events.add(Event(moment, what, who, text=text), key)
    log_lines.changed(here.log, key, what, who, text, moment)
