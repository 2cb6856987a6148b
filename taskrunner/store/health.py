"""Health of the database, checked without using it: it may be locked, damaged, too new, or not a database at all."""

import os
import sqlite3
from contextlib import closing

from taskrunner.home import paths
from taskrunner.model.record import record
from taskrunner.schema import STEPS, version
from taskrunner.store.connection import BUSY_CODES, full, only_read, quoted

PATIENCE = 2.0  # seconds; a check should not wait for other writers as a write does
MOST_FAULTS = 5


@record
class Health:
    """The health of a database seen from outside; sizes in bytes."""

    size: int
    log: int  # of the write-ahead log
    schema: int | None = None  # None when it could not be read
    known: int = len(STEPS)
    busy: bool = False  # others kept it locked
    error: str | None = None  # the error of the driver
    disk: str | None = None  # the fault of its disk
    faults: tuple[str, ...] = ()  # of quick_check


def health(folder: str, *, thorough: bool) -> Health | None:
    """Return the condition of the store of a home, None when there is none; `thorough` reads every page."""
    place = paths.path(folder, paths.STORE)
    if not os.path.lexists(place):
        return None
    size, log = _size(place), _size(f"{place}-wal")
    # Not mode=ro, though we only read: such a connection leaves the files of the log behind.
    uri = f"file:{quoted(place)}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, timeout=PATIENCE, uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            number = version(connection)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            found = connection.execute(f"PRAGMA quick_check({MOST_FAULTS})") if thorough else ()
            faults = tuple(" ".join(text.split()) for (text,) in found if text != "ok")
    except sqlite3.Error as exc:
        busy = getattr(exc, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES
        return Health(size, log, busy=busy, error=str(exc), disk=None if busy else _disk(place))
    return Health(size, log, number, faults=faults)


def _disk(place: str) -> str | None:
    if only_read(place):
        return "its disk is mounted for reading only"
    return "its disk is full" if full(place) else None


def _size(place: str) -> int:
    try:
        return os.stat(place).st_size
    except OSError:
        return 0


def library() -> str:
    """Return the version of SQLite in use."""
    return sqlite3.sqlite_version
