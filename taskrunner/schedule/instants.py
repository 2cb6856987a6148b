"""Instants as text: ISO 8601 with or without offset, `now`, or a distance from now.

One parser for every option that takes an instant. Time is an argument here: "now" and the zone that
replaces a missing offset are passed in. This module knows nothing of schedules.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

from taskrunner.errors import MomentError, shown
from taskrunner.schedule import durations
from taskrunner.schedule.zones import change, local, place, readings, zone

LONGEST_TEXT = 64
YEARS = range(1970, 10_000)
# On the last day of the calendar some zones have left it already, so an instant then could not be shown there.
END = datetime(9999, 12, 31, tzinfo=UTC)
TOO_LATE = "it is after 9999-12-30, the last day that all time zones can show"

ISO = (
    r"(?a)(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
DISTANCE = r"[+-].+"
DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"
NEAR = rf"(?ai)(?:(yesterday|today|tomorrow)(?:[ T]({CLOCK}))?|({CLOCK}))"


def moment(text: str, *, tz: str, now: datetime) -> datetime:
    """Return the instant of a text, in UTC; without offset it is a wall time in `tz`."""
    typed = _checked(text)
    if typed.lower() == "now":
        return now.astimezone(UTC)
    if re.fullmatch(DISTANCE, typed):
        return _apart(typed, now)
    return place_text(near(typed, tz=tz, now=now) or typed, tz)


def near(text: str, *, tz: str, now: datetime) -> str | None:
    """Return the wall time of `today`, `yesterday`, `tomorrow 09:00` or `18:00` as ISO 8601, None for other texts."""
    found = re.fullmatch(NEAR, _checked(text))
    if not found:
        return None
    day = local(now, zone(tz)).date() + timedelta(days=DAYS[(found[1] or "today").lower()])
    clock = found[2] or found[3] or "00:00"
    return f"{day}T{clock if clock[2] == ':' else f'0{clock}'}"


def moment_note(text: str, *, tz: str) -> str | None:
    """Return a note when a wall time comes twice or not at all in `tz`; else None."""
    if not re.fullmatch(ISO, text.strip()):
        return None
    wall = read(text)
    return note(wall, tz) if wall.tzinfo is None else None


def place_text(text: str, tz: str) -> datetime:
    """Return the instant of an ISO 8601 text; without offset by the rule of `place` in `tz`."""
    typed = read(text)
    try:
        found = place(typed, zone(tz)) if typed.tzinfo is None else typed.astimezone(UTC)
    except OverflowError as exc:
        raise _refused(text, TOO_LATE) from exc
    return _shown_anywhere(text, found)


def read(text: str) -> datetime:
    """Return the datetime of an ISO 8601 text, naive without offset, cut to the millisecond."""
    match = re.fullmatch(ISO, _checked(text))
    if not match:
        raise _refused(text, _advice(text))
    at = match["time"] or "00:00"
    try:
        # Python 3.14 takes it for the next midnight, earlier ones refuse it.
        if at.startswith("24"):
            raise ValueError("hour must be in 0..23")
        typed = datetime.fromisoformat(f"{match['day']}T{at}")
        where = _offset(match["offset"])
    except ValueError as exc:
        raise _refused(text, f"the date, time or offset does not exist ({exc})") from exc
    if typed.year not in YEARS:
        raise _refused(text, "years run from 1970 to 9999")
    if typed.date() == END.date():
        raise _refused(text, TOO_LATE)
    return cut(typed).replace(tzinfo=where)


def cut(when: datetime) -> datetime:
    """Return a datetime cut to the millisecond, the precision of the database."""
    return when.replace(microsecond=when.microsecond // 1000 * 1000)


def note(wall: datetime, tz: str) -> str | None:
    """Return the note for a wall time that comes twice or not at all in `tz`, else None."""
    where = zone(tz)
    try:
        found = readings(wall, where)
    except OverflowError:
        return None
    if len(found) == 1:
        return None
    if found:
        return f"{spell(wall)} comes twice in {tz}, as clocks go back: the first is taken"
    after = spell(local(change(wall, where), where))
    return f"{spell(wall)} does not exist in {tz}, as clocks go forward: {after} is taken"


def spell(wall: datetime) -> str:
    """Return a wall time as text, with seconds only when they are not zero."""
    exact = wall.second or wall.microsecond
    return wall.strftime("%Y-%m-%d %H:%M:%S" if exact else "%Y-%m-%d %H:%M")


def _checked(text: str) -> str:
    """Return the text without outer blanks; raises MomentError unless it is short and plain."""
    if not isinstance(text, str):
        raise MomentError(
            f"{shown(text)} is not a valid time: write a text such as 2026-12-01T22:00"
        )
    if len(text) > LONGEST_TEXT:
        raise _refused(text, f"write at most {LONGEST_TEXT} characters, such as 2026-12-01T22:00")
    if not text.isascii() or not text.isprintable():
        raise _refused(text, "use plain ASCII, such as 2026-12-01T22:00")
    return text.strip()


def _apart(text: str, now: datetime) -> datetime:
    """Return the instant at a distance such as `+30m` or `-2h` from now."""
    length = durations.parse(text[1:])
    try:
        found = now.astimezone(UTC) + (length if text[0] == "+" else -length)
    except OverflowError as exc:
        raise _refused(text, "years run from 1970 to 9999") from exc
    return _shown_anywhere(text, found)


def _shown_anywhere(text: str, found: datetime) -> datetime:
    """Return an instant that all time zones can show; raises MomentError."""
    if found.year not in YEARS:
        raise _refused(text, "years run from 1970 to 9999")
    if found >= END:
        raise _refused(text, TOO_LATE)
    return found


def _offset(text: str | None) -> timezone | None:
    """Return the fixed offset of `Z`, `+01`, `+0100` or `+01:00`."""
    if text is None:
        return None
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("offset is over 23:59")
    length = timedelta(hours=hours, minutes=minutes)
    return timezone(-length if text[0] == "-" else length)


def _advice(text: str) -> str:
    """Return the advice for a text that is not ISO 8601."""
    if re.fullmatch(r"[0-9]+[a-z0-9]*[a-z]", text.strip(), re.A):
        return f"for a distance from now write +{text.strip()} or -{text.strip()}"
    return (
        "write ISO 8601 such as 2026-12-01 22:00 or 2026-12-01T22:00:00+01:00, 18:00 or tomorrow 09:00, "
        "or +30m from now"
    )


def _refused(text: str, advice: str) -> MomentError:
    return MomentError(f"{shown(text)} is not a valid time: {advice}")
