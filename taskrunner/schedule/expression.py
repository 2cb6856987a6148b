"""Cron expressions: five fields of text to sets of numbers, or a refusal that says what to write.

The grammar is Vixie cron's (crontab(5)); additions of other dialects are refused by name. Days
are matched here too, as day of month and day of week depend on each other. This module knows no
zone, no instant and no library: croniter is given `Calendar.canonical` elsewhere.
"""

import calendar
import re
from datetime import date
from functools import lru_cache

from taskrunner.errors import ScheduleError, shown
from taskrunner.model.record import record
from taskrunner.schedule import dialects
from taskrunner.schedule.names import DAY_NAMES, LONG_DAYS, LONG_MONTHS, MONTH_NAMES

LONGEST = 256  # characters; nobody types more
SEARCH_YEARS = 41  # 29 February on a given weekday can be 40 years away (over 1900, 2100)

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@record
class Field:
    """One of the five fields: its name, its bounds, and its names for numbers."""

    # There are five, and they are keys of a cache.
    __eq__, __hash__ = object.__eq__, object.__hash__

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    long_names: tuple[str, ...] = ()

    @property
    def is_weekday(self) -> bool:
        """Whether 0 and 7 are one day here."""
        return self.high == 7


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, MONTH_NAMES, LONG_MONTHS),
    Field("day of week", 0, 7, DAY_NAMES, LONG_DAYS),
)
ORDER = ", ".join(each.name for each in FIELDS)

ODD = re.compile(r"[^ -~\t]")
ITEM = re.compile(
    r"(?P<low>\*|[0-9]+|[a-z]+)(?:-(?P<high>[0-9]+|[a-z]+))?(?:/(?P<step>[0-9]+))?", re.A
)

# Matches a field of any dialect, and no word of a command.
DIALECT = re.compile(rf"(?:[0-9*?,/#~()-]|{'|'.join(MONTH_NAMES + DAY_NAMES)}|[lwhr](?![a-z]))+")


@record
class Calendar:
    """The days of an expression as sorted numbers; Sunday is 0. Many expressions share one."""

    # Compared by identity: hashing three tuples at each use of the cache of days would cost as much as it saves.
    __eq__, __hash__ = object.__eq__, object.__hash__

    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    both: bool  # day of month and day of week must both match; else either is enough

    @property
    def canonical(self) -> str:
        """Its three fields as plain lists, with * for a full one, in the grammar of croniter."""
        sets = ((self.days, 31), (self.months, 12), (self.weekdays, 7))
        lists = ("*" if len(each) == size else ",".join(map(str, each)) for each, size in sets)
        return " ".join(lists)

    def matches(self, day: date) -> bool:
        """Whether `day` is one of its days."""
        return day.month in self.months and day.day in _days_of(self, day.year, day.month)

    def day_from(self, day: date) -> date | None:
        """Return its first day that is not before `day`, or None when there is none in 41 years.

        For counting over years, and to refuse expressions that never fire; slots come from croniter (`next_day`).
        """
        for year in range(day.year, min(day.year + SEARCH_YEARS, 9999) + 1):
            for month in self.months:
                if (year, month) < (day.year, day.month):
                    continue
                same = (year, month) == (day.year, day.month)
                for number in _days_of(self, year, month):
                    if not same or number >= day.day:
                        return date(year, month, number)
        return None


