"""The outbox: messages about runs, from their decision until they are sent or given up.

A message is written inside a transaction of the caller: that of the outcome it reports. Sending it is for others.
"""

from collections.abc import Sequence
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.model.record import like
from taskrunner.model.values import Posted
from taskrunner.store.connection import Connection, Part, Row

KEPT = 1000  # messages that are sent or given up, the newest
MESSAGE = (
    "SELECT outbox.id, event, tasks.name, task_id, run_id, channel, outbox.command, outbox.created, due, "
    "attempts, sent, outbox.error FROM outbox JOIN tasks ON tasks.id = task_id"
)


class Outbox(Part):
    """The queries about messages, and about conditions of a task that a channel was notified of."""

    def __init__(self, connection: Connection) -> None:
        """Take the connection that all parts of one store share."""
        super().__init__(connection)
        self._new = False

    def post(
        self,
        event: str,
        task_id: int,
        run_id: int,
        channel: str,
        command: str | None,
        at: datetime,
        due: datetime | None = None,
    ) -> None:
        """Write a message, to be sent at once unless it is due later."""
        self._db.run(
            "INSERT INTO outbox (event, task_id, run_id, channel, command, created, due) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event, task_id, run_id, channel, command, to_ms(at), to_ms(due or at)),
        )
        self._new = self._new or due is None

    def take_new(self) -> bool:
        """Return whether this process wrote messages to be sent at once, since the last call."""
        new, self._new = self._new, False
        return new

    def anything_due(self, now: datetime) -> bool:
        """Return whether a message is due."""
        return bool(self._db.rows("SELECT 1 FROM outbox WHERE due <= ? LIMIT 1", (to_ms(now),)))

    def count_pending(self) -> int:
        """Return the number of pending messages."""
        return int(self._db.rows("SELECT count(*) FROM outbox WHERE due IS NOT NULL")[0][0])

    def undelivered(self, since: datetime) -> list[tuple[str, int, str]]:
        """Return channels that failed since then, with the number of failed messages and the newest error.

        A message that was given up counts until a later one was sent to the same channel, or command.
        """
        rows = self._db.rows(
            "SELECT channel, command, due, sent, error FROM outbox WHERE created >= ? ORDER BY id",
            (to_ms(since),),
        )
        found: dict[tuple[str, str | None], list[tuple[bool, str]]] = {}
        for channel, command, due, sent, error in rows:
            failed = found.setdefault((channel, command), [])
            if sent is not None:
                failed[:] = [each for each in failed if each[0]]
            elif error is not None:
                failed.append((due is not None, error))
        return [(channel, len(each), each[-1][1]) for (channel, _), each in found.items() if each]

    def notified(self, task_id: int) -> dict[tuple[str, str], datetime]:
        """Return the conditions of a task that go on: when each channel was notified, by channel and event."""
        rows = self._db.rows("SELECT channel, event, at FROM told WHERE task_id = ?", (task_id,))
        return {(channel, event): from_ms(at) for channel, event, at in rows}

    def set_notified(self, task_id: int, channel: str, event: str, at: datetime) -> None:
        """Record that a channel was notified of a condition that goes on."""
        self._db.run(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", (task_id, channel, event, to_ms(at))
        )

    def end_notified(self, task_id: int, events: Sequence[str]) -> None:
        """Record that conditions of a task are over."""
        marks = ", ".join("?" for _ in events)
        self._db.run(
            f"DELETE FROM told WHERE task_id = ? AND event IN ({marks})", (task_id, *events)
        )

    def long_since(self, run_id: int) -> tuple[datetime | None, list[str]]:
        """Return the instant from which a run takes long, None without a rule, and the channels to notify."""
        rows = self._db.rows(
            "SELECT created, channel FROM outbox WHERE run_id = ? AND event = 'long'", (run_id,)
        )
        return from_ms(rows[0][0]) if rows else None, [channel for _, channel in rows]

    def drop_long(self, run_id: int) -> None:
        """Remove the message that a run takes long, as it ended before."""
        self._db.run("DELETE FROM outbox WHERE run_id = ? AND event = 'long'", (run_id,))

    def due(self, now: datetime) -> list[Posted]:
        """Return the messages that are due, those of a task's own commands last."""
        rows = self._db.rows(
            f"{MESSAGE} WHERE due <= ? ORDER BY channel = '', channel, outbox.id", (to_ms(now),)
        )
        return [_read(row) for row in rows]

    def newest(self, limit: int = KEPT) -> list[Posted]:
        """Return the newest messages, newest first."""
        rows = self._db.rows(
            f"{MESSAGE} WHERE event <> 'long' OR attempts > 0 ORDER BY outbox.id DESC LIMIT ?",
            (limit,),
        )
        return [_read(row) for row in rows]

    def pending(self) -> dict[str, tuple[int, str | None]]:
        """Return by channel how many messages are pending, and the error of one that was tried already."""
        rows = self._db.rows(
            "SELECT channel, count(*), max(error) FROM outbox WHERE due IS NOT NULL "
            "AND (event <> 'long' OR attempts > 0) GROUP BY channel"
        )
        return {channel: (count, error) for channel, count, error in rows}

    def push_ahead(self, batch: Sequence[Posted], until: datetime) -> None:
        """Record that these are tried now, and when again should the sender die."""
        self._db.run(
            f"UPDATE outbox SET attempts = attempts + 1, due = ? WHERE id IN ({_ids(batch)})",
            (to_ms(until),),
        )

    def put_off(self, batch: Sequence[Posted], until: datetime | None, error: str) -> None:
        """Record why these could not be sent, and when they are tried again; never when None."""
        self._db.run(
            f"UPDATE outbox SET due = ?, error = ? WHERE id IN ({_ids(batch)})",
            (None if until is None else to_ms(until), error),
        )

    def settle(self, batch: Sequence[Posted], now: datetime) -> None:
        """Record that these were sent, and forget the oldest that are sent or given up."""
        self._db.run(
            f"UPDATE outbox SET due = NULL, sent = ?, error = NULL WHERE id IN ({_ids(batch)})",
            (to_ms(now),),
        )
        self._db.run(
            "DELETE FROM outbox WHERE due IS NULL AND id <= "
            "(SELECT id FROM outbox WHERE due IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (KEPT,),
        )


def _read(row: Row) -> Posted:
    made = Posted(*row)
    times = {name: getattr(made, name) for name in ("created", "due", "sent")}
    return like(
        made,
        **{name: None if value is None else from_ms(value) for name, value in times.items()},
    )


def _ids(batch: Sequence[Posted]) -> str:
    return ", ".join(str(each.id) for each in batch)
