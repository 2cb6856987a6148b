"""Syntax of other cron dialects, and the equivalent to write here.

Each advice works as printed: an expression, an interval, or a field with a test at the beginning of the
command. It must not know the grammar of `expression`, which calls it.
"""

import calendar
import re

DAY, WEEKDAY = "day of month", "day of week"
NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LEAP = 2000  # year of anchors: it has a 29 February, and is past
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


def last_day(fields: list[str]) -> str | None:
    """Return the advice for an expression whose day of month is just `L`, None when it needs a longer text."""
    minute, hour, day, month, weekday = fields
    if day != "l" and "l" in day.split(","):
        return "cron has no last day: leave it out, and give the last day a task of its own"
    if day != "l" or weekday not in ("*", "?"):
        return None
    number = MONTHS.index(month) + 1 if month in MONTHS else int(month) if month.isdigit() else 0
    if month != "*" and not 1 <= number <= 12:
        return None
    last = calendar.monthrange(LEAP, number or 1)[1]
    if number not in (0, 2):
        return f"the last day of that month is always {last}: write {' '.join([minute, hour, str(last), month])} *"
    if not (minute.isdigit() and hour.isdigit() and int(minute) < 60 and int(hour) < 24):
        return None
    length, at = ("1mo", "01-31") if not number else ("1y", "02-29")
    anchor = f"{LEAP}-{at} {int(hour):02}:{int(minute):02}"
    return f"cron has no last day: use an interval, --every {length} --anchor '{anchor}'"


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
    return NAMES.index(text) if text in NAMES else None


def _test(condition: str) -> str:
    return f"and begin the text for the shell with: test {condition} &&"
