"""The runs: one row for each slot that was claimed, skipped or missed; and their small outputs."""

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.clock import from_ms, to_ms
from taskrunner.errors import InputError, UnknownRun, shown
from taskrunner.model.record import like
from taskrunner.model.values import LIVE, End, Process, Run, State, Task, Trigger
from taskrunner.store.history import History
from taskrunner.store.keys import LARGEST_ID, check_one_meaning, id_of
from taskrunner.store.rows import (
    RUN,
    marks,
    milliseconds,
    read_run,
)

NOT_HELD = (
    "NOT EXISTS (SELECT 1 FROM facts WHERE name = 'held_until' AND CAST(value AS INTEGER) > :now)"
)
# A pending run may start when its time has come, scheduled runs are not paused, earlier runs of its task have ended
# or may overlap with it, and its group has room. Manual runs ignore the pause, forced runs ignore the overlap.
STARTABLE = f"""
    state = 'pending' AND (ready IS NULL OR ready <= :now) AND (trigger = 'manual' OR {NOT_HELD})
    AND (forced OR iif(overlap = 'allow',
        coalesce(max_instances, 1000000) > (SELECT count(*) FROM runs AS busy
            WHERE busy.task_id = runs.task_id AND busy.state = 'running'),
        NOT EXISTS (SELECT 1 FROM runs AS busy
            WHERE busy.task_id = runs.task_id AND busy.state = 'running')
        AND NOT EXISTS (SELECT 1 FROM runs AS ahead
            WHERE ahead.task_id = runs.task_id AND ahead.state = 'pending' AND NOT ahead.forced
            AND (ahead.slot, ahead.id) < (runs.slot, runs.id))))
    AND (group_name IS NULL
        OR (SELECT coalesce(max(other.group_limit), 1) FROM tasks AS other
            WHERE other.group_name = tasks.group_name AND other.removed IS NULL)
        > (SELECT count(*) FROM runs AS busy JOIN tasks AS other ON other.id = busy.task_id
            WHERE busy.state = 'running' AND other.group_name = tasks.group_name))
"""
# An order for a few runs: without the + SQLite would scan all runs, which have this order already.
FEW = "+runs.id"


RUN_ONLY = "run:"  # prefix of the id of a run, for stores in which a task may have the same id
NEW_RUN = (
    "INSERT INTO runs (id, task_id, state, slot, first_slot, trigger, reason, coalesced, at_least, "
    "attempt, forced, ready, priority, claimed, finished) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (task_id, slot, attempt) WHERE trigger <> 'manual' DO NOTHING"
)


