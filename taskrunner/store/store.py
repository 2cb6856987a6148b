"""Tasks, runs and events in one SQLite file: the only owner of queries.

Instants and durations are integer milliseconds here and values of the model outside. Errors of the driver
leave as ours. It must not know what a schedule means or which policy decides; it is told.
"""

import os
import sqlite3

from taskrunner import schema
from taskrunner.errors import StateError, StoreRefused, shown
from taskrunner.home import lock, paths
from taskrunner.store.connection import BUSY_TIMEOUT, MISSING, Connection
from taskrunner.store.events import Events, Facts
from taskrunner.store.figures import Figures
from taskrunner.store.outbox import Outbox
from taskrunner.store.processes import Processes
from taskrunner.store.pruning import Pruning
from taskrunner.store.runs import Runs
from taskrunner.store.tasks import Tasks

__all__ = ["MISSING", "Store", "open_store"]


class Store:
    """One open store: its parts side by side, over one connection."""

    def __init__(self, place: str, synchronous: str = "full") -> None:
        """Remember where the store is; nothing is opened before the first query."""
        # No part refers to the store: what nobody refers to any more is closed at once.
        connection = self.connection = Connection(place, synchronous)
        self.missing = place == MISSING  # an empty store stands in for one that does not exist yet
        self.transaction, self.savepoint = connection.transaction, connection.savepoint
        self.checkpoint, self.close = connection.checkpoint, connection.close
        self.tasks, self.runs = Tasks(connection), Runs(connection)
        self.processes = Processes(connection)
        self.events, self.facts = Events(connection), Facts(connection)
        self.outbox = Outbox(connection)
        self.figures, self.pruning = Figures(connection), Pruning(connection)


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
        raise StoreRefused(f"the database {shown(place)} cannot be made: {exc.strerror}") from exc
    except sqlite3.Error as exc:
        raise StoreRefused(f"the database {shown(place)} cannot be made: {exc}") from exc
