"""Days of the month in words, such as `first monday` or `last day of march,june`: the schedules of `--on`.

The grammar is in docs/explanation/time.md, section 4. Every month has exactly one such day. So slots have numbers,
and the newest one and their count are found without a step for each. A time of day is placed in its zone like that of a
fixed-time cron task.
"""

import calendar
import re
from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

from taskrunner import clock
from taskrunner.errors import ScheduleError, nearest, shown
from taskrunner.model.record import record
from taskrunner.schedule.describe import join
from taskrunner.schedule.names import LONG_DAYS, LONG_MONTHS
from taskrunner.schedule.wall_time import LAST
from taskrunner.schedule.zones import check_zone, in_zone, local, place, utc, zone

LONGEST = 256  # characters; a text with all months has fewer
FIRST = datetime(2, 2, 1, tzinfo=UTC)  # a search looks back by up to a year, inside the calendar

POSITIONS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}
WEEK = (*LONG_DAYS[1:], LONG_DAYS[0])
# The weekdays of each word for a day; Monday is 0.
DAYS: dict[str, tuple[int, ...]] = {name: (number,) for number, name in enumerate(WEEK)}
DAYS |= {"day": (0, 1, 2, 3, 4, 5, 6), "workday": (0, 1, 2, 3, 4)}
SHORT = {name[:3]: name for name in (*WEEK, *LONG_MONTHS)}
EVERY_MONTH = tuple(range(1, 13))

MONTHS = r"(?P<months>[a-z]+(?:,[a-z]+)*)"
TEXT = re.compile(rf"(?P<position>[a-z]+) (?P<day>[a-z]+)(?: of {MONTHS})?")
CLOCK = re.compile(r"(?a)([0-9]{1,2}):([0-9]{2})(?::00)?")

# Texts that are refused with advice of their own.
FIFTH = re.compile(r"(?:the )?(?:fifth|5th) (?P<day>[a-z]+).*")
NUMBER = re.compile(
    rf"(?a)(?:(?:on|the|every|day) )*(?P<day>0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?(?: (?:of|in) {MONTHS})?"
)
RANGE = re.compile(r" (?:of|in) .*-")  # of months: cron has such, this has not
EACH = re.compile(r"(?:(?:on|every|each|all) )*(?P<day>[a-z]+?)s?")
UNSAID = {"on", "the", "a", "every", "each", "month", "of", "in", "and"}
SYNONYMS = {"1st": "first", "2nd": "second", "3rd": "third", "4th": "fourth", "final": "last"}
SYNONYMS |= {"weekday": "workday", "weekdays": "workday", "business": "work", "working": "work"}
EXAMPLES = "write one such as 'first monday', 'last day' or 'last workday of march,june'"
NOT_ONE = "is not a day of the month"


@record
class MonthDay:
    """The meaning of a text: which of the days that a word stands for, in which months."""

    position: str
    day: str
    months: tuple[int, ...]

    @property
    def text(self) -> str:
        """It as text, in its one spelling."""
        return f"{self.position} {self.day}" + (f" of {self.names}" if self.names else "")

    @property
    def names(self) -> str:
        """The names of its months, "" for all of them."""
        some = self.months if self.months != EVERY_MONTH else ()
        return ",".join(LONG_MONTHS[month - 1] for month in some)

    def in_month(self, year: int, month: int) -> date:
        """Return the day of a month."""
        first, length = calendar.monthrange(year, month)
        week = DAYS[self.day]
        days = [day for day in range(1, length + 1) if (first + day - 1) % 7 in week]
        return date(year, month, days[POSITIONS[self.position]])


