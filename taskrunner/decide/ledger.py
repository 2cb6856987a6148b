"""The events of the database: written as text, and read back as gaps, pauses and changes.

Pure: records in, records out. It must not know the store; time is an argument.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock
from taskrunner.decide.policy import words
from taskrunner.model.record import names_of, record
from taskrunner.model.values import Change, Event, Gap, Hold, Task
from taskrunner.schedule import durations

RESUME = "`taskrunner resume`"  # the end of a pause without a set end
LONGEST_VALUE = 100  # characters of a value that was changed
CLOCK_EVENTS = ("gap", "step back")
HOLD_EVENTS = ("held", "resumed")
SINCE = r"no tick since (\S+): (.*)"
BACK = r"(the clock went back by \S+ s), from (\S+)"
UNTIL = r"until (\S+Z)(?:: (.*))?|until `taskrunner resume`(?:: (.*))?"
END_OF_PAUSE = r"^until (\d{4}-\d\d-\d\d)T([\d:]{8})(?:\.\d+)?Z"
OTHER_SCHEDULE = r"schedule (.+?) -> (.+?)(?:, |$)"
TIMING = ("kind", "schedule", "tz", "anchor", "from_finish")
# Fields that no person changes, or that are shown with another.
UNTOLD = {
    *TIMING,
    *("id", "enabled", "created", "evaluated", "next", "following", "requested", "boot_id"),
    *("error", "last_run", "last_state", "last_success", "group_limit"),
}
SECRET = ("env", "stdin")  # changed by name only


# ---- events into text


def gap(since: datetime, at: datetime, *, rebooted: bool, caller: str = "") -> Event:
    """Return the event of a gap that has ended, after a tick by that caller."""
    why = silent(rebooted, caller)
    return Event(at, "gap", "tick", text=f"no tick since {clock.iso(since)}: {why}")


def silent(rebooted: bool, caller: str) -> str:
    """Return why no tick came, as far as the boot id and the caller of the tick before tell."""
    if rebooted:
        return "reboot"
    what = "the daemon did not run" if caller == "daemon" else "the clock entry did not fire"
    return f"{what}, or the machine was suspended"


def step_back(since: datetime, at: datetime) -> Event:
    """Return the event of a clock that was set back from `since` to `at`."""
    text = f"the clock went back by {(since - at).total_seconds():.0f} s, from {clock.iso(since)}"
    return Event(at, "step back", "tick", text=text)


def moved(what: str, until: datetime, instead: datetime) -> str:
    """Return the text for a waiting time that was set while the clock was ahead, and is now corrected."""
    return f"{what} waited for {words(until)}, set by a clock that was ahead: now it is {words(instead)}"


def held(hold: Hold) -> Event:
    """Return the event of a pause."""
    why = "" if hold.reason is None else f": {hold.reason}"
    until = RESUME if hold.until is None else clock.iso(hold.until)
    return Event(hold.since, "held", hold.by, text=f"until {until}{why}")


def asked(run_id: int, at: datetime, by: str, why: str | None) -> Event:
    """Return the event of a run by hand with its author."""
    return Event(at, "run", by, text=f"run {run_id}" + ("" if why is None else f": {why}"))


def asked_by(events: Sequence[Event], run_id: int) -> str:
    """Return by whom a run was started by hand, and why, where that was told: ` by NAME: WHY`, else ""."""
    for event in events:
        text = event.text or ""
        if event.what == "run" and text.partition(":")[0] == f"run {run_id}":
            return f" by {event.by}{text.removeprefix(f'run {run_id}')}"
    return ""


def sentence(hold: Hold) -> str:
    """Return the pause as a sentence."""
    why = "" if hold.reason is None else f" ({hold.reason})"
    until = RESUME if hold.until is None else words(hold.until)
    return f"scheduled runs are paused since {words(hold.since)} until {until}, by {hold.by}{why}"


def difference(old: Task, new: Task) -> str:
    """Return the changes of a task, old and new values; of secret fields only the names."""
    told = []
    if old.evaluated != new.evaluated or any(getattr(old, n) != getattr(new, n) for n in TIMING):
        told.append(f"schedule {when(vars(old))} -> {when(vars(new))}")
    for name in names_of(Task):
        before, after = _value(name, old), _value(name, new)
        if name not in UNTOLD and before != after:
            flag = name.replace("_", "-")
            told.append(flag if name in SECRET else f"{flag} {_cut(before)} -> {_cut(after)}")
    return ", ".join(told)


def when(values: Mapping[str, Any]) -> str:
    """Return the schedule of a task from its columns, as it was given, with anchor and zone."""
    anchor = "" if values["anchor"] is None else f" from {words(values['anchor'])}"
    start = " from finish" if values["from_finish"] else anchor
    zone = "" if values["tz"] is None else f" ({values['tz']})"
    return f"{values['kind']} {values['schedule']}".strip() + start + zone


def _value(name: str, task: Task) -> str:
    """Return the value of an option as it is typed."""
    value: Any = getattr(task, name)
    if name == "group" and task.group_limit is not None:
        return f"{task.group}:{task.group_limit}"
    if name == "args" and value is not None:
        return json.dumps(value, ensure_ascii=False)
    if name == "umask" and value is not None:
        return f"{value:03o}"
    if isinstance(value, timedelta):
        return durations.format(value)
    if isinstance(value, tuple):
        return shlex.join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


# ---- events read back


@record
class Stretch:
    """A period that may not have ended yet, with its cause."""

    since: datetime
    until: datetime | None
    by: str
    why: str = ""

    def covers(self, moment: datetime) -> bool:
        """Return whether it held at an instant."""
        return self.since <= moment and (self.until is None or moment <= self.until)

    def meets(self, first: datetime, last: datetime) -> bool:
        """Return whether it held at any time between two instants."""
        return self.since < last and (self.until is None or self.until > first)


def gaps(events: Sequence[Event], silence: Gap | None = None) -> list[Gap]:
    """Return the times without ticks, and the steps back, oldest first; `silence` is the one still open."""
    found = [_gap(event) for event in events if event.what in CLOCK_EVENTS]
    return [each for each in (*found, silence) if each is not None]


def _gap(event: Event) -> Gap | None:
    if ahead := re.fullmatch(SINCE, event.text or ""):
        return Gap(_moment(ahead[1]), event.at, ahead[2])
    if back := re.fullmatch(BACK, event.text or ""):
        return Gap(_moment(back[2]), event.at, back[1])
    return None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def between(found: Sequence[Gap], since: datetime, until: datetime) -> list[Gap]:
    """Return the gaps that overlap a period."""
    return [
        each
        for each in found
        if min(each.since, each.until or each.since) < until
        and (each.until is None or max(each.since, each.until) > since)
    ]


def holds(events: Sequence[Event]) -> list[Stretch]:
    """Return the periods of pause, oldest first."""
    marks = [event for event in events if event.what in HOLD_EVENTS]
    found = []
    for number, event in enumerate(marks):
        if event.what == "held" and (said := re.fullmatch(UNTIL, event.text or "")):
            ends = [mark.at for mark in marks[number + 1 : number + 2]]
            ends += [_moment(said[1])] if said[1] else []
            why = said[2] or said[3] or ""
            found.append(Stretch(event.at, min(ends, default=None), event.by or "?", why))
    return found


def disabled(events: Sequence[Event]) -> list[Stretch]:
    """Return the periods in which the task was disabled, oldest first."""
    marks = [event for event in events if event.what in ("disabled", "enabled")]
    return [
        Stretch(one.at, None if other is None else other.at, one.by or "?")
        for one, other in zip(marks, [*marks[1:], None], strict=False)
        if one.what == "disabled"
    ]


def changes(events: Sequence[Event], since: datetime, until: datetime) -> list[Change]:
    """Return the changes in a period, and the last change of the task before it, oldest first."""
    made = [
        event
        for event in events
        if event.what in HOLD_EVENTS or (event.task is not None and event.what != "run")
    ]
    before = [event for event in made if event.at < since and event.task is not None][-1:]
    meant = [*before, *(event for event in made if since <= event.at <= until)]
    return [
        Change(e.at, f"{e.what}: {_in_words(e.text)}" if e.text else e.what, e.by) for e in meant
    ]


def _in_words(text: str) -> str:
    """Return the text of a change with the end of a pause as other instants are told, so that a zone can take it."""
    return re.sub(END_OF_PAUSE, r"until \1 \2 UTC", text)
