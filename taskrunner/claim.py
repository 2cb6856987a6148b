"""Decisions into rows, and what the end of a run brings about: the writing half of a tick.

Everything here runs inside a transaction of the caller.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from taskrunner import clock, policy, schedule, verdict, zone
from taskrunner.errors import InputError
from taskrunner.model import NOTHING, After, Event, Kind, Outcome, Run, State, Task, Trigger
from taskrunner.opened import OpenHome
from taskrunner.policy import Action, Decision

PUSHED_AHEAD = timedelta(hours=1)  # a task that cannot be evaluated is tried again after this
WRITTEN = {Action.SKIP: State.SKIPPED, Action.MISS: State.MISSED}


def write(here: OpenHome, decision: Decision, now: datetime, *, forced: bool = False) -> int | None:
    """Write the row of a decision and return its id; None when its slot has a row already.

    A `forced` run starts beside others of its task.
    """
    span, state = decision.span, WRITTEN.get(decision.action, State.PENDING)
    run_id = here.store.add_run(
        decision.task_id,
        state,
        now,
        slot=span.slot,
        first_slot=span.first,
        coalesced=span.count,
        coalesced_at_least=span.at_least,
        trigger=decision.trigger,
        reason=decision.reason,
        forced=forced,
        ready=decision.ready,
        priority=decision.priority,
    )
    if run_id is None:
        return None
    for other in decision.stops:
        _stop(here, other, f"the slot of {policy.words(span.slot)} took its place", now)
    if state is not State.PENDING:
        conclude(here, here.store.run(run_id), now)
    return run_id


def _stop(here: OpenHome, run_id: int, reason: str, now: datetime) -> None:
    """Let a run end for another: one that waits is skipped, one that runs is marked; the signal comes later."""
    run = here.store.run(run_id)
    if run.state is State.PENDING:
        finish(here, run, State.SKIPPED, reason, now)
    else:
        here.store.ask_to_stop(run_id, State.CANCELLED, reason, now)


def finish(
    here: OpenHome,
    run: Run,
    state: State,
    reason: str,
    now: datetime,
    outcome: Outcome = NOTHING,
    output: bytes = b"",
    output_size: int | None = None,
    *,
    retry: bool = True,
) -> Run | None:
    """Record the end of a live run and what it brings about; None when it had ended already.

    With `retry` it may be followed by another attempt; what comes after it waits for the last one of its slot.
    """
    ready = _next_attempt(here, run, state, outcome, now) if retry else None
    more = ready is not None
    ended = here.store.finish(run, state, reason, now, outcome, output, output_size, more=more)
    if ended is None:
        return None
    if ready is None:
        conclude(here, ended, now)
    else:
        _try_again(here, ended, ready, now)
    return ended


def _next_attempt(
    here: OpenHome, run: Run, state: State, outcome: Outcome, now: datetime
) -> datetime | None:
    """Return when the next attempt of a run that ends so is due, None when there is none."""
    if state not in verdict.RETRIED:
        return None
    task = here.store.task_of(run)  # as it is now: its retries may have been changed meanwhile
    return verdict.retry_at(task, run, state, outcome.exit_code, now)


def _try_again(here: OpenHome, run: Run, ready: datetime, now: datetime) -> None:
    """Write the row of the next attempt of a slot, in the transaction that ends this one."""
    here.store.add_run(
        run.task_id,
        State.PENDING,
        now,
        slot=run.slot,
        first_slot=run.first_slot,
        coalesced=run.coalesced,
        coalesced_at_least=run.coalesced_at_least,
        trigger=Trigger.RETRY,
        reason=f"attempt {run.attempt} {run.state} (run {run.id}), the next is made at {policy.words(ready)}",
        attempt=run.attempt + 1,
        ready=ready,
        priority=run.priority,
    )


def conclude(here: OpenHome, run: Run, now: datetime) -> None:
    """Do what the end of a run brings about: tasks that come after it, the next slot of a delay."""
    for task in here.store.concerned(run):
        try:
            with here.store.savepoint():
                _set_in_motion(here, task, run, now)
        except InputError as exc:  # its schedule means nothing any more: the others go on
            put_off(here, task, now, str(exc))


def _set_in_motion(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    if task.kind is Kind.AFTER:
        on = After(task.schedule.partition(":")[2] or "succeeded")
        for decision in policy.follows(task, on, run, here.store.live(task.id), now):
            write(here, decision, now)
    else:
        value = value_of(task)
        assert isinstance(value, schedule.Every)
        here.store.change_task(task.id, next=value.after_finish(now))


def put_off(here: OpenHome, task: Task, now: datetime, reason: str) -> None:
    """Push a task ahead that cannot be evaluated, and say why; no slot of it is forgotten."""
    here.store.change_task(
        task.id,
        next=now + PUSHED_AHEAD,
        following=None,
        requested=None,
        boot_id=clock.boot_id() if task.kind is Kind.BOOT else task.boot_id,
        error=reason,
    )
    here.store.note(Event(now, "error", "tick", text=reason), task.id)


def value_of(task: Task) -> schedule.Schedule:
    """Return the schedule of a task as a value."""
    return _value(task.kind, task.schedule, task.tz, task.anchor, task.from_finish)


@lru_cache(maxsize=1024)
def _value(
    kind: str, text: str, tz: str | None, anchor: datetime | None, from_finish: bool
) -> schedule.Schedule:
    return schedule.parse(kind, text, tz=tz, anchor=anchor, from_finish=from_finish)


@lru_cache(maxsize=1024)
def slot_after(value: schedule.Schedule, moment: datetime) -> datetime | None:
    """Return the first slot after an instant, remembered: many tasks have the same schedule."""
    return value.next_after(moment)


def forget() -> None:
    """Forget what was computed by zone data that have been replaced: a daemon outlives them."""
    _value.cache_clear()
    slot_after.cache_clear()
    zone.forget()