@record
class Expression:
    """An expression as sorted numbers: its times of day and its days."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    calendar: Calendar
    wildcard: bool  # the minute or the hour begins with *: clock changes are handled differently

    def __contains__(self, time: tuple[int, int]) -> bool:
        """Whether an hour and a minute are one of its times of day."""
        hour, minute = time
        return hour in self.hours and minute in self.minutes

    def time_after(self, hour: int, minute: int) -> tuple[int, int] | None:
        """Return its next hour and minute on the same day, or None."""
        if hour in self.hours and minute < self.minutes[-1]:
            return hour, next(later for later in self.minutes if later > minute)
        if hour < self.hours[-1]:
            return next(later for later in self.hours if later > hour), self.minutes[0]
        return None


def normalise(text: str) -> str:
    """Return an expression with single blanks between its fields and none around them."""
    if not isinstance(text, str):
        raise ScheduleError(
            f"{shown(text)} is not a valid cron expression: write a text such as '30 2 * * *'"
        )
    if len(text) > LONGEST:
        raise ScheduleError(
            f"{shown(text)} is longer than the {LONGEST} characters of an expression"
        )
    if odd := ODD.search(text):
        advice = "use plain ASCII, with blanks or tabs between the fields"
        raise ScheduleError(f"{shown(text)} holds the character {odd[0]!a}: {advice}")
    return " ".join(text.split())


def read(text: str) -> Expression:
    """Return the meaning of an expression or nickname; raises ScheduleError with advice."""
    return meaning(normalise(text))


@lru_cache(maxsize=16_384)  # the tasks of a large home
def meaning(normal: str) -> Expression:
    """Return the meaning of a normal text; raises ScheduleError with advice."""
    minute, hour, *dates = _fields(normal)
    try:
        minutes, hours = _numbers(minute, FIELDS[0]), _numbers(hour, FIELDS[1])
        days = _calendar(*dates)
    except ScheduleError as exc:
        whole = dialects.of_month([minute, hour, *dates])
        place = "day of month" if whole and whole[0] in dates[0] else "day of week"
        told = exc if whole is None else f"has {shown(whole[0])} as its {place}: {whole[1]}"
        raise ScheduleError(f"{shown(normal)} {told}") from exc
    return Expression(minutes, hours, days, minute.startswith("*") or hour.startswith("*"))


@lru_cache(maxsize=1024)
def _calendar(day: str, month: str, weekday: str) -> Calendar:
    """Return the days of three fields."""
    texts = (day, month, weekday)
    days, months, weekdays = (
        _numbers(text, field) for text, field in zip(texts, FIELDS[2:], strict=True)
    )
    both = day.startswith("*") or weekday.startswith("*")
    if not both and (len(days) == 31 or len(weekdays) == 7):
        # Either is enough, and one of them is always true: a list of all would hide that.
        days, weekdays = tuple(range(1, 32)), tuple(range(7))
    found = Calendar(days, months, weekdays, both)
    if found.day_from(date(2000, 1, 1)) is None:
        raise ScheduleError(_never(found))
    return found


@lru_cache(maxsize=4096)
def _days_of(what: Calendar, year: int, month: int) -> tuple[int, ...]:
    """Return the days of a month that match the day of month, the day of week, or both."""
    first, length = calendar.monthrange(year, month)  # first: Monday is 0
    in_month = {day for day in what.days if day <= length}
    in_week = {day for day in range(1, length + 1) if (first + day) % 7 in what.weekdays}
    return tuple(sorted(in_month & in_week if what.both else in_month | in_week))


def _fields(text: str) -> list[str]:
    """Return the five fields of a normal text or of the nickname it is, in lower case."""
    if not text:
        raise ScheduleError(f"{shown(text)} is empty: write five fields, such as '30 2 * * *'")
    if text.startswith("@"):
        return _nickname(text).split()
    if "=" in (first := text.split(maxsplit=1)[0]):
        zone = first.partition("=")[2] or "Europe/Berlin"
        advice = f"leave it out and give the zone as the tz of the task, --tz {zone}"
        raise ScheduleError(f"{shown(text)} begins with a variable: {advice}")
    fields = text.lower().split()
    if len(fields) != 5:
        raise ScheduleError(_not_five(text, fields))
    return fields


def _nickname(text: str) -> str:
    """Return the five fields of a nickname."""
    name, *rest = text.lower().split()
    if name == "@reboot":
        raise ScheduleError(f"{shown(text)} is not a time of day: use Boot() or --boot")
    if name == "@every":
        length = rest[0] if rest else "7h30m"  # `durations` checks its form
        raise ScheduleError(
            f"{shown(text)} is an interval: use Every({length!r}) or --every {length}"
        )
    if name not in NICKNAMES:
        raise ScheduleError(
            f"{shown(text)} is not a known nickname: write one of {' '.join(NICKNAMES)}"
        )
    if rest:
        raise ScheduleError(
            f"{shown(text)} is a crontab line: give only {name!r}, and the command apart"
        )
    return NICKNAMES[name]


def _not_five(text: str, fields: list[str]) -> str:
    """Return the message for too few or too many fields, by their likely origin."""
    first = " ".join(text.split()[:5])
    if len(fields) < 5:
        return f"{shown(text)} has {len(fields)} of the five fields it needs: {ORDER}"
    if len(fields) > 7 or not all(_is_field(part) for part in fields[5:]):
        only = f"{first!r}" if _is_readable(first) else "its five fields"
        return f"{shown(text)} is a whole crontab line: give only {only}, and the command apart"
    plain = text.replace("?", "*").split()
    sunday = "; Quartz counts Sunday as 1, cron as 0" if re.match(r"[1-7](?!#)", plain[5]) else ""
    if len(fields) == 7:
        dialect = "as in Quartz, with seconds first and a year last"
        five = " ".join(plain[1:6])
        only = f"{five!r}{sunday}" if _is_readable(five) else f"only {ORDER}"
        return f"{shown(text)} has 7 fields, {dialect}: write {only}"
    layouts = {
        " ".join(plain[1:]): f"if its seconds come first (Quartz, Spring{sunday})",
        " ".join(plain[:5]): "if its seconds come last (croniter) or its year does (AWS)",
    }
    ways = [f"{five!r} {when}" for five, when in layouts.items() if _is_readable(five)]
    return f"{shown(text)} has 6 fields: write {', or '.join(ways) or f'only {ORDER}'}"


def _is_readable(text: str) -> bool:
    try:
        return bool(meaning(text))
    except ScheduleError:
        return False


def _is_field(part: str) -> bool:
    """Whether a text could be a field of some dialect, rather than a word of a command."""
    return DIALECT.fullmatch(part) is not None


@lru_cache(maxsize=1024)
def _numbers(text: str, field: Field) -> tuple[int, ...]:
    """Return the sorted numbers of one field."""
    found: set[int] = set()
    for item in text.split(","):
        found.update(_item(item, field))
    if field.is_weekday:
        found = {number % 7 for number in found}
    return tuple(sorted(found))


def _item(item: str, field: Field) -> range:
    """Return the numbers of one item of a list: a number, a range, a star, each with a step."""
    match = ITEM.fullmatch(item)
    if not match or (match["low"] == "*" and match["high"]):
        raise _refused(item, field, _advice(item, field))
    step = _step(match["step"], item, field)
    if match["low"] == "*":
        return range(field.low, field.high + 1, step)
    low = _number(match["low"], item, field)
    if match["high"] is None and match["step"] is not None:
        return range(low, _open_end(item, field) + 1, step)
    high = low if match["high"] is None else _number(match["high"], item, field)
    return _range(low, high, step, item, field)


def _range(low: int, high: int, step: int, item: str, field: Field) -> range:
    """Return the numbers from `low` to `high`; Sunday as the upper end alone is 7."""
    if field.is_weekday and high == 0 and low != 0:
        high = 7
    if high < low:
        advice = f"write {_unrolled(low, high, step, field)} to go round the end"
        raise _refused(item, field, f"it runs backwards: {advice}")
    return range(low, high + 1, step)


def _unrolled(low: int, high: int, step: int, field: Field) -> str:
    """Return a range that passes the end of a field as a list that does not."""
    top = field.high - field.is_weekday
    turn = [*range(low, top + 1), *range(field.low, high + 1)][::step]
    if step > 1:
        return ",".join(map(str, turn))
    return f"{_run(low, top)},{_run(field.low, high)}"


def _run(low: int, high: int) -> str:
    """Return consecutive numbers as the shortest text."""
    if low == high:
        return str(low)
    return f"{low},{high}" if low + 1 == high else f"{low}-{high}"


def _step(text: str | None, item: str, field: Field) -> int:
    if text is None:
        return 1
    if len(text) > 4 or int(text) == 0:
        raise _refused(item, field, "a step is a number from 1 to 9999, such as */5")
    return int(text)


def _open_end(item: str, field: Field) -> int:
    """Return the end of `a/n`; only in the day of week tools disagree about it."""
    if field.is_weekday:
        start, step = item.split("/")
        advice = f"give the range its end, such as {start}-6/{step} or {start}-7/{step}"
        raise _refused(item, field, f"tools disagree whether this step reaches Sunday: {advice}")
    return field.high


def _number(text: str, item: str, field: Field) -> int:
    """Return the number of digits or a name."""
    if text in field.names:
        return field.names.index(text) + field.low
    if not text.isdigit() or len(text) > 4 or not field.low <= int(text) <= field.high:
        raise _refused(item, field, _advice(item, field))
    return int(text)


def _advice(item: str, field: Field) -> str:
    """Return the advice for an item that is not in the grammar."""
    for word in re.findall(r"[a-z]+", item):
        if word in field.long_names and word not in field.names:
            return f"write {word[:3]}"
        if word in (*MONTH_NAMES, *LONG_MONTHS, *DAY_NAMES, *LONG_DAYS) and word not in field.names:
            home = "day of week" if word[:3] in DAY_NAMES else "month"
            return f"{word[:3]!r} belongs in the {home} field"
    if told := dialects.advice(item, field.name):
        return told
    if item == "24" and field.name == "hour":
        return "write 0 for midnight"
    names = f" or a name {field.names[0]}-{field.names[-1]}" if field.names else ""
    return f"write * or numbers {field.low}-{field.high}{names}, as 1,2 or 1-5 or */2"


def _refused(item: str, field: Field, advice: str) -> ScheduleError:
    """Return the error for one item: the item, the field and the advice; `meaning` adds the expression."""
    return ScheduleError(f"has {shown(item)} as its {field.name}: {advice}")


def _never(what: Calendar) -> str:
    """Return the message for days that no month has."""
    longest = max(calendar.monthrange(2000, month)[1] for month in what.months)
    advice = f"give a day up to {longest}, or another month"
    return f"can never fire: the longest of its months has {longest} days, so {advice}"
