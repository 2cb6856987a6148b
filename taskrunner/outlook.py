"""What comes, and how things stand: answers that only read.

It must not write, nor start anything.
"""

from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import islice

from taskrunner import claim, clock, heartbeat, home, schedule, zone
from taskrunner.errors import InputError
from taskrunner.model import State, Status, Task, Upcoming
from taskrunner.opened import OpenHome
from taskrunner.schedule import Schedule
from taskrunner.store import MISSING

FAILING = (State.FAILED, State.TIMED_OUT, State.LOST)
SILENT_TICKS = 2.5  # tick periods without a tick are worth a word


def status(here: OpenHome) -> Status:
    """Return how things stand."""
    beat = heartbeat.read(here.path(home.HEARTBEAT))
    live, tasks = here.store.live(), here.store.tasks()
    return Status(
        last_tick=None if beat is None else clock.from_ms(beat.at),
        clock=None if beat is None else beat.caller,
        held=None,
        running=[run for run in live if run.state is State.RUNNING],
        pending=[run for run in live if run.state is State.PENDING],
        failing=[task for task in tasks if task.last_state in FAILING],
        next=upcoming(here, None, 5, None),
        problems=[*_clock_problems(here, beat), *_task_problems(tasks)],
    )


def upcoming(
    here: OpenHome, name: str | int | None, count: int | None, until: datetime | None
) -> list[Upcoming]:
    """Return the next slots of a task, or of all together, soonest first; all of them when there is no count."""
    now = here.now()
    # A task that cannot be evaluated has no slots to show; `status` tells why.
    tasks = [task for task in here.store.tasks() if problem(task) is None]
    chosen = tasks if name is None else [here.store.task(name)]
    walks = [_of_task(task, max(now, task.evaluated), until) for task in chosen]
    return list(islice(merge(*walks, key=lambda item: item.slot), count))


def _of_task(task: Task, after: datetime, until: datetime | None) -> Iterator[Upcoming]:
    """Give the slots to come of a task; a delay is known only as far as the end of its run."""
    value = claim.value_of(task)
    if task.enabled:
        first = task.next if task.from_finish else value.next_after(after)
        yield from walk(task.name, value, first, until)


def walk(
    name: str | None, value: Schedule, slot: datetime | None, until: datetime | None
) -> Iterator[Upcoming]:
    """Give the slots of a schedule from a first one on."""
    where = zone.zone(getattr(value, "tz", None) or "UTC")
    while slot is not None and (until is None or slot <= until):
        yield Upcoming(name, slot, slot.astimezone(where), schedule.slot_note(value, slot))
        slot = value.next_after(slot)


def _clock_problems(here: OpenHome, beat: heartbeat.Beat | None) -> Iterator[str]:
    if here.store.place == MISSING:
        return
    if beat is None:
        yield "no tick has come yet: call `taskrunner tick` every minute from cron or a systemd timer"
        return
    silent = (here.now() - clock.from_ms(beat.at)).total_seconds()
    if silent * 1000 > SILENT_TICKS * beat.period:
        yield f"no tick has come since {clock.iso(clock.from_ms(beat.at))}: the clock entry does not fire"


def _task_problems(tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        why = task.error or problem(task)
        if why is not None:
            yield f"{task.name} cannot be evaluated: {why}"


def problem(task: Task) -> str | None:
    """Return why the schedule of a task means nothing any more, as when its zone is gone from the host."""
    try:
        claim.value_of(task)
    except InputError as exc:
        return str(exc)
    return None
