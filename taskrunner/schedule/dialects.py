"""Syntax of other cron dialects, and the equivalent to write here.

Each advice works as printed: an expression, an interval, or a field with a test at the beginning of the
command. It must not know the grammar of `expression`, which calls it.
"""

import calendar
import re

from taskrunner.schedule.names import DAY_NAMES, LONG_DAYS, LONG_MONTHS, MONTH_NAMES

DAY, WEEKDAY = "day of month", "day of week"
POSITIONS = ("last", "first", "second", "third", "fourth")
NAMED = {"l": "last day", "lw": "last workday", "wl": "last workday", "1w": "first workday"}
YEAR = 2000  # it has a 29 February
SIGN = re.compile(r"[?#~]|(?<![a-z])(?:l?w|wl|[lhr])(?![a-z])|(?<=[a-z]{3})l$")
RANDOM = "write a number, and spread tasks with --jitter"
SIGNS = {
    "?": "write * for any value",
    "h": f"cron has no hashed values: {RANDOM}",
    "r": f"cron has no random values: {RANDOM}",
    "~": f"cron has no random ranges: {RANDOM}",
}


def advice(item: str, field: str) -> str | None:
    """Return the advice for one item of a field, None when it is not from a known dialect."""
    found = SIGN.search(item)
    if found is None:
        return None
    sign = found[0][-1]
    if sign in SIGNS:
        return SIGNS[sign]
    if field == WEEKDAY:
        return _weekday(item)
    return _day(item) if field == DAY else None


def of_month(fields: list[str]) -> tuple[str, str] | None:
    """Return an item that stands for one day of each month, such as `L`, and the advice for the whole expression.

    None when it needs a longer text: other days beside it, or several times of day.
    """
    minute, hour, day, month, weekday = fields
    if day != "l" and "l" in day.split(","):
        return "l", "cron has no last day: leave it out, and give the last day a task of its own"
    item, other = (day, weekday) if weekday in ("*", "?") else (weekday, day)
    number = (
        MONTH_NAMES.index(month) + 1
        if month in MONTH_NAMES
        else int(month)
        if month.isdigit()
        else 0
    )
    if other not in ("*", "?") or (month != "*" and not 1 <= number <= 12):
        return None
    if item == day == "l" and number not in (0, 2):
        last = calendar.monthrange(YEAR, number)[1]
        five = f"{minute} {hour} {last} {month} *"
        return item, f"the last day of that month is always {last}: write {five}"
    named = NAMED.get(item) if item == day else _named_weekday(item)
    times = minute.isdigit() and hour.isdigit() and int(minute) < 60 and int(hour) < 24
    if named is None or not times:
        return None
    of = f" of {LONG_MONTHS[number - 1]}" if number else ""
    clock = f"{int(hour):02}:{int(minute):02}"
    return item, f"cron has no such day: use --on '{named}{of}' --at-time {clock}"


def _named_weekday(item: str) -> str | None:
    """Return `last friday` for 5L and `second friday` for 5#2; None for others, also for a fifth one."""
    found = re.fullmatch(r"([0-7]|[a-z]{3})(?:l|#([1-4]))", item)
    number = None if found is None else _number(found[1])
    if found is None or number is None:
        return None
    return f"{POSITIONS[int(found[2] or 0)]} {LONG_DAYS[number]}"


def _day(item: str) -> str:
    """Return the advice for L, L-3, 15W or LW as a day of the month."""
    if back := re.fullmatch(r"l(?:-([0-9]{1,2}))?", item):
        before = int(back[1] or 0)
        if before > 27:
            return "no month is that long before its last day: write a day from 1 to 31"
        days = f"{28 - before}-{31 - before}"
        ahead = "tomorrow" if not before else f"'{before + 1} days'"
        return f"cron counts no days from the end: write {days}, {_test(f'$(date -d {ahead} +%d) = 01')}"
    if "w" in item:
        return (
            "cron has no nearest weekday: write the days it can fall on, such as 14-16 for 15W, "
            "and let the command look at the date"
        )
    return "cron has no last day: write days such as 28-31, and let the command look at the date"


def _weekday(item: str) -> str:
    """Return the advice for 5L or 5#2 as a day of the week."""
    found = re.fullmatch(r"([0-7]|[a-z]{3})(?:l|#([1-5]))", item)
    number = None if found is None else _number(found[1])
    if found is None or number is None:
        return (
            "cron has no last or nth weekday: write a day 0-7, and let the command look at the date"
        )
    if found[2] is None:
        test = _test("$(date -d '7 days' +%m) != $(date +%m)")
        return f"cron has no last weekday of a month: write {number}, {test}"
    first = int(found[2]) * 7 - 6
    test = _test(f"$(date +%u) = {number or 7}")
    return f"cron has no nth weekday: write * here and {first}-{min(31, first + 6)} as the day of month, {test}"


def _number(text: str) -> int | None:
    if text.isdigit():
        return int(text) % 7
    return DAY_NAMES.index(text) if text in DAY_NAMES else None


def _test(condition: str) -> str:
    return f"and begin the text for the shell with: test {condition} &&"
