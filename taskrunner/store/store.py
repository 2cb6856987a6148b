"""Tasks, runs and events in one SQLite file: the only owner of queries.

Instants and durations are integer milliseconds here and values of the model outside. Errors of the driver
leave as ours. It must not know what a schedule means or which policy decides; it is told.
"""

import os
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from taskrunner import schema
from taskrunner.clock import from_ms, to_ms
from taskrunner.errors import StateError, StoreRefused, shown
from taskrunner.home import lock, paths
from taskrunner.model.values import Event, Run
from taskrunner.store.connection import BUSY_TIMEOUT, MISSING
from taskrunner.store.outbox import Outbox
from taskrunner.store.rows import EVENT, id_of, milliseconds, read_event

__all__ = ["MISSING", "Store", "id_of", "open_store"]


class Store(Outbox):
    """One open store: its tasks, its runs, and what is told of the store as a whole."""

    def note(self, event: Event, task_id: int | None = None) -> None:
        """Write an event."""
        self.note_all([(event, task_id)])

    def note_all(self, events: Iterable[tuple[Event, int | None]]) -> None:
        """Write events, each with the id of the task that it is about."""
        self._many(
            "INSERT INTO events (at, what, by, task_id, text) VALUES (?, ?, ?, ?, ?)",
            [
                (to_ms(event.at), event.what, event.by, task_id, event.text)
                for event, task_id in events
            ],
        )

    def events(self) -> list[Event]:
        """Return all events, oldest first."""
        return [read_event(row) for row in self._rows(f"{EVENT} ORDER BY events.id")]

    def events_about(self, task_id: int) -> list[Event]:
        """Return the events of a task and those of the store as a whole, oldest first."""
        sql = f"{EVENT} WHERE task_id = ? OR task_id IS NULL ORDER BY events.id"
        return [read_event(row) for row in self._rows(sql, (task_id,))]

    def runs_between(self, task_id: int, since: datetime, until: datetime, limit: int) -> list[Run]:
        """Return the runs of a task that stand for slots in a time, those of the newest slots first."""
        where = "task_id = ? AND slot >= ? AND first_slot <= ?"
        values = (task_id, to_ms(since), to_ms(until))
        return self._runs(where, values, limit, "slot DESC, runs.id DESC")

    def made_room(self, run: Run) -> Run | None:
        """Return the run whose end let another start that had been claimed, and waited for room."""
        started = milliseconds(run.started)
        found = self._runs(
            "finished BETWEEN ? - 2000 AND ? "
            "AND started <= (SELECT claimed FROM runs AS mine WHERE id = ? AND claimed < ? - 2000)",
            (started, started, run.id, started),
            1,
            "finished DESC",
        )
        return found[0] if found else None

    def pruned_until(self, task_id: int) -> datetime | None:
        """Return the newest slot of a task whose row has been pruned."""
        rows = self._rows("SELECT max(last_slot) FROM totals WHERE task_id = ?", (task_id,))
        return None if rows[0][0] is None else from_ms(rows[0][0])


def open_store(
    folder: str, *, create: bool = False, synchronous: str = "full", network: bool = False
) -> Store:
    """Return the store of a home, made when `create`; a missing one is an empty store that writes nothing.

    Raises HomeRefused, StoreRefused or StoreBusy.
    """
    place = paths.path(folder, paths.STORE)
    paths.check(folder)
    if not os.path.lexists(place):  # a dangling link is no store that could be made
        if not create:
            return Store(MISSING)
        _make(folder, place)
    kind = None if network else paths.network_file_system(folder)
    if kind:
        raise StateError(
            f"the home {shown(folder)} is on {kind}, where locks cannot be relied on: use a local folder, "
            "or set allow_network_home"
        )
    return Store(place, synchronous)


def _make(folder: str, place: str) -> None:
    """Make an empty store, private from the start; under the tick lock, so that two at once make one."""
    paths.create(folder)
    try:
        with lock.held(paths.path(folder, paths.LOCK), wait=BUSY_TIMEOUT):
            if os.path.exists(place):
                return
            unfinished = f"{place}.new"
            os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
            connection = sqlite3.connect(unfinished, isolation_level=None)
            connection.execute(
                "PRAGMA auto_vacuum = INCREMENTAL"
            )  # has to come before the first table
            connection.execute("PRAGMA journal_mode = WAL")
            schema.migrate(connection)
            connection.close()
            os.rename(unfinished, place)
    except OSError as exc:
        raise StoreRefused(f"the store {shown(place)} cannot be made: {exc.strerror}") from exc
    except sqlite3.Error as exc:
        raise StoreRefused(f"the store {shown(place)} cannot be made: {exc}") from exc
