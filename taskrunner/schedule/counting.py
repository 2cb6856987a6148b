"""Count slots and find the newest ones, for any kind of schedule, without a step for each slot in between."""

from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.schedule.instants import note
from taskrunner.schedule.kinds import At, Cron, Every, On, Schedule, wall_times
from taskrunner.schedule.wall_time import LAST, count_slots
from taskrunner.schedule.zones import MINUTE, SECOND, local, utc, zone

COUNTED = 10_000  # counts are exact up to here


def slots(
    schedule: Schedule, after: datetime, until: datetime, limit: int = COUNTED
) -> list[datetime]:
    """Return the slots in (after, until], oldest first, at most `limit` of them."""
    found: list[datetime] = []
    slot, end = schedule.next_after(after), utc(until)
    while slot is not None and slot <= end and len(found) < limit:
        found.append(slot)
        slot = schedule.next_after(slot)
    return found


def newest(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """Return the newest slot in (after, until], or None."""
    return _newest(schedule, utc(after), utc(until), MINUTE)


def newest_slots(
    schedule: Schedule, after: datetime, until: datetime, limit: int
) -> list[datetime]:
    """Return the newest slots in (after, until], oldest first, at most `limit` of them."""
    found: list[datetime] = []
    step, start, end = MINUTE, utc(after), utc(until)
    while len(found) < limit and (slot := _newest(schedule, start, end, step)) is not None:
        step = max(MINUTE, end - slot)  # the slot before is likely as far away
        end = slot - SECOND / 1000
        found.append(slot)
    return found[::-1]


def count(
    schedule: Schedule, after: datetime, until: datetime, limit: int = COUNTED
) -> tuple[int, bool]:
    """Return how many slots lie in (after, until], and whether there are more than `limit`."""
    start, end = utc(after), min(utc(until), LAST)
    match schedule:
        case Cron():
            return count_slots(wall_times(schedule), start, end, limit)
        case Every(from_finish=False):
            return _count_every(schedule, start, end, limit)
        case On():
            found = max(0, schedule.number(end) - schedule.number(start))
            return min(found, limit), found > limit
    return len(slots(schedule, start, utc(until), 1)), False


def slot_note(schedule: Schedule, slot: datetime) -> str | None:
    """Return a note when a clock change moved or repeats the wall time of a slot; else None."""
    match schedule:
        case At():
            return schedule.note
        case Cron(meaning=what) if not what.wildcard:
            tz = schedule.tz if schedule.tz is not None else clock.local_zone()
            wall = local(slot, zone(tz))
            meant = what.calendar.matches(wall.date()) and (wall.hour, wall.minute) in what
        case Every(anchor=datetime() as anchor, tz=str() as tz) if not schedule.length.seconds:
            wall = local(slot, zone(tz))
            meant = wall.time() == local(anchor, zone(tz)).time()
        case On():
            tz, wall = schedule.where.key, local(slot, schedule.where)
            meant = wall.replace(fold=0) == schedule.wall(schedule.number(slot))
        case _:
            return None
    if not meant:
        return f"its time does not exist in {tz} that day, as clocks go forward: moved to after the gap"
    return note(wall.replace(tzinfo=None, fold=0), tz)


def _newest(
    schedule: Schedule, after: datetime, until: datetime, step: timedelta
) -> datetime | None:
    """Return the newest slot in (after, until], looking back from the end in growing steps."""
    if isinstance(schedule, Every) and not schedule.from_finish:
        return _newest_every(schedule, after, until)
    if isinstance(schedule, On):
        slot = schedule.slot(schedule.number(min(until, LAST)))
        return slot if after < slot <= until else None
    high = until
    while high > after:
        probe = until - min(step, until - after)
        if (low := _slot_in(schedule, probe, until)) is not None:
            return _bisect(schedule, low, high, until)
        high, step = probe, step * 2
    return None


def _bisect(schedule: Schedule, low: datetime, high: datetime, until: datetime) -> datetime:
    """Return the newest slot up to `until`, given a slot `low` and that none lies after `high`."""
    probe = low
    while high - low >= SECOND:  # slots are on whole seconds
        if (found := _slot_in(schedule, probe, until)) is not None:
            low = found
        else:
            high = probe
        probe = low + (high - low) / 2
    return low


def _slot_in(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    slot = schedule.next_after(after)
    return slot if slot is not None and slot <= until else None


def _newest_every(schedule: Every, after: datetime, until: datetime) -> datetime | None:
    if until <= after or schedule.next_after(after) is None or until < schedule.slot(0):
        return None
    slot = schedule.slot(schedule.number(min(until, LAST)))
    return slot if slot > after else None


def _count_every(schedule: Every, after: datetime, until: datetime, limit: int) -> tuple[int, bool]:
    """Count by the numbers of the first and the last slot."""
    if schedule.next_after(after) is None or until < schedule.slot(0) or until <= after:
        return 0, False
    last = schedule.number(until)
    first = schedule.number(after) + 1 if after >= schedule.slot(0) else 0
    if schedule.length.days and last - first < limit:
        # A zone that skips a whole day lets two days share a slot.
        return len({schedule.slot(number) for number in range(first, last + 1)}), False
    found = last - first + 1
    return min(found, limit), found > limit
