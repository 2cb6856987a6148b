"""Backups of a store: making one, checking one, and writing one over the store."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from taskrunner import schema
from taskrunner.errors import StoreBusy, StoreNewer, StoreRefused, shown
from taskrunner.model.values import Progress, untold
from taskrunner.store.connection import BUSY_CODES, BUSY_TIMEOUT, DAMAGE, Connection, quoted

COUNTS = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM runs)"
FEW_PAGES = (
    8  # copied in one step: fewer than any store has, so that there is a step before the last
)
PAGES = 4096  # copied in one step where the steps only report progress
# Errors of a file that is not a writable database.
NO_STORE = (*DAMAGE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
OURS = {"tasks", "runs", "processes", "outputs", "events", "facts"}


def make(db: Connection, place: str, progress: Progress = untold) -> tuple[int, int]:
    """Copy the whole store to a new file, beside other writers; return how many tasks and runs the copy has."""
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    with db.unchanged():
        ((tasks, runs),) = db.rows(COUNTS)  # of the state that is copied
        try:
            with closing(sqlite3.connect(place)) as copy:
                db.raw.backup(copy, pages=PAGES, progress=_reporting(progress, "pages copied"))
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, also for its readers
        except sqlite3.Error as exc:
            raise StoreRefused(f"{shown(place)} cannot be written: {exc}") from exc
    return tasks, runs


def examine(place: str) -> tuple[int, int]:
    """Return how many tasks and runs a backup has; raises StoreRefused for a damaged or foreign file."""
    try:
        with closing(_opened(place)) as copy:
            _check(copy, place)
            tasks, runs = copy.execute(COUNTS).fetchone()
            return int(tasks), int(runs)
    except sqlite3.Error as exc:
        raise StoreRefused(f"{shown(place)} is not a complete copy of a database: {exc}") from exc


def _opened(place: str) -> sqlite3.Connection:
    """Open a backup for reading only, with its write-ahead log if there is one."""
    # Without a log file, SQLite would leave new files beside a database in WAL mode.
    modes = ("mode=ro", "mode=ro&immutable=1")
    for mode in modes if os.path.exists(f"{place}-wal") else modes[1:]:
        with suppress(sqlite3.OperationalError):
            copy = sqlite3.connect(f"file:{quoted(place)}?{mode}", uri=True, isolation_level=None)
            try:
                copy.execute("SELECT 1 FROM sqlite_master").fetchone()
            except sqlite3.Error:
                copy.close()
                raise
            return copy
    raise StoreRefused(f"{shown(place)} cannot be read: give the file of a backup")


def _check(copy: sqlite3.Connection, place: str) -> None:
    tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master")}
    version, known = schema.version(copy), len(schema.STEPS)
    if version > known:
        raise StoreNewer(
            f"{shown(place)} has schema {version}, newer than the {known} this taskrunner knows: "
            "use the newer taskrunner"
        )
    if version < 1 or not tables >= OURS:
        raise StoreRefused(
            f"{shown(place)} is not a taskrunner database: give the file of a backup"
        )
    ((found,),) = copy.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise StoreRefused(f"{shown(place)} is damaged ({found}): give another backup")


def _reporting(progress: Progress, what: str) -> Callable[[int, int, int], None]:
    """Return a function for SQLite to call after each step of a copy."""

    def report(_: int, left: int, total: int) -> None:
        progress(what, total - left, total)

    return report


def prepare(source: str, place: str, least: Mapping[str, int], progress: Progress = untold) -> None:
    """Write a backup to a new file, upgraded to our schema, with ids to come above the `least` of each table."""
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        with (
            closing(_opened(source)) as copy,
            closing(sqlite3.connect(place, isolation_level=None)) as made,
        ):
            copy.backup(made, pages=PAGES, progress=_reporting(progress, "pages made ready"))
            made.execute("PRAGMA journal_mode = WAL")
            schema.migrate(made)
            for table, last in least.items():
                _raise_sequence(made, table, last)
    except sqlite3.Error as exc:
        raise StoreRefused(f"{shown(place)} cannot be written: {exc}") from exc


def _raise_sequence(made: sqlite3.Connection, table: str, last: int) -> None:
    made.execute(
        "INSERT INTO sqlite_sequence SELECT ?, 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
        (table, table),
    )
    made.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table))


def put_over(
    made: str, place: str, kept: str, check: Callable[[], None], progress: Progress = untold
) -> bool:
    """Write a backup over the store at `place`, which others may have open, after copying that to `kept`.

    It is one transaction: others see all of it or nothing. `check` is called once they cannot write any more; an
    exception of it ends the transaction. Returns False when `place` is not a writable database; raises StoreBusy
    while others write.
    """
    begun: list[bool] = []

    def each_step(status: int, left: int, total: int) -> None:
        progress("pages put back", total - left, total)
        if status & 0xFF in BUSY_CODES:
            raise StoreBusy(f"the database {shown(place)} is in use: try again")
        if not begun:
            begun.append(True)
            check()
            _keep(place, f"{kept}.new")
            os.rename(f"{kept}.new", kept)

    try:
        with closing(_opened(made)) as copy, closing(_writable(place)) as store:
            if store.execute("PRAGMA journal_mode").fetchone() != (
                "wal",
            ):  # nobody could read it meanwhile
                return False
            copy.backup(store, pages=FEW_PAGES, progress=each_step)
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return True
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in BUSY_CODES:
            raise StoreBusy(f"the database {shown(place)} is in use: try again") from exc
        if code not in NO_STORE:
            raise StoreRefused(f"{shown(place)} cannot be written: {exc}") from exc
        with suppress(FileNotFoundError):
            os.unlink(kept)
        return False


def _writable(place: str) -> sqlite3.Connection:
    uri = f"file:{quoted(place)}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


def _keep(place: str, kept: str) -> None:
    """Copy a store to a new file."""
    os.close(os.open(kept, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    with closing(_writable(place)) as store, closing(_writable(kept)) as copy:
        store.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file


def rows(place: str, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Return rows of a store that may be missing, older or damaged; none where it cannot be read so."""
    try:
        with closing(_opened(place)) as store:
            return store.execute(sql, values).fetchall()
    except (sqlite3.Error, StoreRefused):
        return []


def has_runs_in_queues(place: str) -> bool:
    """Return whether a store has runs that other machines carry; False where it cannot be read."""
    return bool(rows(place, "SELECT 1 FROM processes WHERE queue IS NOT NULL LIMIT 1"))


def used(place: str) -> dict[str, int]:
    """Return the last id of each table, none of a damaged or foreign file; raises StoreBusy."""
    try:
        with closing(_writable(place)) as store:
            return dict(store.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES:
            raise StoreBusy(f"the database {shown(place)} is in use: try again") from exc
        return {}
