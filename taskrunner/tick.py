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
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from taskrunner import (
    claim,
    clock,
    doorman,
    heartbeat,
    home,
    lock,
    policy,
    reconcile,
    runner,
    schedule,
    supervise,
)
from taskrunner.errors import InputError, LockHeld, StoreBusy, StoreRefused
from taskrunner.model import Event, Kind, Run, State, Task
from taskrunner.opened import OpenHome
from taskrunner.policy import Action, Decision, Open, Span

LOCK_WAIT = 2.0  # seconds; then another tick is at work, and does ours
LOCK_TOO_LONG = 300.0  # seconds; deciding and claiming never takes that long
COMPLAIN_AGAIN = timedelta(hours=1)
HALF = 64  # bytes of the lock file
BATCH = 200  # tasks in one transaction, or ...
BATCH_TIME = 0.05  # ... seconds, whichever comes first: the longest we keep other writers waiting
# The clock went back by more: it was wrong before. cron(8) draws the same line.
STEP_BACK = timedelta(hours=3)
FILL = 100  # tasks whose following slot is computed at a time, while children run
MS = timedelta(milliseconds=1)


@dataclass
class Visit:
    """What one visit of the clock decided, and what came of it."""

    at: datetime
    idle: bool = False
    busy: bool = False  # another tick held the lock
    decisions: list[Decision] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    interrupted: int | None = None  # the signal that ended it early
    stops: list[int] = field(default_factory=list)  # runs that are to be stopped
    # Tasks with their next slots, whose following slots are not known yet.
    claimed: list[tuple[Task, datetime]] = field(default_factory=list)


def tick(here: OpenHome, *, caller: str = "library", only: Task | None = None) -> Visit:
    """Do one visit of the clock and return when everything it started has ended.

    Raises LockHeld, StoreBusy, StoreRefused or HomeRefused.
    """
    now = here.now()
    if only is None and doorman.idle(here.folder, clock.to_ms(now), caller):
        return Visit(now, idle=True)
    visit = claims(here, caller, only=only)
    if visit.busy:
        return visit
    filling = fill(here, visit.claimed)
    if visit.stops or here.store.startable(1):
        carry_out(here, visit, filling)
    for _ in filling:
        pass
    here.store.checkpoint()
    return visit


def carry_out(here: OpenHome, visit: Visit, filling: Iterator[int]) -> None:
    """Supervise until nothing is left to watch; a signal stops the runs, a second one kills them."""
    with supervise.supervisor(here) as me, runner.stop_signals(me.children) as signals:
        me.stop_others(visit.stops)
        me.turn()
        while me.busy:
            filled = next(filling, None)
            me.wait(None if filled is None else 0)
            if signals:
                visit.interrupted = signals[0]
                hurry(me, signals, "the tick was interrupted")
            me.turn()
        visit.runs = me.finished


def hurry(me: supervise.Supervisor, signals: Sequence[int], reason: str) -> None:
    """Stop all children at the first signal, kill them at the second."""
    if not me.closing:
        me.stop_all(reason)
    if len(signals) > 1:
        me.kill_all()


# ---- the part under the lock


def claims(
    here: OpenHome, caller: str, *, only: Task | None = None, period: timedelta | None = None
) -> Visit:
    """Reconcile, decide and claim, under the lock; what is claimed is not started yet.

    A visit to `only` one task leaves no heartbeat, since it has not seen to the others.
    """
    with lock.held(here.path(home.LOCK), LOCK_WAIT) as fd:
        if fd is None:
            _name_the_holder(here)
            return Visit(here.now(), busy=True)
        now, boot_id = here.now(), clock.boot_id()
        os.pwrite(fd, _half(os.getpid(), clock.to_ms(now)), 0)
        visit = Visit(now)
        beat = heartbeat.Beat(
            clock.to_ms(now), (period or here.config.tick_period) // MS, boot_id, caller
        )
        if only is None:
            _notice_clock(here, now, beat)
        with here.store.transaction():
            visit.stops = reconcile.reconcile(here, now)
        reconcile.sweep(here)
        _claim_all(here, visit, boot_id, only)
        if only is None:
            heartbeat.write(here.path(home.HEARTBEAT), beat)
        return visit


