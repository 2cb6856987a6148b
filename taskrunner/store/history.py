"""The runs of the past: pages of them, newest first, and those of some slots of a task.

An answer costs as much as it is long, however long the history is: each query walks an index from its end, and
where the order of none fits, as for several states, it merges the walks of several.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from taskrunner.clock import to_ms
from taskrunner.model.values import LIVE, Run, State
from taskrunner.store.connection import Part
from taskrunner.store.rows import RUN, milliseconds, read_run

MOST_WALKS = 60  # that are merged; SQLite takes up to 500
NEWEST = "runs.id DESC"
# The condition of two indexes, which a query has to repeat to the letter.
NOT_SUCCEEDED = "state NOT IN ('succeeded', 'pending', 'running')"


class History(Part):
    """The queries about runs by their order: newest first, by slot, by end."""

    def _where(
        self, where: str, values: Sequence[object] = (), limit: int = -1, order: str = "runs.id"
    ) -> list[Run]:
        sql = f"{RUN} WHERE {where} ORDER BY {order} LIMIT ?"
        return [read_run(row) for row in self._db.rows(sql, (*values, limit))]

    def newest_id(self) -> int:
        """Return the highest id of a run that there is, 0 when there is none."""
        return int(self._db.rows("SELECT coalesce(max(id), 0) FROM runs")[0][0])

    def after(self, run_id: int) -> list[Run]:
        """Return the runs with a higher id, oldest first."""
        return self._where("runs.id > ?", (run_id,))

    def history(
        self,
        ids: Sequence[int] | None = None,
        *,
        run_ids: Sequence[int] = (),
        states: Sequence[State] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int = 20,
    ) -> list[Run]:
        """Return runs, newest first, of the tasks with these ids or of all, in one of some states or in any.

        `run_ids` adds single runs to those of the tasks; with `before` only runs with a lower id are returned.
        """
        bounds = [
            f"claimed {sign} {to_ms(moment)}"
            for sign, moment in ((">=", since), ("<=", until))
            if moment is not None
        ]
        bounds += [] if before is None else [f"runs.id < {before}"]
        if ids is None and states is None:
            return self._where(" AND ".join(["1", *bounds]), limit=limit, order=NEWEST)
        bounded = [" AND ".join([walk, *bounds]) for walk in walks(ids, run_ids, states)]
        if not bounded:
            return []
        found = " UNION ".join(f"SELECT id FROM runs {walk}" for walk in bounded)
        return self._where(
            f"runs.id IN (SELECT id FROM ({found} ORDER BY id DESC LIMIT {limit}))", order=NEWEST
        )

    def last_states(self, task_id: int, limit: int) -> list[State]:
        """Return the states of the newest runs of a task, newest first."""
        rows = self._db.rows(
            "SELECT state FROM runs WHERE task_id = ? ORDER BY id DESC LIMIT ?", (task_id, limit)
        )
        return [State(state) for (state,) in rows]

    def ended_unseen(self, since: datetime) -> list[Run]:
        """Return the runs that were skipped, missed or lost since an instant."""
        unseen = f"('{State.SKIPPED}', '{State.MISSED}', '{State.LOST}')"
        return self._where(f"finished >= ? AND state IN {unseen}", (to_ms(since),))

    def ended_since(self, since: datetime, limit: int) -> list[Run]:
        """Return the runs that ended since an instant, the last end first."""
        return self._where("finished >= ?", (to_ms(since),), limit, "finished DESC, runs.id DESC")

    def between(self, task_id: int, since: datetime, until: datetime, limit: int) -> list[Run]:
        """Return the runs of a task for slots in a time, those of the newest slots first."""
        low, high = to_ms(since), to_ms(until)
        slots = f"task_id = {task_id} AND slot BETWEEN {low} AND {high}"
        # Runs that stand for several slots may reach into the time with the first of them alone.
        reaching = f"task_id = {task_id} AND slot > {high} AND first_slot <= {high}"
        walks = (
            f"INDEXED BY runs_once WHERE trigger <> 'manual' AND {slots}",
            f"INDEXED BY runs_by_hand WHERE trigger = 'manual' AND {slots}",
            f"INDEXED BY runs_of_several WHERE first_slot < slot AND {reaching}",
        )
        found = " UNION ALL ".join(f"SELECT id, slot FROM runs {walk}" for walk in walks)
        return self._where(
            f"runs.id IN (SELECT id FROM ({found} ORDER BY slot DESC, id DESC LIMIT {limit}))",
            order="slot DESC, runs.id DESC",
        )

    def made_room(self, run: Run) -> Run | None:
        """Return the run whose end made room for another, pending one."""
        started = milliseconds(run.started)
        found = self._where(
            "finished BETWEEN ? - 2000 AND ? "
            "AND started <= (SELECT claimed FROM runs AS mine WHERE id = ? AND claimed < ? - 2000)",
            (started, started, run.id, started),
            1,
            "finished DESC",
        )
        return found[0] if found else None

    def count(self, task_id: int) -> int:
        """Return the number of runs of a task in the history."""
        return int(self._db.rows("SELECT count(*) FROM runs WHERE task_id = ?", (task_id,))[0][0])


def walks(
    ids: Sequence[int] | None, run_ids: Sequence[int], states: Sequence[State] | None
) -> Iterator[str]:
    """Give conditions for SQL whose runs together are those asked for, each with the index that has them by id."""
    wanted: Sequence[State | None] = [None] if states is None else list(dict.fromkeys(states))
    tasks: list[str] = []
    if ids is not None:
        each = [str(number) for number in dict.fromkeys(ids)]
        few = len(each) * len(wanted) <= MOST_WALKS
        tasks = [f" AND task_id IN ({some})" for some in (each if few else [", ".join(each)])]
    for state in wanted:
        index, where = _index(state, of_tasks=ids is not None)
        yield from (f"{index} WHERE {where}{some}" for some in (tasks if ids is not None else [""]))
    if run_ids:
        among = "1" if states is None else f"state IN ({', '.join(map(repr, map(str, states)))})"
        yield f"WHERE id IN ({', '.join(map(str, run_ids))}) AND {among}"


def _index(state: State | None, *, of_tasks: bool) -> tuple[str, str]:
    """Return the index that has the runs in a state, or in any, by id, and the condition for it."""
    if state in LIVE:
        of_state = {State.PENDING: "runs_waiting", State.RUNNING: "runs_running"}
        return f"INDEXED BY {of_state[state]}", f"state = '{state}'"
    if state in (None, State.SUCCEEDED):
        # Most runs succeed: no index is kept of them.
        where = "1" if state is None else "+state = 'succeeded'"
        return "INDEXED BY runs_of_task" if of_tasks else "", where
    index = "runs_not_succeeded_of_task" if of_tasks else "runs_not_succeeded"
    return f"INDEXED BY {index}", f"{NOT_SUCCEEDED} AND state = '{state}'"
