"""What the wall clock did since the last tick: gaps, steps back, new zone data; and the slots that this makes wrong.

Runs under the tick lock, with transactions of its own.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import claim, clock, doorman, heartbeat, ledger, schedule
from taskrunner.errors import InputError
from taskrunner.model import Event, Task
from taskrunner.opened import OpenHome

TASKS = 200  # computed anew in one transaction
MS = timedelta(milliseconds=1)


def notice(
    here: OpenHome, now: datetime, last: heartbeat.Beat | None, beat: heartbeat.Beat
) -> None:
    """Write to the ledger what the clock did since the last tick, and compute anew what it made wrong."""
    event = None if last is None else _clock_event(last, beat)
    if event is not None:
        with here.store.transaction():
            here.store.note(event)
    if last is None or beat.at < last.at - clock.STEP_BACK // MS:
        _compute_anew(here, here.store.evaluated_after(now + clock.STEP_BACK), evaluated=now)
    known, stamp = here.store.fact("zone_data"), clock.zone_stamp()
    if known != stamp:
        if known is not None:  # else the store is new, and so are its slots
            claim.forget()
            _move(here, now, here.store.with_slots())
        with here.store.transaction():
            here.store.set_fact("zone_data", stamp)


def _clock_event(last: heartbeat.Beat, beat: heartbeat.Beat) -> Event | None:
    at, since = clock.from_ms(beat.at), clock.from_ms(last.at)
    if beat.at < last.at:
        return ledger.step_back(since, at)
    if beat.at - last.at > doorman.GAP * last.period:
        return ledger.gap(since, at, rebooted=last.boot_id != beat.boot_id)
    return None


def _compute_anew(here: OpenHome, tasks: Sequence[Task], evaluated: datetime | None = None) -> None:
    """Compute the next slots of tasks again, from `evaluated` or from where each stands."""
    for start in range(0, len(tasks), TASKS):
        with here.store.transaction():
            for task in tasks[start : start + TASKS]:
                with contextlib.suppress(InputError):  # its zone may be gone: its claim says so
                    here.store.change_task(task.id, **_next_anew(task, evaluated or task.evaluated))


def _move(here: OpenHome, now: datetime, tasks: Sequence[Task]) -> None:
    """Compute next slots again by new zone data, and tell of each that has moved."""
    moved = [(task.id, text) for task in tasks if (text := movement(task))]
    _compute_anew(here, tasks)
    with here.store.transaction():
        for key, text in moved:
            here.store.note(Event(now, "moved", "tick", text=text), key)


def movement(task: Task) -> str | None:
    """Return from where to where new zone data move the next slot of a task, None when they do not."""
    try:
        slot = task.next if task.from_finish else claim.value_of(task).next_after(task.evaluated)
    except InputError:
        return None
    if slot == task.next or task.next is None:
        return None
    there = "nowhere" if slot is None else clock.iso(slot)
    return f"next slot {clock.iso(task.next)} -> {there}, by new zone data"


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
