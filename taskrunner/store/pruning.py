"""Pruning: select old history, and delete its rows a few at a time.

Ages and sizes are arguments. Files beside the store are left to `upkeep`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.store.connection import Part

# Of a removed task all old runs may go; the newest ones are kept of other tasks only.
OLD = """
WITH batch AS (
  SELECT id, task_id, state, started, finished FROM runs
   WHERE finished < :before AND finished >= :finished AND (finished > :finished OR id > :id)
   ORDER BY finished, id LIMIT :rows),
spare AS (
  SELECT id AS task_id, removed, last_run, last_success,
         (SELECT runs.id FROM runs WHERE runs.task_id = tasks.id
           ORDER BY runs.id DESC LIMIT 1 OFFSET :keep) AS newest
    FROM tasks WHERE id IN (SELECT task_id FROM batch))
SELECT batch.finished, batch.id,
       removed IS NOT NULL OR coalesce(batch.id <= newest, 0)
       AND (batch.started IS NULL OR batch.started IS NOT last_run)
       AND NOT (state = 'succeeded' AND batch.finished IS last_success)
  FROM batch JOIN spare USING (task_id) ORDER BY batch.finished, batch.id
"""
# The output of a run that has ended, unless it is the last one of its task, or the last that succeeded.
SPENT = """runs.finished IS NOT NULL AND (tasks.removed IS NOT NULL OR runs.started IS NOT tasks.last_run
       AND NOT (runs.state = 'succeeded' AND runs.finished IS tasks.last_success))"""
FIGURES = """
INSERT INTO totals (task_id, state, runs, started, duration, last_slot, last_end)
SELECT task_id, state, count(*), count(started), coalesce(sum(finished - started), 0), max(slot),
       max(finished)
  FROM runs WHERE id IN ({ids}) GROUP BY task_id, state
    ON CONFLICT (task_id, state) DO UPDATE SET runs = runs + excluded.runs,
       started = started + excluded.started, duration = duration + excluded.duration,
       last_slot = max(last_slot, excluded.last_slot), last_end = max(last_end, excluded.last_end)
