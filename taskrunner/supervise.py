"""The process that watches over running commands: starts what is pending, records what ended.

It holds a lock on a file of its own for as long as it lives, so that everybody can tell. Whoever records an
outcome then starts the next pending runs: capacity and chains never wait for a clock.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from taskrunner import claim, clock, command, home, lock, policy, reconcile, runner
from taskrunner.errors import StoreBusy, StoreRefused, TaskRunnerError
from taskrunner.model import Outcome, Process, Run, State, Task
from taskrunner.opened import OpenHome
from taskrunner.output import SMALL, Slot, Slots, size_and_small

LOOK = 0.1  # seconds between two looks at a run of somebody else that we are stopping
MOMENT = 0.005  # seconds that many a command needs from start to end: it need not be noted
SOON = 0.05  # seconds after which a child is noted although others end all the time
RETRY = 1.0  # seconds between two tries of a store that takes nothing
GIVE_UP = 600.0  # seconds after which we stop trying
OWNER_SLOW = 60.0  # seconds we wait for the owner of a stopped run to record its end


@dataclass(eq=False)
class Stop:
    """A run of somebody else that we are ending; `kill_at` is monotonic seconds."""

    kill_at: float
    told: bool = False  # it was there to be sent TERM


@dataclass(frozen=True)
class Watched:
    """A run that one of our children carries out."""

    run: Run
    task: Task
    slot: Slot


@dataclass(frozen=True)
class Ended:
    """A run whose command has ended, with its output where it belongs; `size` in bytes."""

    watched: Watched
    outcome: Outcome
    size: int
    small: bytes


@dataclass(eq=False)
class Supervisor:
    """One living supervisor: its children, and the rows and output files that go with them."""

    here: OpenHome
    name: str
    slots: Slots
    boot_id: str = field(default_factory=clock.boot_id)
    namespace: int | None = field(default_factory=runner.pid_namespace)
    children: runner.Children = field(default_factory=runner.Children)
    watched: dict[int, Watched] = field(default_factory=dict)
    stopping: dict[int, Stop] = field(default_factory=dict)  # runs of others
    closing: bool = False  # start nothing any more
    finished: list[Run] = field(default_factory=list)
    _ended: list[Ended] = field(default_factory=list)
    _unnoted: list[runner.Child] = field(default_factory=list)
    _note_by: float = 0.0  # monotonic
    _trouble: float | None = None  # since when the store takes nothing, monotonic

    def __post_init__(self) -> None:
        self.children.on_timeout = self._say_timed_out
        self.children.stopped_elsewhere = self._stopped_elsewhere

    @property
    def busy(self) -> bool:
        """Whether there is anything left to watch, stop or record."""
        return bool(self.watched or self.stopping)

    def turn(self) -> None:
        """Record what has ended, start what may start.

        While the store takes nothing it is tried again: an outcome that is known is not thrown away. Raises
        StoreBusy or StoreRefused after a while.
        """
        try:
            self._turn()
            self._trouble = None
        except (StoreBusy, StoreRefused):
            self._trouble = self._trouble or time.monotonic()
            if not self.watched or time.monotonic() - self._trouble > GIVE_UP:
                raise
            time.sleep(RETRY)

    def _turn(self) -> None:
        now, ended = self.here.now(), list(self._ended)
        batch: list[Watched] = []
        try:
            with self.here.store.transaction():
                stopped = self.here.store.being_stopped()
                for each in ended:
                    self._record(each, stopped.get(each.watched.run.id), now)
                self._next(batch, now)
                marked = self.here.store.being_stopped().keys() - stopped.keys()
        except BaseException:
            for watched in batch:  # none of it is written, so none of it is started
                self.slots.put_back(watched.slot)
            raise
        del self._ended[: len(ended)]
        for each in ended:
            del self.watched[each.watched.run.id]
            if each.size <= SMALL:
                self.slots.put_back(each.watched.slot)
        self.spawn(batch, now)
        self.stop_others(list(marked))  # by what the ends above have set in motion

    def wait(self, timeout: float | None) -> None:
        """Wait until a child ends, a signal comes or `timeout` seconds are over."""
        if self._ended:
            self._look(0)  # the timers of the others are obeyed also while the store takes nothing
            return
        if self._unnoted:
            self._look(MOMENT)
            if not self._ended or time.monotonic() > self._note_by:
                self._note_children()
            return  # what woke us may have been a signal: the caller looks at that first
        if self.stopping:
            self._look_after_stops()
            timeout = LOOK if timeout is None else min(timeout, LOOK)
        self._look(timeout)

    def _look(self, timeout: float | None = 0) -> None:
        for child, outcome in self.children.wait(timeout):
            self._collect(self.watched[child.key], outcome)

    def _collect(self, watched: Watched, outcome: Outcome) -> None:
        """Put the output of a run that has ended where it belongs; what is large keeps the file."""
        size, small = size_and_small(watched.slot.fd)
        if size > SMALL:
            self.slots.keep(watched.slot, watched.run.id)
        self._ended.append(Ended(watched, outcome, size, small))

    def adopt(self, run: Run, task: Task, now: datetime) -> list[Watched]:
        """Make one pending run ours, whatever else runs; to be spawned after the transaction."""
        slot = self.slots.take(command.owner(task.user))
        process = Process(run.id, self.name, self.boot_id, slot.name, slot.inode, self.namespace)
        if not self.here.store.start(run, process, now):
            self.slots.put_back(slot)
            return []
        started = replace(run, state=State.RUNNING, started=now, reason=None)
        return [Watched(started, task, slot)]

    def _next(self, taken: list[Watched], now: datetime) -> None:
        """Take the next pending runs up to the limits, in the transaction of the caller."""
        free = self.here.config.max_parallel - self.here.store.running_count()
        free = min(free, runner.room() - len(self.watched))
        runs = self.here.store.startable(free) if free > 0 and not self.closing else []
        tasks = self.here.store.tasks_of(runs)
        for run in runs:
            # The task leaves the list: a second run of it was chosen before the one ahead of it was started.
            task = tasks.pop(run.task_id, None)
            if task is not None:
                taken += self._start_or_not(run, task, now)

    def _start_or_not(self, run: Run, task: Task, now: datetime) -> list[Watched]:
        late = policy.too_late(task, run, now)
        if late is not None:
            claim.finish(self.here, run, State.MISSED, late, now)
            return []
        try:
            return self.adopt(run, task, now)
        except OSError as exc:
            why = f"could not start: its output file: {exc.strerror}"
            claim.finish(self.here, run, State.FAILED, why, now)
            return []

    def spawn(self, batch: Sequence[Watched], now: datetime) -> None:
        """Start the processes of runs that were made running."""
        if not self._unnoted:
            self._note_by = time.monotonic() + SOON
        for watched in batch:
            self.watched[watched.run.id] = watched
            child = self._start(watched, now)
            if isinstance(child, Outcome):
                self._collect(watched, child)
            else:
                self._unnoted.append(child)

    def _note_children(self) -> None:
        """Keep how our children are recognised; those that have ended already need not be any more."""
        living = [child for child in self._unnoted if child.key in self.children.running]
        with suppress(StoreBusy, StoreRefused):  # it can be found by its output, too
            if living:
                with self.here.store.transaction(durable=False):
                    for child in living:
                        ticks = runner.started_ticks(child.pid)
                        self.here.store.note_child(child.key, child.pid, ticks)
        self._unnoted.clear()

    def _start(self, watched: Watched, now: datetime) -> runner.Child | Outcome:
        try:
            resolved = command.resolve(watched.task, watched.run, self.here.config, now)
        except TaskRunnerError as exc:
            return Outcome(error=f"could not start: {exc}")
        return self.children.start(watched.run.id, resolved, watched.slot.fd)

    def _record(self, each: Ended, stopped: Process | None, now: datetime) -> None:
        """Write how a run ended, in the transaction of the caller."""
        run, outcome = each.watched.run, each.outcome
        how = runner.in_words(outcome)
        state, reason = policy.verdict(each.watched.task, outcome, how, stopped)
        ended = claim.finish(self.here, run, state, reason, now, outcome, each.small, each.size)
        if ended is not None:
            self.finished.append(ended)

    def _stopped_elsewhere(self, run_id: int) -> bool:
        try:
            process = self.here.store.process(run_id)
        except (StoreBusy, StoreRefused):
            return False
        return process is not None and process.stop_state is not None

    def _say_timed_out(self, run_id: int) -> None:
        reason = policy.overdue(self.watched[run_id].task)
        self._say_why([run_id], State.TIMED_OUT, reason)

    def _say_why(self, run_ids: Iterable[int], state: State, reason: str) -> None:
        """Write why runs are stopped, before they are; a store that takes nothing does not keep us from it."""
        now = self.here.now()
        with suppress(StoreBusy, StoreRefused), self.here.store.transaction():
            for run_id in run_ids:
                self.here.store.ask_to_stop(run_id, state, reason, now)

    def stop_all(self, reason: str) -> None:
        """Stop all our children, starting nothing more; each row says why before the signal is sent."""
        self.closing = True
        self._say_why(self.watched, State.CANCELLED, reason)
        for run_id in self.children.running:
            self.children.stop(run_id)

    def kill_all(self) -> None:
        """Kill all our children at once."""
        for run_id in self.children.running:
            self.children.kill(run_id)

    # ---- runs that somebody else started, or nobody watches any more

    def stop_others(self, run_ids: Sequence[int]) -> None:
        """Send TERM to runs whose rows say that they are being stopped; KILL follows after their kill-after."""
        for run_id in run_ids:
            if run_id in self.children.running:
                self.children.stop(run_id)
            elif run_id not in self.watched and run_id not in self.stopping:
                task = self.here.store.task_of(self.here.store.run(run_id))
                self.stopping[run_id] = Stop(time.monotonic() + task.kill_after.total_seconds())
        self._look_after_stops()

    def _look_after_stops(self) -> None:
        for run_id, stop in list(self.stopping.items()):
            process = self.here.store.process(run_id)
            over = time.monotonic() - stop.kill_at
            # Its end is recorded, its owner does not come to it, or only another pid namespace sees it.
            if process is None or over > OWNER_SLOW or not reconcile.seen_from_here(process):
                del self.stopping[run_id]
            elif process.pid is not None and reconcile.alive(process):
                self._press(stop, process.pid, over)
            elif not lock.is_held(self.here.supervisor(process.supervisor)):
                with suppress(StoreBusy, StoreRefused):  # the next look tries again
                    self._settle(run_id, process)

    def _press(self, stop: Stop, group: int, over: float) -> None:
        if over >= 0:
            runner.kill(group)
        elif not stop.told:
            stop.told = True
            runner.terminate(group)

    def _settle(self, run_id: int, process: Process) -> None:
        """Record the end of a run that we stopped and whose own supervisor is dead."""
        if process.pid is None and reconcile.find_child(self.here, process):
            return  # it lives after all; the next look finds it
        with self.here.store.transaction():
            run = self.here.store.run(run_id)
            reconcile.settle(self.here, run, process, "nobody saw how it ended", self.here.now())
        del self.stopping[run_id]


@contextmanager
def supervisor(here: OpenHome) -> Iterator[Supervisor]:
    """Be a supervisor for the block: known by a locked file, which is gone afterwards."""
    home.create(here.folder)  # a store that was put back may have come without its folders
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    with lock.held_own(here.supervisor(name)):
        slots = Slots(here.output, name)
        me = Supervisor(here, name, slots)
        try:
            yield me
        finally:
            slots.close()
            me.children.selector.close()
