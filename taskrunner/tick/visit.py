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
from datetime import timedelta
from functools import partial

from taskrunner import clock, host
from taskrunner.decide import capacity, policy
from taskrunner.errors import StoreFull
from taskrunner.home import heartbeat, lock, paths
from taskrunner.model.values import State, Task
from taskrunner.notify import log_lines
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import reconcile, spool, start, supervisor
from taskrunner.supervise.start import Carrier
from taskrunner.supervise.supervisor import Supervisor
from taskrunner.tick import claim, clock_changes, idle_check, lock_holder
from taskrunner.tick.claim import Visit
from taskrunner.upkeep import disk_reserve, retention

LOCK_WAIT = 2.0  # seconds; then another tick is running, and does the same work

Publish = Callable[[OpenHome], str | None]  # returns a problem, or None


def quietly(_: OpenHome) -> str | None:
    """Publish nothing."""
    return None


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
        return _tick(here, caller, only, carrier, publish)
    except StoreFull:
        if not disk_reserve.release(here.folder):
            raise
    retention.step(here, now, by_age=False)
    return _tick(here, caller, only, carrier, publish)


def _tick(
    here: OpenHome,
    caller: str,
    only: Sequence[Task] | None,
    carrier: Carrier | None,
    publish: Publish,
) -> Visit:
    visit = claim_under_lock(here, caller, only=only)
    if visit.busy:
        return visit
    announce(here, carrier)
    filling = claim.fill(here.store, visit.claimed)
    if visit.stops or start.anything_to_start(here):
        _supervise(here, visit, filling, carrier, publish)
    for _ in filling:
        pass
    clean_up(here, visit)
    if carrier is not None:
        carrier.tell([*visit.runs, *here.store.runs.ended_unseen(visit.at)])
    visit.warning = visit.warning or publish(here)
    here.store.checkpoint()
    return visit


# ---- under the lock


def claim_under_lock(
    here: OpenHome,
    caller: str,
    *,
    only: Sequence[Task] | None = None,
    period: timedelta | None = None,
) -> Visit:
    """Reconcile, decide and claim; no claimed run is started yet.

    A visit that handles `only` some tasks writes no heartbeat.
    """
    place = here.path(paths.LOCK)
    with lock.held(place, LOCK_WAIT) as fd:
        if fd is None:
            lock_holder.check(place, here.now())
            return Visit(here.now(), busy=True)
        visit = Visit(here.now())
        lock_holder.sign(fd, visit.at)
        beat = _beat(visit, caller, period or here.config.tick_period)
        last = heartbeat.read(here.path(paths.HEARTBEAT))
        visit.clock_agrees = retention.agrees(last, beat)
        if only is None:
            clock_changes.notice(here.store, visit.at, last, beat)
        spool.take_up(here)
        with here.store.transaction():
            visit.stops = reconcile.reconcile(here, visit.at)
            reconcile.sweep(here)  # locked: others make files before they write their rows
        _decide(here, visit, only, caller)
        if only is None:
            heartbeat.write(here.path(paths.HEARTBEAT), beat)
        here.log.write()
        return visit


def _beat(visit: Visit, caller: str, period: timedelta) -> heartbeat.Beat:
    length = period // claim.MS
    return heartbeat.Beat(clock.to_ms(visit.at), length, host.boot_id(), caller, host.since_boot())


def _decide(here: OpenHome, visit: Visit, only: Sequence[Task] | None, caller: str) -> None:
    """Decide about pending runs and due tasks, and claim due slots unless scheduled runs are paused."""
    boot = host.boot(daemon=caller == "daemon")
    here.store.facts.see_boot(boot)
    live, tasks = here.store.runs.live(), {}
    visit.decisions = [policy.waiting(run, visit.at) for run in live if run.state is State.PENDING]
    if here.store.facts.held(visit.at) is None:
        tasks = claim.claim_due(here, visit, boot, only)
    log_lines.decided(here.log, visit.decisions, visit.at, caller)
    ids = capacity.task_ids(visit.decisions, live)
    limits = here.config.max_parallel, here.store.tasks.group_limits()
    visit.decisions = capacity.with_room(
        visit.decisions, live, here.store.tasks.by_id(ids, tasks), *limits
    )


# ---- after the lock


def announce(here: OpenHome, carrier: Carrier | None) -> None:
    """Have messages sent if there are any."""
    if here.store.outbox.take_new() or here.store.outbox.anything_due(here.now()):
        supervisor.send_off(here, carrier)


def _supervise(
    here: OpenHome,
    visit: Visit,
    filling: Iterator[int],
    carrier: Carrier | None,
    publish: Publish,
) -> None:
    """Supervise until all runs have ended; a signal stops them, a second one kills them."""
    with (
        supervisor.open_supervisor(here, carrier=carrier) as ours,
        stop_signals(ours.children) as signals,
    ):
        ours.stop_some(visit.stops)
        pauses = _pauses(here, filling, publish)
        for _ in ours.rounds(pause=partial(next, pauses), hand_on=True):
            if signals:
                visit.interrupted = signals[0]
                _stop(ours, signals)
        visit.runs = ours.finished
        if ours.refused is not None:
            visit.warning = (
                f"systemd did not take a run, and this process carries it: {ours.refused}"
            )


def _pauses(here: OpenHome, filling: Iterator[int], publish: Publish) -> Iterator[float | None]:
    """Yield how long to wait for our runs; do the remaining work meanwhile."""
    publish(here)  # monitoring must not report a dead clock while our runs go on
    yield from (0 for _ in filling)
    while True:
        yield None


def _stop(ours: Supervisor, signals: Sequence[int]) -> None:
    """Stop all children at the first signal, kill them at the second."""
    if not ours.closing:
        ours.stop_all("the tick was interrupted")
    if len(signals) > 1:
        ours.kill_all()


def clean_up(here: OpenHome, visit: Visit) -> None:
    """Delete some history that is older than the retention settings, and keep the disk reserve."""
    if visit.interrupted is None:
        retention.step(here, visit.at, by_age=visit.clock_agrees)
    disk_reserve.keep(here.folder)
