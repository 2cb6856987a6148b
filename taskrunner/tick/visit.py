"""One visit of the clock: look, lock, reconcile, decide, claim, supervise, announce.

    look         check whether anything is due, pending or left behind
    lock         short: decide and claim, never run
      reconcile  settle runs whose supervisor is dead
      decide     pure functions, slot by slot
      claim      write rows and next slots, one savepoint per batch of tasks
    supervise    start pending runs, record their ends
    announce     send messages, in a process of its own

With `supervise` the only folder that uses both the store and the processes.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

from taskrunner import clock, host
from taskrunner.decide import capacity, policy
from taskrunner.errors import StoreFull, TaskRunnerError
from taskrunner.home import heartbeat, lock, paths
from taskrunner.model.decisions import Decision
from taskrunner.model.record import field, mutable
from taskrunner.model.values import Run, State, Task
from taskrunner.notify import log_lines
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, reconcile, spool, starts, supervisor
from taskrunner.supervise.carriers import Resident
from taskrunner.supervise.reconcile import Survey
from taskrunner.supervise.supervisor import Supervisor
from taskrunner.tick import claim, clock_changes, idle_check, lock_holder
from taskrunner.tick.claim import Claims
from taskrunner.upkeep import disk_reserve, retention

# With so many tasks due the first runs start when the first few are claimed, and the others are claimed meanwhile. With
# 500 due the first child starts after 0.7 of the time that it takes otherwise; with 10 there is nothing to gain.
MANY, FIRST = 100, 50
LOCK_WAIT = 2.0  # seconds; then another tick is running, and does the same work

Publish = Callable[[OpenHome], str | None]  # returns a problem, or None


def quietly(_: OpenHome) -> str | None:
    """Publish nothing."""
    return None


@mutable
class Visit:
    """The decisions of one tick, and their results."""

    at: datetime
    idle: bool = False
    busy: bool = False  # another tick held the lock
    decisions: list[Decision] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    interrupted: int | None = None  # the signal that ended it early
    warning: str | None = None  # a problem to report, though the work is done


def tick(
    here: OpenHome,
    *,
    caller: str = "library",
    only: Sequence[Task] | None = None,
    carrier: Resident | None = None,
    publish: Publish = quietly,
) -> Visit:
    """Do one visit and return when all its runs have ended, or a `carrier` has them.

    When there is anything to do, it calls `publish` to write metrics: after the due runs have started, and at the end.
    Raises LockHeld, StoreBusy, StoreRefused or HomeRefused.
    """
    now = here.now()
    if only is None and idle_check.idle(here.folder, clock.to_ms(now), caller):
        return Visit(now, idle=True)
    return full(here, caller=caller, only=only, carrier=carrier, publish=publish)


def full(
    here: OpenHome,
    *,
    caller: str,
    only: Sequence[Task] | None = None,
    carrier: Resident | None = None,
    publish: Publish = quietly,
) -> Visit:
    """Do what `tick` does when the idle check has found that there is something to do; it raises the same errors."""
    try:
        return Tick(here, caller, only, carrier, publish).do()
    except StoreFull:
        if not disk_reserve.release(here.folder):
            raise
    retention.step(here, here.now(), by_age=False)
    return Tick(here, caller, only, carrier, publish).do()


@mutable
class Tick:
    """One tick at work; a tick of some tasks `only` leaves no heartbeat, since it has not seen to the others."""

    here: OpenHome
    caller: str
    only: Sequence[Task] | None = None
    carrier: Resident | None = None
    publish: Publish = quietly
    period: timedelta | None = None  # until the next one; None is that of the settings
    clock_agrees: bool = False  # it advanced as far as the time since the boot
    early: bool = False  # runs start before all are claimed

    def __post_init__(self) -> None:
        self.visit = Visit(self.here.now())
        self.claims = Claims(self.here, self.visit.at)
        self._deciding: Iterator[int] = iter(())

    def do(self) -> Visit:
        """Do all of it, and return the decisions and their results."""
        self.early = self.only is None
        here, visit = self.here, self.claim_under_lock()
        if visit.busy:
            return visit
        self.announce()
        rest = chain(self._claim_rest(), self.claims.fill())
        while not (found := self._anything()) and next(rest, None) is not None:
            pass
        if found:
            self._supervise(rest)
        for _ in rest:
            pass
        self.clean_up()
        if self.carrier is not None:
            self.carrier.tell([*visit.runs, *here.store.runs.ended_unseen(visit.at)])
        visit.warning = visit.warning or self.publish(here)
        here.store.checkpoint()
        return visit

    # ---- under the lock

    def claim_under_lock(self) -> Visit:
        """Reconcile, decide and claim; no claimed run is started yet."""
        here, visit = self.here, self.visit
        place = here.path(paths.LOCK)
        with lock.held(place, LOCK_WAIT) as fd:
            visit.at = self.claims.now = here.now()
            if fd is None:
                lock_holder.check(place, visit.at)
                visit.busy = True
                return visit
            lock_holder.sign(fd, visit.at)
            beat, last = self._beat(), heartbeat.read(here.path(paths.HEARTBEAT))
            self.clock_agrees = retention.agrees(last, beat)
            if self.only is None:
                clock_changes.notice(here.store, visit.at, last, beat)
            spool.take_up(here)
            with here.store.transaction():
                self.claims.stops += Survey(here, visit.at).reconcile()
                # Here, as others may have made files for rows not yet written.
                reconcile.sweep(here)
            self._deciding = self._decide()
            self.early = next(self._deciding, None) is not None
            if self.only is None:
                heartbeat.write(here.path(paths.HEARTBEAT), beat)
            here.log.write()
            return visit

    def _claim_rest(self) -> Iterator[int]:
        """Decide and claim the rest, a batch at each step; the next tick does it when we cannot."""
        try:
            while self.early and self.visit.interrupted is None:
                with lock.held(self.here.path(paths.LOCK), LOCK_WAIT) as fd:
                    if fd is None:
                        return
                    lock_holder.sign(fd, self.visit.at)
                    self.early = next(self._deciding, None) is not None
                    self.here.log.write()
                yield 0
        except TaskRunnerError as exc:  # our runs go on
            self.visit.warning = str(exc)
        finally:
            self.early = False

    def _beat(self) -> heartbeat.Beat:
        length = (self.period or self.here.config.tick_period) // claim.MS
        at = clock.to_ms(self.visit.at)
        return heartbeat.Beat(at, length, host.boot_id(), self.caller, host.since_boot())

    def _decide(self) -> Iterator[int]:
        """Decide about pending runs and due tasks, and claim due slots unless scheduled runs are paused.

        Where many are due an `early` tick stops after each batch, so that the first runs start while the others are
        claimed; only where none of those would come before them by priority or slot.
        """
        store, visit = self.here.store, self.visit
        boot = host.boot(daemon=self.caller == "daemon")
        store.facts.see_boot(boot)
        live, tasks = store.runs.live(), dict[int, Task]()
        decisions = [policy.waiting(run, visit.at) for run in live if run.state is State.PENDING]
        if store.facts.held(visit.at) is None:
            since = visit.at - self.here.config.tick_period
            early = self.early and store.tasks.many_alike(visit.at, MANY, since)
            for batch in self.claims.claim_due(boot, self.only, FIRST if early else claim.BATCH):
                tasks.update((task.id, task) for task in batch)
                if early:
                    yield len(batch)
            decisions += self.claims.decisions
        log_lines.decided(self.here.log, decisions, visit.at, self.caller)
        ids = capacity.task_ids(decisions, live)
        settings = self.here.config
        limits = settings.max_parallel, store.tasks.group_limits(), settings.queue_limits
        known = store.tasks.by_id(ids, tasks)
        visit.decisions = capacity.with_room(decisions, live, known, *limits)

    # ---- after the lock

    def announce(self) -> None:
        """Have messages sent if there are any."""
        outbox = self.here.store.outbox
        if outbox.take_new() or outbox.anything_due(self.here.now()):
            carriers.send_off(self.here, self.carrier)

    def _anything(self) -> bool:
        """Return whether there is a run to start or to stop, or one in a queue, which may have ended."""
        here = self.here
        in_queues = here.config.queues and here.store.processes.queues()
        local = bool(self.claims.stops or in_queues) or starts.anything_to_start(here)
        return local or starts.anything_for_queues(here)

    def _supervise(self, rest: Iterator[int]) -> None:
        """Supervise until all runs have ended; a signal stops them, a second one kills them."""
        with (
            supervisor.open_supervisor(self.here, carrier=self.carrier) as ours,
            stop_signals(ours.children) as signals,
        ):
            ours.stop_some(self.claims.stops)
            pauses, stops = self._pauses(rest), len(self.claims.stops)

            def pause() -> float | None:
                seconds = next(pauses)
                return (
                    seconds if ours.busy else 0
                )  # the runs that were just claimed are to be started

            for _ in ours.rounds(lambda: ours.busy or self.early, pause, hand_on=True):
                ours.stop_some(self.claims.stops[stops:])  # replaced by the runs just claimed
                stops = len(self.claims.stops)
                if signals:
                    self.visit.interrupted = signals[0]
                    _stop(ours, signals)
            self.visit.runs = ours.finished
            if ours.refused is not None:
                self.visit.warning = ours.refused

    def _pauses(self, rest: Iterator[int]) -> Iterator[float | None]:
        """Yield how long to wait for our runs; do the remaining work meanwhile."""
        self.publish(self.here)  # monitoring must not report a dead clock while our runs go on
        yield from (0 for _ in rest)
        while True:
            yield None

    def clean_up(self) -> None:
        """Delete some history that is older than the retention settings, and keep the disk reserve."""
        if self.visit.interrupted is None:
            retention.step(self.here, self.visit.at, by_age=self.clock_agrees)
        disk_reserve.keep(self.here.folder)


def _stop(ours: Supervisor, signals: Sequence[int]) -> None:
    """Stop all children at the first signal, kill them at the second."""
    if not ours.closing:
        ours.stop_all("the tick was interrupted")
    if len(signals) > 1:
        ours.kill_all()