@record
class On:
    """A day of each month, or of some months, at a time of day in `tz` or else the zone of the host.

    The time is `at_time`, or stands at the end of `day` as in `first monday at 09:00`; without one it is midnight.
    """

    kind: ClassVar[str] = "on"
    day: str
    at_time: str | time | None = None
    tz: str | None = None

    def __post_init__(self) -> None:
        meaning, at_time = _read(self.day, self.at_time)
        object.__setattr__(self, "day", meaning.text)
        object.__setattr__(self, "at_time", at_time)
        check_zone(self.tz)

    @property
    def text(self) -> str:
        """The day and the time, such as `first monday at 09:00`."""
        return f"{self.day} at {self.at_time}"

    @property
    def meaning(self) -> MonthDay:
        """The meaning of the day."""
        return _meaning(self.day)

    @property
    def where(self) -> ZoneInfo:
        """The zone of its wall times."""
        return zone(self.tz if self.tz is not None else clock.local_zone())

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot after an aware datetime, in UTC; None when there is none."""
        after = utc(moment)
        return None if after >= LAST else self.slot(self.number(after) + 1)

    @property
    def time_of_day(self) -> time:
        """The time of day of its slots."""
        return time.fromisoformat(str(self.at_time))

    def wall(self, number: int) -> datetime:
        """Return the wall time of the slot of that number; a year has as many as months."""
        months = self.meaning.months
        year, index = divmod(number, len(months))
        day = self.meaning.in_month(year, months[index])
        return datetime.combine(day, self.time_of_day)

    def slot(self, number: int) -> datetime:
        """Return the slot of that number: the first pass of a fold, the end of a gap."""
        return place(self.wall(number), self.where)

    def number(self, moment: datetime) -> int:
        """Return the number of the newest slot up to an instant."""
        moment = max(moment, FIRST)
        wall, months = local(moment, self.where), self.meaning.months
        number = wall.year * len(months) + bisect_right(months, wall.month) - 1
        while self.slot(number) > moment:
            number -= 1
        while self.slot(number + 1) <= moment:
            number += 1
        return number

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        what = self.meaning
        day = what.day.title() if what.day in WEEK else what.day
        months = join(each.title() for each in what.names.split(",")) or "every month"
        return f"on the {what.position} {day} of {months} at {self.at_time}{in_zone(self.tz)}"


@lru_cache(maxsize=1024)  # many tasks share few days
def _meaning(text: str) -> MonthDay:
    """Return the meaning of a text in its one spelling."""
    meaning = _parsed(text)
    assert meaning is not None
    return meaning


def _read(day: object, at_time: object) -> tuple[MonthDay, str]:
    """Return day and time of day; raises ScheduleError with advice."""
    if not isinstance(day, str):
        raise ScheduleError(f"{shown(day)} {NOT_ONE}: {EXAMPLES}")
    if len(day) > LONGEST:
        raise ScheduleError(f"{shown(day)} is longer than the {LONGEST} characters of such a day")
    text = re.sub(" ?, ?", ",", " ".join(day.lower().split()))
    text, _, time_in_text = text.partition(" at ")
    if time_in_text and at_time is not None:
        advice = f"leave it out, or leave out --at-time {shown(at_time)}"
        raise ScheduleError(f"{shown(day)} has a time of day already: {advice}")
    clock_time = _time(time_in_text or ("00:00" if at_time is None else at_time))
    meaning = _parsed(text)
    if meaning is None:
        raise ScheduleError(f"{shown(day)} {_advice(text, clock_time)}")
    return meaning, clock_time


def _time(value: object) -> str:
    """Return a time of day as HH:MM; raises ScheduleError."""
    text = value.isoformat() if isinstance(value, time) else value
    parts = CLOCK.fullmatch(text.strip()) if isinstance(text, str) else None
    if parts is None or int(parts[1]) > 23 or int(parts[2]) > 59:
        advice = "write hours and minutes from 00:00 to 23:59, such as 09:00"
        raise ScheduleError(f"{shown(value)} is not a time of day: {advice}")
    return f"{int(parts[1]):02}:{parts[2]}"


def _parsed(text: str) -> MonthDay | None:
    """Return the meaning of a text in small letters, None when it is not in the grammar."""
    parts = TEXT.fullmatch(text)
    if parts is None:
        return None
    day, months = _known(parts["day"], DAYS), _months(parts["months"])
    if parts["position"] not in POSITIONS or day is None or not months:
        return None
    return MonthDay(parts["position"], day, months)


def _months(text: str | None) -> tuple[int, ...]:
    """Return the numbers of the months in a text, all of them without one, () for an unknown name."""
    if text is None:
        return EVERY_MONTH
    names = [_known(each, LONG_MONTHS) for each in text.split(",")]
    if None in names:
        return ()
    return tuple(sorted({LONG_MONTHS.index(name) + 1 for name in names if name}))


def _known(word: str, names: Iterable[str]) -> str | None:
    """Return a known word in full: that itself, or a name cut to three letters."""
    whole = SHORT.get(word, word)
    return whole if whole in names else None


# ---- advice


def _advice(text: str, clock_time: str) -> str:
    """Return the fault of a text that is not in the grammar, and what to write instead."""
    hour, minute = map(int, clock_time.split(":"))
    told = (
        _of_fifth(text)
        or _of_number(text, hour, minute)
        or _of_several(text)
        or _of_every_week(text, hour, minute)
    )
    if told is not None:
        return told
    better = None if RANGE.search(text) else _respelled(text)
    if better is None and (unknown := _unknown_month(text)):
        return f"has no month {unknown!r}: write one such as 'january' or 'jan'"
    return f"{NOT_ONE}: {EXAMPLES if better is None else f'did you mean {better!r}?'}"


def _of_fifth(text: str) -> str | None:
    """Return the advice for `fifth monday`, None for another text."""
    parts = FIFTH.fullmatch(text)
    day = None if parts is None else _known(parts["day"], WEEK)
    if day is None:
        return None
    return f"is not in every month: for the last {day.title()} write 'last {day}'"


def _of_number(text: str, hour: int, minute: int) -> str | None:
    """Return the advice for `the 15th of june`, None for another text, or a day that these months do not have."""
    parts = NUMBER.fullmatch(text)
    if parts is None:
        return None
    day, months = int(parts["day"]), _months(parts["months"])
    if day > _longest(months):
        return None
    month = "*" if months == EVERY_MONTH else ",".join(map(str, months))
    return f"is a day by its number: use --cron '{minute} {hour} {day} {month} *'"


def _of_several(text: str) -> str | None:
    """Return the advice for `first and third monday`, None for another text."""
    firsts = [part.partition(" ")[0] for part in re.split(" and |,", text)]
    if sum(SYNONYMS.get(word, word) in POSITIONS for word in firsts) < 2:
        return None
    return "has several days: give each a task of its own, such as 'first monday'"


def _of_every_week(text: str, hour: int, minute: int) -> str | None:
    """Return the advice for `every monday`, None for another text."""
    parts = EACH.fullmatch(text)
    day = None if parts is None else _known(_word(parts["day"]), DAYS)
    if day is None:
        return None
    week = {"day": "*", "workday": "mon-fri"}.get(day, day[:3])
    every = (
        f"for every {day.title() if day in WEEK else day} use --cron '{minute} {hour} * * {week}'"
    )
    return f"does not tell which of a month: write 'first {day}' or 'last {day}'; {every}"


def _longest(months: tuple[int, ...]) -> int:
    """Return the number of days of the longest of some months."""
    return max((calendar.monthrange(2000, month)[1] for month in months), default=0)


def _unknown_month(text: str) -> str | None:
    """Return the first name that no month has in a text that is in the grammar but for its months."""
    found = TEXT.fullmatch(text)
    if not found or not found["months"] or not _parsed(f"{found['position']} {found['day']}"):
        return None
    return next(each for each in found["months"].split(",") if not _known(each, LONG_MONTHS))


def _respelled(text: str) -> str | None:
    """Return the likely text that is in the grammar: without filling words and with known words for similar ones."""
    plain = re.sub("(?:business|working|work) day", "workday", text)
    respelled = [_word(word) for word in re.findall(r"[a-z0-9]+", plain)]
    words = [word for word in respelled if word not in UNSAID]
    months = f" of {','.join(words[2:])}" if words[2:] else ""
    meaning = _parsed(f"{' '.join(words[:2])}{months}")
    return None if meaning is None else meaning.text


def _word(word: str) -> str:
    """Return the known word that one stands for or is similar to; else itself."""
    if word in UNSAID or word in SHORT:
        return word
    known = (*POSITIONS, *DAYS, *LONG_MONTHS)
    return SYNONYMS.get(word) or nearest(word, known, alike=0.75) or word
