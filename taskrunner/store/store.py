"""The store of a home: one SQLite file, with a part for each kind of rows.

All queries of the package are in this folder. It must not know schedules nor policies: they arrive as values.
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
        """Take the path of the file, which is not opened before the first query."""
        # The parts know the connection, not the store: without a reference cycle it is closed at once when unused.
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
    """Return the store of a home, created when `create`; else a missing one is an empty store in memory.

    Raises HomeRefused, StoreRefused or StoreBusy.
    """
    place = paths.path(folder, paths.STORE)
    paths.check(folder)
    if not os.path.lexists(place):  # a dangling link is not a missing store
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
    """Create an empty store, private from the start; under the tick lock, so that two processes create one."""
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
