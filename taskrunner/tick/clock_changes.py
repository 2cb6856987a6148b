"""Changes of the wall clock since the last tick (gaps, steps back, new zone data), and corrected slots.

Runs under the tick lock, with transactions of its own.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock, host
from taskrunner.decide import ledger
from taskrunner.errors import InputError
from taskrunner.home import heartbeat
from taskrunner.model.values import Event, Task
from taskrunner.schedule import kinds, of_task
from taskrunner.store import ahead
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up
from taskrunner.tick import idle_check

TASKS = 200  # recomputed in one transaction
MS = timedelta(milliseconds=1)


def notice(store: Store, now: datetime, last: heartbeat.Beat | None, beat: heartbeat.Beat) -> None:
    """Record the changes of the clock since the last tick, and recompute slots that they made wrong."""
    event = None if last is None else _clock_event(last, beat)
    if event is not None:
        with store.transaction():
            store.events.add(event)
    went_back = last is None or beat.at < last.at - clock.STEP_BACK // MS
    _release(store, now, went_back=went_back)
    if went_back:
        _compute_anew(store, store.tasks.evaluated_after(now + clock.STEP_BACK), evaluated=now)
    known, stamp = store.facts.get("zone_data"), host.zone_stamp()
    if known != stamp:
        if known is not None:  # else the database is new, and its slots are correct
            of_task.forget()
            _move(store, now, store.tasks.with_slots())
        with store.transaction():
            store.facts.set("zone_data", stamp)


def _clock_event(last: heartbeat.Beat, beat: heartbeat.Beat) -> Event | None:
    at, since = clock.from_ms(beat.at), clock.from_ms(last.at)
    if beat.at < last.at:
        return ledger.step_back(since, at)
    if beat.at - last.at > idle_check.GAP * last.period:
        rebooted = last.boot_id != beat.boot_id
        return ledger.gap(since, at, rebooted=rebooted, caller=last.caller)
    return None


def _release(store: Store, now: datetime, *, went_back: bool) -> None:
    """Move the waiting times that a clock ahead of time has set, and record that as events."""
    with store.transaction():
        found = list(ahead.move(store, now, went_back=went_back))
        if (
            found
            and (hold := store.facts.held(now))
            and any(each.task_id is None for each in found)
        ):
            store.events.add(ledger.held(hold))  # so that later answers know when it really ended
        store.events.add_all(
            (
                Event(now, "moved", "tick", text=ledger.moved(each.what, each.until, each.instead)),
                each.task_id,
            )
            for each in found
        )


def _compute_anew(store: Store, tasks: Sequence[Task], evaluated: datetime | None = None) -> None:
    """Recompute the next slots of tasks, from `evaluated` or from each task's own evaluation."""
    for start in range(0, len(tasks), TASKS):
        with store.transaction():
            for task in tasks[start : start + TASKS]:
                with contextlib.suppress(InputError):  # its zone may be gone: its claim reports it
                    new = _next_anew(task, evaluated or task.evaluated)
                    store.tasks.change(task.id, **new)
                    if "anchor" in new and task.anchor is not None:
                        text = ledger.moved("its anchor", task.anchor, new["anchor"])
                        store.events.add(
                            Event(new["evaluated"], "moved", "tick", text=text), task.id
                        )


def _move(store: Store, now: datetime, tasks: Sequence[Task]) -> None:
    """Recompute next slots with new zone data, and record each that has moved."""
    moved = [(task.id, text) for task in tasks if (text := movement(task))]
    _compute_anew(store, tasks)
    with store.transaction():
        for key, text in moved:
            store.events.add(Event(now, "moved", "tick", text=text), key)


def movement(task: Task) -> str | None:
    """Return a text about how new zone data move the next slot of a task, None when they do not."""
    try:
        slot = task.next if task.from_finish else of_task.value_of(task).next_after(task.evaluated)
    except InputError:
        return None
    if slot == task.next or task.next is None:
        return None
    there = "nowhere" if slot is None else clock.iso(slot)
    return f"next slot {clock.iso(task.next)} -> {there}, by new zone data"


def _next_anew(task: Task, evaluated: datetime) -> dict[str, Any]:
    if (
        task.error is not None
        and task.next is not None
        and task.next > evaluated + follow_up.PUSHED_AHEAD
    ):
        # It was postponed while the clock was ahead: try it again at once.
        return {"evaluated": min(task.evaluated, evaluated), "next": evaluated}
    value, anchor = of_task.value_of(task), {}
    if (
        isinstance(value, kinds.Every)
        and value.anchor is not None
        and evaluated < value.anchor <= task.evaluated
    ):
        # It was added while the clock was ahead: continue the same grid from a slot in the past.
        value = kinds.begun_by(value, evaluated)
        anchor = {"anchor": value.anchor}
    if task.from_finish:
        return {"evaluated": evaluated, **anchor, **_nearer(task, evaluated)}
    return {
        "evaluated": evaluated,
        "next": value.next_after(evaluated),
        "following": None,
        **anchor,
    }


def _nearer(task: Task, evaluated: datetime) -> dict[str, Any]:
    """Return the next slot of a task with a delay after each run, at most one delay away."""
    value = of_task.value_of(task)
    assert isinstance(value, kinds.Every)
    latest = value.after_finish(evaluated)
    return {} if task.next is None else {"next": min(task.next, latest)}
