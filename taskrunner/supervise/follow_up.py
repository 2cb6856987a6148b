"""Write decisions as rows, and the consequences of the end of a run.

Everything here runs inside a transaction of the caller.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import host
from taskrunner.decide import policy, verdict
from taskrunner.errors import InputError, StoreBusy, StoreRefused, in_words, storable
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.values import FAILING, After, End, Event, Kind, Run, State, Task, Trigger
from taskrunner.notify import announce, log_lines
from taskrunner.schedule import kinds, of_task
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store

PUSHED_AHEAD = timedelta(hours=1)  # until a task that cannot be evaluated is tried again
WRITTEN = {Action.SKIP: State.SKIPPED, Action.MISS: State.MISSED}


def write(here: OpenHome, decision: Decision, now: datetime, *, forced: bool = False) -> int | None:
    """Write the row of a decision and return its id; None when its slot has a row already.

    A `forced` run starts beside others of its task.
    """
    run_id = here.store.runs.add(**_values(decision, now), forced=forced)
    if run_id is None:
        _go_on(here.store, decision.task_id, now)
        return None
    for other in decision.stops:
        _stop(here, other, f"the slot of {policy.words(decision.span.slot)} replaced it", now)
    if not decision.claims:
        conclude(here, here.store.runs.get(run_id), now)
    return run_id


def _go_on(store: Store, task_id: int, now: datetime) -> None:
    """Give a task its next slot when its run is not made, as the clock was set back over its slots."""
    (task,) = store.tasks.by_id([task_id]).values()
    if task.from_finish and task.next is None:
        value = of_task.value_of(task)
        assert isinstance(value, kinds.Every)
        store.tasks.change(task.id, next=value.after_finish(now))


def write_plain(store: Store, decisions: Iterable[Decision], now: datetime) -> None:
    """Write the rows of decisions that make a run and stop none, many at once; a slot with a row keeps it."""
    store.runs.add_all(_values(decision, now) for decision in decisions)


def _values(decision: Decision, now: datetime) -> dict[str, Any]:
    span = decision.span
    return {
        "task_id": decision.task_id,
        "state": WRITTEN.get(decision.action, State.PENDING),
        "claimed": now,
        "slot": span.slot,
        "first_slot": span.first,
        "coalesced": span.count,
        "coalesced_at_least": span.at_least,
        "trigger": decision.trigger,
        "reason": decision.reason,
        "ready": decision.ready,
        "priority": decision.priority,
    }


def _stop(here: OpenHome, run_id: int, reason: str, now: datetime) -> None:
    """End a run for another one: a pending run is skipped, a running one is marked; the signal comes later."""
    run = here.store.runs.get(run_id)
    if run.state is State.PENDING:
        finish(here, End(run, State.SKIPPED, reason, now))
    else:
        here.store.processes.ask_to_stop(run_id, State.CANCELLED, reason, now)


def finish(here: OpenHome, *ends: End, retry: bool = True) -> list[Run]:
    """Record the ends of live runs with their consequences; runs that had ended already are not returned.

    With `retry` another attempt may follow; tasks that come after it wait for the last attempt of its slot. A run
    whose end cannot be recorded completely ends without its output and with a note.
    """
    mark = here.log.mark()
    try:
        with here.store.savepoint():
            return _finish(here, ends, retry=retry)
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
        here.log.forget(mark)
        if len(ends) > 1:
            return [run for end in ends for run in finish(here, end, retry=retry)]
        return _finish_without(here, ends[0], exc, retry=retry)


def _finish_without(here: OpenHome, end: End, exc: Exception, *, retry: bool) -> list[Run]:
    """Record the end of a run without its output, or at least its state; if both fail, leave the run as it is."""
    run, reason = end.run, storable(end.reason)
    here.log.fault(f"{run.task}: the end of run {run.id} could not be recorded as it was", exc)
    why = f"its output was not kept, as its end could not be recorded with it: {in_words(exc)}"
    bare = End(run, end.state, verdict.with_note(reason, why), end.at, end.outcome)
    why = f"nothing else of its end could be recorded: {in_words(exc)}"
    last = End(run, end.state, verdict.with_note(reason, why), end.at)
    writes: Sequence[Callable[[], list[Run]]] = (
        lambda: _finish(here, [bare], retry=retry),
        lambda: _finish_barely(here, last),
    )
    for write in writes:
        mark = here.log.mark()
        try:
            with here.store.savepoint():
                return write()
        except (StoreBusy, StoreRefused):
            raise
        except Exception as again:  # noqa: BLE001  as above
            here.log.forget(mark)
            here.log.fault(f"{run.task}: the end of run {run.id}, without its output", again)
    return []


def _finish_barely(here: OpenHome, end: End) -> list[Run]:
    """Record that a run has ended, without consequences."""
    ended = here.store.runs.finish([end])
    for run in ended:
        with here.log.apart(f"{run.task}: the end of run {run.id} could not be logged"):
            log_lines.ended(here.log, run)
    return ended


def _finish(here: OpenHome, ends: Sequence[End], *, retry: bool) -> list[Run]:
    ready = {end.run.id: _next_attempt(here.store, end) if retry else None for end in ends}
    ended = here.store.runs.finish(ends, [run_id for run_id, at in ready.items() if at is not None])
    concern = here.store.tasks.any_concerned(ended, tells=bool(here.config.notify))
    for run in ended:
        log_lines.ended(here.log, run)
        at = ready[run.id]
        if at is not None:
            _try_again(here.store, run, at)
        elif concern:
            conclude(here, run, ended_at(run))
    return ended


def skip_pending(here: OpenHome, task: Task, reason: str, now: datetime) -> None:
    """Skip the pending runs of a task."""
    for run in here.store.runs.live(task.id):
        if run.state is State.PENDING:
            finish(here, End(run, State.SKIPPED, reason, now))


def ended_at(run: Run) -> datetime:
    """Return the end of an ended run."""
    assert run.finished is not None
    return run.finished


def _next_attempt(store: Store, end: End) -> datetime | None:
    """Return when the next attempt after this end is due, None when there is none."""
    if end.state not in FAILING:
        return None
    task = store.tasks.of_run(end.run)  # the current task: its retries may have changed meanwhile
    return verdict.retry_at(task, end.run, end.state, end.outcome.exit_code, end.at)


def _try_again(store: Store, run: Run, ready: datetime) -> None:
    """Write the row of the next attempt of a slot, in the transaction that ends this attempt."""
    values = {
        "slot": run.slot,
        "first_slot": run.first_slot,
        "coalesced": run.coalesced,
        "coalesced_at_least": run.coalesced_at_least,
        "trigger": Trigger.RETRY,
        "reason": f"attempt {run.attempt} {run.state} (run {run.id}), the next is made at {policy.words(ready)}",
        "ready": ready,
        "priority": run.priority,
    }
    attempt = run.attempt + 1
    # A slot that was also run by hand may have an attempt of that number already.
    while not store.runs.add(run.task_id, State.PENDING, ended_at(run), attempt=attempt, **values):
        attempt += 1


def conclude(here: OpenHome, run: Run, now: datetime) -> None:
    """Handle the end of a run: write messages, start tasks that come after it, set the next slot after a delay."""
    for task in here.store.tasks.concerned(run, tells=bool(here.config.notify)):
        own = task.id == run.task_id
        if own:
            announce.ended(here, task, run, now)
        if own and not (task.enabled and task.from_finish):
            continue
        try:
            with here.store.savepoint():
                _set_in_motion(here, task, run, now)
        except InputError as exc:  # its schedule is not valid any more: the others go on
            put_off(here, task, now, str(exc))


def _set_in_motion(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    if task.kind is Kind.AFTER:
        on = After(task.schedule.partition(":")[2] or "succeeded")
        for decision in policy.follows(task, on, run, here.store.runs.live(task.id), now):
            write(here, decision, now)
    else:
        value = of_task.value_of(task)
        assert isinstance(value, kinds.Every)
        here.store.tasks.change(task.id, next=value.after_finish(now))


def put_off(here: OpenHome, task: Task, now: datetime, reason: str) -> None:
    """Postpone a task that cannot be evaluated, and record the reason; none of its slots is forgotten."""
    here.store.tasks.change(
        task.id,
        next=now + PUSHED_AHEAD,
        following=None,
        requested=None,
        boot_id=host.boot(daemon=True) if task.kind is Kind.BOOT else task.boot_id,
        error=reason,
    )
    here.store.events.add(Event(now, "error", "tick", text=reason), task.id)
    log_lines.put_off(here.log, task, now, reason)
