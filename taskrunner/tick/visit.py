"""The conductor: one visit of the clock, from the doorman to the last child.

    doorman      is anything due, pending or left behind?
    lock         short: deciding and claiming, never running
      reconcile  what became of runs whose supervisor is gone
      decide     pure, slot by slot
      claim      rows in, next slot forward, one savepoint per task
    supervise    start what is pending, record what ends

With `supervise` the only room that drives both the store and the runner.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

from taskrunner import clock
from taskrunner.decide import capacity, policy
from taskrunner.errors import StoreFull
from taskrunner.home import heartbeat, lock, paths
from taskrunner.model.values import State, Task
from taskrunner.notify import log_lines
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import reconcile, spool, supervisor
from taskrunner.tick import claim, clock_changes, idle_check, lock_holder
from taskrunner.upkeep import disk_reserve, retention

LOCK_WAIT = 2.0  # seconds; then another tick is at work, and does ours

Publish = Callable[[OpenHome], str | None]  # returns what is wrong with it


def quietly(_: OpenHome) -> str | None:
    """Publish nothing."""
    return None


def tick(
    here: OpenHome,
    *,
    caller: str = "library",
    only: Sequence[Task] | None = None,
    carrier: supervisor.Carrier | None = None,
    publish: Publish = quietly,
) -> claim.Visit:
    """Do one visit of the clock and return when everything it started has ended, or is with a `carrier`.

    When there is anything to do, it lets its metrics `publish`, once what is due runs and at the end.
    Raises LockHeld, StoreBusy, StoreRefused or HomeRefused.
    """
    now = here.now()
    if only is None and idle_check.idle(here.folder, clock.to_ms(now), caller):
        return claim.Visit(now, idle=True)
    try:
        return _work(here, caller, only, carrier, publish)
    except StoreFull:
        if not disk_reserve.give_up(here.folder):
            raise
    retention.step(here, now, by_age=False)
    return _work(here, caller, only, carrier, publish)


def _work(
    here: OpenHome,
    caller: str,
    only: Sequence[Task] | None,
    carrier: supervisor.Carrier | None,
    publish: Publish,
) -> claim.Visit:
    made = claims(here, caller, only=only)
    visit = made.visit
    if visit.busy:
        return visit
    if here.store.outbox.take_new() or here.store.outbox.anything_due(visit.at):
        supervisor.send_off(here, carrier)
    filling = claim.fill(here, made.claimed)
    if made.stops or supervisor.anything_to_start(here):
        carry_out(here, made, filling, carrier, publish)
    for _ in filling:
        pass
    if visit.interrupted is None:
        retention.step(here, visit.at, by_age=made.agrees)
    disk_reserve.keep(here.folder)
    if carrier is not None:
        carrier.tell([*visit.runs, *here.store.runs.ended_unseen(visit.at)])
    visit.warning = visit.warning or publish(here)
    here.store.checkpoint()
    return visit


def carry_out(
    here: OpenHome,
    made: claim.Claims,
    filling: Iterator[int],
    carrier: supervisor.Carrier | None = None,
    publish: Publish = quietly,
) -> None:
    """Supervise until nothing is left to watch; a signal stops the runs, a second one kills them."""
    with (
        supervisor.supervisor(here, carrier=carrier) as me,
        stop_signals(me.children) as signals,
    ):
        me.stop_some(made.stops)
        me.known = made.known
        me.turn()
        me.hand_on()
        publish(here)  # others are not to take the clock for dead while our runs go on
        while me.busy:
            filled = next(filling, None)
            me.wait(None if filled is None else 0)
            if signals:
                made.visit.interrupted = signals[0]
                hurry(me, signals, "the tick was interrupted")
            me.turn()
            me.hand_on()
        made.visit.runs = me.finished
        if me.refused is not None:
            made.visit.warning = (
                f"systemd did not take a run, and this process carries it: {me.refused}"
            )


def hurry(me: supervisor.Supervisor, signals: Sequence[int], reason: str) -> None:
    """Stop all children at the first signal, kill them at the second."""
    if not me.closing:
        me.stop_all(reason)
    if len(signals) > 1:
        me.kill_all()


# ---- the part under the lock


def claims(
    here: OpenHome,
    caller: str,
    *,
    only: Sequence[Task] | None = None,
    period: timedelta | None = None,
) -> claim.Claims:
    """Reconcile, decide and claim, under the lock; what is claimed is not started yet.

    A visit to some tasks `only` leaves no heartbeat, since it has not seen to the others.
    """
    with lock.held(here.path(paths.LOCK), LOCK_WAIT) as fd:
        if fd is None:
            lock_holder._name_the_holder(here)
            return claim.Claims(claim.Visit(here.now(), busy=True))
        now, boot_id = here.now(), clock.boot_id()
        with suppress(OSError):  # the disk is full: what cannot be done will say so
            os.pwrite(fd, lock_holder._half(os.getpid(), clock.to_ms(now)), 0)
        made = claim.Claims(claim.Visit(now))
        length = (period or here.config.tick_period) // claim.MS
        beat = heartbeat.Beat(clock.to_ms(now), length, boot_id, caller, clock.since_boot())
        last = heartbeat.read(here.path(paths.HEARTBEAT))
        made.agrees = retention.agrees(last, beat)
        if only is None:
            clock_changes.notice(here, now, last, beat)
        spool.take_up(here)
        with here.store.transaction():
            made.stops = reconcile.reconcile(here, now)
            reconcile.sweep(here)  # here, as others may have made files for rows not yet written
        boot = clock.boot(daemon=caller == "daemon")
        here.store.facts.see_boot(boot)
        _decide(here, made, boot, only, caller)
        if only is None:
            heartbeat.write(here.path(paths.HEARTBEAT), beat)
        here.log.write()
        return made


def _decide(
    here: OpenHome, made: claim.Claims, boot: str, only: Sequence[Task] | None, caller: str
) -> None:
    """Decide about what waits and what is due, and claim it, unless the store is held."""
    live, visit = here.store.runs.live(), made.visit
    visit.decisions = [policy.waiting(run, visit.at) for run in live if run.state is State.PENDING]
    if here.store.facts.held(visit.at) is None:
        claim._claim_all(here, made, boot, only)
    log_lines.decided(here, visit.decisions, visit.at, caller)
    visit.decisions = capacity.with_room(here, visit.decisions, live, made.known.tasks)
