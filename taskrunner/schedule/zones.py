"""Time zones: their names checked, and wall times placed in them.

A wall time is a naive datetime, an instant an aware one in UTC. When clocks change, a wall time can
come twice (a fold) or not at all (a gap). This module decides which instant counts, by Debian
cron's rule (docs/explanation/time.md, section 2). This module
knows nothing of expressions, intervals or tasks.
"""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from taskrunner.errors import MomentError, ZoneError, nearest, shown

NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)
LONGEST_NAME = 64
POSIX_RULE = re.compile(
    r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?[0-9]"
)  # tzset(3): CET-1CEST,M3.5.0,M10.5.0/3

# Files in a zone folder that are not zones, or differ from host to host.
NOT_ZONES = {"localtime", "posixrules", "factory", "posix", "right"}

UTC_NAMES = {
    *("UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"),
}

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name such as `Europe/Berlin`; anything else is a ZoneError."""
    if not isinstance(name, str):
        raise ZoneError(
            f"{shown(name)} is not a valid time zone: write a name such as 'Europe/Berlin'"
        )
    return _load(name)


@lru_cache(maxsize=256)
def _load(name: str) -> ZoneInfo:
    if len(name) > LONGEST_NAME or not NAME.fullmatch(name) or _first(name) in NOT_ZONES:
        raise ZoneError(_refusal(name))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:  # which one depends on the name
        raise ZoneError(_refusal(name)) from exc


def told(name: str) -> str:
    """Return a zone's name for display: the many names of UTC become one."""
    return "UTC" if name in UTC_NAMES else name


def in_zone(name: str | None) -> str:
    """Return a zone as the end of a description, "" without one."""
    return f" ({told(name)})" if name else ""


def check_zone(name: str | None) -> None:
    """Raise ZoneError unless it is a zone, or None."""
    if name is not None:
        zone(name)


def forget() -> None:
    """Read the data of each zone again at its next use."""
    _load.cache_clear()
    ZoneInfo.clear_cache()


def _first(name: str) -> str:
    return name.split("/", 1)[0].lower()


def _refusal(name: str) -> str:
    """Return the message for an unknown name, with the likely one if there is one."""
    known = zoneinfo.available_timezones() - {"localtime", "Factory"}
    if not known:
        return f"{shown(name)} cannot be looked up, this host has no zone data: install tzdata"
    if POSIX_RULE.match(name):
        rule = "it is a POSIX rule and not a name"
        return f"{shown(name)} is not a valid time zone: {rule}, write an IANA name such as 'Europe/Berlin'"
    near = _nearest(name[:LONGEST_NAME], known)
    example = f"did you mean {near!r}?" if near else "write an IANA name such as 'Europe/Berlin'"
    return f"{shown(name)} is not a valid time zone: {example}"


def _nearest(name: str, known: set[str]) -> str | None:
    """Return the closest known name: by capitals, by city, then by spelling."""
    folded = {each.lower(): each for each in sorted(known)}
    wanted = name.strip().lower().replace(" ", "_")
    cities = {each.lower().rsplit("/", 1)[-1]: each for each in sorted(known) if "/" in each}
    if found := folded.get(wanted) or cities.get(wanted.rsplit("/", 1)[-1]):
        return found
    return nearest(wanted, sorted(known), alike=0.75)


def utc(moment: datetime) -> datetime:
    """Return an aware datetime in UTC; a naive one is a MomentError."""
    if not isinstance(moment, datetime):
        raise MomentError(f"{shown(moment)} is not a valid time: pass an aware datetime")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise MomentError(f"{shown(moment)} has no zone: pass an aware datetime")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within hours of the calendar's limit: use the limit
        return LAST_INSTANT if moment.year > 1 else FIRST_INSTANT


def readings(wall: datetime, where: tzinfo) -> tuple[datetime, ...]:
    """Return the instants at which clocks show `wall`: one, two in a fold, none in a gap."""
    early, late = _both(wall, where)
    if early == late:
        return (early,)
    return (early, late) if early < late else ()


def place(wall: datetime, where: tzinfo) -> datetime:
    """Return the one instant for `wall`: the first of a fold, the end of a gap."""
    early, late = _both(wall, where)
    return early if early <= late else change(wall, where)


def change(wall: datetime, where: tzinfo) -> datetime:
    """Return the instant of the clock change that makes `wall` come twice or not at all."""
    low, high = sorted(_both(wall, where))
    after = _offset(high, where)
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        low, high = (low, middle) if _offset(middle, where) == after else (middle, high)
    return high.replace(microsecond=0)  # clocks change on whole seconds


def even(wall: datetime, length: timedelta, where: tzinfo) -> tuple[datetime, datetime] | None:
    """Return the first and last minute of a wall span, None if clocks change in or beside it."""
    before, start, end = (readings(each, where) for each in (wall - MINUTE, wall, wall + length))
    if not len(before) == len(start) == len(end) == 1:
        return None
    return (start[0], end[0] - MINUTE) if end[0] - start[0] == length else None


def local(moment: datetime, where: tzinfo) -> datetime:
    """Return the wall time at an instant; its `fold` is 1 in a second pass."""
    return moment.astimezone(where).replace(tzinfo=None)


def _both(wall: datetime, where: tzinfo) -> tuple[datetime, datetime]:
    """Return the instants of `wall` by the offsets before and after a change near it."""
    always = where.utcoffset(None)
    if always is not None:  # a zone without changes, such as UTC
        only = (wall - always).replace(tzinfo=UTC)
        return only, only
    aware = wall.replace(tzinfo=where, fold=0)
    return aware.astimezone(UTC), aware.replace(fold=1).astimezone(UTC)


def _offset(moment: datetime, where: tzinfo) -> timedelta | None:
    return moment.astimezone(where).utcoffset()
