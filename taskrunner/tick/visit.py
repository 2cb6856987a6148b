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
from functools import partial

from taskrunner import clock, host
from taskrunner.decide import capacity, policy
from taskrunner.errors import StoreFull
from taskrunner.home import heartbeat, lock, paths
from taskrunner.model.decisions import Decision
from taskrunner.model.record import field, mutable
from taskrunner.model.values import Run, State, Task
from taskrunner.notify import log_lines
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import reconcile, spool, starts, supervisor
from taskrunner.supervise.reconcile import Survey
from taskrunner.supervise.starts import Carrier
from taskrunner.supervise.supervisor import Supervisor
from taskrunner.tick import claim, clock_changes, idle_check, lock_holder
from taskrunner.tick.claim import Claims
from taskrunner.upkeep import disk_reserve, retention

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
    carrier: Carrier | None = None,
    publish: Publish = quietly,
) -> Visit:
    """Do one visit and return when all its runs have ended, or a `carrier` has them.

    When there is anything to do, it calls `publish` to write metrics: after the due runs have started, and at the end.
    Raises LockHeld, StoreBusy, StoreRefused or HomeRefused.
    """
    now = here.now()
    if only is None and idle_check.idle(here.folder, clock.to_ms(now), caller):
        return Visit(now, idle=True)
    try:
        return Tick(here, caller, only, carrier, publish).do()
    except StoreFull:
        if not disk_reserve.release(here.folder):
            raise
    retention.step(here, now, by_age=False)
    return Tick(here, caller, only, carrier, publish).do()


@mutable
class Tick:
    """One tick at work; a tick of some tasks `only` leaves no heartbeat, since it has not seen to the others."""

    here: OpenHome
    caller: str
    only: Sequence[Task] | None = None
    carrier: Carrier | None = None
    publish: Publish = quietly
    period: timedelta | None = None  # until the next one; None is that of the settings
    clock_agrees: bool = False  # it advanced as far as the time since the boot

    def __post_init__(self) -> None:
        self.visit = Visit(self.here.now())
        self.claims = Claims(self.here, self.visit.at)

    def do(self) -> Visit:
        """Do all of it, and return the decisions and their results."""
        here, visit = self.here, self.claim_under_lock()
        if visit.busy:
            return visit
        self.announce()
        filling = self.claims.fill()
        if self.claims.stops or starts.anything_to_start(here):
            self._supervise(filling)
        for _ in filling:
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
            self._decide()
            if self.only is None:
                heartbeat.write(here.path(paths.HEARTBEAT), beat)
            here.log.write()
            return visit

    def _beat(self) -> heartbeat.Beat:
        length = (self.period or self.here.config.tick_period) // claim.MS
        at = clock.to_ms(self.visit.at)
        return heartbeat.Beat(at, length, host.boot_id(), self.caller, host.since_boot())

    def _decide(self) -> None:
        """Decide about pending runs and due tasks, and claim due slots unless scheduled runs are paused."""
        store, visit = self.here.store, self.visit
        boot = host.boot(daemon=self.caller == "daemon")
        store.facts.see_boot(boot)
        live, tasks = store.runs.live(), dict[int, Task]()
        decisions = [policy.waiting(run, visit.at) for run in live if run.state is State.PENDING]
        if store.facts.held(visit.at) is None:
            tasks = self.claims.claim_due(boot, self.only)
            decisions += self.claims.decisions
        log_lines.decided(self.here.log, decisions, visit.at, self.caller)
        ids = capacity.task_ids(decisions, live)
        limits = self.here.config.max_parallel, store.tasks.group_limits()
        known = store.tasks.by_id(ids, tasks)
        visit.decisions = capacity.with_room(decisions, live, known, *limits)

    # ---- after the lock

    def announce(self) -> None:
        """Have messages sent if there are any."""
        outbox = self.here.store.outbox
        if outbox.take_new() or outbox.anything_due(self.here.now()):
            supervisor.send_off(self.here, self.carrier)

    def _supervise(self, filling: Iterator[int]) -> None:
        """Supervise until all runs have ended; a signal stops them, a second one kills them."""
        with (
            supervisor.open_supervisor(self.here, carrier=self.carrier) as ours,
            stop_signals(ours.children) as signals,
        ):
            ours.stop_some(self.claims.stops)
            pauses = self._pauses(filling)
            for _ in ours.rounds(pause=partial(next, pauses), hand_on=True):
                if signals:
                    self.visit.interrupted = signals[0]
                    _stop(ours, signals)
            self.visit.runs = ours.finished
            if ours.refused is not None:
                self.visit.warning = (
                    f"systemd did not take a run, and this process carries it: {ours.refused}"
                )

    def _pauses(self, filling: Iterator[int]) -> Iterator[float | None]:
        """Yield how long to wait for our runs; do the remaining work meanwhile."""
        self.publish(self.here)  # monitoring must not report a dead clock while our runs go on
        yield from (0 for _ in filling)
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
