"""Turn wall minutes into slots, in a zone whose clocks change.

The rule is Debian cron's (docs/explanation/time.md, section 2). A callable finds the next matching wall
minute, so this module knows no library; of schedules it knows only the expression.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from taskrunner.model.record import record
from taskrunner.schedule.expression import Expression
from taskrunner.schedule.zones import change, even, local, place, readings

# Given an expression and a naive time: the first matching wall minute after it, or None.
Walk = Callable[[Expression, datetime], datetime | None]

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

# Not the limits of datetime: a search of up to a century must stay inside them.
FIRST = datetime(1, 1, 3, tzinfo=UTC)
LAST = datetime(9800, 1, 1, tzinfo=UTC)


@record
class WallTimes:
    """An expression on the clocks of a zone, and the function that finds its wall minutes."""

    what: Expression
    where: ZoneInfo
    walk: Walk

    def after(self, wall: datetime) -> datetime | None:
        """Return the first matching wall minute after a wall time."""
        return self.walk(self.what, wall)

    def since(self, wall: datetime) -> datetime | None:
        """Return the first matching wall minute that is not before a wall time."""
        return self.walk(self.what, wall - timedelta(microseconds=1))


def next_slot(times: WallTimes, after: datetime) -> datetime | None:
    """Return the first slot after an instant, by the rule that fits the expression."""
    if after >= LAST:
        return None
    find = _next_wildcard if times.what.wildcard else _next_fixed
    found = find(times, max(after, FIRST))
    return found if found is not None and found <= LAST else None


def count_slots(times: WallTimes, after: datetime, until: datetime, limit: int) -> tuple[int, bool]:
    """Return how many slots lie in (after, until], and whether there are more than `limit`.

    Whole days and hours are counted by the sets; single steps are needed only where clocks change
    and where the span begins and ends.
    """
    total, at = 0, max(after, FIRST)
    while total <= limit:
        slot = next_slot(times, at)
        if slot is None or slot > until:
            return total, False
        found, at = (
            _even_days(times, slot, at, until, limit)
            or _even_hour(times, slot, at, until)
            or (1, slot)
        )
        total += found
    return limit, True


def _next_fixed(times: WallTimes, after: datetime) -> datetime | None:
    """Each wall minute once: the first pass of a fold, the end of a gap."""
    wall = local(after, times.where)
    if wall.fold:  # the first pass has run these: continue at the end of the fold
        into_fold = change(wall, times.where) - readings(wall, times.where)[0]
        found = times.since(wall + into_fold)
    else:
        found = times.after(wall)
    while found is not None:
        if (slot := place(found, times.where)) > after:
            return slot
        found = times.after(found)
    return None


def _next_wildcard(times: WallTimes, after: datetime) -> datetime | None:
    """Every instant whose wall minute matches: nothing in a gap, both passes of a fold."""
    wall = local(after, times.where)
    found = _next_reading(times, wall, after)
    if wall.fold or len(readings(wall, times.where)) < 2:
        return found
    # After the first pass the clock shows earlier wall times again.
    again = times.since(local(change(wall, times.where), times.where))
    second = readings(again, times.where)[-1:] if again is not None else ()
    return min((slot for slot in (found, *second) if slot is not None), default=None)


def _next_reading(times: WallTimes, wall: datetime, after: datetime) -> datetime | None:
    """Return the first instant after `after` that shows a matching wall minute after `wall`."""
    match = times.after(wall)
    while match is not None:
        found = readings(match, times.where)
        if later := [instant for instant in found if instant > after]:
            return later[0]
        # Leave a gap in one step: it can be a whole day whose minutes all match.
        gap_end = None if found else local(change(match, times.where), times.where)
        match = times.after(match) if gap_end is None else times.since(gap_end)
    return None


def _even_days(
    times: WallTimes, slot: datetime, at: datetime, until: datetime, limit: int
) -> tuple[int, datetime] | None:
    """Count the slots of whole days from the one of `slot` on; return the last instant too."""
    each, total = len(times.what.hours) * len(times.what.minutes), 0
    day: date | None = local(slot, times.where).date()
    while day is not None and total <= limit:
        span = even(datetime.combine(day, time()), DAY, times.where)
        if span is None or at >= span[0] or span[1] > until:
            break
        total, at, day = total + each, span[1], times.what.calendar.day_from(day + DAY)
    return (total, at) if total else None


def _even_hour(
    times: WallTimes, slot: datetime, at: datetime, until: datetime
) -> tuple[int, datetime] | None:
    """Count the slots of the whole hour of `slot`; return its last instant too."""
    wall = local(slot, times.where).replace(minute=0, second=0, fold=0)
    span = even(wall, HOUR, times.where)
    if span is None or at >= span[0] or span[1] > until:
        return None
    return len(times.what.minutes), span[1]
