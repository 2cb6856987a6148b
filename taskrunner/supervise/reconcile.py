"""Runs whose supervisor is dead: find those still alive, those past their timeout, and lost ones.

A process is recognised by the lock that a supervisor holds, then by boot id, pid namespace, pid and start time
together, never by its pid alone. Works under the tick lock, inside a transaction of the caller.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from taskrunner import host
from taskrunner.decide import verdict
from taskrunner.errors import StoreBusy, StoreRefused
from taskrunner.home import lock, paths
from taskrunner.model.carried import Stage, Standing
from taskrunner.model.record import field, mutable
from taskrunner.model.values import NOTHING, End, Process, Run, State, Task
from taskrunner.processes import alive, bounded_output, output
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, follow_up, spool

# After this time without a signal, the process that marked a run to be stopped must have died.
UNHEARD = timedelta(seconds=30)
# A child that is not visible from here and has no timeout is lost after this.
UNSEEN = timedelta(hours=24)
FIRST_PROCESS = "1-"  # prefix of the name of a supervisor that is process 1 of its pid namespace


@mutable
class Survey:
    """One look at the running runs at an instant, with their processes, and the standings of carried ones by their names.

    Runs in a queue of the settings are not among them: `supervise/queues.py` sees to these.
    """

    here: OpenHome
    now: datetime
    running: Sequence[tuple[Run, Process]] = ()
    standings: Mapping[str, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.here.store.processes.with_runs()
        elsewhere = self.here.config.queues
        self.running = [(run, process) for run, process in rows if process.queue not in elsewhere]
        self.standings = carriers.look(self.here, [process for _, process in self.running])

    def reconcile(self) -> list[int]:
        """Settle the runs left behind and return those that must be stopped, marked so in their rows."""
        stops, log = [], self.here.log
        for run, process in self.running:
            try:
                with self.here.store.savepoint():
                    if self._look_after(run, process):
                        stops.append(run.id)
            except (StoreBusy, StoreRefused):
                raise
            except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
                log.fault(f"{run.task}: run {run.id} could not be supervised", exc)
                with log.apart(f"{run.task}: run {run.id} could not be ended"):
                    self._end_if_gone(run, process, exc)
        return stops

    def gone(self) -> set[int]:
        """Return the runs that are to be settled as gone; changes nothing."""
        gone = set()
        for run, process in self.running:
            with self.here.log.apart(f"{run.task}: run {run.id} could not be looked at"):
                if lock.is_held(self.here.supervisor(process.supervisor)):
                    continue
                if self._why_lost(self.here.store.tasks.of_run(run), run, process) is not None:
                    gone.add(run.id)
        return gone

    def _look_after(self, run: Run, process: Process) -> bool:
        """Settle a run if it was left behind; return whether it must be stopped, marked so in its row."""
        here, now = self.here, self.now
        if lock.is_held(here.supervisor(process.supervisor)):
            return process.stop_at is not None and now - process.stop_at > UNHEARD
        task = here.store.tasks.of_run(run)
        lost = self._why_lost(task, run, process)
        if lost is not None:
            # Its supervisor may have ended since the spool was read: then the next tick records the end.
            if not spool.holds(here.folder, run.id):
                settle(here, run, process, lost, now)
            return False
        if process.queue is not None:
            return False  # nobody can reach it
        known = carriers.carried(process) and self._stage(process) is not Stage.GONE
        if known or (carriers.carried(process) and not find_child(here, process)):
            return self._look_after_carried(task, run, process)
        if process.pid is None:
            find_child(here, process)
        if not seen_from_here(process):
            return False  # nobody here can stop it; after a time limit it is lost
        if self._overdue(task, run, process) or process.stop_state is not None:
            here.store.processes.ask_to_stop(run.id, State.TIMED_OUT, verdict.overdue(task), now)
            return True
        self._bound(task, process)
        return False

    def _end_if_gone(self, run: Run, process: Process, exc: Exception) -> None:
        """End a run that could not be supervised, without its output, unless its process may live."""
        if not self._may_live(run, process) and not spool.holds(self.here.folder, run.id):
            why = "its supervisor died, so its result is unknown"
            why = verdict.with_note(why, output.lost(exc))
            with self.here.store.savepoint():
                follow_up.finish(self.here, End(run, State.LOST, why, self.now))

    def _may_live(self, run: Run, process: Process) -> bool:
        """Return whether a run may still be alive, judged without its task and its output."""
        if process.boot_id != host.boot_id():
            return False
        with self.here.log.apart(f"{run.task}: the lock of the supervisor of run {run.id}"):
            if lock.is_held(self.here.supervisor(process.supervisor)):
                return True
        if process.pid is None or not seen_from_here(process):
            return self._age(run) < UNSEEN
        return lives(process)

    def _age(self, run: Run) -> timedelta:
        return self.now - (run.started or run.slot)

    def _why_lost(self, task: Task, run: Run, process: Process) -> str | None:
        """Return why a run is lost, None while its process is alive."""
        if process.queue is not None:
            since = run.started or process.handed or run.slot
            gone = process.stop_state is not None or self._is_too_old(task, since)
            return f"its queue {process.queue} is not in taskrunner.toml any more" if gone else None
        if process.boot_id != host.boot_id():
            return "the machine was restarted while it ran"
        if not seen_from_here(process) and process.supervisor.startswith(FIRST_PROCESS):
            return "its container ended while it ran"  # when process 1 ends, the kernel ends all others
        carried = carriers.carried(process)
        if not seen_from_here(process) or (carried and self._stage(process) is None):
            if not self._is_too_old(task, run.started or run.slot):
                return None
            return "its supervisor died, and its process is not visible from here"
        if carried:
            return self._why_carried_lost(run, process)
        if process.pid is None:
            child = _child_of(self.here.output, process)
            return "its supervisor died just before the start" if child is None else None
        return None if lives(process) else "its supervisor died, so its result is unknown"

    def _is_too_old(self, task: Task, since: datetime) -> bool:
        """Return whether a run since then that nobody can see must have ended."""
        limit = UNSEEN if task.timeout is None else task.timeout + task.kill_after
        return self.now - since > limit

    def _why_carried_lost(self, run: Run, process: Process) -> str | None:
        """Return why a carried run is lost, by the answer of its carrier."""
        if self._age(run) < carriers.SLOW or self._stage(process) is not Stage.GONE:
            return None
        if _child_of(self.here.output, process) is not None:
            return None  # it was refused, and the supervisor that carried it instead died
        carrier = carriers.of(self.here, process)
        return None if carrier is None else carrier.lost

    def _stage(self, process: Process) -> Stage | None:
        """Return how far a carried run is; None when its carrier does not answer."""
        standing = self.standings.get(process.supervisor)
        return None if standing is None else standing.stage

    def _look_after_carried(self, task: Task, run: Run, process: Process) -> bool:
        """Apply the output limits to a carried run; return whether it must be stopped."""
        self._bound(task, process)
        store, now = self.here.store, self.now
        if process.stop_at is None and task.max_silence is not None and run.started is not None:
            heard = output.heard(self.here.output, process.output, now) or run.started
            if now - max(run.started, heard) >= task.max_silence:
                store.processes.ask_to_stop(run.id, State.TIMED_OUT, verdict.silent(task), now)
                return True
        return process.stop_at is not None and now - process.stop_at > UNHEARD

    def _bound(self, task: Task, process: Process) -> None:
        noted = bounded_output.noted(process.cut_at, process.left_out)
        with suppress(OSError):  # the next tick tries again
            cut = output.bound(self.here.output, process.output, task.max_output, noted)
            if cut != noted:
                place = bounded_output.place_of(cut)
                self.here.store.processes.note_cut(process.run_id, *place)

    def _overdue(self, task: Task, run: Run, process: Process) -> bool:
        if task.timeout is None:
            return False
        if self.here.goes_on and process.pid is not None and lives(process):
            age = alive.age(process.pid)
            if age is not None:
                return age > task.timeout.total_seconds()  # this clock cannot be set
        return self._age(run) > task.timeout


# ---- one process


def find_child(here: OpenHome, process: Process) -> bool:
    """Record a child whose supervisor died before it could do so; False when there is none."""
    pid = _child_of(here.output, process)
    if pid is None:
        return False
    here.store.processes.note_child(process.run_id, pid, alive.started_ticks(pid))
    return True


def _child_of(folder: str, process: Process) -> int | None:
    """Return a child that is not recorded: it is recognised by the output file it has open."""
    try:
        file = os.stat(os.path.join(folder, process.output))
    except OSError:
        return None
    mark = f"TASKRUNNER_RUN={process.run_id}".encode()
    return alive.session_that_has_open(process.inode, file.st_dev, mark, file.st_uid)


def seen_from_here(process: Process) -> bool:
    """Return whether its pid is valid here: another pid namespace has other numbers."""
    return process.pid_namespace == alive.pid_namespace()


def lives(process: Process) -> bool:
    """Return whether this very process is alive here: same pid, start time and boot."""
    if process.pid is None or process.pid_started is None or process.boot_id != host.boot_id():
        return False
    return seen_from_here(process) and alive.is_same(process.pid, process.pid_started)


def settle(here: OpenHome, run: Run, process: Process, lost: str, now: datetime) -> None:
    """Record an unobserved end of a run: with the reason of its stop, else as lost; its output is stored."""
    limit = here.store.tasks.of_run(run).max_output
    cut = bounded_output.noted(process.cut_at, process.left_out)
    rescued = output.Rescued()
    if process.queue is None:  # else its output is on another machine
        rescued = output.rescue(here.output, process.output, run.id, limit, cut)
    state, reason = State.LOST, lost
    if process.stop_state is not None:
        state, reason = process.stop_state, process.stop_reason or lost
        if not seen_from_here(process):
            reason = f"{reason}; {lost}"
    why = verdict.with_note(reason, rescued.note)
    size = (rescued.small, rescued.size, *bounded_output.place_of(rescued.cut))
    follow_up.finish(here, End(run, state, why, now, NOTHING, *size))


def sweep(here: OpenHome) -> None:
    """Remove the files of dead supervisors that have no runs left."""
    needed = {process.supervisor for _, process in here.store.processes.with_runs()}
    # A home may lack its folders, or have something else in their place.
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(here.path(paths.SUPERVISORS)):
            with here.log.apart(f"{paths.SUPERVISORS}/{name} could not be removed"):
                if name not in needed:
                    lock.remove_if_free(here.supervisor(name))
        for owner, places in output.owners(here.output).items():
            with here.log.apart(f"what {owner} left behind could not be removed"):
                if owner not in needed and not lock.is_held(here.supervisor(owner)):
                    _remove(places)


def _remove(places: Iterable[str]) -> None:
    for place in places:
        with suppress(FileNotFoundError, IsADirectoryError):  # not one of our files
            os.unlink(place)
