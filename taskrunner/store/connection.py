"""The connection to the database: one per thread, transactions, and errors of the driver as ours."""

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from taskrunner import schema
from taskrunner.errors import (
    StoreBusy,
    StoreFull,
    StoreNewer,
    StoreReadOnly,
    StoreRefused,
    shown,
)
from taskrunner.home import paths

MISSING = ":memory:"  # the path of the empty store that stands in for one that does not exist yet
LOG_PAGES = 4000  # of 4 kB; a working tick makes a checkpoint at its end, and needs none before
BUSY_TIMEOUT = 30.0  # seconds we wait for other writers, unless the connection says otherwise
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Errors that are bugs of this program, not faults of the store.
BUGS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Errors that the disk of the database may cause.
DISK = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
FULL = 64 * 1024  # a disk with fewer free bytes is full: a transaction needs more

Values = Sequence[object] | Mapping[str, object]
Row = tuple[Any, ...]


INHERITED: list[threading.local] = []  # connections from before a fork, never to be touched


class Held:
    """A connection of the driver, closed when its thread or its store is gone.

    A weak reference does it, not `__del__`: in a reference cycle the connection would be finalised first.
    """

    def __init__(self, connection: sqlite3.Connection, patience: float) -> None:
        """Take a connection, and its busy timeout in seconds."""
        self.connection = connection
        self.patience = patience
        OPEN[weakref.ref(self, _close)] = connection


OPEN: dict[weakref.ref[Held], sqlite3.Connection] = {}


def _close(gone: weakref.ref[Held]) -> None:
    OPEN.pop(gone).close()


