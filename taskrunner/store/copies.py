"""Copies of a store: whether one is whole and ours, and how one is made ready to take the place of another."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from taskrunner import schema
from taskrunner.errors import StoreBusy, StoreNewer, StoreRefused, shown
from taskrunner.model.values import Progress, untold
from taskrunner.store.connection import BUSY_CODES, BUSY_TIMEOUT, COUNTS, DAMAGE, quoted

PAGES = 8  # copied in one step: fewer than any store has, so that it begins before it ends
MANY_PAGES = 4096  # copied in one step where only progress is to be told
PATIENCE = BUSY_TIMEOUT  # as all who write
# What is no store to be written to, or one of another shape.
NO_STORE = (*DAMAGE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
OURS = {"tasks", "runs", "processes", "outputs", "events", "facts"}


def examine(place: str) -> tuple[int, int]:
    """Return how many tasks and runs a copy has; raises StoreRefused for one that is not whole, or not ours."""
    try:
        with closing(_opened(place)) as copy:
            _check(copy, place)
            tasks, runs = copy.execute(COUNTS).fetchone()
            return int(tasks), int(runs)
    except sqlite3.Error as exc:
        raise StoreRefused(f"{shown(place)} is not a complete copy of a database: {exc}") from exc


def _opened(place: str) -> sqlite3.Connection:
    """Open a copy for reading only, with its log, if it came with one."""
    # SQLite would leave files beside one that says it has a log, and has none.
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


def stepwise(progress: Progress, what: str) -> tuple[int, Callable[[int, int, int], None]]:
    """Return how many pages to copy at a time, and what SQLite is to call after each step, so that it is told."""

    def each_step(_: int, left: int, total: int) -> None:
        progress(what, total - left, total)

    return MANY_PAGES, each_step


def prepare(source: str, place: str, least: Mapping[str, int], progress: Progress = untold) -> None:
    """Write a copy to a new file, with our schema and all ids to come above the `least` of each table."""
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        with (
            closing(_opened(source)) as copy,
            closing(sqlite3.connect(place, isolation_level=None)) as made,
        ):
            pages, each_step = stepwise(progress, "pages made ready")
            copy.backup(made, pages=pages, progress=each_step)
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
    """Write a copy over the store at `place`, which others may have open, after keeping what it was in `kept`.

    It is one transaction: others see all of it or nothing. `check` is called when they cannot write any more, and
    what it raises stops it. Returns False for what is no store that could be written to; raises StoreBusy while
    others write.
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
            copy.backup(store, pages=PAGES, progress=each_step)
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
    return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)


def _keep(place: str, kept: str) -> None:
    """Copy a store as it is to a new file."""
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


def used(place: str) -> dict[str, int]:
    """Return the last ids used in a store, none in one that is damaged or not ours; raises StoreBusy."""
    try:
        with closing(_writable(place)) as store:
            return _sequences(store)
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES:
            raise StoreBusy(f"the database {shown(place)} is in use: try again") from exc
        return {}


def _sequences(store: sqlite3.Connection) -> dict[str, int]:
    return dict(store.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
