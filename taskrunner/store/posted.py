"""The outbox, as who sends it sees it: what is due, what became of it. Ticks do not import this."""

from collections.abc import Sequence
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.model import values
from taskrunner.model.record import like
from taskrunner.store.connection import Row
from taskrunner.store.store import Store

KEPT = 1000  # messages that are done with, the newest
COLUMNS = (
    "SELECT outbox.id, event, tasks.name, task_id, run_id, channel, outbox.command, outbox.created, due, "
    "attempts, sent, outbox.error FROM outbox JOIN tasks ON tasks.id = task_id"
)


def _read(row: Row) -> values.Posted:
    made = values.Posted(*row)
    times = {name: getattr(made, name) for name in ("created", "due", "sent")}
    return like(made, **{name: _moment(value) for name, value in times.items()})


def _moment(value: int | None) -> datetime | None:
    return None if value is None else from_ms(value)


def due(store: Store, now: datetime) -> list[values.Posted]:
    """Return what is due, those of a task's own commands last."""
    rows = store._rows(
        f"{COLUMNS} WHERE due <= ? ORDER BY channel = '', channel, outbox.id", (to_ms(now),)
    )
    return [_read(row) for row in rows]


def newest(store: Store, limit: int) -> list[values.Posted]:
    """Return the newest messages, newest first."""
    rows = store._rows(
        f"{COLUMNS} WHERE event <> 'long' OR attempts > 0 ORDER BY outbox.id DESC LIMIT ?", (limit,)
    )
    return [_read(row) for row in rows]


def waiting(store: Store) -> dict[str, tuple[int, str | None]]:
    """Return by channel how many messages wait, and why one of them does that was tried already."""
    rows = store._rows(
        "SELECT channel, count(*), max(error) FROM outbox WHERE due IS NOT NULL "
        "AND (event <> 'long' OR attempts > 0) GROUP BY channel"
    )
    return {channel: (count, error) for channel, count, error in rows}


def push_ahead(store: Store, batch: Sequence[values.Posted], until: datetime) -> None:
    """Keep that these are tried now, and when again should we not come back."""
    store._run(
        f"UPDATE outbox SET attempts = attempts + 1, due = ? WHERE id IN ({_ids(batch)})",
        (to_ms(until),),
    )


def put_off(
    store: Store, batch: Sequence[values.Posted], until: datetime | None, error: str
) -> None:
    """Keep why these could not be sent, and when they are tried again; never when None."""
    store._run(
        f"UPDATE outbox SET due = ?, error = ? WHERE id IN ({_ids(batch)})",
        (None if until is None else to_ms(until), error),
    )


def settle(store: Store, batch: Sequence[values.Posted], now: datetime) -> None:
    """Keep that these were sent, and forget the oldest of what is done with."""
    store._run(
        f"UPDATE outbox SET due = NULL, sent = ?, error = NULL WHERE id IN ({_ids(batch)})",
        (to_ms(now),),
    )
    store._run(
        "DELETE FROM outbox WHERE due IS NULL AND id <= "
        "(SELECT id FROM outbox WHERE due IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (KEPT,),
    )


def _ids(batch: Sequence[values.Posted]) -> str:
    return ", ".join(str(each.id) for each in batch)
