"""Instants that a clock wrote while it was ahead: found, and moved back.

A run or a message would wait for such an instant until the clock gets there again, which may take years. Each wait
starts anew instead, and ends no later than its own setting allows. The next slots of tasks are left to
`tick.clock_changes`, since they depend on the schedules.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from taskrunner.clock import from_ms, to_ms
from taskrunner.model.record import like, record
from taskrunner.store.store import Store

# An instant later than this is from a clock that was ahead, not from another process a moment ago.
SLACK = timedelta(minutes=1)
# No attempt to send a message is put off for an hour and more (`notify`).
RESENT = timedelta(minutes=61)


@record
class Column:
    """One column with an instant: the condition of its wrong rows, and their new value, in SQL."""

    table: str
    name: str
    what: str  # an expression for the name of the wait; empty for columns that are not reported
    task: str  # an expression for the id of its task
    wrong: str
    instead: str
    waits: bool = True  # something waits for it, so that each working tick checks it


@record
class Moved:
    """One instant that was moved, of a task or (None) of the store as a whole."""

    task_id: int | None
    what: str
    until: datetime
    instead: datetime


OF_RUN = "(SELECT task_id FROM runs WHERE runs.id = run_id)"
STARTED = "(SELECT started FROM runs WHERE runs.id = run_id)"
COLUMNS = (
    Column(
        *("runs", "ready", "'run ' || id", "task_id"),
        "state = 'pending' AND ready > :now AND claimed > :ahead",
        "max(:now, :now + ready - claimed)",
    ),
    Column(
        *("outbox", "due", "'a message to ' || iif(channel = '', 'its own command', channel)"),
        "task_id",
        f"due > :now AND iif(event = 'long', {STARTED} > :ahead, due > :resent)",
        f"iif(event = 'long', max(:now, :now + due - {STARTED}), :now)",
    ),
    # The start of a long run is read from here (`long_since`), and the end of attempts to send.
    Column(
        *("outbox", "created", "''", "task_id"),
        "due IS NOT NULL AND created > :ahead AND created > due",
        "iif(event = 'long', due, :now)",
    ),
    Column(
        *("processes", "stop_at", "'the stop of run ' || run_id", OF_RUN, "stop_at > :ahead"),
        ":now",
    ),
    Column(
        *("runs", "started", "'the time limit of run ' || id", "task_id"),
        "state = 'running' AND started > :ahead",
        ":now",
    ),
    Column(
        *("told", "at", "'the next message to ' || iif(channel = '', 'its own command', channel)"),
        *("task_id", "at > :ahead", ":now"),
    ),
    # Else the runs to come would seem older than a run of the wrong future.
    Column(
        *("tasks", "last_run", "'its last run'", "id", "last_run > :ahead", "NULL"), waits=False
    ),
    Column(
        *("tasks", "last_success", "'its last success'", "id", "last_success > :ahead", ":now"),
        waits=False,
    ),
)


def move(store: Store, now: datetime, *, went_back: bool) -> Iterator[Moved]:
    """Move the instants of a clock that was ahead, and give them; within a transaction of the caller."""
    values = _values(now)
    for each in COLUMNS:
        found = list(_wrong(store, each, now)) if each.waits else []
        if found or (went_back and not each.waits):
            sql = f"UPDATE {each.table} SET {each.name} = {each.instead} WHERE {each.wrong}"
            store.connection.run(sql, values)
        yield from (moved for moved in found if moved.what)
    hold = store.facts.held(now)
    if hold is not None and hold.since > now + SLACK:
        until = None if hold.until is None else now + (hold.until - hold.since)
        store.facts.hold(like(hold, since=now, until=until))
        if hold.until is not None and until is not None:
            yield Moved(None, "the hold", hold.until, until)


def wrong(store: Store, now: datetime) -> list[Moved]:
    """Return the instants that the next tick will move; changes nothing."""
    waiting = (each for each in COLUMNS if each.waits)
    found = [moved for each in waiting for moved in _wrong(store, each, now) if moved.what]
    hold = store.facts.held(now)
    if hold is not None and hold.until is not None and hold.since > now + SLACK:
        found.append(Moved(None, "the hold", hold.until, now + (hold.until - hold.since)))
    return found


def _wrong(store: Store, column: Column, now: datetime) -> Iterator[Moved]:
    what = f"{column.task}, {column.what}, {column.name}, {column.instead}"
    for task_id, told, until, instead in store.connection.rows(
        f"SELECT {what} FROM {column.table} WHERE {column.wrong}", _values(now)
    ):
        yield Moved(task_id, told, from_ms(until), from_ms(instead))


def _values(now: datetime) -> dict[str, int]:
    return {
        "now": to_ms(now),
        "ahead": to_ms(now + SLACK),
        "resent": to_ms(now + RESENT),
    }
