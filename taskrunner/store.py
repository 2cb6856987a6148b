"""Tasks, runs and events in one SQLite file: the only owner of queries.

Instants and durations are integer milliseconds here and values of the model outside. Errors of the driver
leave as ours. It must not know what a schedule means or which policy decides; it is told.
"""

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from taskrunner import home, lock, migrations
from taskrunner.clock import from_ms, to_ms
from taskrunner.errors import (
    DuplicateTask,
    StateError,
    StoreBusy,
    StoreRefused,
    UnknownRun,
    UnknownTask,
    shown,
)
from taskrunner.model import (
    LIVE,
    CatchUp,
    Event,
    Kind,
    Outcome,
    Overlap,
    Process,
    Run,
    State,
    Task,
    Trigger,
)

MISSING = ":memory:"  # the place of the empty store that stands in for one that does not exist yet
BUSY_TIMEOUT = 30.0  # seconds we wait for other writers
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
BUGS = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISUSE,
)  # ours, not the store's
MILLISECOND = timedelta(milliseconds=1)


def _length(value: timedelta) -> int:
    return value // MILLISECOND


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _span(value: int) -> timedelta:
    return timedelta(milliseconds=value)


MOMENT = (to_ms, from_ms)
LENGTH = (_length, _span)
FLAG = (int, bool)

# How a field of the model is written and read where it is not the same in SQL.
CODECS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    **dict.fromkeys(
        ("created", "anchor", "evaluated", "next", "following", "requested", "removed"), MOMENT
    ),
    **dict.fromkeys(
        ("last_run", "last_success", "slot", "first_slot", "started", "finished"), MOMENT
    ),
    **dict.fromkeys(("at", "stop_at"), MOMENT),
    **dict.fromkeys(("timeout", "kill_after", "deadline"), LENGTH),
    **dict.fromkeys(("enabled", "from_finish", "coalesced_at_least"), FLAG),
    "command": (_dumped, lambda text: tuple(json.loads(text))),
    "env": (_dumped, json.loads),
    "cpu_seconds": (lambda seconds: round(seconds * 1000), lambda ms: ms / 1000),
    "kind": (str, Kind),
    "overlap": (str, Overlap),
    "catch_up": (str, CatchUp),
    "state": (str, State),
    "last_state": (str, State),
    "stop_state": (str, State),
    "trigger": (str, Trigger),
}
TASK_FIELDS = tuple(entry.name for entry in fields(Task))
TASK = f"SELECT {', '.join(f'tasks.{name}' for name in TASK_FIELDS)} FROM tasks"
RUN = (
    "SELECT runs.id, tasks.name AS task, slot, first_slot, state, reason, attempt, trigger, coalesced, "
    "at_least AS coalesced_at_least, started, finished, exit_code, signal, output_size, cpu AS cpu_seconds, "
    "peak_memory, task_id FROM runs JOIN tasks ON tasks.id = runs.task_id"
)
PROCESS = f"SELECT {', '.join(entry.name for entry in fields(Process))} FROM processes"


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {
        name: CODECS[name][1](value) if value is not None and name in CODECS else value
        for name, value in zip(row.keys(), row, strict=True)
    }


def _encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: CODECS[name][0](value) if value is not None and name in CODECS else value
        for name, value in values.items()
    }


