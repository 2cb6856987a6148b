"""Schedules as values: text in, slots out.

A slot is an instant in UTC. Each kind of schedule answers one question, `next_after(moment)`, and
the answer depends on nothing else (docs/explanation/time.md has the rules).
Pure: it is given instants and reads no clock (but for the name of the host's zone), no store and
no policy.
"""

from datetime import UTC, datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from taskrunner import clock
from taskrunner.errors import MomentError, ScheduleError, shown
from taskrunner.model.record import like, record
from taskrunner.schedule import expression, next_day
from taskrunner.schedule.describe import interval_words, words
from taskrunner.schedule.durations import Interval, absolute, parse_interval
from taskrunner.schedule.expression import SEARCH_YEARS, Expression
from taskrunner.schedule.instants import (
    cut,
    moment,
    moment_note,
    near,
    note,
    place_text,
    read,
    spell,
)
from taskrunner.schedule.month_days import On
from taskrunner.schedule.names import LONG_MONTHS
from taskrunner.schedule.wall_time import LAST, WallTimes, next_slot
from taskrunner.schedule.zones import MINUTE, SECOND, check_zone, in_zone, local, place, utc, zone

__all__ = [
    "After", "At", "Boot", "Cron", "Every", "Manual", "On", "Schedule", "complete", "moment",
    "moment_note", "near", "parse", "zone",
]  # fmt: skip

ENDINGS = {"succeeded": "succeeded", "failed": "failed", "any": "ended"}


