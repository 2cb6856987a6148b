"""The tasks: what their owners wrote, and where each stands in time."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.clock import to_ms
from taskrunner.errors import DuplicateTask, StateError, UnknownTask, shown
from taskrunner.model.values import After, Run, Task
from taskrunner.nearest import nearest
from taskrunner.schema import NEW_BOOT
from taskrunner.store.events import Facts
from taskrunner.store.rows import (
    LARGEST_ID,
    TASK,
    can_be_stored,
    encoded,
    id_of,
    marks,
    milliseconds,
    read_task,
)

# A task with rules whom to tell.
TELLS = "on_failure IS NOT NULL OR notify <> '{}' OR long_after IS NOT NULL"
ANY = "SELECT 1 FROM tasks WHERE"
NOTHING: Mapping[str, Any] = {}
FOLLOWS = "kind = 'after' AND schedule IN (?, ?, ?, ?)"


class Tasks(Facts):
    """The queries about tasks."""

    def add_task(self, values: Mapping[str, Any]) -> int:
        """Write a new task and return its id; raises DuplicateTask."""
        try:
            return self.add_tasks([values])[0]
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def add_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Write new tasks and return their ids; within a transaction, in which nobody else takes an id."""
        first = self.next_id()
        rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        before, written = NOTHING, NOTHING
        for task_id, values in enumerate(tasks, first):
            # Most is as in the task before: the very same objects are written as they were there.
            if values.keys() == before.keys():
                other = {name: each for name, each in values.items() if each is not before[name]}
                written = {**written, **encoded(other)}
            else:
                written = encoded(values)
            before = values
            rows.setdefault(("id", *written), []).append((task_id, *written.values()))
        for names, same in rows.items():
            self._many(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({marks(names)})", same)
        return [*range(first, first + len(tasks))]

    def change_task(self, task_id: int, **values: Any) -> None:
        """Write some fields of a task; raises DuplicateTask."""
        try:
            self.change_tasks([(task_id, values)])
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def change_tasks(self, changes: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Write some fields of each of some tasks."""
        rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for task_id, values in changes:
            written = encoded(values)
            rows.setdefault(tuple(written), []).append((*written.values(), task_id))
        for names, same in rows.items():
            assignments = ", ".join(f"{name} = ?" for name in names)
            self._many(f"UPDATE tasks SET {assignments} WHERE id = ?", same)

    def task(self, key: str | int) -> Task:
        """Return the task of that name or id; raises UnknownTask.

        An id as text is what a person has typed: in an older store it may be that of a run, too, and is refused.
        """
        number = id_of(key)
        if can_be_stored(key):
            for task in self.tasks("name = ?" if number is None else "id = ?", (number or key,)):
                if number is not None and isinstance(key, str):
                    self.check_one_meaning(task.name, number)
                return task
        run_of = None if number is None else self.name_of_run(number)
        if run_of is not None:
            raise UnknownTask(f"{number} is a run of {run_of}, not a task: write {run_of}")
        near = nearest(str(key), self.names()) if number is None else None
        meant = "" if near is None else f"did you mean {near}? "
        raise UnknownTask(f"there is no task {shown(str(key))}: {meant}`taskrunner list` shows all")

    def name_of_run(self, number: int) -> str | None:
        """Return the name of the task that a run is of, None when no run has that id."""
        sql = "SELECT name FROM runs JOIN tasks ON tasks.id = task_id WHERE runs.id = ?"
        rows = self._rows(sql, (number,)) if number <= LARGEST_ID else []
        return str(rows[0][0]) if rows else None

    def check_one_meaning(self, name: str, number: int) -> None:
        """Raise StateError when the id of a task is that of a run, too."""
        run_of = self.name_of_run(number)
        if run_of is not None:
            raise StateError(
                f"{number} is the task {name} and a run of {run_of}, as this store is older than the rule that a "
                f"number is one thing: write {name} for the task, run:{number} for the run"
            )

    def names(self) -> list[str]:
        """Return the names of the tasks that are not removed, in order."""
        rows = self._rows("SELECT name FROM tasks WHERE removed IS NULL ORDER BY name")
        return [str(name) for (name,) in rows]

    def tasks(self, where: str = "1", values: Sequence[object] = ()) -> list[Task]:
        """Return the tasks that are not removed, by name."""
        rows = self._rows(f"{TASK} WHERE removed IS NULL AND {where} ORDER BY name", values)
        return [read_task(row) for row in rows]

    def task_of(self, run: Run) -> Task:
        """Return the task of a run, also when it was removed meanwhile."""
        return self.tasks_by_id([run.task_id])[run.task_id]

    def tasks_by_id(self, ids: Iterable[int]) -> dict[int, Task]:
        """Return the tasks of these ids by them, also those that were removed."""
        wanted = list(set(ids))
        if not wanted:
            return {}
        rows = self._rows(f"{TASK} WHERE id IN ({marks(wanted)})", wanted)
        return {task.id: task for task in map(read_task, rows)}

    def due(
        self, now: datetime, boot: str, limit: int, only: Sequence[int] | None = None
    ) -> list[Task]:
        """Return up to `limit` tasks to look at: asked for, not seen in this boot, or with a slot that has come.

        `only` are the ids of the tasks to look at, None for all; a negative limit is none.
        """
        among = "" if only is None else f"AND id IN ({', '.join(map(str, only))}) "
        found: dict[int, Task] = {}
        values = {"boot": boot, "now": to_ms(now), "limit": limit}
        for clause in ("requested IS NOT NULL", f"kind = 'boot' AND {NEW_BOOT}", "next <= :now"):
            rows = self._rows(
                f"{TASK} WHERE {clause} AND enabled AND removed IS NULL {among}"
                "ORDER BY next LIMIT :limit",
                values,
            )
            found |= {task.id: task for task in map(read_task, rows)}
        return list(found.values())[: limit if limit >= 0 else None]

    def evaluated_after(self, moment: datetime) -> list[Task]:
        """Return the enabled tasks that were evaluated, or put off after an error, at a later instant than this."""
        where = "enabled AND (evaluated > ? OR (error IS NOT NULL AND next > ?))"
        return self.tasks(where, (to_ms(moment), to_ms(moment)))

    def with_slots(self) -> list[Task]:
        """Return the enabled tasks that have a slot to come."""
        return self.tasks("enabled AND next IS NOT NULL")

    def concerned(self, run: Run, *, tells: bool) -> list[Task]:
        """Return the tasks that the end of a run is something to: those that come after its own, when enabled.

        And its own, when that is a delay from the end of each run, when it has rules whom to tell, or when somebody
        is told of all tasks (`tells`).
        """
        # Their ids first: there are none at the end of most runs, and that is cheaper to learn.
        found = self._rows(
            f"SELECT id FROM tasks WHERE id = ? AND (? OR from_finish OR {TELLS}) "
            f"UNION ALL SELECT id FROM tasks WHERE removed IS NULL AND {FOLLOWS}",
            (run.task_id, tells, *_texts(run.task)),
        )
        ids = ", ".join(str(row[0]) for row in found)
        where = f"(enabled OR id = ?) AND id IN ({ids})"
        return self.tasks(where, (run.task_id,)) if ids else []

    def any_concerned(self, runs: Sequence[Run], *, tells: bool) -> bool:
        """Return whether the end of any of these runs is something to any task: of most it is to none."""
        if tells or self._rows(f"{ANY} kind = 'after' AND removed IS NULL LIMIT 1"):
            return True  # who exactly is looked at for each of them
        ids = [run.task_id for run in runs]
        return bool(
            self._rows(f"{ANY} id IN ({marks(ids)}) AND (from_finish OR {TELLS}) LIMIT 1", ids)
        )

    def followers(self, parent: str) -> list[Task]:
        """Return the tasks that come after this one."""
        return self.tasks(FOLLOWS, _texts(parent))

    def rename_parent(self, old: str, new: str) -> None:
        """Let the tasks that come after `old` come after `new`."""
        for task in self.followers(old):
            self.change_task(task.id, schedule=new + task.schedule[len(old) :])

    def fill_following(self, found: Sequence[tuple[Task, datetime, datetime | None]]) -> None:
        """Keep the slots after the next of tasks, unless they have been changed since they were read."""
        self._many(
            "UPDATE tasks SET following = ? WHERE id = ? AND following IS NULL AND next = ? "
            "AND schedule = ? AND tz IS ?",
            [
                (milliseconds(following), task.id, to_ms(slot), task.schedule, task.tz)
                for task, slot, following in found
            ],
        )

    def count_runs(self, task_id: int) -> int:
        """Return how many runs of a task the history has."""
        return int(self._rows("SELECT count(*) FROM runs WHERE task_id = ?", (task_id,))[0][0])

    def group_limits(self) -> dict[str, int]:
        """Return how many tasks of each group may run at a time: what its tasks say, else one."""
        rows = self._rows(
            "SELECT group_name, coalesce(max(group_limit), 1) FROM tasks "
            "WHERE group_name IS NOT NULL AND removed IS NULL GROUP BY group_name"
        )
        return dict(rows)

    def of_group(self, group: str) -> list[Task]:
        """Return the tasks of a group."""
        return self.tasks("group_name = ?", (group,))

    def _ended(self, ends: Iterable[tuple[int, Run | None, bool]]) -> None:
        """Keep on tasks how a run that had started ended, None when it had not; retire one-offs whose slot is past.

        The third says whether more attempts are made; then it is not retired, nor while other runs of it are live.
        """
        ends = list(ends)
        self._many(
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
        # By itself, as an index of what is due tells the enabled ones.
        self._run(
            f"UPDATE tasks SET enabled = 0 WHERE id IN ({marks(over)}) AND kind = 'at' AND next IS NULL "
            "AND enabled AND NOT EXISTS (SELECT 1 FROM runs WHERE task_id = tasks.id AND runs.state = 'pending')",
            over,
        )


def _texts(parent: str) -> tuple[str, ...]:
    """Return how the schedule of a follower may read; a name holds no colon, so there are no others."""
    return (parent, *(f"{parent}:{on}" for on in After))


def _duplicate(values: Mapping[str, Any]) -> DuplicateTask:
    name = shown(values.get("name"))
    return DuplicateTask(
        f"there is already a task {name}: pick another name, or change that task with set"
    )