class Store:
    """One open store; a connection per thread, opened again after a fork."""

    def __init__(self, place: str, synchronous: str = "full") -> None:
        """Remember where the store is; nothing is opened before the first query."""
        self.place = place
        self._synchronous = synchronous
        self._local = threading.local()
        self._pid = os.getpid()

    # ---- connection and transactions

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # SQLite forbids carrying a connection across fork(2)
            self._local, self._pid = threading.local(), os.getpid()
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
        return found

    def _connect(self) -> sqlite3.Connection:
        try:
            if self.place == MISSING:
                connection = sqlite3.connect(self.place, isolation_level=None)
            else:
                target = f"file:{_quoted(self.place)}?mode=rw"
                connection = sqlite3.connect(target, BUSY_TIMEOUT, isolation_level=None, uri=True)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._upgrade(connection)
        except sqlite3.Error as exc:
            raise self._ours(exc) from exc
        return connection

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, after a backup; refuse a store that is newer than we are."""
        found, known = migrations.version(connection), len(migrations.STEPS)
        if found > known:
            raise StoreRefused(
                f"the store {shown(self.place)} has schema {found}, newer than the {known} this taskrunner knows: "
                "use the newer taskrunner"
            )
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
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            found.close()
            self._local.connection = None

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

    def _run(
        self, sql: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> sqlite3.Cursor:
        connection = self._connection
        try:
            return connection.execute(sql, values)
        except sqlite3.Error as exc:
            raise self._ours(exc) from exc

    def _rows(
        self, sql: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[sqlite3.Row]:
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
        self._run("BEGIN IMMEDIATE")
        try:
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
        """Put the log back into the store, so that an idle tick never has to recover it."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    # ---- tasks

    def add_task(self, values: Mapping[str, Any]) -> int:
        """Write a new task and return its id; raises DuplicateTask."""
        written = _encoded(values)
        names = ", ".join(written)
        marks = ", ".join(f":{name}" for name in written)
        try:
            return int(
                self._run(f"INSERT INTO tasks ({names}) VALUES ({marks})", written).lastrowid or 0
            )
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def change_task(self, task_id: int, **values: Any) -> None:
        """Write some fields of a task; raises DuplicateTask."""
        written = _encoded(values)
        marks = ", ".join(f"{name} = :{name}" for name in written)
        try:
            self._run(f"UPDATE tasks SET {marks} WHERE id = :key", {**written, "key": task_id})
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def task(self, key: str | int) -> Task:
        """Return the task of that name or id; raises UnknownTask."""
        by_id = isinstance(key, int) or key.isdigit()
        clause = "id = ?" if by_id else "name = ?"
        for row in self._rows(
            f"{TASK} WHERE {clause} AND removed IS NULL", (int(key) if by_id else key,)
        ):
            return Task(**_decoded(row))
        raise UnknownTask(f"there is no task {shown(str(key))}: `taskrunner list` shows all")

    def tasks(self, where: str = "1", values: Sequence[object] = ()) -> list[Task]:
        """Return the tasks that are not removed, by name."""
        rows = self._rows(f"{TASK} WHERE removed IS NULL AND {where} ORDER BY name", values)
        return [Task(**_decoded(row)) for row in rows]

    def due(self, now: datetime, boot_id: str, limit: int, only: int | None = None) -> list[Task]:
        """Return up to `limit` tasks to evaluate: asked for, not seen in this boot, or with a slot that has come.

        `only` is the id of the one task to look at.
        """
        found: dict[int, Task] = {}
        for clause, value in (
            ("requested IS NOT NULL AND coalesce(?, 1)", None),
            ("kind = 'boot' AND boot_id IS NOT ?", boot_id),
            ("next <= ?", to_ms(now)),
        ):
            rows = self._rows(
                f"{TASK} WHERE {clause} AND enabled AND removed IS NULL AND id = coalesce(?, id) ORDER BY next LIMIT ?",
                (value, only, limit),
            )
            found |= {row["id"]: Task(**_decoded(row)) for row in rows}
        return list(found.values())[: limit if limit >= 0 else None]

    def evaluated_after(self, moment: datetime) -> list[Task]:
        """Return the enabled tasks that were evaluated at a later instant than this."""
        return self.tasks("enabled AND evaluated > ?", (to_ms(moment),))

    def with_slots(self) -> list[Task]:
        """Return the enabled tasks that have a slot to come."""
        return self.tasks("enabled AND next IS NOT NULL")

    def followers(self, parent: str) -> list[Task]:
        """Return the tasks that come after this one; a name holds no colon, so the four texts are all."""
        texts = (parent, *(f"{parent}:{on}" for on in ("succeeded", "failed", "any")))
        return self.tasks("kind = 'after' AND schedule IN (?, ?, ?, ?)", texts)

    def rename_parent(self, old: str, new: str) -> None:
        """Let the tasks that come after `old` come after `new`."""
        for task in self.followers(old):
            self.change_task(task.id, schedule=new + task.schedule[len(old) :])

    def measured_from_finish(self, task_id: int) -> list[Task]:
        """Return the task when its next slot is counted from the end of its last run."""
        return self.tasks("id = ? AND from_finish AND enabled", (task_id,))

    def fill_following(self, task: Task, following: datetime | None) -> None:
        """Keep the slot after the next, unless the task has been changed since it was read."""
        self._run(
            "UPDATE tasks SET following = ? WHERE id = ? AND following IS NULL AND next = ? AND schedule = ? AND tz IS ?",
            (_ms(following), task.id, _ms(task.next), task.schedule, task.tz),
        )

    # ---- runs

    def add_run(self, task_id: int, state: State, claimed: datetime, **values: Any) -> int | None:
        """Write a row for a slot and return its id; None when the slot has one already (promise 1)."""
        written = _encoded({"task_id": task_id, "state": state, **values})
        written["claimed"] = to_ms(claimed)
        written["at_least"] = written.pop("coalesced_at_least", 0)
        if state not in LIVE:
            written["finished"] = to_ms(claimed)
        names = ", ".join(written)
        marks = ", ".join(f":{name}" for name in written)
        made = self._run(
            f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", written
        )
        if not made.rowcount:
            return None
        run_id = int(made.lastrowid or 0)
        if state not in LIVE:
            self._retire_one_off(task_id)
        return run_id

    def run(self, run_id: int) -> Run:
        """Return a run; raises UnknownRun."""
        for found in self._runs("runs.id = ?", (run_id,), 1):
            return found
        raise UnknownRun(f"there is no run {run_id}: `taskrunner history` shows the newest")

    def _runs(
        self, where: str, values: Sequence[object], limit: int = -1, order: str = "runs.id"
    ) -> list[Run]:
        rows = self._rows(f"{RUN} WHERE {where} ORDER BY {order} LIMIT ?", (*values, limit))
        return [Run(**_decoded(row)) for row in rows]

    def live(self, task_id: int | None = None) -> list[Run]:
        """Return the runs that are pending or running, of one task or of all, oldest first."""
        running = self._runs("state = 'running' AND task_id = coalesce(?, task_id)", (task_id,))
        pending = self._runs(
            "state = 'pending' AND task_id = coalesce(?, task_id)",
            (task_id,),
            order="slot, runs.id",
        )
        return running + pending

    def running(self) -> list[Run]:
        """Return the runs that are running, oldest first."""
        return self._runs("state = 'running'", ())

    def history(
        self,
        name: str | None = None,
        *,
        state: State | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 20,
    ) -> list[Run]:
        """Return runs, newest first; also those of removed tasks of that name."""
        clauses: list[tuple[str, object]] = []
        if name is not None:
            column = "tasks.id = ?" if name.isdigit() else "tasks.name = ?"
            clauses.append((column, int(name) if name.isdigit() else name))
        if state is not None:
            clauses.append(("state = ?", state))
        if since is not None:
            clauses.append(("claimed >= ?", to_ms(since)))
        if until is not None:
            clauses.append(("claimed <= ?", to_ms(until)))
        where = " AND ".join(clause for clause, _ in clauses) or "1"
        return self._runs(where, [value for _, value in clauses], limit, "runs.id DESC")

    def has_history(self, name: str) -> bool:
        """Return whether there is, or was, a task of that name or id."""
        clause = "id = ?" if name.isdigit() else "name = ?"
        return bool(self._rows(f"SELECT 1 FROM tasks WHERE {clause} LIMIT 1", (name,)))

    def last_success(self, task_id: int) -> datetime | None:
        """Return when the last run of a task that succeeded ended."""
        (row,) = self._rows("SELECT last_success FROM tasks WHERE id = ?", (task_id,))
        return None if row[0] is None else from_ms(row[0])

    def task_of(self, run: Run) -> Task:
        """Return the task of a run, also when it was removed meanwhile."""
        (row,) = self._rows(f"{TASK} WHERE id = ?", (run.task_id,))
        return Task(**_decoded(row))

    def startable(self, limit: int) -> list[Run]:
        """Return up to `limit` pending runs, oldest slot first, whose task has not too many running already."""
        return self._runs(
            "state = 'pending' AND iif(overlap = 'allow', coalesce(max_instances, 1000000), 1) > "
            "(SELECT count(*) FROM runs AS busy WHERE busy.task_id = runs.task_id AND busy.state = 'running')",
            (),
            limit,
            "slot, runs.id",
        )

    def running_count(self) -> int:
        """Return how many runs are running, over all tasks."""
        (row,) = self._rows("SELECT count(*) FROM runs WHERE state = 'running'")
        return int(row[0])

    def start(self, run: Run, process: Process, now: datetime) -> bool:
        """Make a pending run running, just before its process is made; False when another was first."""
        one = self._run(
            "UPDATE runs SET state = 'running', started = ?, reason = NULL WHERE id = ? AND state = 'pending'",
            (to_ms(now), run.id),
        )
        if one.rowcount != 1:
            return False
        written = _encoded({entry.name: getattr(process, entry.name) for entry in fields(process)})
        self._run(
            f"INSERT INTO processes ({', '.join(written)}) VALUES ({', '.join(f':{n}' for n in written)})",
            written,
        )
        self._run(
            "UPDATE tasks SET last_run = ?, last_state = 'running' WHERE id = ?",
            (to_ms(now), run.task_id),
        )
        return True

    def note_child(self, run_id: int, pid: int, pid_started: int | None) -> None:
        """Keep how the child is recognised, once it is there."""
        self._run(
            "UPDATE processes SET pid = ?, pid_started = ? WHERE run_id = ?",
            (pid, pid_started, run_id),
        )

    def ask_to_stop(self, run_id: int, state: State, reason: str, now: datetime) -> bool:
        """Say on the row that a run is being stopped, before the signal; the first to say so stands."""
        changed = self._run(
            "UPDATE processes SET stop_state = ?, stop_reason = ?, stop_at = ? WHERE run_id = ? AND stop_state IS NULL",
            (state, reason, to_ms(now), run_id),
        )
        return changed.rowcount == 1

    def processes(self) -> list[tuple[Run, Process]]:
        """Return the running runs with what is known of their processes, oldest first."""
        known = {row["run_id"]: Process(**_decoded(row)) for row in self._rows(PROCESS)}
        return [(run, known[run.id]) for run in self.running() if run.id in known]

    def process(self, run_id: int) -> Process | None:
        """Return what is known of the process of a running run."""
        for row in self._rows(f"{PROCESS} WHERE run_id = ?", (run_id,)):
            return Process(**_decoded(row))
        return None

    def finish(
        self,
        run: Run,
        state: State,
        reason: str,
        now: datetime,
        outcome: Outcome | None = None,
        output: bytes = b"",
        output_size: int | None = 0,
    ) -> Run | None:
        """Record how a live run ended, with its small output; None when it had ended already.

        `output_size` is in bytes and counts also what is kept in a file.
        """
        told = outcome or Outcome()
        written = _encoded({"finished": now, "cpu_seconds": told.cpu_seconds})
        changed = self._run(
            "UPDATE runs SET state = ?, reason = ?, finished = ?, exit_code = ?, signal = ?, cpu = ?, "
            "peak_memory = ?, output_size = ? WHERE id = ? AND state IN ('pending', 'running')",
            (
                *(state, reason, written["finished"], told.exit_code, told.signal),
                *(written["cpu_seconds"], told.peak_memory, output_size, run.id),
            ),
        )
        if changed.rowcount != 1:
            return None
        self._run("DELETE FROM processes WHERE run_id = ?", (run.id,))
        if output:
            self._run(
                "INSERT OR REPLACE INTO outputs VALUES (?, ?)", (run.id, zlib.compress(output, 1))
            )
        self._run(
            "UPDATE tasks SET last_state = iif(last_run = ?, ?, last_state), "
            "last_success = iif(? = 'succeeded', ?, last_success) WHERE id = ?",
            (_ms(run.started), state, state, to_ms(now), run.task_id),
        )
        self._retire_one_off(run.task_id)
        return replace(
            run,
            state=state,
            reason=reason,
            finished=now,
            exit_code=told.exit_code,
            signal=told.signal,
            output_size=output_size,
            cpu_seconds=told.cpu_seconds,
            peak_memory=told.peak_memory,
        )

    def _retire_one_off(self, task_id: int) -> None:
        self._run(
            "UPDATE tasks SET enabled = 0 WHERE id = ? AND kind = 'at' AND next IS NULL", (task_id,)
        )

    def output(self, run_id: int) -> bytes | None:
        """Return the small output of a run, None when it has none here."""
        for row in self._rows("SELECT data FROM outputs WHERE run_id = ?", (run_id,)):
            return zlib.decompress(row[0])
        return None

    # ---- events and facts

    def note(self, event: Event, task_id: int | None = None) -> None:
        """Write an event."""
        self._run(
            "INSERT INTO events (at, what, by, task_id, text) VALUES (?, ?, ?, ?, ?)",
            (to_ms(event.at), event.what, event.by, task_id, event.text),
        )

    def events(self, task_id: int | None = None) -> list[Event]:
        """Return the events of a task, or all, oldest first."""
        rows = self._rows(
            "SELECT at, what, by, tasks.name AS task, text FROM events LEFT JOIN tasks ON tasks.id = task_id "
            "WHERE ? IS NULL OR task_id = ? ORDER BY events.id",
            (task_id, task_id),
        )
        return [Event(**_decoded(row)) for row in rows]

    def fact(self, name: str) -> str | None:
        """Return a thing that is true of the whole store."""
        for row in self._rows("SELECT value FROM facts WHERE name = ?", (name,)):
            return str(row[0])
        return None

    def set_fact(self, name: str, value: str) -> None:
        """Write a thing that is true of the whole store."""
        self._run(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (name, value),
        )