def _name_the_holder(here: OpenHome) -> None:
    """Raise LockHeld, once an hour, when the same tick has held the lock for longer than any should.

    The first half of the lock file is written by its holder, the second by who complained last.
    """
    try:
        with open(here.path(home.LOCK), "r+b", buffering=0) as file:
            pid, since = map(int, file.read(HALF).split())
            seconds = (here.now() - clock.from_ms(since)).total_seconds()
            told = [int(part) for part in file.read(HALF).split()]
            if seconds <= LOCK_TOO_LONG or _lately(here, told):
                return
            file.seek(HALF)
            file.write(_half(clock.to_ms(here.now())))
    except (OSError, ValueError):
        return
    raise LockHeld(
        f"the tick with pid {pid} has held the lock for {seconds / 60:.0f} minutes: "
        "look what it waits for, or end it"
    )


def _lately(here: OpenHome, told: Sequence[int]) -> bool:
    return any(here.now() - clock.from_ms(at) < COMPLAIN_AGAIN for at in told)


def _half(*numbers: int) -> bytes:
    return " ".join(map(str, numbers)).ljust(HALF - 1).encode() + b"\n"


def _claim_all(here: OpenHome, visit: Visit, boot_id: str, only: Task | None) -> None:
    key, due = None if only is None else only.id, True
    while due:
        with here.store.transaction():
            # Read inside: what a person changes meanwhile is not to be overwritten.
            tasks = here.store.due(visit.at, boot_id, BATCH, key)
            live = _by_task(here.store.live_of(tasks))
            end = time.monotonic() + BATCH_TIME
            for task in tasks:
                visit.decisions += _claim_one(here, visit, task, live.get(task.id, []), boot_id)
                if time.monotonic() > end:
                    break
        due = bool(tasks)


def _by_task(runs: Sequence[Run]) -> dict[int, list[Run]]:
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.task_id, []).append(run)
    return found


def _claim_one(
    here: OpenHome, visit: Visit, task: Task, live: Sequence[Run], boot_id: str
) -> list[Decision]:
    """Claim what is due of a task; one that cannot be evaluated is pushed ahead and says why."""
    try:
        with here.store.savepoint():
            decisions, changes = evaluate(task, live, visit.at, boot_id)
            here.store.change_task(task.id, **changes)
            for decision in decisions:
                run_id = claim.write(here, decision, visit.at)
                if decision.action is Action.REPLACE and run_id is not None:
                    visit.stops += [run.id for run in live if run.id in decision.stops]
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  whatever is wrong with one task, the others have to come due
        claim.put_off(here, task, visit.at, f"{exc}")
        return []
    if changes.get("next") is not None:
        visit.claimed.append((task, changes["next"]))
    return decisions


def evaluate(
    task: Task, live: Sequence[Run], now: datetime, boot_id: str
) -> tuple[list[Decision], dict[str, Any]]:
    """Return what becomes of the open slots of a task, and how its row moves forward; writes nothing."""
    decisions: list[Decision] = []
    changes: dict[str, Any] = {"evaluated": max(task.evaluated, now), "error": None}
    if task.requested is not None:
        decisions.append(policy.requested(task, task.requested, live))
        changes["requested"] = None
    if task.kind is Kind.BOOT and task.boot_id != boot_id:
        decisions += policy.decide(task, Open(Span(now, now), [now]), live, now)
        changes["boot_id"] = boot_id
    elif task.next is not None and task.next <= now:
        slots, changes["next"] = open_slots(task, now)
        changes["following"] = None
        if slots is not None:
            decisions += policy.decide(task, slots, live, now)
    return decisions, changes


def open_slots(task: Task, now: datetime) -> tuple[Open | None, datetime | None]:
    """Return the slots of a task in (evaluated, now], None when there are none, and the first one after now."""
    due = task.next
    if due is not None and task.following is not None and due <= now < task.following:
        return Open(Span(due, due), [due]), task.following
    value = claim.value_of(task)
    if due is not None and task.from_finish:
        return Open(Span(due, due), [due]), None
    newest = schedule.newest(value, task.evaluated, now)
    first = value.next_after(task.evaluated)
    if newest is None or first is None:
        return None, first
    count, at_least = schedule.count(value, task.evaluated, now)
    few = schedule.newest_slots(value, task.evaluated, now, min(policy.wanted(task), count))
    return Open(Span(newest, first, count, at_least), few), claim.slot_after(value, now)


