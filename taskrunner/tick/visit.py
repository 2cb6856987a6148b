"""The conductor: one visit of the clock, from the doorman to the last child.

    doorman      is anything due, pending or left behind?
    lock         short: deciding and claiming, never running
      reconcile  what became of runs whose supervisor is gone
      decide     pure, slot by slot
      claim      rows in, next slot forward, one savepoint per task
    supervise    start what is pending, record what ends

With `supervise` the only room that drives both the store and the runner.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock
from taskrunner.decide import policy, slots
from taskrunner.decide.policy import Action, Decision
from taskrunner.errors import InputError, LockHeld, StoreBusy, StoreFull, StoreRefused
from taskrunner.home import heartbeat, lock, paths
from taskrunner.model.record import field, mutable, record
from taskrunner.model.values import Run, State, Task
from taskrunner.notify import log_lines
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import follow_up, reconcile, spool, supervisor
from taskrunner.tick import clock_changes, dry_run, idle_check
from taskrunner.upkeep import disk_reserve, retention

LOCK_WAIT = 2.0  # seconds; then another tick is at work, and does ours
LOCK_TOO_LONG = 300.0  # seconds; deciding and claiming never takes that long
COMPLAIN_AGAIN = timedelta(hours=1)
HALF = 64  # bytes of the lock file
BATCH = 200  # tasks in one transaction, or ...
BATCH_TIME = 0.05  # ... seconds, whichever comes first: the longest we keep other writers waiting
FILL = 100  # tasks whose following slot is computed at a time, while children run
MS = timedelta(milliseconds=1)

Publish = Callable[[OpenHome], str | None]  # returns what is wrong with it


def quietly(_: OpenHome) -> str | None:
    """Publish nothing."""
    return None


@record
class Evaluated:
    """What was decided of a task while its `live` runs went on, and how its row moves forward."""

    task: Task
    live: Sequence[Run]
    decisions: list[Decision]
    changes: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether its decisions make runs and stop none, and its next slot does not wait for them."""
        if self.task.from_finish:
            return False
        return all(each.claims and not each.stops for each in self.decisions)


@mutable
class Visit:
    """What one visit of the clock decided, and what came of it."""

    at: datetime
    idle: bool = False
    busy: bool = False  # another tick held the lock
    decisions: list[Decision] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    interrupted: int | None = None  # the signal that ended it early
    warning: str | None = None  # what a person should know, though the work is done


@mutable
class Claims:
    """What a visit leaves to be done when it has let go of the lock.

    The clock `agrees` when it has moved on as far as the time since the boot since the last tick; of the `claimed`
    tasks with their next slots the following ones are to be computed; those that were looked at are `known`.
    """

    visit: Visit
    stops: list[int] = field(default_factory=list)  # runs that are to be stopped
    agrees: bool = False
    claimed: list[tuple[Task, datetime]] = field(default_factory=list)
    known: supervisor.Known = field(default_factory=supervisor.Known)


def tick(
    here: OpenHome,
    *,
    caller: str = "library",
    only: Sequence[Task] | None = None,
    carrier: supervisor.Carrier | None = None,
    publish: Publish = quietly,
) -> Visit:
    """Do one visit of the clock and return when everything it started has ended, or is with a `carrier`.

    When there is anything to do, it lets its metrics `publish`, once what is due runs and at the end.
    Raises LockHeld, StoreBusy, StoreRefused or HomeRefused.
    """
    now = here.now()
    if only is None and idle_check.idle(here.folder, clock.to_ms(now), caller):
        return Visit(now, idle=True)
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
) -> Visit:
    made = claims(here, caller, only=only)
    visit = made.visit
    if visit.busy:
        return visit
    if here.store.posted or here.store.anything_to_send(visit.at):
        supervisor.send_off(here, carrier)
    filling = fill(here, made.claimed)
    if made.stops or supervisor.anything_to_start(here):
        carry_out(here, made, filling, carrier, publish)
    for _ in filling:
        pass
    if visit.interrupted is None:
        retention.step(here, visit.at, by_age=made.agrees)
    disk_reserve.keep(here.folder)
    if carrier is not None:
        carrier.tell([*visit.runs, *here.store.ended_unseen(visit.at)])
    visit.warning = visit.warning or publish(here)
    here.store.checkpoint()
    return visit


def carry_out(
    here: OpenHome,
    made: Claims,
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
) -> Claims:
    """Reconcile, decide and claim, under the lock; what is claimed is not started yet.

    A visit to some tasks `only` leaves no heartbeat, since it has not seen to the others.
    """
    with lock.held(here.path(paths.LOCK), LOCK_WAIT) as fd:
        if fd is None:
            _name_the_holder(here)
            return Claims(Visit(here.now(), busy=True))
        now, boot_id = here.now(), clock.boot_id()
        with suppress(OSError):  # the disk is full: what cannot be done will say so
            os.pwrite(fd, _half(os.getpid(), clock.to_ms(now)), 0)
        made = Claims(Visit(now))
        length = (period or here.config.tick_period) // MS
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
        here.store.see_boot(boot)
        _decide(here, made, boot, only, caller)
        if only is None:
            heartbeat.write(here.path(paths.HEARTBEAT), beat)
        here.log.write()
        return made


