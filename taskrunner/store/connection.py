"""The open file: one connection per thread, transactions, and errors of the driver as ours."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from taskrunner import home, migrations
from taskrunner.errors import StoreBusy, StoreRefused, shown

MISSING = ":memory:"  # the place of the empty store that stands in for one that does not exist yet
BUSY_TIMEOUT = 30.0  # seconds we wait for other writers
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Errors that are faults of our own and not of the store.
BUGS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)

Values = Sequence[object] | Mapping[str, object]
Row = tuple[Any, ...]


INHERITED: list[threading.local] = []  # what a fork has left us, never to be touched


class Held:
    """A connection that is closed when its thread, or its store, is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection."""
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Connection:
    """One open store; a connection per thread, opened again after a fork."""

    def __init__(self, place: str, synchronous: str = "full") -> None:
        """Remember where the store is; nothing is opened before the first query."""
        self.place = place
        self._synchronous = synchronous
        self._local = threading.local()
        self._pid = os.getpid()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # SQLite forbids using or closing a connection after fork(2)
            INHERITED.append(self._local)
            self._local, self._pid = threading.local(), os.getpid()
        held: Held | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = Held(self._connect())
        return held.connection

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = self._open()
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
                self._upgrade(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as exc:
            raise self._ours(exc) from exc
        return connection

    def _open(self) -> sqlite3.Connection:
        """Open the file, which has to be there; a connection may be closed by another thread than its own."""
        missing = self.place == MISSING
        return sqlite3.connect(
            MISSING if missing else f"file:{_quoted(self.place)}?mode=rw",
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            uri=not missing,
        )

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, after a backup; refuse a store that is newer than we are."""
        found, known = migrations.version(connection), len(migrations.STEPS)
        if found > known:
            raise StoreRefused(
                f"the store {shown(self.place)} has schema {found}, newer than the {known} "
                "this taskrunner knows: use the newer taskrunner"
            )
        if found == 0 and self.place != MISSING:  # one is made whole and then put in its place
            raise StoreRefused(f"the store {shown(self.place)} is empty: put a copy of yours there")
        if 0 < found < known:
            self._keep_old(connection, found)
        if found < known:
            migrations.migrate(connection)

    def _keep_old(self, connection: sqlite3.Connection, found: int) -> None:
        folder = home.path(os.path.dirname(self.place), home.BACKUPS)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place = os.path.join(folder, f"before-schema-{found + 1}.db")
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        copy = sqlite3.connect(place)
        connection.backup(copy)
        copy.close()

    def close(self) -> None:
        """Close this thread's connection."""
        self._local.held = None

    def _ours(self, exc: sqlite3.Error) -> Exception:
        """Return an error of the driver as one of ours, with the name of the file; a bug of ours as it is."""
        code = (
            getattr(exc, "sqlite_errorcode", 0) & 0xFF
        )  # the primary code, without its refinement
        if code in BUSY_CODES:
            return StoreBusy(f"the store {shown(self.place)} stayed busy: other writers hold it")
        if isinstance(exc, sqlite3.DatabaseError) and code not in BUGS:
            return StoreRefused(f"the store {shown(self.place)} cannot be used: {exc}")
        return exc

    def _run(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        connection = self._connection
        try:
            return connection.execute(sql, values)
        except sqlite3.Error as exc:
            raise self._ours(exc) from exc

    def _rows(self, sql: str, values: Values = ()) -> list[Row]:
        cursor = self._run(sql, values)
        try:
            return cursor.fetchall()
        except sqlite3.Error as exc:
            raise self._ours(exc) from exc

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Write all of the block or nothing; not `durable` means it may be forgotten in a power cut."""
        if not durable:
            self._run("PRAGMA synchronous = normal")
        try:
            self._run("BEGIN IMMEDIATE")
            yield
            self._run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            raise
        finally:
            if not durable:
                self._run(f"PRAGMA synchronous = {self._synchronous}")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo only this block, within a transaction, when it fails."""
        self._run("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK TO one")
            self._run("RELEASE one")
            raise
        self._run("RELEASE one")

    def checkpoint(self) -> None:
        """Put the log back into the store, so that an idle tick never has to recover it.

        A reader in the way is not waited for: the next one who works does it.
        """
        self._rows("PRAGMA busy_timeout = 0")
        try:
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._rows(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}")


def _quoted(place: str) -> str:
    """Return a path for a URI file name, with its three special characters escaped (sqlite.org/uri.html)."""
    return place.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
