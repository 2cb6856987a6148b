"""Queries for `stats`: counts of runs by state, and their durations in order of size.

Each answer is one pass over the runs of a span of time. Results as long as the history are iterators, never lists.
The meaning of the figures is left to `report`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.model.record import record
from taskrunner.model.values import LIVE, State
from taskrunner.store.connection import Part, Row
from taskrunner.store.history import NOT_SUCCEEDED

# A state as a number: sorting by one number takes half as long as by two, or by an id and a text.
CODES = {state: code for code, state in enumerate(State) if state not in LIVE}
STATES = {code: state for state, code in CODES.items()}
CODE = " ".join(f"WHEN '{state}' THEN {code}" for state, code in CODES.items())
USUAL_OF = 20  # the newest successes, whose median is the usual time of a task
USUAL_LEAST = 3  # fewer of them give no usual time
# There was a further attempt of the same slot.
OVERTAKEN = (
    "(state IN ('failed', 'timed_out', 'lost') AND trigger <> 'manual' AND EXISTS (SELECT 1 FROM runs AS next "
    "WHERE next.task_id = runs.task_id AND next.slot = runs.slot AND next.attempt > runs.attempt "
    "AND next.trigger <> 'manual'))"
)
# A run whose start has a lateness. The + keeps SQLite from walking the index of slots, across all pages.
PUNCTUAL = "+trigger <> 'manual' AND attempt = 1"


# Of a run: task id, state, end, duration and lateness, in milliseconds; None of a run that has none.
Measured = tuple[int, State, int, int | None, int | None]


@record
class Scope:
    """A selection of runs: of these tasks, or of all, that ended in a time span, both ends included."""

    ids: tuple[int, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def where(self) -> str:
        """The condition in SQL; all values in it are numbers."""
        # The + keeps SQLite from walking all runs by their end when they are not bounded by it.
        parts = ["+finished IS NOT NULL"]
        if self.since is not None:
            parts.append(f"finished >= {to_ms(self.since)}")
        if self.until is not None:
            parts.append(f"finished <= {to_ms(self.until)}")
        if self.ids is not None:
            parts.append(f"task_id IN ({', '.join(map(str, self.ids))})")
        return " AND ".join(parts)


@record
class Known:
    """A task that may have runs: its name, whether it was removed, and its streak so far."""

    id: int
    name: str
    removed: bool
    streak: int


@record
class Count:
    """The number of runs of a task that ended in one state; `punctual` ones have a lateness, `last` is the newest end.

    `duration` is that of the run that ended last, in milliseconds.
    """

    task_id: int
    state: State
    runs: int
    started: int
    punctual: int
    last: datetime
    duration: int | None = None


@record
class Tally:
    """Totals of all runs of a task that ever ended in one state; lengths of time are milliseconds."""

    task_id: int
    state: State
    runs: int
    slots: int
    started: int
    duration: int
    punctual: int
    late: int
    last_end: int
    last_duration: int | None
    last_late: int | None


@record
class Standing:
    """The state of a task that is not removed; instants are milliseconds."""

    id: int
    name: str
    enabled: bool
    kind: str
    schedule: str
    tz: str | None
    next: int | None
    error: str | None
    last_run: int | None
    last_success: int | None
    streak: int


class Figures(Part):
    """The queries of statistics and metrics."""

    def standings(self) -> list[Standing]:
        """Return the state of all tasks, by name, without their commands."""
        rows = self._db.rows(
            "SELECT id, name, enabled, kind, schedule, tz, next, error, last_run, last_success, streak "
            "FROM tasks WHERE removed IS NULL ORDER BY name"
        )
        return [Standing(*row) for row in rows]

    def tallies(self) -> list[Tally]:
        """Return the sums over the runs of all tasks, one row for each task and state."""
        return [
            Tally(row[0], State(row[1]), *row[2:]) for row in self._db.rows("SELECT * FROM tallies")
        ]

    def live(self) -> list[tuple[int, State, int, int]]:
        """Return task id, state, count and the oldest start or claim, in milliseconds, of live runs."""
        rows = self._db.rows(
            "SELECT task_id, 'running', count(*), min(started) FROM runs WHERE state = 'running' "
            "GROUP BY task_id UNION ALL SELECT task_id, 'pending', count(*), min(claimed) FROM runs "
            "WHERE state = 'pending' GROUP BY task_id"
        )
        return [(task_id, State(state), count, since) for task_id, state, count, since in rows]

    def known(self, ids: Sequence[int] | None = None) -> list[Known]:
        """Return all tasks, or those with these ids, also those that were removed; the oldest first."""
        where = "1" if ids is None else f"id IN ({', '.join(map(str, ids))})"
        rows = self._db.rows(
            f"SELECT id, name, removed IS NOT NULL, streak FROM tasks WHERE {where} ORDER BY id"
        )
        return [
            Known(number, name, bool(removed), streak) for number, name, removed, streak in rows
        ]

    def counts(self, scope: Scope) -> list[Count]:
        """Return how many runs ended in each state, by task."""
        rows = self._db.rows(
            # `started` is that of the row with the newest end: sqlite.org/lang_select.html#bareagg
            f"SELECT task_id * 16 + CASE state {CODE} END AS code, count(*), count(started), "
            f"sum(started IS NOT NULL AND {PUNCTUAL}), max(finished), started "
            f"FROM runs WHERE {scope.where} GROUP BY code"
        )
        return [_count(*row) for row in rows]

    def states_by_time(
        self,
        ids: Sequence[int] | None,
        since: datetime,
        until: datetime,
        unit: int,
        states: Sequence[State] | None = None,
    ) -> list[tuple[int, int, State, int]]:
        """Return how many slots are in each state, by task and by units of so many milliseconds from `since` on.

        The last attempt of a slot counts, and a late run counts at its slot.
        """
        start, end = to_ms(since), to_ms(until)
        where = f"slot >= {start} AND slot < {end}"
        if ids is not None:
            where += f" AND task_id IN ({', '.join(map(str, ids))})"
        spot = f"task_id, (slot - {start}) / {unit} AS unit"
        # All rows are counted in two indexes, and only those that have not succeeded are read.
        good: dict[tuple[int, int], int] = {}
        for kind in ("trigger <> 'manual'", "trigger = 'manual'"):
            rows = self._db.rows(
                f"SELECT {spot}, count(*) FROM runs WHERE {kind} AND {where} GROUP BY task_id, unit"
            )
            for task_id, number, count in rows:
                good[task_id, number] = good.get((task_id, number), 0) + count
        found: list[tuple[int, int, State, int]] = []
        for among in (NOT_SUCCEEDED, "state = 'pending'", "state = 'running'"):
            rows = self._db.rows(
                f"SELECT {spot}, state, {OVERTAKEN} AS overtaken, count(*) FROM runs "
                f"WHERE {among} AND {where} GROUP BY task_id, unit, state, overtaken"
            )
            for task_id, number, state, overtaken, count in rows:
                good[task_id, number] -= count
                if not overtaken:
                    found.append((task_id, number, State(state), count))
        found += [(*each, State.SUCCEEDED, count) for each, count in good.items() if count]
        return [each for each in found if states is None or each[2] in states]

    def ever(self, ids: Sequence[int] | None = None) -> list[Count]:
        """Return the counts of all runs that ever ended, also of pruned ones, from the tallies."""
        among = "1" if ids is None else f"task_id IN ({', '.join(map(str, ids))})"
        rows = self._db.rows(
            f"SELECT task_id, state, runs, started, last_end FROM tallies WHERE {among}"
        )
        return [
            Count(task_id, State(state), runs, started, 0, from_ms(last))
            for task_id, state, runs, started, last in rows
        ]

    def newest(self, ids: Sequence[int] | None, count: int) -> list[Measured]:
        """Return the newest runs of each task that have ended, at most `count` of each, the last end first."""
        among = "1" if ids is None else f"tasks.id IN ({', '.join(map(str, ids))})"
        oldest = (
            "SELECT id FROM runs AS own WHERE own.task_id = tasks.id "
            f"ORDER BY id DESC LIMIT 1 OFFSET {count - 1}"
        )
        rows = self._db.rows(
            f"SELECT task_id, CASE state {CODE} END, finished, started, "
            f"iif(started IS NOT NULL AND {PUNCTUAL}, started - slot, NULL) "
            "FROM tasks CROSS JOIN runs INDEXED BY runs_of_task ON task_id = tasks.id "
            f"AND runs.id >= coalesce(({oldest}), 0) "
            f"WHERE finished IS NOT NULL AND {among} ORDER BY finished DESC, runs.id DESC"
        )
        return [
            (task_id, STATES[code], finished, None if started is None else finished - started, late)
            for task_id, code, finished, started, late in rows
        ]

    def totals(self, scope: Scope) -> list[Count]:
        """Return the counts of pruned runs, which are known only for a span without a beginning."""
        if scope.since is not None:
            return []
        rows = self._db.rows("SELECT task_id, state, runs, started, last_end FROM totals")
        return [
            Count(task_id, State(state), runs, started, 0, from_ms(last))
            for task_id, state, runs, started, last in rows
            if (scope.ids is None or task_id in scope.ids)
            and (scope.until is None or last <= to_ms(scope.until))
        ]

    def durations(self, scope: Scope) -> Iterator[tuple[int, int, int]]:
        """Yield the durations of runs in milliseconds, with the id of the task and a count, the shortest first.

        Lost runs are left out, as their ends are unknown.
        """
        return self._in_order("finished - started", f"{scope.where} AND state <> '{State.LOST}'")

    def latenesses(self, scope: Scope) -> Iterator[tuple[int, int, int]]:
        """Give the milliseconds after their slots that first attempts started, as `durations` does."""
        return self._in_order("started - slot", f"{scope.where} AND {PUNCTUAL}")

    def succeeded_before(self, task_id: int, run_id: int) -> bool:
        """Return whether another run of a task than this one has ever succeeded."""
        rows = self._db.rows(
            "SELECT 1 FROM runs WHERE task_id = ? AND id < ? AND state = 'succeeded' "
            "UNION ALL SELECT 1 FROM totals WHERE task_id = ? AND state = 'succeeded' LIMIT 1",
            (task_id, run_id, task_id),
        )
        return bool(rows)

    def usual_time(self, task_id: int) -> float | None:
        """Return how many seconds a task usually takes: the median of its newest successes, None of too few."""
        rows = self._db.rows(
            "SELECT finished - started FROM (SELECT state, started, finished FROM runs WHERE task_id = ? "
            "ORDER BY id DESC LIMIT 200) WHERE state = 'succeeded' AND started IS NOT NULL LIMIT ?",
            (task_id, USUAL_OF),
        )
        lengths = sorted(length for (length,) in rows)
        return lengths[len(lengths) // 2] / 1000 if len(lengths) >= USUAL_LEAST else None

    def _in_order(self, value: str, where: str) -> Iterator[tuple[int, int, int]]:
        ((ids,),) = self._db.rows("SELECT coalesce(max(id), 0) + 1 FROM tasks")
        for code, count in self._each(
            f"SELECT ({value}) * {ids} + task_id AS code, count(*) FROM runs "
            f"WHERE {where} AND started IS NOT NULL GROUP BY code ORDER BY code"
        ):
            number, task_id = divmod(code, ids)
            yield number, task_id, count

    def ends(self, scope: Scope) -> Iterator[tuple[int, State]]:
        """Yield the id of the task and the state of each run, the last end first."""
        where = scope.where.replace("+finished", "finished")  # the index of ends gives this order
        for task_id, state in self._each(
            f"SELECT task_id, state FROM runs WHERE {where} ORDER BY finished DESC, id DESC"
        ):
            yield task_id, State(state)

    def _each(self, sql: str) -> Iterator[Row]:
        cursor = self._db.run(sql)
        try:
            yield from cursor
        except sqlite3.Error as exc:
            raise self._db.fault(exc) from exc
        finally:
            cursor.close()


def _count(
    code: int, runs: int, started: int, punctual: int, last: int, last_started: int | None
) -> Count:
    task_id, state = divmod(code, 16)
    duration = None if last_started is None else last - last_started
    return Count(task_id, STATES[state], runs, started, punctual, from_ms(last), duration)