@record
class Cron:
    """Wall-clock times by a cron expression, in `tz` or else the zone of the host."""

    kind: ClassVar[str] = "cron"
    expression: str
    tz: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", expression.normalise(self.expression))
        expression.meaning(self.expression)
        check_zone(self.tz)

    @property
    def meaning(self) -> Expression:
        """The meaning of the expression, in numbers."""
        return expression.meaning(self.expression)

    @property
    def text(self) -> str:
        """The expression as given, with single blanks."""
        return self.expression

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot after an aware datetime, in UTC; None when there is none."""
        return next_slot(wall_times(self), utc(moment))

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        return words(self.meaning) + in_zone(self.tz)


@record
class Every:
    """A fixed interval on a grid from `anchor`, or with `from_finish` a delay after each run.

    `1d` and `1mo` keep the wall-clock time of the anchor in `tz`; `24h` is elapsed time, and so is
    a timedelta. `add` fills in a missing anchor and zone (`complete`).
    """

    kind: ClassVar[str] = "every"
    interval: str | timedelta
    anchor: datetime | None = None
    tz: str | None = None
    from_finish: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.interval, timedelta):
            object.__setattr__(self, "interval", absolute(self.interval))
        parse_interval(self.text)
        if self.anchor is not None:
            object.__setattr__(self, "anchor", utc(self.anchor).replace(microsecond=0))
        check_zone(self.tz)

    @property
    def text(self) -> str:
        """The interval, such as `7h30m`."""
        return str(self.interval)

    @property
    def length(self) -> Interval:
        """The interval in months, days or seconds."""
        return parse_interval(self.text)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot after an aware datetime, in UTC; None when there is none.

        With `from_finish` that is the anchor or None: `after_finish` gives the slot after a run.
        """
        after, anchor, _ = utc(moment), self._start(), self._where()
        if after < anchor:
            return anchor
        if self.from_finish or after >= LAST:
            return None
        return self.slot(self.number(after) + 1)

    def after_finish(self, finished: datetime) -> datetime:
        """Return the instant one interval after the end of a run, rounded up to a whole second."""
        ended = utc(finished)
        whole = ended.replace(microsecond=0)
        return self._later(whole if whole == ended else whole + SECOND, 1)

    def slot(self, number: int) -> datetime:
        """Return the slot of that number; slot 0 is the anchor itself."""
        return self._later(self._start(), number) if number else self._start()

    def number(self, moment: datetime) -> int:
        """Return the number of the newest slot up to an instant that is not before slot 0."""
        number = self._guess(moment)
        while number and self.slot(number) > moment:
            number -= 1
        while self.slot(number + 1) <= moment:
            number += 1
        return number

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        rhythm = f"every {interval_words(self.text)}"
        if self.from_finish:
            return f"{rhythm.removeprefix('every ')} after the end of each run"
        if self.length.seconds or self.anchor is None or self.tz is None:
            return rhythm
        wall = local(self.anchor, zone(self.tz))
        day = f" on day {wall.day}" if self.length.months else ""
        if self.length.months % 12 == 0 and day:
            day = f" on {wall.day} {LONG_MONTHS[wall.month - 1].title()}"
        return f"{rhythm}{day} at {spell(wall)[11:]}{in_zone(self.tz)}"

    def _start(self) -> datetime:
        if self.anchor is None:
            raise ScheduleError(
                f"Every({self.text!r}) has no anchor yet: add completes it, or give anchor="
            )
        return self.anchor

    def _where(self) -> ZoneInfo | None:
        """Return the zone; elapsed time needs none."""
        if self.tz is None and not self.length.seconds:
            raise ScheduleError(
                f"Every({self.text!r}) has no zone yet: add completes it, or give tz="
            )
        return zone(self.tz) if self.tz is not None else None

    def _later(self, start: datetime, times: int) -> datetime:
        """Return the instant that many intervals after `start`, counted in one step."""
        if self.length.seconds:
            return start + times * timedelta(seconds=self.length.seconds)
        where = self._where()
        assert where is not None
        wall = local(start, where).replace(fold=0)
        if self.length.days:
            return place(wall + times * timedelta(days=self.length.days), where)
        from dateutil.relativedelta import relativedelta

        return place(wall + relativedelta(months=times * self.length.months), where)

    def _guess(self, moment: datetime) -> int:
        """Estimate the number of intervals between the anchor and an instant."""
        start = self._start()
        if self.length.months:
            months = (moment.year - start.year) * 12 + moment.month - start.month
            return max(0, months // self.length.months)
        return (moment - start) // timedelta(days=self.length.days, seconds=self.length.seconds)


@record
class At:
    """One instant: an aware datetime, or ISO 8601 text, without offset a wall time in `tz`."""

    kind: ClassVar[str] = "at"
    when: str | datetime
    tz: str | None = None

    def __post_init__(self) -> None:
        check_zone(self.tz)
        object.__setattr__(self, "when", _at_text(self.when))
        if self.tz is not None or read(self.text).tzinfo is not None:
            _ = self.instant  # a wall time past the end of the calendar is refused now, not later

    @property
    def text(self) -> str:
        """The instant as ISO 8601, with an offset if it was given with one."""
        return str(self.when)

    @property
    def instant(self) -> datetime:
        """The instant in UTC: the first pass of a fold, the end of a gap."""
        if self.tz is None and read(self.text).tzinfo is None:
            raise ScheduleError(f"At({self.text!r}) has no zone yet: add completes it, or give tz=")
        return place_text(self.text, self.tz or "UTC")

    @property
    def note(self) -> str | None:
        """A note about an unusual wall time in its zone, or None."""
        wall = read(self.text)
        return note(wall, self.tz) if self.tz is not None and wall.tzinfo is None else None

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the instant if it is after an aware datetime, else None."""
        after = utc(moment)
        return self.instant if self.instant > after else None

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        typed = read(self.text)
        if self.tz is None:
            return f"once at {spell(typed)}" + in_zone(str(typed.tzinfo) if typed.tzinfo else None)
        wall = local(typed, zone(self.tz)) if typed.tzinfo else typed
        return f"once at {spell(wall)}{in_zone(self.tz)}"


class _Untimed:
    """A schedule whose slots come from events, not from the clock."""

    def next_after(self, moment: datetime) -> datetime | None:
        """Return None: no instant is known in advance."""
        utc(moment)
        return None


@record
class After(_Untimed):
    """One slot for each run of `parent` that ends in the state `on`: succeeded, failed or any."""

    kind: ClassVar[str] = "after"
    parent: str
    on: str = "succeeded"

    def __post_init__(self) -> None:
        if not _is_name(self.parent):
            raise ScheduleError(
                f"{shown(self.parent)} is not a valid task to run after: write the name of a task"
            )
        if self.on not in ENDINGS:
            raise ScheduleError(
                f"{shown(self.on)} is not a valid end of a run: write succeeded, failed or any"
            )

    @property
    def text(self) -> str:
        """The parent, and how it must end unless that is `succeeded`."""
        return self.parent if self.on == "succeeded" else f"{self.parent}:{self.on}"

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        return f"after {self.parent} {ENDINGS[self.on]}"


@record
class Boot(_Untimed):
    """One slot for each boot of the host."""

    kind: ClassVar[str] = "boot"
    text: ClassVar[str] = ""

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        return "at every boot"


@record
class Manual(_Untimed):
    """No slots: the task runs when someone asks for it."""

    kind: ClassVar[str] = "manual"
    text: ClassVar[str] = ""

    def describe(self) -> str:
        """Return the schedule in words, on one line."""
        return "only by hand"


Schedule = Cron | Every | On | At | After | Boot | Manual


def parse(
    kind: str,
    text: str,
    *,
    tz: str | None,
    anchor: datetime | None = None,
    from_finish: bool = False,
) -> Schedule:
    """Return the schedule of these stored fields."""
    match kind:
        case "cron":
            return Cron(text, tz)
        case "every":
            return Every(text, anchor, tz, from_finish)
        case "on":
            return On(text, tz=tz)
        case "at":
            return At(text, tz)
        case "after":
            parent, _, on = text.partition(":")
            return After(parent, on or "succeeded")
        case "boot":
            return Boot()
        case "manual":
            return Manual()
    raise ScheduleError(
        f"{shown(kind)} is not a kind of schedule: write cron, every, on, at, after, boot or manual"
    )


def complete(schedule: Schedule, *, tz: str, now: datetime) -> Schedule:
    """Return the schedule with a missing zone and anchor filled in, as `add` stores it."""
    match schedule:
        case Cron():
            whole = like(schedule, tz=schedule.tz or tz)
            # A valid expression has a slot within 41 years, unless the calendar ends first.
            far = now.year + SEARCH_YEARS >= LAST.year
            if far and whole.next_after(now) is None:
                raise ScheduleError(f"{shown(whole.text)} has no slot after {now}: check both")
            return whole
        case Every():
            return like(
                schedule, tz=schedule.tz or tz, anchor=schedule.anchor or _begin(schedule, now)
            )
        case At() | On():
            return like(schedule, tz=schedule.tz or tz)
    return schedule


def _begin(schedule: Every, now: datetime) -> datetime:
    """Return the anchor of an interval added now: on a whole minute, unless the interval has seconds."""
    return now.replace(second=0, microsecond=0) if schedule.length.seconds % 60 == 0 else now


def begun_by(value: Every, moment: datetime) -> Every:
    """Return the same grid with an anchor at or before an instant; `value` itself when it has one."""
    start = value.slot(0)
    if start <= moment:
        return value
    where = UTC if value.tz is None else zone(value.tz)
    wall, length = local(start, where), value.length
    back = like(value, anchor=moment)._guess(start)
    while True:
        earlier = value._later(start, -back)
        seen = local(earlier, where)
        # A slot that a short month or a gap has moved would move the whole grid.
        odd = seen.time() != wall.time() or (length.months and seen.day != wall.day)
        if earlier <= moment and (length.seconds or not odd):
            return like(value, anchor=earlier)
        back += 1


def wall_times(schedule: Cron) -> WallTimes:
    """Return the wall times of a cron expression in its zone, or else in that of the host."""
    where = zone(schedule.tz if schedule.tz is not None else clock.local_zone())
    return WallTimes(schedule.meaning, where, next_day.walk)


def _is_name(value: object) -> bool:
    """Whether a value could name a task; the exact grammar of names is checked elsewhere."""
    return isinstance(value, str) and bool(value) and value.isprintable() and ":" not in value


def _at_text(when: str | datetime) -> str:
    """Return an instant as ISO 8601, as it was given: with its offset, or as a wall time."""
    if isinstance(when, datetime):
        offset = when.utcoffset()
        if offset is None or offset % MINUTE:  # naive; or with seconds, which ISO 8601 cannot say
            when = utc(when)
        return cut(when).isoformat()
    if str(when).strip().startswith(("+", "-")):
        raise MomentError(
            f"{shown(when)} is relative to now: give At the instant that moment() returns"
        )
    return read(when).isoformat()