class Connection:
    """One database file; a connection per thread, opened again after a fork."""

    def __init__(self, place: str, synchronous: str = "full") -> None:
        """Take the path of the file, which is not opened before the first query."""
        self.place = place
        self.patience = BUSY_TIMEOUT  # seconds we wait for other writers
        self.snapshot: str | None = (
            None  # why an old state of it is read; None when it is up to date
        )
        self._synchronous = synchronous
        self._local = threading.local()
        self._pid = os.getpid()

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection of the driver, that of this thread."""
        return self._held.connection

    @property
    def _held(self) -> Held:
        if self._pid != os.getpid():  # SQLite forbids using or closing a connection after fork(2)
            INHERITED.append(self._local)
            self._local, self._pid = threading.local(), os.getpid()
        held: Held | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = Held(self._connect(), self.patience)
        return held

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._prepared("mode=rw")
        except sqlite3.Error as exc:
            fault = self.fault(exc)
            if not isinstance(fault, StoreFull | StoreReadOnly):
                raise fault from exc
            return self._look_only(fault)

    def _look_only(self, fault: StoreRefused) -> sqlite3.Connection:
        """Open a store on a read-only or full disk as it was at its last checkpoint, or raise the fault.

        SQLite would need to make a file beside it to read its write-ahead log, too.
        """
        try:
            connection = self._prepared("mode=ro&immutable=1")
        except (sqlite3.Error, OSError) as exc:
            raise fault from exc
        log = f"{self.place}-wal"
        newest = os.path.exists(log) and os.path.getsize(log) > 0
        without = ", without the newest changes" if newest else ""
        self.snapshot = f"{fault}; this shows a snapshot of it{without}"
        return connection

    def _prepared(self, mode: str) -> sqlite3.Connection:
        connection = self._open(mode)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            # Else a large transaction fails where the temporary folders are full or read-only.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, mode: str) -> sqlite3.Connection:
        """Open the file, which has to exist; a connection may be closed by another thread than its own."""
        missing = self.place == MISSING
        return sqlite3.connect(
            MISSING if missing else f"file:{quoted(self.place)}?{mode}",
            timeout=self.patience,
            isolation_level=None,
            check_same_thread=False,
            uri=not missing,
        )

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, after a backup; raise StoreNewer for a newer schema than ours."""
        found, known = schema.version(connection), len(schema.STEPS)
        if found > known:
            raise self._newer(found)
        if found == 0 and self.place != MISSING:  # one is made whole and then put in its place
            raise StoreRefused(f"the database {shown(self.place)} is empty: {self._cure()}")
        if 0 < found < known:
            self._keep_old(connection, found)
        if found < known:
            schema.migrate(connection)

    def _newer(self, found: int) -> StoreNewer:
        return StoreNewer(
            f"the database {shown(self.place)} has schema {found}, newer than the {len(schema.STEPS)} "
            "this taskrunner knows: use the newer taskrunner"
        )

    def _cure(self) -> str:
        """Return the advice for a damaged store."""
        folder = paths.path(os.path.dirname(self.place), paths.BACKUPS)
        return f"restore a backup with `taskrunner restore FILE`; backups are in {shown(folder)}"

    def _keep_old(self, connection: sqlite3.Connection, found: int) -> None:
        folder = paths.path(os.path.dirname(self.place), paths.BACKUPS)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place = os.path.join(folder, f"before-schema-{found + 1}.db")
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(place)) as copy:
            connection.backup(copy)

    def changes(self) -> int:
        """Return a number that changes when another connection has written; the query is cheap."""
        ((number,),) = self.rows("PRAGMA data_version")
        return int(number)

    def close(self) -> None:
        """Close this thread's connection."""
        self._local.held, self.snapshot = None, None

    def fault(self, exc: sqlite3.Error) -> Exception:
        """Return an error of the driver as one of ours, with the path of the file; a bug as it is."""
        # The primary code, without its refinement.
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in BUSY_CODES:
            return StoreBusy(
                f"the database {shown(self.place)} stayed busy: other programs kept it locked"
            )
        folder = os.path.dirname(self.place)
        refused = _refused(folder) if code in (sqlite3.SQLITE_FULL, *DISK) else None
        if refused == errno.EDQUOT:
            return StoreFull(
                f"the quota for the disk of the database {shown(self.place)} is used up: free some of it, "
                "then everything continues by itself"
            )
        if (
            code == sqlite3.SQLITE_FULL
            or refused == errno.ENOSPC
            or (code in DISK and full(self.place))
        ):
            return StoreFull(
                f"the disk of the database {shown(self.place)} is full: free some space, then everything continues by itself"
            )
        if code in DISK and only_read(self.place):
            return StoreReadOnly(
                f"the home {shown(os.path.dirname(self.place))} is on a disk that is mounted for reading only"
            )
        if (
            code in DISK
            and os.path.exists(self.place)
            and not os.access(self.place, os.R_OK | os.W_OK)
        ):
            mode = f"{os.stat(self.place).st_mode & 0o7777:04o}"
            return StoreRefused(
                f"the database {shown(self.place)} cannot be read and written by its user (mode {mode}): "
                f"run chmod 600 {self.place}"
            )
        if code in DAMAGE:
            return StoreRefused(
                f"the database {shown(self.place)} is damaged ({exc}): {self._cure()}"
            )
        if isinstance(exc, sqlite3.DatabaseError) and code not in BUGS:
            why = str(exc) if refused is None else f"{exc} ({os.strerror(refused)})"
            return StoreRefused(f"the database {shown(self.place)} cannot be used: {why}")
        return exc

    def run(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Execute one statement."""
        connection = self.raw
        try:
            return connection.execute(sql, values)
        except sqlite3.Error as exc:
            raise self.fault(exc) from exc

    def many(self, sql: str, values: Sequence[Values]) -> None:
        """Execute one statement with each of some values."""
        connection = self.raw
        try:
            connection.executemany(sql, values)
        except sqlite3.Error as exc:
            raise self.fault(exc) from exc

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """Return the rows of a query."""
        cursor = self.run(sql, values)
        try:
            return cursor.fetchall()
        except sqlite3.Error as exc:
            raise self.fault(exc) from exc

    @contextmanager
    def transaction(self, *, durable: bool = True, patience: float | None = None) -> Iterator[None]:
        """Write all of the block or nothing; without `durable` a power cut may undo it.

        `patience` is how many seconds to wait for other writers, in place of the connection's own. Raises StoreNewer when
        another process has upgraded the store since it was opened.
        """
        if not durable:
            self.run("PRAGMA synchronous = normal")
        try:
            self._begin(patience)
            yield
            self.run("COMMIT")
        except BaseException:
            if self.raw.in_transaction:
                self.run("ROLLBACK")
            raise
        finally:
            if not durable:
                self.run(f"PRAGMA synchronous = {self._synchronous}")

    def be_durable(self, synchronous: str) -> None:
        """Set `PRAGMA synchronous` for the transactions to come."""
        self._synchronous = synchronous
        self.run(f"PRAGMA synchronous = {synchronous}")

    def _begin(self, patience: float | None) -> None:
        if self.snapshot is not None:  # by now the disk may take writes
            self.close()
        self._wait_for_others(self.patience if patience is None else patience)
        self.run("BEGIN IMMEDIATE")
        found = schema.version(self.raw)
        if found > len(schema.STEPS):
            raise self._newer(found)

    def _wait_for_others(self, seconds: float) -> None:
        if self._held.patience != seconds:
            self.rows(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            self._held.patience = seconds

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo only this block of a transaction when it fails."""
        self.run("SAVEPOINT one")
        try:
            yield
        except BaseException:
            if self.raw.in_transaction:  # a full disk has undone all of it
                self.run("ROLLBACK TO one")
                self.run("RELEASE one")
            raise
        self.run("RELEASE one")

    def next_id(self) -> int:
        """Return the id of the next task or run: one sequence, so that a number names one thing.

        The caller writes a row with that id in the same transaction.
        """
        ((last,),) = self.rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")
        return int(last) + 1

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Let all queries of the block see one state of the store, whatever others write meanwhile."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK")

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database, so that an idle tick never has to recover it.

        This does not wait for readers: the next working tick makes up for it.
        """
        self._wait_for_others(0)
        try:
            self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._wait_for_others(self.patience)


class Part:
    """The queries about one kind of rows, over an open connection."""

    def __init__(self, connection: Connection) -> None:
        """Take the connection that all parts of one store share."""
        self._db = connection


def quoted(place: str) -> str:
    """Return a path for a URI file name, with its three special characters escaped (sqlite.org/uri.html)."""
    return place.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _refused(folder: str) -> int | None:
    """Return the errno of a small write to a folder, None when it succeeds; SQLite does not report it.

    The file has no name, and is gone when it is closed.
    """
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(FULL))
        finally:
            os.close(fd)
    except OSError as exc:
        known = exc.errno not in (
            errno.EOPNOTSUPP,
            errno.EISDIR,
            errno.ENOENT,
        )  # no such files here
        return exc.errno if known else None
    return None


def full(place: str) -> bool:
    """Return whether the disk of a file has no room for a transaction."""
    try:
        found = os.statvfs(place)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < FULL


def only_read(place: str) -> bool:
    """Return whether the disk of a file is mounted for reading only."""
    try:
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    except OSError:
        return False
