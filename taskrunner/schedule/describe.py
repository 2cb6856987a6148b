"""Cron expressions in words: `every day at 02:30`, `Mondays to Fridays at 09:00`.

The words describe the numbers, not their spelling. This module knows no zone and no
instant; it reads an `Expression` and returns one line.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from taskrunner.schedule.expression import Calendar, Expression
from taskrunner.schedule.names import LONG_DAYS, LONG_MONTHS

FEW = 6  # up to this many times of day are listed


def words(what: Expression) -> str:
    """Return when an expression fires, on one line."""
    days = _days(what.calendar)
    if (
        len(what.hours) < 24
        and len(what.minutes) * len(what.hours) <= FEW
        and not _hours_step(what)
    ):
        times = [f"{hour:02}:{minute:02}" for hour in what.hours for minute in what.minutes]
        return f"{days} at {join(times)}"
    cadence = _cadence(what)
    return cadence if days == "every day" else f"{cadence}, {days}"


def either(what: Expression) -> str | None:
    """Return a warning for an expression with both kinds of day, as cron runs when either matches; else None."""
    days = what.calendar
    if days.both or len(days.days) == 31 or len(days.weekdays) == 7:
        return None
    numbers, names = _counted("day", days.days), _weekdays(days.weekdays)
    if (one := _one_a_month(what)) is not None:
        return f"cron takes either day: it runs on {numbers} of the month and on all {names} too; for {one}"
    tests = " -o ".join(f"$(date +%u) = {number or 7}" for number in days.weekdays)
    return (
        f"cron takes either day: it runs on {numbers} of the month and on all {names} too; for those {names} alone "
        f"that fall on {numbers}, write * as the day of week and begin the text for the shell with: test {tests} &&"
    )


def _one_a_month(what: Expression) -> str | None:
    """Return the advice for an expression that is meant as one weekday of a month, such as `0 9 1-7 * 1`; else None."""
    days, times = what.calendar, [(hour, minute) for hour in what.hours for minute in what.minutes]
    weeks = [tuple(range(first, first + 7)) for first in (1, 8, 15, 22)]
    if days.days not in weeks or len(days.weekdays) != 1 or len(times) != 1:
        return None
    position = ("first", "second", "third", "fourth")[weeks.index(days.days)]
    day, (hour, minute) = LONG_DAYS[days.weekdays[0]], times[0]
    months = ",".join(LONG_MONTHS[month - 1] for month in days.months)
    of = f" of {months}" if len(days.months) < 12 else ""
    return f"the {position} {day.title()} alone use --on '{position} {day}{of}' --at-time {hour:02}:{minute:02}"


def unit(count: int, name: str) -> str:
    """Return `hour` for one and `2 hours` for two, as written after "every"."""
    return name if count == 1 else f"{count} {name}s"


def join(parts: Iterable[str]) -> str:
    """Return `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _cadence(what: Expression) -> str:
    """Return the times of a day as a rhythm, when there are too many to list."""
    if len(what.hours) == 24:
        return _each_hour(what.minutes)
    if step := _hours_step(what):
        late = "" if what.minutes == (0,) else f" at {_counted('minute', what.minutes)}"
        return f"every {unit(step, 'hour')}{late}"
    first, last = what.hours[0], what.hours[-1]
    step = _step(what.minutes, 60)
    if step and last - first + 1 == len(what.hours):
        return f"every {unit(step, 'minute')} from {first:02}:00 to {last:02}:{what.minutes[-1]:02}"
    return f"at {_counted('minute', what.minutes)} of {_counted('hour', what.hours)}"


def _each_hour(minutes: Sequence[int]) -> str:
    """Return the minutes that are the same in each hour."""
    if step := _step(minutes, 60):
        return f"every {unit(step, 'minute')}"
    return "every hour" if minutes == (0,) else f"every hour at {_counted('minute', minutes)}"


def _hours_step(what: Expression) -> int:
    """Return n when the hours are every nth of the day and enough to describe them so, else 0."""
    return _step(what.hours, 24) if len(what.minutes) == 1 else 0


def _step(numbers: Sequence[int], size: int) -> int:
    """Return n when the numbers are 0, n, 2n ... up to the end of the field, else 0."""
    step, rest = divmod(size, len(numbers))
    return (
        step
        if not rest and len(numbers) > 2 and tuple(numbers) == tuple(range(0, size, step))
        else 0
    )


@lru_cache(maxsize=1024)
def _days(what: Calendar) -> str:
    """Return the days as words."""
    every_month = len(what.months) == 12
    months = join(LONG_MONTHS[month - 1].title() for month in what.months)
    inside = "" if every_month else f" in {months}"
    numbers = f"{_counted('day', what.days)} of {'every month' if every_month else months}"
    if len(what.weekdays) == 7:
        return f"every day{inside}" if len(what.days) == 31 else f"on {numbers}"
    if len(what.days) == 31:
        return f"{_weekdays(what.weekdays)}{inside}"
    if what.both:
        return f"{_weekdays(what.weekdays)} that fall on {numbers}"
    return f"on {numbers} and on {_weekdays(what.weekdays)}{inside}"


def _weekdays(numbers: Sequence[int]) -> str:
    """Return `Mondays`, `Mondays to Fridays` or a list; the week begins on Monday."""
    week = sorted((number or 7) for number in numbers)
    names = [f"{LONG_DAYS[number % 7].title()}s" for number in week]
    if len(week) > 2 and week[-1] - week[0] + 1 == len(week):
        return f"{names[0]} to {names[-1]}"
    return join(names)


def _counted(name: str, numbers: Sequence[int]) -> str:
    """Return `minute 5` or `minutes 1-5, 30`."""
    return f"{name} {numbers[0]}" if len(numbers) == 1 else f"{name}s {', '.join(_runs(numbers))}"


def _runs(numbers: Sequence[int]) -> list[str]:
    """Return ascending numbers with runs of three or more as ranges."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        text
        for run in runs
        for text in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run])
    ]


UNIT_NAMES = {
    "y": "year",
    "mo": "month",
    "w": "week",
    "d": "day",
    "h": "hour",
    "m": "minute",
    "s": "second",
}


def interval_words(text: str) -> str:
    """Return `15 minutes` for `15m`, and an interval of several units as it is written."""
    number = text.rstrip("ywdhmos")
    name = UNIT_NAMES.get(text[len(number) :])
    return unit(int(number), name) if name and number.isdigit() else text
