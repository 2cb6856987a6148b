"""The schedule of a stored task as a value, and its slots; both are cached, as many tasks share a schedule."""

from datetime import datetime
from functools import lru_cache

from taskrunner.model.values import Task
from taskrunner.schedule import kinds, zones


def value_of(task: Task) -> kinds.Schedule:
    """Return the schedule of a task as a value."""
    return _value(task.kind, task.schedule, task.tz, task.anchor, task.from_finish)


@lru_cache(maxsize=1024)
def _value(
    kind: str, text: str, tz: str | None, anchor: datetime | None, from_finish: bool
) -> kinds.Schedule:
    return kinds.parse(kind, text, tz=tz, anchor=anchor, from_finish=from_finish)


@lru_cache(maxsize=1024)
def slot_after(value: kinds.Schedule, moment: datetime) -> datetime | None:
    """Return the first slot after an instant, from the cache if possible: many tasks have the same schedule."""
    return value.next_after(moment)


def forget() -> None:
    """Empty the caches when zone data were replaced: a daemon outlives them."""
    _value.cache_clear()
    slot_after.cache_clear()
    zones.forget()