class Runs(History):
    """The queries about runs; the end of a run is kept on its task, too."""

    def add(self, task_id: int, state: State, claimed: datetime, **more: Any) -> int | None:
        """Write a row for a slot and return its id; None when the slot has one already: a slot runs once.

        `more` are the arguments of `_row`.
        """
        run_id = self._db.next_id()
        made = self._db.run(NEW_RUN, (run_id, *_row(task_id, state, claimed, **more)))
        if not made.rowcount:
            return None
        if state not in LIVE:
            self._ended([(task_id, None, False)])
        return run_id

    def add_all(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Write rows of live runs as `add` does, many at once."""
        first = self._db.next_id()
        self._db.many(
            NEW_RUN, [(number, *_row(**values)) for number, values in enumerate(runs, first)]
        )

    def get(self, run_id: int) -> Run:
        """Return a run; raises UnknownRun."""
        for found in self._where("runs.id = ?", (run_id,), 1) if run_id <= LARGEST_ID else []:
            return found
        raise UnknownRun(f"there is no run {run_id}: `taskrunner history` shows the newest")

    def meant(self, key: str | int) -> Run | None:
        """Return the run that an id stands for, None when the key is that of a task; raises StateError when it is both.

        `run:ID` is a run whatever else has its id. Raises UnknownRun for an id of neither.
        """
        text = str(key)
        if text.startswith(RUN_ONLY):
            number = id_of(text[len(RUN_ONLY) :])
            if number is None:
                raise InputError(f"{shown(text)} is not a run: write {RUN_ONLY} and the id of one")
            return self.get(number)
        number = id_of(key)
        if number is None:
            return None
        if number > LARGEST_ID:
            raise _neither(key)
        for (name,) in self._db.rows("SELECT name FROM tasks WHERE id = ?", (number,)):
            check_one_meaning(self._db, name, number)
            return None
        for run in self._where("runs.id = ?", (number,), 1):
            return run
        raise _neither(key)

    def live(self, task_id: int | None = None) -> list[Run]:
        """Return the running and then the pending runs of one task or of all, oldest first."""
        of_task, values = ("", ()) if task_id is None else (" AND task_id = ?", (task_id,))
        pending = self._where(f"state = 'pending'{of_task}", values, order="slot, +runs.id")
        return self._where(f"state = 'running'{of_task}", values, order=FEW) + pending

    def live_of(self, tasks: Sequence[Task]) -> list[Run]:
        """Return the running and then the pending runs of these tasks, oldest first."""
        ids = ", ".join(str(task.id) for task in tasks)
        found = self._where(f"state = 'pending' AND task_id IN ({ids})", order="slot, +runs.id")
        return self._where(f"state = 'running' AND task_id IN ({ids})", order=FEW) + found

    def running(self) -> list[Run]:
        """Return the running runs, oldest first."""
        return self._where("state = 'running'", order=FEW)

    def running_count(self) -> int:
        """Return the number of running runs, without those in queues."""
        (row,) = self._db.rows(
            "SELECT count(*) - (SELECT count(*) FROM processes WHERE queue IS NOT NULL) "
            "FROM runs WHERE state = 'running'"
        )
        return int(row[0])

    def startable_in(self, queue: str | None, limit: int, now: datetime) -> list[Run]:
        """Return up to `limit` pending runs that may start alone in a queue, or here for None, by priority, then by slot."""
        sql = f"{RUN} WHERE {STARTABLE} AND queue IS :queue ORDER BY runs.priority DESC, slot, runs.id LIMIT :limit"
        values = {"now": to_ms(now), "limit": limit, "queue": queue}
        return [read_run(row) for row in self._db.rows(sql, values)]

    def explain(self, run_ids: Sequence[int], reason: str) -> None:
        """Give live runs a reason for their state."""
        self._db.run(
            f"UPDATE runs SET reason = ? WHERE id IN ({marks(run_ids)}) AND reason IS NOT ?",
            (reason, *run_ids, reason),
        )

    def note_start(self, run_id: int, started: datetime | None, reason: str | None) -> None:
        """Record when a run in a queue really started, None for not yet or never, and the reason for its state."""
        self._db.run(
            "UPDATE runs SET started = ?, reason = ? WHERE id = ? AND state = 'running'",
            (milliseconds(started), reason, run_id),
        )

    def put_back(self, run_ids: Sequence[int], reason: str) -> None:
        """Make runs pending again that were marked as running for a queue, which did not take them."""
        self._db.run(
            f"UPDATE runs SET state = 'pending', started = NULL, reason = ? WHERE id IN ({marks(run_ids)})",
            (reason, *run_ids),
        )
        self._db.run(f"DELETE FROM processes WHERE run_id IN ({marks(run_ids)})", run_ids)

    def may_start(self, run_id: int, now: datetime) -> bool:
        """Return whether a pending run may start."""
        sql = f"{RUN} WHERE runs.id = :id AND {STARTABLE}"
        return bool(self._db.rows(sql, {"id": run_id, "now": to_ms(now)}))

    def soonest(self, now: datetime) -> datetime | None:
        """Return the next instant after now at which a pending run becomes ready."""
        (row,) = self._db.rows(
            "SELECT min(ready) FROM runs WHERE state = 'pending' AND ready IS NOT NULL AND ready > :now "
            f"AND {NOT_HELD}",
            {"now": to_ms(now)},
        )
        return None if row[0] is None else from_ms(row[0])

    def start(self, processes: Sequence[Process], now: datetime) -> None:
        """Mark pending runs as running, just before their processes start; one for a queue has not started yet."""
        ids = [process.run_id for process in processes]
        local = all(process.queue is None for process in processes)
        changed = self._db.run(
            "UPDATE runs SET state = 'running', started = ?, reason = NULL "
            f"WHERE id IN ({marks(ids)}) AND state = 'pending'",
            (to_ms(now) if local else None, *ids),
        )
        assert changed.rowcount == len(ids)  # they were found to be so in this transaction
        self._db.many(
            "INSERT INTO processes (run_id, supervisor, boot_id, output, inode, pid_namespace, queue, engine) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    made.run_id,
                    made.supervisor,
                    made.boot_id,
                    made.output,
                    made.inode,
                    made.pid_namespace,
                    made.queue,
                    made.engine,
                )
                for made in processes
            ],
        )

    def still(self, run_ids: Sequence[int], *states: str) -> set[int]:
        """Return the ids of those runs that are still in one of some states."""
        sql = f"SELECT id FROM runs WHERE id IN ({marks(run_ids)}) AND state IN ({marks(states)})"
        return {row[0] for row in self._db.rows(sql, (*run_ids, *states))}

    def finish(self, ends: Sequence[End], more: Container[int] = ()) -> list[Run]:
        """Record how live runs ended and return them; one that had ended already is not among them.

        A one-off is not retired when its run is in `more`: another attempt follows.
        """
        found = self.still([end.run.id for end in ends], *LIVE)
        ended = [(end, _ended_so(end)) for end in ends if end.run.id in found]
        self._db.many(
            "UPDATE runs SET state = ?, reason = ?, finished = ?, exit_code = ?, signal = ?, cpu = ?, "
            "peak_memory = ?, output_size = ?, cut_at = ?, left_out = ? WHERE id = ?",
            [
                (
                    *(run.state, run.reason, milliseconds(run.finished), run.exit_code, run.signal),
                    None if run.cpu_seconds is None else round(run.cpu_seconds * 1000),
                    *(run.peak_memory, run.output_size, run.cut_at, run.left_out, run.id),
                )
                for _, run in ended
            ],
        )
        self._db.run(f"DELETE FROM processes WHERE run_id IN ({marks([*found])})", [*found])
        self._db.many(
            "INSERT OR REPLACE INTO outputs VALUES (?, ?)",
            [(run.id, zlib.compress(end.output, 1)) for end, run in ended if end.output],
        )
        self._ended((run.task_id, run if run.started else None, run.id in more) for _, run in ended)
        return [run for _, run in ended]

    def output(self, run_id: int) -> bytes | None:
        """Return the small output of a run; None without one, as a larger output is a file."""
        for row in self._db.rows("SELECT data FROM outputs WHERE run_id = ?", (run_id,)):
            return zlib.decompress(row[0])
        return None

    def _ended(self, ends: Iterable[tuple[int, Run | None, bool]]) -> None:
        """Keep the ends of runs on their tasks, and retire one-offs that have no other attempt or pending run.

        Each end is the id of a task, its run (None when it never started), and whether another attempt follows.
        """
        ends = list(ends)
        self._db.many(
            "UPDATE tasks SET last_state = iif(:started >= coalesce(last_run, 0), :state, last_state), "
            "last_run = iif(:started >= coalesce(last_run, 0), :started, last_run), "
            "last_success = iif(:state = 'succeeded', :finished, last_success), "
            "streak = CASE WHEN :state = 'succeeded' THEN max(streak, 0) + 1 "
            "WHEN :state IN ('failed', 'timed_out', 'lost') THEN min(streak, 0) - 1 ELSE streak END "
            "WHERE id = :id",
            [
                {
                    "started": milliseconds(run.started),
                    "state": run.state,
                    "finished": milliseconds(run.finished),
                    "id": task_id,
                }
                for task_id, run, _ in ends
                if run is not None
            ],
        )
        over = [task_id for task_id, _, more in ends if not more]
        # A statement of its own, as `enabled` is part of an index that the one above need not touch.
        self._db.run(
            f"UPDATE tasks SET enabled = 0 WHERE id IN ({marks(over)}) AND kind = 'at' AND next IS NULL "
            "AND enabled AND NOT EXISTS (SELECT 1 FROM runs WHERE task_id = tasks.id AND runs.state = 'pending')",
            over,
        )


def _neither(key: str | int) -> UnknownRun:
    return UnknownRun(
        f"there is no run {key}, and no task of that id: `taskrunner history` shows the newest runs, "
        "`taskrunner list` the tasks"
    )


def _row(
    task_id: int,
    state: State,
    claimed: datetime,
    *,
    slot: datetime,
    first_slot: datetime,
    trigger: Trigger,
    reason: str | None = None,
    coalesced: int = 1,
    coalesced_at_least: bool = False,
    attempt: int = 1,
    forced: bool = False,
    ready: datetime | None = None,
    priority: int = 0,
) -> tuple[Any, ...]:
    """Return the values of `NEW_RUN` after the id."""
    at = to_ms(claimed)
    return (
        *(task_id, state, to_ms(slot), to_ms(first_slot), trigger, reason, coalesced),
        *(coalesced_at_least, attempt, forced, milliseconds(ready), priority),
        *(at, None if state in LIVE else at),
    )


def _ended_so(end: End) -> Run:
    outcome = end.outcome
    return like(
        end.run,
        state=end.state,
        reason=end.reason,
        finished=end.at,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        cpu_seconds=outcome.cpu_seconds,
        peak_memory=outcome.peak_memory,
        output_size=end.size,
        cut_at=end.cut_at,
        left_out=end.left_out,
    )
