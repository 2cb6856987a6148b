"""The process that supervises running commands: it starts pending runs and records their ends.

It holds a lock on its own file while it lives, so that other processes can tell. After recording an outcome it starts
the next pending runs: capacity and chains never wait for a clock.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from taskrunner.decide import verdict
from taskrunner.errors import StoreBusy, StoreFull, StoreNewer, StoreRefused, in_words
from taskrunner.home import lock, paths
from taskrunner.model.record import field, mutable
from taskrunner.model.values import Outcome, Run, State
from taskrunner.notify import log_lines
from taskrunner.processes import alive, output
from taskrunner.processes.children import Child, Children, room
from taskrunner.processes.output import OutputFiles
from taskrunner.schedule import next_day
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, command, starts
from taskrunner.supervise.carriers import Resident
from taskrunner.supervise.delayed import DelayedRuns
from taskrunner.supervise.outcomes import Watched
from taskrunner.supervise.starts import Starts
from taskrunner.supervise.stops import PATIENCE, Stops
from taskrunner.supervise.watched_runs import WatchedRuns
from taskrunner.upkeep import disk_reserve

if TYPE_CHECKING:
    from taskrunner.supervise.queues import Queues

LOOK = 0.1  # seconds between two looks at a run of another supervisor that we are stopping
MOMENT = 0.005  # seconds that a short command takes: its pid need not be recorded
SOON = 0.05  # seconds after which children are recorded, even while others keep ending
MANY = 100  # starts between two checks for ends
RETRY = 1.0  # seconds between two tries while the database cannot be written
LEAVE = 10.0  # seconds of such tries, after which spooled ends are left to the next tick
QUIET = 0.2  # seconds without events before we import modules for later


@mutable
class Supervisor:
    """One living supervisor: its children, and the rows and output files that go with them."""

    here: OpenHome
    starts: Starts
    stops: Stops  # of runs of other supervisors
    runs: WatchedRuns
    delayed: DelayedRuns
    carrier: Resident | None = None  # the program that carries our runs; None is ourselves
    queues: "Queues | None" = None  # to other machines, if there are any
    children: Children = field(default_factory=Children)
    closing: bool = False  # start no more runs
    stopped: bool = False  # our children were asked to end
    patient: Callable[[str], object] | None = None  # told why the database cannot be written
    finished: list[Run] = field(default_factory=list)
    refused: str | None = None  # that the carrier refused a run, and why
    # The locks of runs that the carrier refused, and that we carry under its names.
    lasting: ExitStack = field(default_factory=ExitStack)
    _loaded: bool = False
    _unnoted: list[Child] = field(default_factory=list)
    _note_by: float = 0.0  # monotonic
    _trouble: float | None = None  # since when the database cannot be written, monotonic
    _looked: int | None = None  # `changes` at our last check for runs of ours to be stopped

    def __post_init__(self) -> None:
        self.children.on_timeout = self._say_timed_out
        self.children.on_silence = self._say_silent
        self.children.on_output = self.runs.bound
        self.children.on_look = self._look_for_stops
        self.children.stopped_elsewhere = self._stopped_elsewhere

    @property
    def watched(self) -> dict[int, Watched]:
        """The runs that we watch, by their ids."""
        return self.runs.by_id

    def use(self, carrier: Resident | None) -> None:
        """Have a program carry our runs from now on, None is ourselves; and see to the queues of the settings."""
        self.carrier = self.starts.carrier = carrier
        if self.here.config.queues and self.queues is None:
            from taskrunner.supervise.queues import Queues  # few homes have any

            self.queues = Queues(self.here, self.runs.files)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to watch, stop or record."""
        waits = self.delayed.start_at is not None and not self.closing
        return bool(self.watched or self.stops.going or waits)

    def rounds(
        self,
        going: Callable[[], bool] | None = None,
        pause: Callable[[], float | None] = lambda: None,
        *,
        hand_on: bool = False,
    ) -> Iterator[None]:
        """Record, start and wait in a loop until no run is left: the only loop of a supervisor.

        The caller acts between the wait and the next round. `going` replaces the check whether any run is left, `pause`
        limits the next wait to so many seconds. With `hand_on` the carrier takes over all that does not need us.
        """
        while True:
            self.turn()
            if hand_on:
                self._hand_on()
            if not (self.busy if going is None else going()):
                return
            self.wait(pause())
            yield

    def turn(self) -> None:
        """Record ended runs and start pending ones.

        While the database cannot be written, outcomes are kept in the spool and tried again. When no run is left, or
        the rest is left to the next tick, a supervisor that is not `patient` raises StoreBusy or StoreRefused.
        """
        try:
            # Otherwise the database would be locked without need.
            if self.busy or starts.anything_to_start(self.here):
                self._turn()
            if self.queues is not None and self.queues.turn(closing=self.closing):
                self.finished += self.queues.finished
                self.stop_some(self.queues.marked)
                self._turn()
            self._trouble = None
            self.here.log.write()
            if self.here.store.outbox.take_new():
                carriers.send_off(self.here, self.carrier)
        except (StoreBusy, StoreRefused) as exc:
            if isinstance(exc, StoreFull) and disk_reserve.release(self.here.folder):
                self.turn()
            else:
                self._bear(exc)

    def _bear(self, exc: StoreBusy | StoreRefused) -> None:
        """Put outcomes into the spool while the database cannot be written; end when nothing else is left."""
        self._trouble = self._trouble or time.monotonic()
        if self.queues is not None:
            self.queues.put_off()  # else we would not wait between two tries
        newer = isinstance(exc, StoreNewer)
        if newer:  # the new program that upgraded the database continues
            self.closing = True
            self.stops.give_up()
        self.runs.spool()
        tired = time.monotonic() - self._trouble > LEAVE
        if newer or (tired and self.runs.all_spooled):
            self.runs.leave()
        if not self.watched:
            if newer or self.patient is None:
                raise exc
            self.patient(str(exc))
            return
        if self.runs.ended or not newer:
            time.sleep(RETRY)

    def _turn(self) -> None:
        now, ended = self.here.now(), list(self.runs.ended)
        batch: list[Watched] = []
        patience = PATIENCE if self.watched else None
        try:
            with self.here.store.transaction(patience=patience):
                stopped = self.here.store.processes.being_stopped()
                self.finished += self.runs.record(ended, stopped)
                self._next(batch, now)
                marked = self.here.store.processes.being_stopped().keys() - stopped.keys()
        except BaseException:
            self.starts.give_back(batch)  # nothing was written, so nothing is started
            self.here.log.forget()
            raise
        del self.runs.ended[: len(ended)]
        for each in ended:
            with self.here.log.apart(f"the processes left behind by run {each.run}"):
                self.runs.let_go(each)
        self.spawn(batch, now)
        self.stop_some(list(marked))  # as a consequence of the ends above

    def wait(self, timeout: float | None) -> None:
        """Wait until a child ends, a signal comes or `timeout` seconds are over."""
        if self.runs.ended:
            self._look(0)  # obey the timers of others even while the database cannot be written
            return
        if self._unnoted:
            self._gather()
            if not self.runs.ended or time.monotonic() > self._note_by:
                self._note_children()
            return  # we may have been woken by a signal: the caller checks that first
        if self.stops.going:
            self.stops.look()
            timeout = LOOK if timeout is None else min(timeout, LOOK)
        delayed = None if self.closing else self.delayed.seconds()
        queues = None if self.queues is None else self.queues.seconds()
        timeout = min(
            (each for each in (timeout, delayed, queues) if each is not None), default=None
        )
        if self.watched and not self._loaded and timeout != 0:
            self._look(QUIET if timeout is None else min(timeout, QUIET))
            self._load()
        else:
            self._look(timeout)

    def _gather(self) -> None:
        """Wait a moment until half of our children have ended, to record their ends in one commit."""
        end = time.monotonic() + MOMENT
        while 2 * len(self.runs.ended) < len(self.watched) and (left := end - time.monotonic()) > 0:
            self._look(left)

    def _load(self) -> None:
        """Import modules for the ends of runs, unless one has ended already."""
        if self.watched and not self.runs.ended:
            next_day.load()
            self._loaded = True

    def _look(self, timeout: float | None = 0) -> None:
        """Collect the ends of children within so many seconds."""
        ended = self.children.wait(timeout)
        now = self.here.now()
        full = bool(ended) and output.full(self.here.output)
        for run_id, outcome in ended:
            self.runs.collect(self.watched[run_id], outcome, now, full=full)

    def _next(self, taken: list[Watched], now: datetime) -> None:
        """Take the next pending runs up to the limits, in the transaction of the caller."""
        if self.closing:
            return
        free = self.here.config.max_parallel - self.here.store.runs.running_count()
        self.starts.take_next(taken, min(free, room() - len(self.watched)), now)
        self.delayed.plan(now)

    def spawn(self, batch: Sequence[Watched], now: datetime) -> None:
        """Start the processes of runs that were marked as running."""
        for number, each in enumerate(batch, 1):
            run = each.run
            self.watched[run.id] = each
            if number % MANY == 0:
                self._look()  # so that ends of the first ones are seen before the last one starts
            try:
                log_lines.started(self.here.log, run, now)
                if self.carrier is None or not self._handed_over(self.carrier, each, now):
                    self._start(each, now)
            except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
                self.runs.collect(each, Outcome(error=f"could not start: {in_words(exc)}"), now)

    def _start(self, watched: Watched, now: datetime) -> None:
        resolved = command.resolve(watched.task, watched.run, self.here.config, now)
        watched.missing = resolved.missing
        child = self.children.start(watched.run.id, resolved, watched.file.fd)
        if isinstance(child, Outcome):
            self.runs.collect(watched, child, now)
            return
        if not self._unnoted:
            self._note_by = time.monotonic() + SOON
        self._unnoted.append(child)

    def _handed_over(self, carrier: Resident, watched: Watched, now: datetime) -> bool:
        """Hand a run to the carrier; False when we must carry it ourselves."""
        try:
            refused = carrier.start(watched, now)
        except LookupError:  # unknown user: our own start reports it
            return False
        if refused is None:
            del self.watched[watched.run.id]
            os.close(watched.file.fd)
            return True
        self.refused = (
            f"{carrier.title} did not take a run, and this process carries it: {refused.why}"
        )
        if not carrier.falls_back:
            self.runs.collect(watched, Outcome(error=f"could not start: {refused.why}"), now)
            return True
        # The row has the carrier's name, so hold a lock of that name while we live.
        self.lasting.enter_context(lock.held_own(self.here.supervisor(watched.name)))
        return False

    def _hand_on(self) -> None:
        """Leave to the carrier the stops that it was asked for, and the wait for the next run."""
        self.stops.hand_on()
        if self.carrier is None or self.delayed.start_at is None:
            return
        now = self.here.now()
        ready = self.here.store.runs.soonest(now)
        if ready is not None:
            self.carrier.wake(ready, (ready - now).total_seconds())
        self.delayed.start_at = None

    def _note_children(self) -> None:
        """Record pid and start time of our children that have not ended yet."""
        living = [child for child in self._unnoted if child.key in self.children.running]
        with suppress(StoreBusy, StoreRefused):  # children can be found by their outputs, too
            if living:
                with self.here.store.transaction(durable=False, patience=PATIENCE):
                    for child in living:
                        with self.here.log.apart(f"the process of run {child.key}"):
                            ticks = alive.started_ticks(child.pid)
                            self.here.store.processes.note_child(child.key, child.pid, ticks)
        self._unnoted.clear()

    def _stopped_elsewhere(self, run_id: int) -> bool:
        try:
            process = self.here.store.processes.of(run_id)
        except (StoreBusy, StoreRefused):
            return False
        return process is not None and process.stop_state is not None

    def _look_for_stops(self) -> None:
        """Stop those of our runs that another process has marked, and left to us to stop."""
        with suppress(StoreBusy, StoreRefused):  # the next look tries again
            changes = self.here.store.connection.changes()
            if changes == self._looked:
                return
            asked = self.here.store.processes.being_stopped().values()
            self.stop_some(
                [
                    each.run_id
                    for each in asked
                    if each.stop_at is None and each.run_id in self.watched
                ]
            )
            self._looked = changes

    def _say_timed_out(self, run_id: int) -> None:
        reason = verdict.overdue(self.watched[run_id].task)
        self._say_why([run_id], State.TIMED_OUT, reason)

    def _say_silent(self, run_id: int) -> None:
        reason = verdict.silent(self.watched[run_id].task)
        self._say_why([run_id], State.TIMED_OUT, reason)

    def _say_why(self, run_ids: Iterable[int], state: State, reason: str) -> None:
        """Write the reason before runs are stopped; a database that cannot be written does not prevent the stop."""
        now = self.here.now()
        store = self.here.store
        with suppress(StoreBusy, StoreRefused), store.transaction(patience=PATIENCE):
            for run_id in run_ids:
                with self.here.log.apart(f"the reason to stop run {run_id}"):
                    store.processes.ask_to_stop(run_id, state, reason, now)

    def stop_all(self, reason: str) -> None:
        """Stop all our children and start no more; the reason is in each row before the signal is sent."""
        self.closing = self.stopped = True
        self._say_why(self.watched, State.CANCELLED, reason)
        for run_id in self.children.running:
            self.children.stop(run_id)

    def kill_all(self) -> None:
        """Kill all our children at once."""
        for run_id in self.children.running:
            self.children.kill(run_id)

    def stop_some(self, run_ids: Sequence[int]) -> None:
        """Stop runs that are marked so in their rows, whichever supervisor has them."""
        for run_id in run_ids:
            if run_id in self.children.running:
                self.children.stop(run_id)
        self.stops.begin([run_id for run_id in run_ids if run_id not in self.watched])


@contextmanager
def open_supervisor(
    here: OpenHome, *, name: str | None = None, carrier: Resident | None = None
) -> Iterator[Supervisor]:
    """Be a supervisor for the block, identified by a locked file, which is removed afterwards.

    With a `name` we are the supervisor that the row of a run already names.
    """
    paths.create(here.folder)  # a restored home may lack its folders
    name = name or f"{os.getpid()}-{os.urandom(4).hex()}"
    with lock.held_own(here.supervisor(name)):
        files = OutputFiles(here.output, name)
        ours = Supervisor(
            here,
            Starts(here, name, files),
            Stops(here),
            WatchedRuns(here, files),
            DelayedRuns(here),
        )
        ours.use(carrier)
        try:
            yield ours
        finally:
            files.close()
            ours.children.close()
            if ours.queues is not None:
                ours.queues.close()
            ours.lasting.close()
            ours.delayed.close()
            ours.here.log.write()
