"""The process that watches over running commands: starts what is pending, records what ended.

It holds a lock on a file of its own for as long as it lives, so that everybody can tell. Whoever records an
outcome then starts the next pending runs: capacity and chains never wait for a clock.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import Protocol

from taskrunner import clock
from taskrunner.decide import policy, verdict
from taskrunner.errors import StoreBusy, StoreFull, StoreNewer, StoreRefused, in_words
from taskrunner.home import lock, paths
from taskrunner.model.record import field, like, mutable, record
from taskrunner.model.values import Command, End, Outcome, Process, Run, State, Task, terms
from taskrunner.notify import announce, log_lines
from taskrunner.processes import account, alive, bounded_output, output
from taskrunner.processes.bounded_output import Gap
from taskrunner.processes.children import Child, Children, room
from taskrunner.processes.output import Slot, Slots
from taskrunner.schedule import kinds
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import command, follow_up, outcomes, sender, spool
from taskrunner.supervise.outcomes import Ended, Watched
from taskrunner.supervise.stops import PATIENCE, Stops
from taskrunner.upkeep import disk_reserve

WAITING = "waiting"  # the lock of the supervisor that waits for runs whose time comes
LOOK = 0.1  # seconds between two looks at a run of somebody else that we are stopping
MOMENT = 0.005  # seconds that many a command needs from start to end: it need not be noted
SOON = 0.05  # seconds after which a child is noted although others end all the time
RETRY = 1.0  # seconds between two tries of a store that takes nothing
LEAVE = 10.0  # seconds of that after which what is in the spool is left to the next tick
QUIET = 0.2  # seconds in which nothing has to happen before we import what we may need later


class Carrier(Protocol):
    """Somebody else who carries runs, each under a name of its own, and sees to their ends: systemd (`carrier`)."""

    @property
    def falls_back(self) -> bool:
        """Whether we carry ourselves what it refuses."""

    def unit(self, run_id: int) -> str:
        """Return the name that a run is to be carried under."""

    def start(self, unit: str, run: Run, command: Command, slot: Slot) -> str | None:
        """Hand a run over; return why it is refused, None when it is not. Raises LookupError for no such user."""

    def wake(self, ready: datetime, seconds: float) -> None:
        """Let a tick come at an instant that is so far away."""

    def send_off(self) -> None:
        """Let what is to be told be sent."""

    def tell(self, runs: Sequence[Run]) -> None:
        """Take note of what state runs are in."""


@record
class Wanted:
    """A run that is about to be started; `name` is the supervisor that its row tells."""

    run: Run
    task: Task
    slot: Slot
    name: str


@mutable
class Supervisor:
    """One living supervisor: its children, and the rows and output files that go with them."""

    here: OpenHome
    name: str
    slots: Slots
    carrier: Carrier | None = None  # None is ourselves
    boot_id: str = field(default_factory=clock.boot_id)
    namespace: int | None = field(default_factory=alive.pid_namespace)
    children: Children = field(default_factory=Children)
    watched: dict[int, Watched] = field(default_factory=dict)
    stops: Stops = field(default_factory=Stops)  # of runs of others
    closing: bool = False  # start nothing any more
    stopped: bool = False  # our children have been told to end
    retries: bool = True  # what fails is tried again as its task says
    patient: Callable[[str], object] | None = None  # is told why the store takes nothing
    wake_at: float | None = None  # when a run that waits for its time is to be started, monotonic
    finished: list[Run] = field(default_factory=list)
    refused: str | None = None  # why the carrier did not take a run
    lasting: ExitStack = field(default_factory=ExitStack)  # what we hold until we end
    _waiting: bool = False
    _ended: list[Ended] = field(default_factory=list)
    _spooled: dict[int, str] = field(default_factory=dict)  # files of outcomes, by run
    _loaded: bool = False
    _unnoted: list[Child] = field(default_factory=list)
    _note_by: float = 0.0  # monotonic
    _trouble: float | None = None  # since when the store takes nothing, monotonic
    _looked: int | None = None  # `store.changes` as we last looked for runs of ours to be stopped
    _unbounded: set[int] = field(default_factory=set)  # runs whose output cannot be bounded

    def __post_init__(self) -> None:
        self.children.on_timeout = self._say_timed_out
        self.children.on_silence = self._say_silent
        self.children.on_output = self._bound
        self.children.on_look = self._look_for_stops
        self.children.stopped_elsewhere = self._stopped_elsewhere

    @property
    def busy(self) -> bool:
        """Whether there is anything left to watch, stop or record."""
        waits = self.wake_at is not None and not self.closing
        return bool(self.watched or self.stops.going or waits)

    def rounds(
        self,
        going: Callable[[], bool] | None = None,
        pause: Callable[[], float | None] = lambda: None,
        *,
        hand_on: bool = False,
    ) -> Iterator[None]:
        """Record, start and wait, again and again, until nothing is left to watch: the one loop of a supervisor.

        Between the wait and the next round the caller has its turn. `going` replaces the question whether there is
        anything left, `pause` limits the next wait to so many seconds. With `hand_on` systemd gets what does not
        need us.
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
        """Record what has ended, start what may start.

        While the store takes nothing, outcomes are kept in the spool and tried again. With nothing to lose, or when
        the rest is left to the next tick, a supervisor that is not `patient` raises StoreBusy or StoreRefused.
        """
        try:
            # Else the store would be locked for nothing.
            if self.busy or anything_to_start(self.here):
                self._turn()
            self._trouble = None
            self.here.log.write()
            if self.here.store.outbox.take_new():
                send_off(self.here, self.carrier)
        except (StoreBusy, StoreRefused) as exc:
            if isinstance(exc, StoreFull) and disk_reserve.give_up(self.here.folder):
                self.turn()
            else:
                self._bear(exc)

    def _bear(self, exc: StoreBusy | StoreRefused) -> None:
        """Let no outcome depend on us while the store takes none; go when all that is left is in the spool."""
        self._trouble = self._trouble or time.monotonic()
        newer = isinstance(exc, StoreNewer)
        if newer:  # whoever upgraded it goes on with the new program
            self.closing = True
            self.stops.give_up()
        self._spool()
        tired = time.monotonic() - self._trouble > LEAVE
        if newer or (tired and len(self._spooled) == len(self.watched)):
            self._leave()
        if not self.watched:
            if newer or self.patient is None:
                raise exc
            self.patient(str(exc))
            return
        if self._ended or not newer:
            time.sleep(RETRY)

    def _spool(self) -> None:
        for each in self._ended:
            watched = each.watched
            if watched.run.id not in self._spooled:
                spooled = spool.Spooled(
                    watched.run.id,
                    watched.name,
                    each.at,
                    each.outcome,
                    each.size,
                    each.large,
                    each.fault,
                    each.note,
                    self.retries,
                    *bounded_output.place_of(each.gap),
                )
                with suppress(OSError):  # it stays with us, and is tried again
                    spool.put(self.here, spooled)
                    self._spooled[watched.run.id] = spooled.name

    def _leave(self) -> None:
        """Forget the runs whose ends are in the spool; their outputs are left where they are."""
        for each in [each for each in self._ended if each.watched.run.id in self._spooled]:
            self._ended.remove(each)
            del self.watched[each.watched.run.id], self._spooled[each.watched.run.id]
            if not each.large:
                os.close(each.watched.slot.fd)

    def _turn(self) -> None:
        now, ended = self.here.now(), list(self._ended)
        batch: list[Wanted] = []
        patience = PATIENCE if self.watched else None
        try:
            with self.here.store.transaction(patience=patience):
                stopped = self.here.store.processes.being_stopped()
                self._record(ended, stopped)
                self._next(batch, now)
                marked = self.here.store.processes.being_stopped().keys() - stopped.keys()
        except BaseException:
            # None of it is written, so none of it is started; a file that goes by its unit is for nobody else.
            give_back = self.slots.put_back if self.carrier is None else self.slots.drop
            for watched in batch:
                give_back(watched.slot)
            self.here.log.forget()
            raise
        del self._ended[: len(ended)]
        for each in ended:
            with log_lines.apart(
                self.here, f"the processes left behind by run {each.watched.run.id}"
            ):
                self._let_go(each)
        self.spawn(batch, now)
        self.stop_some(list(marked))  # by what the ends above have set in motion

    def _let_go(self, each: Ended) -> None:
        """Forget a run whose end is recorded."""
        run, slot = each.watched.run, each.watched.slot
        del self.watched[run.id]
        spooled = self._spooled.pop(run.id, None)
        if spooled is not None:
            spool.drop(self.here, spooled)
        if each.large:
            return  # the slot is used up
        if spooled is None:
            self.slots.put_back(slot)
        else:  # a tick that has just taken it up may be about to remove the file of that name
            self.slots.drop(slot)

    def wait(self, timeout: float | None) -> None:
        """Wait until a child ends, a signal comes or `timeout` seconds are over."""
        if self._ended:
            self._look(0)  # the timers of the others are obeyed also while the store takes nothing
            return
        if self._unnoted:
            self._gather()
            if not self._ended or time.monotonic() > self._note_by:
                self._note_children()
            return  # what woke us may have been a signal: the caller looks at that first
        if self.stops.going:
            self.stops.look(self.here)
            timeout = LOOK if timeout is None else min(timeout, LOOK)
        if self.wake_at is not None and not self.closing:
            left = max(0.0, self.wake_at - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        if self.watched and not self._loaded and timeout != 0:
            self._look(QUIET if timeout is None else min(timeout, QUIET))
            self._load()
        else:
            self._look(timeout)

    def _gather(self) -> None:
        """Wait a moment for ends, until those of half of our children are there: they are recorded in one commit."""
        end = time.monotonic() + MOMENT
        while 2 * len(self._ended) < len(self.watched) and (left := end - time.monotonic()) > 0:
            self._look(left)

    def _load(self) -> None:
        """Import what the end of a run may need, unless it has come already."""
        if self.watched and not self._ended:
            kinds.load()
            self._loaded = True

    def _look(self, timeout: float | None = 0) -> None:
        self._collect_all(self.children.wait(timeout))

    def _collect_all(self, found: Sequence[tuple[int, Outcome]]) -> None:
        now = self.here.now()
        full = bool(found) and output.full(self.here.output)
        for run_id, outcome in found:
            self._unbounded.discard(run_id)
            self._collect(self.watched[run_id], outcome, now, full=full)

    def _bound(self, run_id: int) -> None:
        watched = self.watched[run_id]
        try:
            gap = bounded_output.bound(watched.slot.fd, watched.terms.max_output, watched.gap)
            self._note_gap(watched, gap)
        except OSError:  # the next look tries again
            pass
        except Exception as exc:  # noqa: BLE001  whatever is wrong with one output, the others grow on
            if run_id not in self._unbounded:  # it is looked at each second
                self._unbounded.add(run_id)
                log_lines.fault(self.here, f"the output of run {run_id} could not be bounded", exc)

    def _note_gap(self, watched: Watched, gap: Gap | None) -> None:
        """Remember what is cut out of an output, for others in its row; a store that takes nothing is not waited for."""
        if gap == watched.gap:
            return
        watched.gap = gap
        store = self.here.store
        with suppress(StoreBusy, StoreRefused), store.transaction(durable=False, patience=0):
            store.processes.note_cut(watched.run.id, *bounded_output.place_of(gap))

    def take_end(self, watched: Watched, outcome: Outcome, at: datetime, note: str | None) -> None:
        """Make the end of a run ours to record that somebody else has carried; `note` is what else is to be said."""
        self.watched[watched.run.id] = watched
        self._collect(watched, outcome, at, note)

    def _collect(
        self,
        watched: Watched,
        outcome: Outcome,
        at: datetime,
        note: str | None = None,
        *,
        full: bool = False,
    ) -> None:
        ended = outcomes.collect(
            *(watched, outcome, at, self.slots), note=note, full=full, note_gap=self._note_gap
        )
        self._ended.append(ended)

    def adopt(self, run: Run, task: Task, now: datetime) -> list[Wanted]:
        """Make one run ours, if it is still pending, whatever else runs; to be spawned after the transaction."""
        if not self.here.store.runs.still([run.id], State.PENDING):
            return []
        wanted = [self._want(run, task, now)]
        self._make_running(wanted, now)
        return wanted

    def _want(self, run: Run, task: Task, now: datetime) -> Wanted:
        name, slots = self.name, self.slots
        if self.carrier is not None:
            name = self.carrier.unit(run.id)
            slots = Slots(self.here.output, name)  # a file that goes by the unit, not by us
        started = like(run, state=State.RUNNING, started=now, reason=None)
        return Wanted(started, task, slots.take(account.owner(task.user)), name)

    def _make_running(self, wanted: Sequence[Wanted], now: datetime) -> None:
        """Write that pending runs are running."""
        processes = [
            Process(
                *(each.run.id, each.name, self.boot_id),
                *(each.slot.name, each.slot.inode, self.namespace),
            )
            for each in wanted
        ]
        self.here.store.runs.start(processes, now)
        for each in wanted:
            announce.started(self.here, each.task, each.run, now)

    def _next(self, taken: list[Wanted], now: datetime) -> None:
        """Take the next pending runs up to the limits, in the transaction of the caller."""
        if self.closing:
            return
        free = self.here.config.max_parallel - self.here.store.runs.running_count()
        free = min(free, room() - len(self.watched))
        while free > 0 and (runs := self.here.store.runs.startable(free, now)):
            before = len(taken)
            self._start_each(taken, runs, now)
            free -= len(taken) - before
        left = until_ready(self.here, now)
        waits = left is not None and self._waits_for_all()
        self.wake_at = time.monotonic() + left if left is not None and waits else None

    def _waits_for_all(self) -> bool:
        """Whether we are the one supervisor that waits for runs whose time comes; until we end, once we are."""
        if not self._waiting:
            with ExitStack() as locked:
                fd = locked.enter_context(lock.held(self.here.supervisor(WAITING)))
                self._waiting = fd is not None
                if self._waiting:
                    self.lasting.push(locked.pop_all())
        return self._waiting

    def _start_each(self, taken: list[Wanted], runs: Sequence[Run], now: datetime) -> None:
        """Take the first of the runs, and those that may start beside the ones before them."""
        tasks = self.here.store.tasks.by_id({run.task_id for run in runs})
        seen, before = set[object](), len(taken)
        for run in runs:
            # Each was found to be startable alone, not beside others of its task or group.
            task = tasks[run.task_id]
            kin = {task.id, task.group} - {None}
            if not seen & kin:
                taken += self._want_or_not(run, task, now)
            seen |= kin
        wanted = taken[before:]
        del taken[before:]
        taken += self._running(wanted, now)

    def _running(self, wanted: Sequence[Wanted], now: datetime) -> Sequence[Wanted]:
        """Make runs running and return them, without those where that fails, which end."""
        mark = self.here.log.mark()
        try:
            with self.here.store.savepoint():
                self._make_running(wanted, now)
            return wanted
        except (StoreBusy, StoreRefused):
            raise
        except Exception as exc:  # noqa: BLE001  as below
            self.here.log.forget(mark)
            if len(wanted) > 1:
                return [each for one in wanted for each in self._running([one], now)]
            (each,) = wanted
            self.slots.drop(each.slot)
            follow_up.finish(self.here, _unstarted(each.run, in_words(exc), now))
            return []

    def _want_or_not(self, run: Run, task: Task, now: datetime) -> list[Wanted]:
        try:
            late = policy.too_late(task, run, now)
            if late is None:
                return [self._want(run, task, now)]
            end = End(run, State.MISSED, late, now)
        except Exception as exc:  # noqa: BLE001  whatever is wrong with one run, the others have to start
            what = "its output file: " if isinstance(exc, OSError) else ""
            end = _unstarted(run, f"{what}{in_words(exc)}", now)
        follow_up.finish(self.here, end)
        return []

    def spawn(self, batch: Sequence[Wanted], now: datetime) -> None:
        """Start the processes of runs that were made running."""
        for each in batch:
            run, slot = each.run, each.slot
            watched = self.watched[run.id] = Watched(run, terms(each.task), slot, each.name)
            try:
                log_lines.started(self.here, run, now)
                resolved = command.resolve(each.task, run, self.here.config, now)
                if self.carrier is None or not self._handed_over(watched, resolved):
                    self._start(watched, resolved, now)
            except Exception as exc:  # noqa: BLE001  whatever is wrong with one run, the others have to start
                self._collect(watched, Outcome(error=f"could not start: {in_words(exc)}"), now)

    def _start(self, watched: Watched, resolved: Command, now: datetime) -> None:
        child = self.children.start(watched.run.id, resolved, watched.slot.fd)
        if isinstance(child, Outcome):
            self._collect(watched, child, now)
            return
        if not self._unnoted:
            self._note_by = time.monotonic() + SOON
        self._unnoted.append(child)

    def _handed_over(self, watched: Watched, resolved: Command) -> bool:
        """Let the carrier have a run; False when we have to carry it after all."""
        assert self.carrier is not None
        try:
            refused = self.carrier.start(watched.name, watched.run, resolved, watched.slot)
        except LookupError:  # there is no such user: our own start says so
            return False
        except OSError as exc:  # what it is to be told could not be written down
            refused = str(exc.strerror)
        if refused is None:
            del self.watched[watched.run.id]
            os.close(watched.slot.fd)
            return True
        self.refused = refused
        if not self.carrier.falls_back:
            self._collect(watched, Outcome(error=f"could not start: {refused}"), self.here.now())
            return True
        # The row names the unit: as long as we live, that is us.
        self.lasting.enter_context(lock.held_own(self.here.supervisor(watched.name)))
        return False

    def _hand_on(self) -> None:
        """Leave to systemd what does not need us: stops it was told of, and the wait for the next run."""
        self.stops.hand_on()
        if self.carrier is None or self.wake_at is None:
            return
        now = self.here.now()
        ready = self.here.store.runs.soonest(now)
        if ready is not None:
            self.carrier.wake(ready, (ready - now).total_seconds())
        self.wake_at = None

    def _note_children(self) -> None:
        """Keep how our children are recognised; those that have ended already need not be any more."""
        living = [child for child in self._unnoted if child.key in self.children.running]
        with suppress(StoreBusy, StoreRefused):  # it can be found by its output, too
            if living:
                with self.here.store.transaction(durable=False, patience=PATIENCE):
                    for child in living:
                        with log_lines.apart(self.here, f"the process of run {child.key}"):
                            ticks = alive.started_ticks(child.pid)
                            self.here.store.processes.note_child(child.key, child.pid, ticks)
        self._unnoted.clear()

    def _record(self, ended: Sequence[Ended], stopped: Mapping[int, Process]) -> None:
        """Write how runs ended, in the transaction of the caller."""
        ends = [outcomes.judged(each, stopped.get(each.watched.run.id)) for each in ended]
        self.finished += follow_up.finish(self.here, *ends, retry=self.retries)

    def _stopped_elsewhere(self, run_id: int) -> bool:
        try:
            process = self.here.store.processes.of(run_id)
        except (StoreBusy, StoreRefused):
            return False
        return process is not None and process.stop_state is not None

    def _look_for_stops(self) -> None:
        """Stop those of our runs that somebody wants stopped who cannot reach them, from another pid namespace."""
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
        reason = verdict.overdue(self.watched[run_id].terms)
        self._say_why([run_id], State.TIMED_OUT, reason)

    def _say_silent(self, run_id: int) -> None:
        reason = verdict.silent(self.watched[run_id].terms)
        self._say_why([run_id], State.TIMED_OUT, reason)

    def _say_why(self, run_ids: Iterable[int], state: State, reason: str) -> None:
        """Write why runs are stopped, before they are; a store that takes nothing does not keep us from it."""
        now = self.here.now()
        store = self.here.store
        with suppress(StoreBusy, StoreRefused), store.transaction(patience=PATIENCE):
            for run_id in run_ids:
                with log_lines.apart(self.here, f"the reason to stop run {run_id}"):
                    store.processes.ask_to_stop(run_id, state, reason, now)

    def stop_all(self, reason: str) -> None:
        """Stop all our children, starting nothing more; each row says why before the signal is sent."""
        self.closing = self.stopped = True
        self._say_why(self.watched, State.CANCELLED, reason)
        for run_id in self.children.running:
            self.children.stop(run_id)

    def kill_all(self) -> None:
        """Kill all our children at once."""
        for run_id in self.children.running:
            self.children.kill(run_id)

    def stop_some(self, run_ids: Sequence[int]) -> None:
        """Stop runs whose rows say that they are being stopped, whoever watches over them."""
        for run_id in run_ids:
            if run_id in self.children.running:
                self.children.stop(run_id)
        self.stops.begin(self.here, [run_id for run_id in run_ids if run_id not in self.watched])


def _unstarted(run: Run, why: str, now: datetime) -> End:
    """Return the end of a run that could not be started."""
    return End(run, State.FAILED, f"could not start: {why}", now)


def anything_to_start(here: OpenHome) -> bool:
    """Return whether a supervisor would find a run that may start, now or before the next tick."""
    now = here.now()
    return bool(here.store.runs.startable(1, now)) or until_ready(here, now) is not None


def until_ready(here: OpenHome, now: datetime) -> float | None:
    """Return in how many seconds the next run that waits for its time is ready; None when a tick comes before."""
    ready = here.store.runs.soonest(now) if here.goes_on else None
    if ready is None or ready - now >= here.config.tick_period:
        return None
    return (ready - now).total_seconds()


def send_off(here: OpenHome, carrier: Carrier | None) -> None:
    """Let what is to be told be sent, by a process of its own."""
    if carrier is None:
        sender.send_off(here)
    else:
        carrier.send_off()


@contextmanager
def open_supervisor(
    here: OpenHome, *, name: str | None = None, carrier: Carrier | None = None
) -> Iterator[Supervisor]:
    """Be a supervisor for the block: known by a locked file, which is gone afterwards.

    With a `name` we are the one that the row of a run tells already.
    """
    paths.create(here.folder)  # a store that was put back may have come without its folders
    name = name or f"{os.getpid()}-{os.urandom(4).hex()}"
    with lock.held_own(here.supervisor(name)):
        slots = Slots(here.output, name)
        ours = Supervisor(here, name, slots, carrier)
        try:
            yield ours
        finally:
            slots.close()
            ours.children.close()
            ours.lasting.close()
            ours.here.log.write()
