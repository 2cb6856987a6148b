"""The outbox, as those see it who record what is to be told; sending it is for others.

All of it is written inside a transaction of the caller: that of the outcome it tells of.
"""

from collections.abc import Sequence
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.store.pruning import Pruning

USUAL_OF = 20  # the newest successes that tell how long a task usually takes
USUAL_LEAST = 3  # fewer of them tell nothing


class Outbox(Pruning):
    """The queries about what is to be told."""

    posted = (
        False  # something was written to the outbox by us, and nobody has been sent off with it
    )

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
        self._run(
            "INSERT INTO outbox (event, task_id, run_id, channel, command, created, due) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event, task_id, run_id, channel, command, to_ms(at), to_ms(due or at)),
        )
        self.posted = self.posted or due is None

    def anything_to_send(self, now: datetime) -> bool:
        """Return whether a message is due."""
        return bool(self._rows("SELECT 1 FROM outbox WHERE due <= ? LIMIT 1", (to_ms(now),)))

    def messages_waiting(self) -> int:
        """Return how many messages are neither sent nor given up."""
        return int(self._rows("SELECT count(*) FROM outbox WHERE due IS NOT NULL")[0][0])

    def undelivered(self, since: datetime) -> list[tuple[str, int, str]]:
        """Return channels that did not take messages of since then, how many, and why they did not take the newest.

        What was given up counts until the same channel, or command, has taken a later one.
        """
        rows = self._rows(
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

    def told(self, task_id: int) -> dict[tuple[str, str], datetime]:
        """Return what was told of a task and is not over yet: by channel and event, when."""
        rows = self._rows("SELECT channel, event, at FROM told WHERE task_id = ?", (task_id,))
        return {(channel, event): from_ms(at) for channel, event, at in rows}

    def set_told(self, task_id: int, channel: str, event: str, at: datetime) -> None:
        """Keep that a channel was told."""
        self._run(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", (task_id, channel, event, to_ms(at))
        )

    def end_told(self, task_id: int, events: Sequence[str]) -> None:
        """Forget what was told of a task: it is over."""
        marks = ", ".join("?" for _ in events)
        self._run(f"DELETE FROM told WHERE task_id = ? AND event IN ({marks})", (task_id, *events))

    def succeeded_before(self, task_id: int, run_id: int) -> bool:
        """Return whether another run of a task than this one has ever succeeded."""
        rows = self._rows(
            "SELECT 1 FROM runs WHERE task_id = ? AND id < ? AND state = 'succeeded' "
            "UNION ALL SELECT 1 FROM totals WHERE task_id = ? AND state = 'succeeded' LIMIT 1",
            (task_id, run_id, task_id),
        )
        return bool(rows)

    def usual_time(self, task_id: int) -> float | None:
        """Return how many seconds a task usually takes: the median of its newest successes, None of too few."""
        rows = self._rows(
            "SELECT finished - started FROM (SELECT state, started, finished FROM runs WHERE task_id = ? "
            "ORDER BY id DESC LIMIT 200) WHERE state = 'succeeded' AND started IS NOT NULL LIMIT ?",
            (task_id, USUAL_OF),
        )
        lengths = sorted(length for (length,) in rows)
        return lengths[len(lengths) // 2] / 1000 if len(lengths) >= USUAL_LEAST else None

    def long_since(self, run_id: int) -> tuple[datetime | None, list[str]]:
        """Return from when on a run takes long, None when nobody asks, and the channels that are told."""
        rows = self._rows(
            "SELECT created, channel FROM outbox WHERE run_id = ? AND event = 'long'", (run_id,)
        )
        return from_ms(rows[0][0]) if rows else None, [channel for _, channel in rows]

    def not_long(self, run_id: int) -> None:
        """Take back that a run takes long: it has ended before."""
        self._run("DELETE FROM outbox WHERE run_id = ? AND event = 'long'", (run_id,))