"""
UNUSED = """removed < ? AND NOT EXISTS (SELECT 1 FROM runs WHERE task_id = tasks.id)
       AND NOT EXISTS (SELECT 1 FROM events WHERE task_id = tasks.id)
       AND NOT EXISTS (SELECT 1 FROM totals WHERE task_id = tasks.id)"""

Place = tuple[int, int]  # a position among the runs by end: milliseconds, and the id of the run
START: Place = (-(2**63), 0)


class Pruning(Part):
    """The queries of retention; the caller opens the transaction for those that write."""

    def old_runs(
        self, before: datetime, keep: int, after: Place, limit: int
    ) -> list[tuple[Place, bool]]:
        """Return the next runs that ended before an instant, and whether each may go, by their ends.

        The newest `keep` of each task may not, nor its last one and its last success.
        """
        values = {"before": to_ms(before), "keep": keep, "rows": limit}
        rows = self._db.rows(OLD, {**values, "finished": after[0], "id": after[1]})
        return [((finished, run_id), bool(may_go)) for finished, run_id, may_go in rows]

    def weigh_runs(self, ids: Sequence[int]) -> tuple[int, int, int]:
        """Return the number of these runs that exist, of their small outputs, and the bytes of these."""
        marks = _listed(ids)
        ((runs,),) = self._db.rows(f"SELECT count(*) FROM runs WHERE id IN ({marks})")
        return (runs, *self.weigh_outputs(ids))

    def weigh_outputs(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the number of small outputs of these runs, and their bytes."""
        ((outputs, size),) = self._db.rows(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM outputs "
            f"WHERE run_id IN ({_listed(ids)})"
        )
        return outputs, size

    def drop_runs(self, ids: Sequence[int]) -> tuple[int, int, int]:
        """Delete runs and their small outputs, add them to the totals, and return the same as `weigh_runs`."""
        found = self.weigh_runs(ids)
        self._db.run(FIGURES.format(ids=_listed(ids)))
        self.drop_outputs(ids)
        self._db.run(f"DELETE FROM runs WHERE id IN ({_listed(ids)})")
        return found

    def drop_outputs(self, ids: Sequence[int]) -> tuple[int, int]:
        """Delete the small outputs of runs and return the same as `weigh_outputs`."""
        found = self.weigh_outputs(ids)
        if found[0]:
            self._db.run(f"DELETE FROM outputs WHERE run_id IN ({_listed(ids)})")
        return found

    def output_bytes(self) -> int:
        """Return the sum of the bytes of all small outputs."""
        rows = self._db.rows("SELECT value FROM facts WHERE name = 'output_bytes'")
        return int(rows[0][0]) if rows else 0

    def count_output_bytes(self) -> None:
        """Compute the sum of all small outputs anew, in case another program changed the table."""
        self._db.run(
            "UPDATE facts SET value = (SELECT coalesce(sum(length(data)), 0) FROM outputs) "
            "WHERE name = 'output_bytes'"
        )

    def spent_outputs(self, limit: int) -> Iterator[tuple[int, int]]:
        """Yield run and bytes of each small output that may go, the oldest first; read `limit` at a time."""
        last: int | None = 0
        while last is not None:
            rows = self._db.rows(
                "SELECT run_id, length(data) FROM outputs JOIN runs ON runs.id = run_id "
                f"JOIN tasks ON tasks.id = task_id WHERE run_id > ? AND {SPENT} "
                "ORDER BY run_id LIMIT ?",
                (last, limit),
            )
            yield from rows
            last = rows[-1][0] if rows else None

    def spent(self, ids: Sequence[int]) -> set[int]:
        """Return the ids of those runs whose output may go."""
        rows = self._db.rows(
            f"SELECT runs.id FROM runs JOIN tasks ON tasks.id = task_id "
            f"WHERE runs.id IN ({_listed(ids)}) AND {SPENT}"
        )
        return {run_id for (run_id,) in rows}

    def without_rows(self, ids: Sequence[int]) -> list[int]:
        """Return the ids without a run."""
        rows = self._db.rows(f"SELECT id FROM runs WHERE id IN ({_listed(ids)})")
        return sorted(set(ids) - {run_id for (run_id,) in rows})

    def old_events(self, before: datetime, limit: int) -> list[int]:
        """Return the ids of the oldest events that are older than an instant."""
        rows = self._db.rows("SELECT id, at FROM events ORDER BY id LIMIT ?", (limit,))
        return [event_id for event_id, at in rows if at < to_ms(before)]

    def drop_events(self, ids: Sequence[int]) -> int:
        """Delete events and return their number."""
        return self._db.run(f"DELETE FROM events WHERE id IN ({_listed(ids)})").rowcount

    def drop_unused_tasks(self, before: datetime, limit: int) -> int:
        """Delete tasks that were removed before an instant and that no row refers to; return their number."""
        found = self._db.rows(
            f"SELECT id FROM tasks WHERE {UNUSED} LIMIT ?", (to_ms(before), limit)
        )
        ids = [task_id for (task_id,) in found]
        return self._db.run(f"DELETE FROM tasks WHERE id IN ({_listed(ids)})").rowcount

    def newest_slot(self, task_id: int) -> datetime | None:
        """Return the newest slot of a task whose row has been pruned."""
        rows = self._db.rows("SELECT max(last_slot) FROM totals WHERE task_id = ?", (task_id,))
        return None if rows[0][0] is None else from_ms(rows[0][0])

    def file_size(self) -> int:
        """Return the size of the database in bytes, its write-ahead log included."""
        return self._pages("page_count")

    def free_bytes(self) -> int:
        """Return the number of unused bytes in it."""
        return self._pages("freelist_count")

    def _pages(self, count: str) -> int:
        ((pages,),), ((size,),) = (
            self._db.rows(f"PRAGMA {count}"),
            self._db.rows("PRAGMA page_size"),
        )
        return int(pages) * int(size)

    def give_back(self, pages: int) -> None:
        """Shrink the file by up to so many unused pages; outside of a transaction."""
        try:
            # `execute` would fetch one row, and so free one page (Python 3.11).
            self._db.raw.executescript(f"PRAGMA incremental_vacuum({pages})")
        except sqlite3.Error as exc:
            raise self._db.fault(exc) from exc


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))