def open_store(
    folder: str, *, create: bool = False, synchronous: str = "full", network: bool = False
) -> Store:
    """Return the store of a home, made when `create`; a missing one is an empty store that writes nothing.

    Raises HomeRefused, StoreRefused or StoreBusy.
    """
    place = home.path(folder, home.STORE)
    home.check(folder)
    if not os.path.exists(place):
        if not create:
            return Store(MISSING)
        _make(folder, place)
    kind = None if network else home.network_file_system(folder)
    if kind:
        raise StateError(
            f"the home {shown(folder)} is on {kind}, where locks cannot be relied on: use a local folder, "
            "or set allow_network_home"
        )
    return Store(place, synchronous)


def _make(folder: str, place: str) -> None:
    """Make an empty store, private from the start; under the tick lock, so that two at once make one."""
    home.create(folder)
    try:
        with lock.held(home.path(folder, home.LOCK), wait=BUSY_TIMEOUT):
            if os.path.exists(place):
                return
            unfinished = f"{place}.new"
            os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
            connection = sqlite3.connect(unfinished, isolation_level=None)
            connection.execute(
                "PRAGMA auto_vacuum = INCREMENTAL"
            )  # has to come before the first table
            connection.execute("PRAGMA journal_mode = WAL")
            migrations.migrate(connection)
            connection.close()
            os.rename(unfinished, place)
    except OSError as exc:
        raise StoreRefused(f"the store {shown(place)} cannot be made: {exc.strerror}") from exc
    except sqlite3.Error as exc:
        raise StoreRefused(f"the store {shown(place)} cannot be made: {exc}") from exc


def _quoted(place: str) -> str:
    """Return a path for a URI file name, with its three special characters escaped (sqlite.org/uri.html)."""
    return place.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _duplicate(values: Mapping[str, Any]) -> DuplicateTask:
    return DuplicateTask(
        f"there is already a task {shown(values.get('name'))}: pick another name, or use --replace"
    )


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)
