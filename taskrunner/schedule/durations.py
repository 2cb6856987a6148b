"""Lengths of time as text such as `1h30m`, in both directions.

One grammar for every option: whole numbers with a unit, largest unit first, nothing between them.
This module knows no zone, no clock and no schedule; "now" is an argument.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from taskrunner.errors import DurationError, MomentError, shown
from taskrunner.model.record import record

SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
MONTHS = {"y": 12, "mo": 1}
UNITS = (*MONTHS, *SECONDS)  # largest first, as they must be written

LONGEST = timedelta(days=36_525)  # a hundred years: anything longer is a typing error
LONGEST_MONTHS = 1_200
LONGEST_TEXT = 64
FOREVER = "forever"  # in place of a length, where one without an end makes sense

PART = re.compile(r"([0-9]{1,6})(mo|[ywdhms])")
BARE = re.compile(r"(?!0+$)[0-9]{1,6}")  # a number that only lacks its unit
LOOSE_PART = r"([0-9]+)\s*([A-Za-z]+)"

# Other spellings of a unit, and ours.
SYNONYMS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "day": "d", "days": "d", "week": "w", "weeks": "w", "wk": "w",
    "mon": "mo", "month": "mo", "months": "mo", "yr": "y", "year": "y", "years": "y",
}  # fmt: skip


AT_LEAST_ONE = "numbers start at 1, such as 30s"
NAMED = {
    "hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "1mo", "yearly": "1y", "annually": "1y",
    "hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "year": "1y", "minute": "1m",
}  # fmt: skip

Check = Callable[[str], object]


@record
class Interval:
    """The distance between two slots, in exactly one of months, days and seconds."""

    months: int = 0
    days: int = 0
    seconds: int = 0


def parse(text: str | timedelta) -> timedelta:
    """Return a length such as `1h30m` or `2d12h`; a day is 24 hours, a week 7 of those."""
    if isinstance(text, timedelta):
        return _bounded(text, text)
    parts = _parts(text, parse, "w d h m s, largest first, such as 90s, 1h30m or 2d12h")
    if wrong := [unit for _, unit in parts if unit in MONTHS]:
        advice = "months and years differ in length, so write days, such as 30d or 365d"
        raise DurationError(
            f"{shown(text)} uses {wrong[0]!r} where a fixed length is needed: {advice}"
        )
    return _bounded(timedelta(seconds=sum(n * SECONDS[unit] for n, unit in parts)), text)


@lru_cache(maxsize=512)
def parse_interval(text: str) -> Interval:
    """Return the interval of `every`; its days and months follow the calendar."""
    parts = _parts(
        text, parse_interval, "y mo w d h m s, largest first, such as 90s, 1h30m, 2w or 1mo"
    )
    months = sum(n * MONTHS[unit] for n, unit in parts if unit in MONTHS)
    days = sum(n * SECONDS[unit] // 86_400 for n, unit in parts if unit in ("w", "d"))
    seconds = sum(n * SECONDS[unit] for n, unit in parts if unit in ("h", "m", "s"))
    _bounded(timedelta(days=days, seconds=seconds) if not months else LONGEST, text)
    if months > LONGEST_MONTHS:
        raise DurationError(_too_long(text))
    if sum(map(bool, (months, days, seconds))) > 1:
        raise DurationError(_mixed(text, months, days, seconds))
    return Interval(months, days, seconds)


def parse_ago(text: str, now: datetime) -> datetime:
    """Return the instant that long before `now`; `mo` and `y` step back by its calendar."""
    if now.tzinfo is None:
        raise MomentError(f"{shown(now)} has no zone: pass an aware datetime")
    parts = _parts(
        text,
        lambda better: parse_ago(better, now),
        "y mo w d h m s, largest first, such as 90s, 1h30m, 7d or 1mo",
    )
    months = sum(n * MONTHS[unit] for n, unit in parts if unit in MONTHS)
    rest = timedelta(seconds=sum(n * SECONDS[unit] for n, unit in parts if unit in SECONDS))
    if months > LONGEST_MONTHS or rest > LONGEST:
        raise DurationError(_too_long(text))
    try:
        # Elapsed time is subtracted in UTC: on the wall clock an hour can be two hours, or none.
        return (_months_back(now, months).astimezone(UTC) - rest).astimezone(now.tzinfo)
    except (OverflowError, ValueError) as exc:
        raise DurationError(f"{shown(text)} before {shown(now)} is before the calendar") from exc


def format(delta: timedelta | float) -> str:  # noqa: A001 - read as duration.format
    """Return a length in the grammar of `parse`, exact to the second: `1h30m`, `7d`.

    The exception is a fraction of a second under a minute, which only the library accepts: `0.5s`.
    """
    seconds = delta.total_seconds() if isinstance(delta, timedelta) else delta
    if seconds < 0:
        return "-" + format(-seconds)
    whole, parts = int(seconds), []
    if fraction := round(seconds - whole, 6):
        return f"{whole + fraction:g}s" if whole < 60 else format(round(seconds))
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def human(seconds: float) -> str:
    """Return a short form for tables, cut to the two largest units: `12ms`, `0.3s`, `4m 10s`, `2d 4h`."""
    if seconds < 0:
        return "-" + human(-seconds)
    if 0 < round(seconds, 3) < 0.1:
        return f"{round(seconds * 1000)}ms"
    if round(seconds, 1) < 10:
        return f"{round(seconds, 1):g}s"
    total = int(max(seconds, 10))
    if total < 60:
        return f"{total}s"
    if total < 3_600:
        return f"{total // 60}m {total % 60:02}s"
    if total < 86_400:
        return f"{total // 3_600}h {total % 3_600 // 60:02}m"
    return f"{total // 86_400}d {total % 86_400 // 3_600}h"


def _parts(text: str, check: Check, examples: str) -> list[tuple[int, str]]:
    """Return the numbers and units of a valid text.

    Any advised text passes `check`, which raises a DurationError for an invalid one.
    """
    if not isinstance(text, str):
        raise DurationError(
            f"{shown(text)} is not a valid length of time: write a text such as 1h30m"
        )
    if len(text) > LONGEST_TEXT:
        raise DurationError(f"{shown(text)} is too long for a length of time, such as 1h30m")
    parts = [(int(n), unit) for n, unit in PART.findall(text)]
    if not text or PART.sub("", text):
        wrong = "needs a unit" if BARE.fullmatch(text) else "is not a valid length of time"
        raise DurationError(f"{shown(text)} {wrong}: {_advice(text, check, examples)}")
    if any(n == 0 for n, _ in parts):
        raise DurationError(f"{shown(text)} has a zero count of a unit: {AT_LEAST_ONE}")
    _check_order(text, parts, check)
    return parts


def _check_order(text: str, parts: list[tuple[int, str]], check: Check) -> None:
    """Refuse a unit that comes twice or after a smaller one."""
    units = [unit for _, unit in parts]
    if twice := [unit for unit in UNITS if units.count(unit) > 1]:
        raise DurationError(f"{shown(text)} has the unit {twice[0]!r} twice: add the numbers up")
    ordered = sorted(parts, key=lambda part: UNITS.index(part[1]))
    if ordered != parts:
        better = "".join(f"{n}{unit}" for n, unit in ordered)
        raise DurationError(
            f"{shown(text)} must have the largest unit first: {_checked([better], check)}"
        )


def _advice(text: str, check: Check, examples: str) -> str:
    """Return the advice for a text that is not in the grammar."""
    if BARE.fullmatch(text):
        return _checked([text + unit for unit in "smh"], check)
    if re.fullmatch(r"0{1,6}", text):
        return AT_LEAST_ONE
    if re.search(r"[0-9]{7}", text):
        return "a number has at most 6 digits"
    if re.search(r"[0-9][.,][0-9]", text):
        return "use whole numbers and a smaller unit, such as 1h30m or 90s"
    if better := _respelled(text):
        return _checked(better, check)
    return f"write numbers with the units {examples}"


def _checked(better: list[str], check: Check) -> str:
    """Return the advice to write one of the texts that are accepted; else the fault of the first."""
    good, wrong = [], ""
    for each in better:
        try:
            check(each)
        except DurationError as exc:
            wrong = wrong or str(exc)
        else:
            good.append(each)
    if len(good) == 2 and {each.lstrip("0123456789") for each in good} == {"mo", "m"}:
        return f"write {good[0]} for months or {good[1]} for minutes"
    *most, last = good or [""]
    return f"write {', '.join(most)} or {last}" if most else f"write {last}" if good else wrong


def _respelled(text: str) -> list[str]:
    """Return the possible meanings of a text with blanks, capitals, long unit names or in ISO 8601."""
    if text.lower() in NAMED:
        return [NAMED[text.lower()]]
    if iso := re.fullmatch(r"P([0-9YMWD]*)(?:T([0-9HMS]+))?", text.upper()):
        return [f"{iso[1].lower().replace('m', 'mo')}{(iso[2] or '').lower()}"]
    plain = text.removeprefix("every ").strip()
    if not plain.isascii() or re.sub(LOOSE_PART, "", plain).strip(" ,"):
        return []
    found = [
        (n, SYNONYMS.get(unit.lower(), unit if unit == "M" else unit.lower()))
        for n, unit in re.findall(LOOSE_PART, plain)
    ]
    if not found or not all(unit in UNITS or unit == "M" for _, unit in found):
        return []
    # A capital M can be a month or a minute.
    both = ["".join(n + (m if unit == "M" else unit) for n, unit in found) for m in ("mo", "m")]
    return list(dict.fromkeys(both))


def _mixed(text: str, months: int, days: int, seconds: int) -> str:
    """Return the message for an interval that mixes units."""
    why = "months, days and hours differ in how they follow the calendar"
    if months:
        advice = f"write only one, such as {months}mo"
        return f"{shown(text)} mixes months with smaller units, and {why}: {advice}"
    better = _absolute(days * 86_400 + seconds)
    return f"{shown(text)} mixes days with hours, and {why}: write {better}"


def _absolute(seconds: int) -> str:
    """Return seconds as hours, minutes and seconds, the units of elapsed time."""
    counts = ((seconds // 3_600, "h"), (seconds % 3_600 // 60, "m"), (seconds % 60, "s"))
    return "".join(f"{n}{unit}" for n, unit in counts if n)


def absolute(delta: timedelta) -> str:
    """Return a length as the interval text for elapsed time, such as `36h`; whole seconds only."""
    _bounded(delta, delta)
    if delta % timedelta(seconds=1):
        raise DurationError(f"{shown(delta)} is not a whole number of seconds, such as 1:30:00")
    return _absolute(delta // timedelta(seconds=1))


def _bounded(delta: timedelta, text: object) -> timedelta:
    """Return `delta` if it is positive and no longer than a hundred years."""
    if delta <= timedelta(0):
        raise DurationError(f"{shown(text)} is not positive: write a length such as 30s")
    if delta > LONGEST:
        raise DurationError(_too_long(text))
    return delta


def _too_long(text: object) -> str:
    return f"{shown(text)} is over 100 years: write a shorter length"


def _months_back(moment: datetime, months: int) -> datetime:
    """Return the same day and time `months` earlier, or the last day of a shorter month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    first = moment.replace(year=year, month=month + 1, day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(moment.day, last.day))
