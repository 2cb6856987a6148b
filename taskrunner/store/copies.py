"""Copies of a store: whether one is whole and ours, and how one is made ready to take the place of another."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress

from taskrunner import migrations
from taskrunner.errors import StoreBusy, StoreNewer, StoreRefused, shown
from taskrunner.store.connection import BUSY_CODES, COUNTS, quoted

OURS = {"tasks", "runs", "processes", "outputs", "events", "facts"}


def examine(place: str) -> tuple[int, int]:
    """Return how many tasks and runs a copy has; raises StoreRefused for one that is not whole, or not ours."""
    try:
        with closing(_opened(place)) as copy:
            _check(copy, place)
            tasks, runs = copy.execute(COUNTS).fetchone()
            return int(tasks), int(runs)
    except sqlite3.Error as exc:
        raise StoreRefused(f"{shown(place)} is no whole copy of a store: {exc}") from exc


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
    version, known = migrations.version(copy), len(migrations.STEPS)
    if version > known:
        raise StoreNewer(
            f"{shown(place)} has schema {version}, newer than the {known} this taskrunner knows: "
            "use the newer taskrunner"
        )
    if version < 1 or not tables >= OURS:
        raise StoreRefused(f"{shown(place)} is no store of taskrunner: give the file of a backup")
    ((found,),) = copy.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise StoreRefused(f"{shown(place)} is damaged ({found}): give another backup")


def prepare(source: str, place: str, least: Mapping[str, int]) -> None:
    """Write a copy to a new file, with our schema and all ids to come above the `least` of each table."""
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        with (
            closing(_opened(source)) as copy,
            closing(sqlite3.connect(place, isolation_level=None)) as made,
        ):
            copy.backup(made)
            made.execute("PRAGMA journal_mode = WAL")
            migrations.migrate(made)
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


def fold(place: str) -> dict[str, int]:
    """Put the log of a store back into its file and return the last ids used; a damaged one is left as it is.

    Raises StoreBusy while others write.
    """
    try:
        with closing(sqlite3.connect(f"file:{quoted(place)}?mode=rw", uri=True)) as store:
            ((busy, _, _),) = store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if busy:
                raise StoreBusy(f"the store {shown(place)} is in use: try again")
            return dict(store.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES:
            raise StoreBusy(f"the store {shown(place)} is in use: try again") from exc
        return {}
