"""From wall minutes to slots: where an expression's times stand in a zone whose clocks change.

The rule is Debian cron's (docs/explanation/time.md, section 2). Who finds the next matching wall
minute is a callable, so this room knows no library; of schedules it knows the expression alone.
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

# The edges of the calendar are left alone: a look ahead of up to a century must stay inside it.
FIRST = datetime(1, 1, 3, tzinfo=UTC)
LAST = datetime(9800, 1, 1, tzinfo=UTC)


@record
class Dial:
    """An expression on the clocks of a zone, and who walks its wall minutes."""

    what: Expression
    where: ZoneInfo
    walk: Walk

    def after(self, wall: datetime) -> datetime | None:
        """Return the first matching wall minute after a wall time."""
        return self.walk(self.what, wall)

    def since(self, wall: datetime) -> datetime | None:
        """Return the first matching wall minute that is not before a wall time."""
        return self.walk(self.what, wall - timedelta(microseconds=1))


def next_slot(dial: Dial, after: datetime) -> datetime | None:
    """Return the first slot after an instant, by the rule that fits the expression."""
    if after >= LAST:
        return None
    find = _next_wildcard if dial.what.wildcard else _next_fixed
    found = find(dial, max(after, FIRST))
    return found if found is not None and found <= LAST else None


def count_slots(dial: Dial, after: datetime, until: datetime, limit: int) -> tuple[int, bool]:
    """Return how many slots lie in (after, until], and whether there are more than `limit`.

    Whole days and hours are counted by the sets; single steps are taken only where clocks change
    and where the span begins and ends.
    """
    total, at = 0, max(after, FIRST)
    while total <= limit:
        slot = next_slot(dial, at)
        if slot is None or slot > until:
            return total, False
        found, at = (
            _even_days(dial, slot, at, until, limit)
            or _even_hour(dial, slot, at, until)
            or (1, slot)
        )
        total += found
    return limit, True


def _next_fixed(dial: Dial, after: datetime) -> datetime | None:
    """Each wall minute once: the first pass of a fold, the end of a gap."""
    wall = local(after, dial.where)
    if wall.fold:  # what the second pass repeats has run: on from where the fold ends
        into_fold = change(wall, dial.where) - readings(wall, dial.where)[0]
        found = dial.since(wall + into_fold)
    else:
        found = dial.after(wall)
    while found is not None:
        if (slot := place(found, dial.where)) > after:
            return slot
        found = dial.after(found)
    return None


def _next_wildcard(dial: Dial, after: datetime) -> datetime | None:
    """Every instant whose wall minute matches: nothing in a gap, both passes of a fold."""
    wall = local(after, dial.where)
    found = _next_reading(dial, wall, after)
    if wall.fold or len(readings(wall, dial.where)) < 2:
        return found
    # From the first pass the clock will come back to walls that lie before this one.
    again = dial.since(local(change(wall, dial.where), dial.where))
    second = readings(again, dial.where)[-1:] if again is not None else ()
    return min((slot for slot in (found, *second) if slot is not None), default=None)


def _next_reading(dial: Dial, wall: datetime, after: datetime) -> datetime | None:
    """Return the first instant after `after` that shows a matching wall minute after `wall`."""
    match = dial.after(wall)
    while match is not None:
        found = readings(match, dial.where)
        if later := [instant for instant in found if instant > after]:
            return later[0]
        # Out of a gap in one jump: it can be a whole day, all of whose minutes match.
        gap_end = None if found else local(change(match, dial.where), dial.where)
        match = dial.after(match) if gap_end is None else dial.since(gap_end)
    return None


def _even_days(
    dial: Dial, slot: datetime, at: datetime, until: datetime, limit: int
) -> tuple[int, datetime] | None:
    """Count the slots of whole days from the one of `slot` on; return the last instant too."""
    each, total = len(dial.what.hours) * len(dial.what.minutes), 0
    day: date | None = local(slot, dial.where).date()
    while day is not None and total <= limit:
        span = even(datetime.combine(day, time()), DAY, dial.where)
        if span is None or at >= span[0] or span[1] > until:
            break
        total, at, day = total + each, span[1], dial.what.calendar.day_from(day + DAY)
    return (total, at) if total else None


def _even_hour(
    dial: Dial, slot: datetime, at: datetime, until: datetime
) -> tuple[int, datetime] | None:
    """Count the slots of the whole hour of `slot`; return its last instant too."""
    wall = local(slot, dial.where).replace(minute=0, second=0, fold=0)
    span = even(wall, HOUR, dial.where)
    if span is None or at >= span[0] or span[1] > until:
        return None
    return len(dial.what.minutes), span[1]
