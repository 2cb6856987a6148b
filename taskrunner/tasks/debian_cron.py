"""Debian cron's rules written a second time, simply: an imported line must mean the same by both.

    differences   the instants at which Debian's cron and our schedule disagree
    work          the command of a line, and its input
    refuses       whether crontab(1) would not take it

It has its own reader of fields and walks over the days. It shares no code with `schedule` and `crontab`, but for asking
`schedule` for our instants: so a mistake in either is seen when a line is imported.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from taskrunner.schedule import counting
from taskrunner.schedule.kinds import Cron

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
NEAR = timedelta(hours=3)  # a clock change within a day is found by comparing times outside of it
SPAN = timedelta(days=2 * 365 + 1)
MANY = 20_000  # beyond this, single instants are compared only near clock changes and in the first month
FIRST = 31  # days
TOLD = 3  # differences that are named
NAMES = (
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
)
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

Fields = tuple[frozenset[int], ...]


@lru_cache(maxsize=256)
def differences(text: str, tz: str, start: datetime) -> tuple[int, tuple[str, ...]]:
    """Return how many instants differ in the two years after `start`, and the first of them."""
    ours = Cron(text, tz)
    where, many = ZoneInfo(tz), _is_many(text)
    told: list[str] = []
    count = 0
    first = start.astimezone(where).date() + DAY
    for number in range(SPAN.days):
        day = first + number * DAY
        before, after = _start(day, where), _start(day + DAY, where)
        theirs = sorted(instants(text, day, where))
        if many and number >= FIRST and _even(day, where):
            apart = abs(counting.count(ours, before - MINUTE, after - MINUTE)[0] - len(theirs))
            fresh = [f"{apart} on {day}"] if apart else []
        else:
            mine = counting.slots(ours, before - timedelta(seconds=1), after - timedelta(seconds=1))
            apart_instants = sorted({*mine} ^ {*theirs})
            apart = len(apart_instants)
            fresh = [f"{each:%Y-%m-%d %H:%M} UTC" for each in apart_instants]
        count += apart
        told += fresh[: TOLD - len(told)]
    return count, tuple(told)


def work(text: str, *, users: bool, halves: bool) -> tuple[str, str | None]:
    """Return the command and the input of an entry, read character by character, as cron does."""
    rest = _after(text, (1 if text.lstrip(" \t").startswith("@") else 5) + users)
    command, number = list[str](), 0
    while number < len(rest) and rest[number] != "%":
        pair = rest[number : number + 2]
        known = pair in ("\\%", "\\\\") if halves else pair == "\\%"
        command.append(pair[1] if known else pair if pair[0] == "\\" else pair[0])
        number += 2 if pair[0] == "\\" else 1
    if number == len(rest) or rest[number : number + 1] != "%":
        return "".join(command), None
    stdin, last, escaped = list[str](), "\n", False
    for sign in rest[number + 1 :]:
        put = "\n" if sign == "%" and not escaped else sign
        if escaped and sign == "%":
            stdin.pop()
        stdin.append(put)
        escaped = sign == "\\"
        last = last if escaped else put
    return "".join(command), "".join(stdin) + ("" if last == "\n" else "\n")


def _after(text: str, words: int) -> str:
    """Return the text after some words."""
    parts = text.lstrip(" \t").replace("\t", " ").split(" ")
    place, typed = 0, len(text) - len(text.lstrip(" \t"))
    while place < len(parts) and words:
        words -= parts[place] != ""
        typed += len(parts[place]) + 1
        place += 1
    return text[typed:].lstrip(" \t")


def refuses(text: str) -> bool:
    """Return whether Debian's crontab(1) refuses a line with these valid fields."""
    if text.startswith("@"):
        return text not in (*NICKNAMES, "@reboot")
    return not all(
        all(_takes(item.lower(), index) for item in field.split(","))
        for index, field in enumerate(text.split())
    )


def _takes(item: str, index: int) -> bool:
    """Return whether Debian's cron accepts one item of a field."""
    span, slash, step = item.partition("/")
    first, dash, last = span.partition("-")
    if slash and not (step.isascii() and step.isdigit() and int(step) and (dash or span == "*")):
        return False  # a step needs a range
    low, high = BOUNDS[index]
    return span == "*" or all(
        low <= _value(each, index) <= high for each in ([first, last] if dash else [first])
    )


