"""Find the next wall minute that a cron expression matches: its day comes from croniter.

This module alone imports croniter, at first use: the import takes longer than a short tick.
"""

from datetime import date, datetime, time
from functools import lru_cache

from taskrunner.schedule.expression import Calendar, Expression
from taskrunner.schedule.wall_time import DAY
from taskrunner.schedule.zones import MINUTE


def walk(what: Expression, wall: datetime) -> datetime | None:
    """Return the first wall minute after `wall` that matches.

    The time of day is found in our own sets, which often saves the import of croniter.
    """
    day: date | None = wall.date()
    assert day is not None
    left = what.time_after(wall.hour, wall.minute) if what.calendar.matches(day) else None
    if left is None:
        day = _day_from(what.calendar, day + DAY)
        left = what.hours[0], what.minutes[0]
    return None if day is None else datetime.combine(day, time(*left))


@lru_cache(maxsize=1024)  # many tasks share few calendars
def _day_from(calendar: Calendar, first: date) -> date | None:
    """Return the first day that matches and is not before `first`: that day itself, or the one that croniter gives.

    croniter gets naive times only, as its handling of clock changes is not Debian's.
    """
    if calendar.matches(first):
        return first
    from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]

    before = datetime.combine(first, time()) - MINUTE
    text = f"0 0 {calendar.canonical}"
    walker = croniter(text, before, ret_type=datetime, day_or=not calendar.both)
    try:
        found: datetime = walker.get_next()
    except CroniterBadDateError:  # before 7.0 it finds no 31st and no weekday in short months
        return calendar.day_from(first)
    return found.date()


def load() -> None:
    """Import croniter now: at first use, hours later, its files may be those of another version."""
    import croniter  # noqa: F401
    import dateutil.relativedelta  # noqa: F401


def library_version() -> str | None:
    """Return the version of croniter, None when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("croniter")
    except PackageNotFoundError:
        return None