def _decide(
    here: OpenHome, made: Claims, boot: str, only: Sequence[Task] | None, caller: str
) -> None:
    """Decide about what waits and what is due, and claim it, unless the store is held."""
    live, visit = here.store.live(), made.visit
    visit.decisions = [policy.waiting(run, visit.at) for run in live if run.state is State.PENDING]
    if here.store.held(visit.at) is None:
        _claim_all(here, made, boot, only)
    log_lines.decided(here, visit.decisions, visit.at, caller)
    visit.decisions = dry_run.with_room(here, visit.decisions, live, made.known.tasks)


def _name_the_holder(here: OpenHome) -> None:
    """Raise LockHeld, once an hour, when the same tick has held the lock for longer than any should.

    The first half of the lock file is written by its holder, the second by who complained last.
    """
    try:
        with open(here.path(paths.LOCK), "r+b", buffering=0) as file:
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
    return any(abs(here.now() - clock.from_ms(at)) < COMPLAIN_AGAIN for at in told)


def _half(*numbers: int) -> bytes:
    return " ".join(map(str, numbers)).ljust(HALF - 1).encode() + b"\n"


def _claim_all(here: OpenHome, made: Claims, boot: str, only: Sequence[Task] | None) -> None:
    """Claim what is due."""
    ids, due = None if only is None else [task.id for task in only], True
    made.known, now = supervisor.Known(here.store.changes()), made.visit.at
    while due:
        with here.store.transaction():
            # Read inside: what a person changes meanwhile is not to be overwritten.
            tasks = here.store.due(now, boot, BATCH, ids)
            live = dry_run.by_task(here.store.live_of(tasks))
            found = _evaluate(here, now, tasks, live, boot)
            made.visit.decisions += _write(here, made, found)
        made.known.tasks.update((task.id, task) for task in tasks)
        due = bool(tasks)


def _evaluate(
    here: OpenHome,
    now: datetime,
    tasks: Sequence[Task],
    live: Mapping[int, Sequence[Run]],
    boot: str,
) -> list[Evaluated]:
    """Decide about tasks, as many as the time allows; one that cannot be evaluated is put off."""
    found, end = [], time.monotonic() + BATCH_TIME
    for task in tasks:
        others = live.get(task.id, ())
        try:
            found.append(Evaluated(task, others, *slots.evaluate(task, others, now, boot)))
        except Exception as exc:  # noqa: BLE001  whatever is wrong with one task, the others have to come due
            follow_up.put_off(here, task, now, f"{exc}")
        if time.monotonic() > end:
            break
    return found


def _write(here: OpenHome, made: Claims, found: Sequence[Evaluated]) -> list[Decision]:
    """Write what was decided of tasks; when that fails each is written alone, and what fails again is put off."""
    now = made.visit.at
    try:
        with here.store.savepoint():
            here.store.change_tasks([(each.task.id, each.changes) for each in found])
            plain = [each for each in found if each.is_plain]
            rows = [decision for each in plain for decision in each.decisions]
            follow_up.write_plain(here, rows, now)
            others = [each for each in found if not each.is_plain]
            stops = [run_id for each in others for run_id in _claimed(here, each, now)]
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  as above
        if len(found) > 1:
            return [decision for each in found for decision in _write(here, made, [each])]
        follow_up.put_off(here, found[0].task, now, f"{exc}")
        return []
    made.stops += stops
    moved = ((each.task, each.changes.get("next")) for each in found)
    made.claimed += [(task, slot) for task, slot in moved if slot is not None]
    return [decision for each in found for decision in each.decisions]


def _claimed(here: OpenHome, each: Evaluated, now: datetime) -> Iterator[int]:
    """Write the rows of a task and give the runs that have to stop for them."""
    for decision in each.decisions:
        run_id = follow_up.write(here, decision, now)
        if decision.action is Action.REPLACE and run_id is not None:
            yield from (run.id for run in each.live if run.id in decision.stops)


def fill(here: OpenHome, claimed: Sequence[tuple[Task, datetime]]) -> Iterator[int]:
    """Compute the slots after the next ones, a few at each step, so that the next claim needs no croniter."""
    for start in range(0, len(claimed), FILL):
        batch = claimed[start : start + FILL]
        found = list(_following(batch))
        with here.store.transaction(durable=False):
            here.store.fill_following(found)
        yield len(batch)


def _following(
    batch: Sequence[tuple[Task, datetime]],
) -> Iterator[tuple[Task, datetime, datetime | None]]:
    for task, slot in batch:
        with contextlib.suppress(InputError):  # its zone may be gone: its next claim says so
            yield task, slot, follow_up.slot_after(follow_up.value_of(task), slot)