def _value(text: str, index: int) -> int:
    """Return a number or a name as a number, -1 for other texts."""
    known = (text.isascii() and text.isdigit()) or (index >= 3 and text in NAMES[index - 3])
    return _number(text, index) if known else -1


def _is_many(text: str) -> bool:
    minutes, hours, *_ = _fields(text)[0]
    return len(minutes) * len(hours) * SPAN.days > MANY


def instants(text: str, day: date, where: ZoneInfo) -> set[datetime]:
    """Return the instants at which Debian's cron fires for a day of the wall clock, in UTC."""
    fields, wildcard, both = _fields(text)
    if not _matches(fields, day, both=both):
        return set()
    midnight = datetime.combine(day, time.min)
    walls = [
        midnight + timedelta(hours=hour, minutes=minute)
        for hour in fields[1]
        for minute in fields[0]
    ]
    if _even(day, where):
        base = midnight.replace(tzinfo=where).astimezone(UTC)
        return {base + (wall - midnight) for wall in walls}
    place = _passes if wildcard else _once
    return {each for wall in walls for each in place(wall, where)}


def _start(day: date, where: ZoneInfo) -> datetime:
    """Return the first instant of a day of the wall clock."""
    return next(_once(datetime.combine(day, time.min), where))


def _even(day: date, where: ZoneInfo) -> bool:
    """Return whether clocks do not change on a day or close to it."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=where).astimezone(UTC)
    ends = (noon - DAY / 2 - NEAR, noon + DAY / 2 + NEAR)
    early, late = (each.astimezone(where).utcoffset() for each in ends)
    return early == late


def _passes(wall: datetime, where: ZoneInfo) -> Iterator[datetime]:
    """Yield each instant at which clocks show a wall time: none, one or two."""
    for fold in (0, 1):
        moment = wall.replace(tzinfo=where, fold=fold).astimezone(UTC)
        if moment.astimezone(where).replace(tzinfo=None, fold=0) == wall:
            yield moment


def _once(wall: datetime, where: ZoneInfo) -> Iterator[datetime]:
    """Yield the first instant at which clocks show a wall time, or have passed it."""
    moment = next(_passes(wall, where), None)
    if moment is None:
        moment = wall.replace(tzinfo=where).astimezone(UTC)
        after = moment.astimezone(where).utcoffset()
        while (moment - MINUTE).astimezone(where).utcoffset() == after:
            moment -= MINUTE
    yield moment


@lru_cache(maxsize=64)
def _fields(text: str) -> tuple[Fields, bool, bool]:
    """Return the numbers of five fields, whether it follows the clock, and whether both days must match."""
    minute, hour, day, month, weekday = NICKNAMES.get(text.lower(), text).split()
    parts = (minute, hour, day, month, weekday)
    numbers = [_numbers(part.lower(), index) for index, part in enumerate(parts)]
    numbers[4] = frozenset(each % 7 for each in numbers[4])
    both = day.startswith("*") or weekday.startswith("*")
    return tuple(numbers), minute.startswith("*") or hour.startswith("*"), both


def _numbers(text: str, index: int) -> frozenset[int]:
    low, high = BOUNDS[index]
    numbers: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        if first == "*":
            start, end = low, high - (index == 4)
        else:
            start = _number(first, index)
            end = _number(last, index) if dash else (high if step else start)
        # A range that runs backwards, `fri-sun` too, is empty to Debian's cron.
        numbers |= set(range(start, end + 1, int(step or 1)))
    return frozenset(numbers)


def _number(text: str, index: int) -> int:
    if text.isdigit():
        return int(text)
    names = NAMES[index - 3]
    return names.index(text) + (index == 3)


def _matches(fields: Fields, day: date, *, both: bool) -> bool:
    in_month = day.day in fields[2]
    in_week = (day.weekday() + 1) % 7 in fields[4]
    return day.month in fields[3] and (in_month and in_week if both else in_month or in_week)
