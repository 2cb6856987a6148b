"""The tasks: their definitions, and their next slots."""

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.clock import to_ms
from taskrunner.errors import DuplicateTask, UnknownTask, nearest, shown
from taskrunner.model.values import After, Run, Task
from taskrunner.schema import NEW_BOOT
from taskrunner.store.connection import Part
from taskrunner.store.keys import can_be_stored, check_one_meaning, id_of, name_of_run
from taskrunner.store.rows import (
    TASK,
    encoded,
    marks,
    milliseconds,
    read_task,
)

# A task with rules for notifications.
TELLS = "on_failure IS NOT NULL OR notify <> '{}' OR long_after IS NOT NULL"
# Its last run went wrong; the condition of an index, to the letter.
FAILS = "last_state IN ('failed', 'timed_out', 'lost')"
ANY = "SELECT 1 FROM tasks WHERE"
OF_ZONE = "FROM tasks INDEXED BY tasks_of_zone"
NOTHING: Mapping[str, Any] = {}
FOLLOWS = "kind = 'after' AND schedule IN (?, ?, ?, ?)"


class Tasks(Part):
    """The queries about tasks."""

    def add(self, values: Mapping[str, Any]) -> int:
        """Write a new task and return its id; raises DuplicateTask."""
        try:
            return self.add_all([values])[0]
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def add_all(self, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Write new tasks and return their ids; within a transaction, so that no other process takes these ids."""
        first = self._db.next_id()
        rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        before, written = NOTHING, NOTHING
        for task_id, values in enumerate(tasks, first):
            # Most values are the same objects as in the task before, and are encoded once.
            if values.keys() == before.keys():
                other = {name: each for name, each in values.items() if each is not before[name]}
                written = {**written, **encoded(other)}
            else:
                written = encoded(values)
            before = values
            rows.setdefault(("id", *written), []).append((task_id, *written.values()))
        for names, same in rows.items():
            self._db.many(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({marks(names)})", same)
        return [*range(first, first + len(tasks))]

    def change(self, task_id: int, **values: Any) -> None:
        """Write some fields of a task; raises DuplicateTask."""
        try:
            self.change_all([(task_id, values)])
        except sqlite3.IntegrityError as exc:
            raise _duplicate(values) from exc

    def change_all(self, changes: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Write some fields of each of some tasks."""
        rows: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for task_id, values in changes:
            written = encoded(values)
            rows.setdefault(tuple(written), []).append((*written.values(), task_id))
        for names, same in rows.items():
            assignments = ", ".join(f"{name} = ?" for name in names)
            self._db.many(f"UPDATE tasks SET {assignments} WHERE id = ?", same)

    def get(self, key: str | int) -> Task:
        """Return the task of that name or id; raises UnknownTask.

        An id as text was typed by a person: raises StateError when it is the id of a run, too, as in an older store.
        """
        number = id_of(key)
        if can_be_stored(key):
            for task in self._where("name = ?" if number is None else "id = ?", (number or key,)):
                if number is not None and isinstance(key, str):
                    check_one_meaning(self._db, task.name, number)
                return task
        run_of = None if number is None else name_of_run(self._db, number)
        if run_of is not None:
            raise UnknownTask(f"{number} is a run of {run_of}, not a task: write {run_of}")
        near = nearest(str(key), self.names()) if number is None else None
        hint = "" if near is None else f"did you mean {near}? "
        raise UnknownTask(f"there is no task {shown(str(key))}: {hint}`taskrunner list` shows all")

    def names(self) -> list[str]:
        """Return the names of the tasks that are not removed, in order."""
        rows = self._db.rows("SELECT name FROM tasks WHERE removed IS NULL ORDER BY name")
        return [str(name) for (name,) in rows]

    def all(self) -> list[Task]:
        """Return the tasks that are not removed, by name."""
        return self._where("1")

    def page(
        self,
        *,
        kinds: Sequence[str] | None = None,
        like: str | None = None,
        enabled: bool | None = None,
        failing: bool | None = None,
        after: str | None = None,
        limit: int = -1,
    ) -> list[Task]:
        """Return the tasks with all that is given, by name: at most `limit`, of those after a name."""
        where, values = ["1"], list[object]()
        if kinds is not None:
            where.append(f"kind IN ({marks(kinds)})")
            values += kinds
        if like is not None:
            where.append("name LIKE ? ESCAPE '!'")
            values.append("%" + re.sub("[!%_]", r"!\g<0>", like) + "%")
        if enabled is not None:
            where.append(f"enabled = {enabled:d}")
        if failing is not None:
            where.append(FAILS if failing else f"({FAILS}) IS NOT TRUE")
        if after is not None:
            where.append("name > ?")
            values.append(after)
        index = "tasks_failing" if failing else "tasks_by_name"
        return self._where(" AND ".join(where), values, limit, f"INDEXED BY {index}")

    def suspects(self) -> list[Task]:
        """Return the tasks that the last tick could not evaluate."""
        return self._where("error IS NOT NULL", index="INDEXED BY tasks_of_error")

    def zones(self) -> list[str]:
        """Return the time zones of all tasks: one step through an index for each."""
        rows = self._db.rows(
            f"WITH RECURSIVE zones(tz) AS (SELECT min(tz) {OF_ZONE} WHERE removed IS NULL "
            f"UNION ALL SELECT (SELECT min(tasks.tz) {OF_ZONE} WHERE removed IS NULL "
            "AND tasks.tz > zones.tz) FROM zones WHERE zones.tz IS NOT NULL) "
            "SELECT tz FROM zones WHERE tz IS NOT NULL"
        )
        return [str(tz) for (tz,) in rows]

    def of_zones(self, names: Sequence[str]) -> list[Task]:
        """Return the tasks of some time zones."""
        return self._where(f"tz IN ({marks(names)})", names) if names else []

    def soonest(self, now: datetime, count: int) -> list[Task]:
        """Return the enabled tasks whose slot has come, and `count` of those whose slots come next."""
        due = f"{TASK} INDEXED BY tasks_due WHERE enabled AND removed IS NULL AND next"
        rows = self._db.rows(f"{due} <= ?", (to_ms(now),))
        rows += self._db.rows(f"{due} > ? ORDER BY next LIMIT ?", (to_ms(now), count))
        return [read_task(row) for row in rows]

    def due_count(self, until: datetime) -> int:
        """Return the number of enabled tasks whose slot comes up to an instant."""
        where = "enabled AND removed IS NULL AND next <= ?"
        sql = f"SELECT count(*) FROM tasks INDEXED BY tasks_due WHERE {where}"
        return int(self._db.rows(sql, (to_ms(until),))[0][0])

    def _where(
        self, where: str, values: Sequence[object] = (), limit: int = -1, index: str = ""
    ) -> list[Task]:
        sql = f"{TASK} {index} WHERE removed IS NULL AND {where} ORDER BY name LIMIT {limit}"
        return [read_task(row) for row in self._db.rows(sql, values)]

    def of_run(self, run: Run) -> Task:
        """Return the task of a run, also when it was removed meanwhile."""
        return self.by_id([run.task_id])[run.task_id]

    def by_id(self, ids: Iterable[int], known: Mapping[int, Task] | None = None) -> dict[int, Task]:
        """Return the tasks of these ids by them, also those that were removed; `known` ones are not read again."""
        wanted = set(ids)
        found = {key: known[key] for key in wanted & known.keys()} if known else {}
        unread = list(wanted - found.keys())
        if not unread:
            return found
        rows = self._db.rows(f"{TASK} WHERE id IN ({marks(unread)})", unread)
        return found | {task.id: task for task in map(read_task, rows)}

    def due(
        self, now: datetime, boot: str, limit: int, only: Sequence[int] | None = None
    ) -> list[Task]:
        """Return up to `limit` due tasks: requested by hand, not evaluated in this boot, or with a slot that has come.

        `only` are the ids of the tasks to consider, None for all; a negative limit is none.
        """
        among = "" if only is None else f"AND id IN ({', '.join(map(str, only))}) "
        found: dict[int, Task] = {}
        values = {"boot": boot, "now": to_ms(now), "limit": limit}
        for index, clause in (
            ("tasks_requested", "requested IS NOT NULL"),
            ("tasks_of_boot", f"kind = 'boot' AND {NEW_BOOT}"),
            ("tasks_due", "next <= :now"),
        ):
            rows = self._db.rows(
                f"{TASK} INDEXED BY {index} WHERE {clause} AND enabled AND removed IS NULL {among}"
                "ORDER BY next LIMIT :limit",
                values,
            )
            found |= {task.id: task for task in map(read_task, rows)}
        return list(found.values())[: limit if limit >= 0 else None]

    def many_alike(self, now: datetime, count: int, since: datetime) -> bool:
        """Return whether at least so many tasks are due, all of one priority and none for longer than `since`."""
        ((found,),) = self._db.rows(
            "SELECT count(*) >= ? AND min(priority) = max(priority) AND min(next) > ? "
            "FROM tasks WHERE next <= ? AND enabled AND removed IS NULL",
            (count, to_ms(since), to_ms(now)),
        )
        return bool(found)

    def evaluated_after(self, moment: datetime) -> list[Task]:
        """Return the enabled tasks that were evaluated, or put off after an error, at a later instant than this."""
        where = "enabled AND (evaluated > ? OR (error IS NOT NULL AND next > ?))"
        return self._where(where, (to_ms(moment), to_ms(moment)))

    def with_slots(self) -> list[Task]:
        """Return the enabled tasks that have a slot to come."""
        return self._where("enabled AND next IS NOT NULL")

    def concerned(self, run: Run, *, tells: bool) -> list[Task]:
        """Return the tasks on which the end of a run has an effect: the enabled ones that follow its task.

        And its own, when its interval counts from the end of a run, when it has rules for notifications, or when
        a channel is notified of all tasks (`tells`).
        """
        # Their ids first: at the end of most runs there are none, and that query is cheaper.
        found = self._db.rows(
            f"SELECT id FROM tasks WHERE id = ? AND (? OR from_finish OR {TELLS}) "
            f"UNION ALL SELECT id FROM tasks WHERE removed IS NULL AND {FOLLOWS}",
            (run.task_id, tells, *_texts(run.task)),
        )
        ids = ", ".join(str(row[0]) for row in found)
        where = f"(enabled OR id = ?) AND id IN ({ids})"
        return self._where(where, (run.task_id,)) if ids else []

    def any_concerned(self, runs: Sequence[Run], *, tells: bool) -> bool:
        """Return whether the end of any of these runs may have an effect on a task; most have none."""
        after = "SELECT 1 FROM tasks INDEXED BY tasks_by_parent WHERE kind = 'after' AND removed IS NULL"
        if tells or self._db.rows(f"{after} LIMIT 1"):
            return True  # `concerned` finds out for each of them
        ids = [run.task_id for run in runs]
        return bool(
            self._db.rows(f"{ANY} id IN ({marks(ids)}) AND (from_finish OR {TELLS}) LIMIT 1", ids)
        )

    def followers(self, parent: str) -> list[Task]:
        """Return the tasks that follow this one."""
        return self._where(FOLLOWS, _texts(parent))

    def rename_parent(self, old: str, new: str) -> None:
        """Let the tasks that follow `old` follow `new`."""
        for task in self.followers(old):
            self.change(task.id, schedule=new + task.schedule[len(old) :])

    def ids_ever(self, key: str | int) -> list[int]:
        """Return the ids of the task of that name or id, and of those removed that had the name."""
        if not can_be_stored(key):
            return []
        number = id_of(key)
        clause, value = ("name = ?", key) if number is None else ("id = ?", number)
        found = self._db.rows(f"SELECT id, name FROM tasks WHERE {clause}", (value,))
        if found and number is not None and isinstance(key, str):
            check_one_meaning(self._db, found[0][1], number)
        return [task_id for task_id, _ in found]

    def fill_following(self, found: Sequence[tuple[Task, datetime, datetime | None]]) -> None:
        """Keep the slots after the next, unless a task has changed since it was read."""
        self._db.many(
            "UPDATE tasks SET following = ? WHERE id = ? AND following IS NULL AND next = ? "
            "AND schedule = ? AND tz IS ?",
            [
                (milliseconds(following), task.id, to_ms(slot), task.schedule, task.tz)
                for task, slot, following in found
            ],
        )

    def group_limits(self) -> dict[str, int]:
        """Return how many tasks of each group may run at a time: the limit that its tasks give, else one."""
        rows = self._db.rows(
            "SELECT group_name, coalesce(max(group_limit), 1) FROM tasks "
            "WHERE group_name IS NOT NULL AND removed IS NULL GROUP BY group_name"
        )
        return dict(rows)

    def of_group(self, group: str) -> list[Task]:
        """Return the tasks of a group."""
        return self._where("group_name = ?", (group,))


def _texts(parent: str) -> tuple[str, ...]:
    """Return all forms of the schedule of a follower; a name has no colon."""
    return (parent, *(f"{parent}:{on}" for on in After))


def _duplicate(values: Mapping[str, Any]) -> DuplicateTask:
    name = shown(values.get("name"))
    return DuplicateTask(
        f"there is already a task {name}: pick another name, or change that task with set"
    )