def fill(here: OpenHome, claimed: Sequence[tuple[Task, datetime]]) -> Iterator[int]:
    """Compute the slots after the next ones, a few at each step, so that the next claim needs no croniter."""
    for start in range(0, len(claimed), FILL):
        batch = claimed[start : start + FILL]
        found = [(task, slot, claim.slot_after(claim.value_of(task), slot)) for task, slot in batch]
        with here.store.transaction(durable=False):
            for task, slot, following in found:
                here.store.fill_following(task, slot, following)
        yield len(batch)


# ---- the clock itself


def _notice_clock(here: OpenHome, now: datetime, beat: heartbeat.Beat) -> None:
    """Write to the ledger what the clock did since the last tick, and compute anew what it made wrong."""
    last = heartbeat.read(here.path(home.HEARTBEAT))
    event = None if last is None else _clock_event(last, beat)
    if event is not None:
        with here.store.transaction():
            here.store.note(event)
    if last is None or beat.at < last.at - STEP_BACK // MS:
        _compute_anew(here, here.store.evaluated_after(now + STEP_BACK), evaluated=now)
    known, stamp = here.store.fact("zone_data"), clock.zone_stamp()
    if known != stamp:
        if known is not None:  # else the store is new, and so are its slots
            _compute_anew(here, here.store.with_slots())
        with here.store.transaction():
            here.store.set_fact("zone_data", stamp)


def _clock_event(last: heartbeat.Beat, beat: heartbeat.Beat) -> Event | None:
    at = clock.from_ms(beat.at)
    since = clock.iso(clock.from_ms(last.at))
    if beat.at < last.at:
        return Event(
            at,
            "step back",
            "tick",
            text=f"the clock went back by {(last.at - beat.at) / 1000:.0f} s, from {since}",
        )
    if beat.at - last.at > doorman.GAP * last.period:
        why = (
            "reboot"
            if last.boot_id != beat.boot_id
            else "the clock entry did not fire, or the machine was suspended"
        )
        return Event(at, "gap", "tick", text=f"no tick since {since}: {why}")
    return None


def _compute_anew(here: OpenHome, tasks: Sequence[Task], evaluated: datetime | None = None) -> None:
    """Compute the next slots of tasks again, from `evaluated` or from where each stands."""
    for start in range(0, len(tasks), BATCH):
        with here.store.transaction():
            for task in tasks[start : start + BATCH]:
                here.store.change_task(task.id, **_next_anew(task, evaluated or task.evaluated))


def _next_anew(task: Task, evaluated: datetime) -> dict[str, Any]:
    # A run that started in a future that never was would hide all that really come after it.
    past = {} if task.last_run is None or task.last_run <= evaluated else {"last_run": None}
    if task.from_finish:
        return {"evaluated": evaluated, **past, **_nearer(task, evaluated)}
    return {
        "evaluated": evaluated,
        "next": claim.value_of(task).next_after(evaluated),
        "following": None,
        **past,
    }


def _nearer(task: Task, evaluated: datetime) -> dict[str, Any]:
    """Return a next slot of a delay that is no further away than the delay."""
    value = claim.value_of(task)
    assert isinstance(value, schedule.Every)
    latest = value.after_finish(evaluated)
    return {} if task.next is None else {"next": min(task.next, latest)}


# ---- what a tick would do


def dry_run(here: OpenHome, at: datetime, only: Task | None = None) -> list[Decision]:
    """Return exactly what a tick at this instant would decide, slot by slot; writes nothing."""
    live = here.store.live()
    by_task, boot_id = _by_task(live), clock.boot_id()
    decisions = [policy.waiting(run) for run in live if run.state is State.PENDING]
    for task in here.store.due(at, boot_id, -1, None if only is None else only.id):
        with suppress(InputError):  # the tick would push it ahead, and say why
            decisions += evaluate(task, by_task.get(task.id, []), at, boot_id)[0]
    running = [run for run in live if run.state is State.RUNNING]
    return policy.within_capacity(decisions, running, here.config.max_parallel)
