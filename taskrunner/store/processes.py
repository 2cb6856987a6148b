"""The processes of running runs: how each is recognised, and who stops it."""

from collections.abc import Sequence
from datetime import datetime

from taskrunner.clock import to_ms
from taskrunner.model.values import Process, Run, State
from taskrunner.store.connection import Part
from taskrunner.store.rows import PROCESS, RUN, marks, read_process, read_run


class Processes(Part):
    """The queries about the processes of running runs."""

    def with_runs(self) -> list[tuple[Run, Process]]:
        """Return the running runs with the rows of their processes, oldest first."""
        known = {found.run_id: found for found in map(read_process, self._db.rows(PROCESS))}
        running = map(read_run, self._db.rows(f"{RUN} WHERE state = 'running' ORDER BY +runs.id"))
        return [(run, known[run.id]) for run in running if run.id in known]

    def in_queue(self, queue: str) -> list[tuple[Run, Process]]:
        """Return the running runs of a queue with the rows of their processes, oldest first."""
        found = map(
            read_process, self._db.rows(f"{PROCESS} WHERE queue = ? ORDER BY run_id", (queue,))
        )
        known = {each.run_id: each for each in found}
        in_it = "state = 'running' AND runs.id IN (SELECT run_id FROM processes WHERE queue = ?)"
        running = map(read_run, self._db.rows(f"{RUN} WHERE {in_it} ORDER BY +runs.id", (queue,)))
        return [(run, known[run.id]) for run in running if run.id in known]

    def queues(self) -> dict[str, int]:
        """Return the number of running runs of each queue that has some."""
        return dict(
            self._db.rows(
                "SELECT queue, count(*) FROM processes WHERE queue IS NOT NULL GROUP BY queue"
            )
        )

    def note_handed(self, run_ids: Sequence[int], now: datetime) -> None:
        """Record that the queue has these runs for certain."""
        self._db.run(
            f"UPDATE processes SET handed = ? WHERE run_id IN ({marks(run_ids)}) AND handed IS NULL",
            (to_ms(now), *run_ids),
        )

    def count_as_handed(self, now: datetime) -> None:
        """Record that queues had all their runs: a restored backup must not have one handed over a second time."""
        self._db.run(
            "UPDATE processes SET handed = ? WHERE queue IS NOT NULL AND handed IS NULL",
            (to_ms(now),),
        )

    def of(self, run_id: int) -> Process | None:
        """Return the row of the process of a running run, None without one."""
        for row in self._db.rows(f"{PROCESS} WHERE run_id = ?", (run_id,)):
            return read_process(row)
        return None

    def being_stopped(self) -> dict[int, Process]:
        """Return the processes of runs that are being stopped, by the ids of the runs."""
        rows = self._db.rows(f"{PROCESS} WHERE stop_state IS NOT NULL")
        return {process.run_id: process for process in map(read_process, rows)}

    def ask_to_stop(self, run_id: int, state: State, reason: str, now: datetime) -> bool:
        """Mark a run as being stopped, before the signal; return False when it was marked already."""
        changed = self._db.run(
            "UPDATE processes SET stop_state = ?, stop_reason = ?, stop_at = ? "
            "WHERE run_id = ? AND stop_state IS NULL",
            (state, reason, to_ms(now), run_id),
        )
        return changed.rowcount == 1

    def leave_stop_to_owner(self, run_id: int) -> None:
        """Leave the signals to a run's own supervisor; `stop_at` is NULL until then."""
        self._db.run("UPDATE processes SET stop_at = NULL WHERE run_id = ?", (run_id,))

    def note_child(self, run_id: int, pid: int, pid_started: int | None) -> None:
        """Record pid and start time of the child, once it has started."""
        self._db.run(
            "UPDATE processes SET pid = ?, pid_started = ? WHERE run_id = ?",
            (pid, pid_started, run_id),
        )

    def note_cut(self, run_id: int, cut_at: int | None, left_out: int | None) -> None:
        """Record the cut in the output of a run; None when its command has emptied the output since."""
        self._db.run(
            "UPDATE processes SET cut_at = ?, left_out = ? WHERE run_id = ?",
            (cut_at, left_out, run_id),
        )
