"""The open file: one connection per thread, transactions, and errors of the driver as ours."""

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
from taskrunner.model.values import Progress, untold

MISSING = ":memory:"  # the place of the empty store that stands in for one that does not exist yet
LOG_PAGES = 4000  # of 4 kB: a working tick puts its log back at its end, and until then need not stop for it
COPIED = 4096  # pages in one step of a copy
BUSY_TIMEOUT = 30.0  # seconds we wait for other writers
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Errors that are faults of our own and not of the store.
BUGS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What a store says that could be written, were it not for the disk it is on.
DISK = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
COUNTS = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM runs)"
FULL = 64 * 1024  # bytes that are left of a disk that is full: a transaction needs more

Values = Sequence[object] | Mapping[str, object]
Row = tuple[Any, ...]


INHERITED: list[threading.local] = []  # what a fork has left us, never to be touched


class Held:
    """A connection that is closed when its thread, or its store, is gone.

    By a weak reference, not by a `__del__`: in a circle of garbage the connection would be finalised first.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection."""
        self.connection = connection
        self.patience = BUSY_TIMEOUT  # seconds that it waits for other writers
        OPEN[weakref.ref(self, _close)] = connection


OPEN: dict[weakref.ref[Held], sqlite3.Connection] = {}


def _close(gone: weakref.ref[Held]) -> None:
    OPEN.pop(gone).close()


class Connection:
    """One open store; a connection per thread, opened again after a fork."""

    def __init__(self, place: str, synchronous: str = "full") -> None:
        """Remember where the store is; nothing is opened before the first query."""
        self.place = place
        self.snapshot: str | None = None  # why it is only read, and not as it is this moment
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
            held = self._local.held = Held(self._connect())
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
        """Open a store that cannot be written as it was when it was last closed, or say why not.

        SQLite would make a file beside it even to read it. What is still in its log is not seen then.
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
        """Open the file, which has to be there; a connection may be closed by another thread than its own."""
        missing = self.place == MISSING
        return sqlite3.connect(
            MISSING if missing else f"file:{quoted(self.place)}?{mode}",
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            uri=not missing,
        )

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, after a backup; refuse a store that is newer than we are."""
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
        """Return what helps a store that is not whole."""
        folder = paths.path(os.path.dirname(self.place), paths.BACKUPS)
        return f"restore a backup with `taskrunner restore FILE`; backups are in {shown(folder)}"

    def _keep_old(self, connection: sqlite3.Connection, found: int) -> None:
        folder = paths.path(os.path.dirname(self.place), paths.BACKUPS)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place = os.path.join(folder, f"before-schema-{found + 1}.db")
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(place)) as copy:
            connection.backup(copy)

    def copy_to(self, place: str, progress: Progress = untold) -> tuple[int, int]:
        """Copy the whole store to a file, beside others who write, and return how many tasks and runs it has."""
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        self.run("BEGIN")  # so that the copy is of what is counted
        try:
            ((tasks, runs),) = self.rows(COUNTS)
            with closing(sqlite3.connect(place)) as copy:
                self.raw.backup(
                    copy,
                    pages=COPIED,
                    progress=lambda _, left, total: progress("pages copied", total - left, total),
                )
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, also for who reads it
        except sqlite3.Error as exc:
            raise StoreRefused(f"{shown(place)} cannot be written: {exc}") from exc
        finally:
            self.run("ROLLBACK")
        return tasks, runs

    def changes(self) -> int:
        """Return a number that is another one after others have written; it costs next to nothing."""
        ((number,),) = self.rows("PRAGMA data_version")
        return int(number)

    def close(self) -> None:
        """Close this thread's connection."""
        self._local.held, self.snapshot = None, None

    def fault(self, exc: sqlite3.Error) -> Exception:
        """Return an error of the driver as one of ours, with the name of the file; a bug of ours as it is."""
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
        """Write all of the block or nothing; not `durable` means it may be forgotten in a power cut.

        Other writers are waited for `patience` seconds, where that is given. Raises StoreNewer when somebody
        has upgraded the store since we opened it.
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
        """Let transactions from here on be as durable as a setting says."""
        self._synchronous = synchronous
        self.run(f"PRAGMA synchronous = {synchronous}")

    def _begin(self, patience: float | None) -> None:
        if self.snapshot is not None:  # by now it may be one that can be written
            self.close()
        self._wait_for_others(BUSY_TIMEOUT if patience is None else patience)
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
        """Undo only this block, within a transaction, when it fails."""
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

        Whoever takes ids writes them in the same transaction.
        """
        ((last,),) = self.rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")
        return int(last) + 1

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Let all queries of the block see the store as it is now, whoever writes meanwhile."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK")

    def checkpoint(self) -> None:
        """Put the log back into the store, so that an idle tick never has to recover it.

        A reader in the way is not waited for: the next one who works does it.
        """
        self._wait_for_others(0)
        try:
            self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._wait_for_others(BUSY_TIMEOUT)


class Part:
    """The queries about one kind of rows, over an open connection."""

    def __init__(self, connection: Connection) -> None:
        """Take the connection that all parts of one store share."""
        self._db = connection


def quoted(place: str) -> str:
    """Return a path for a URI file name, with its three special characters escaped (sqlite.org/uri.html)."""
    return place.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _refused(folder: str) -> int | None:
    """Return the number of the error with which a little more is not written in a folder; None when it is.

    SQLite does not tell. The file has no name, and is gone when it is closed.
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
