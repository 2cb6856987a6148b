"""Values as the pages spell them: instants, lengths of time, states, shares.

It must know neither Flask nor the store.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import floor
from typing import TYPE_CHECKING

from taskrunner import clock
from taskrunner.model.values import State
from taskrunner.render import page as text_page, spelling
from taskrunner.render.agenda import SERIOUS
from taskrunner.schedule import durations

if TYPE_CHECKING:
    from taskrunner.model.answers import Entry, Trace
    from taskrunner.model.values import Run

NOTHING = "–"  # in a cell
NEAR = timedelta(days=6)  # a weekday names a day without doubt
LONGEST_LINE = 200  # characters of the last line of an output


class Spelled:
    """Instants and sentences in one zone, seen from one instant; templates call these."""

    def __init__(self, tz: str, now: datetime) -> None:
        """Take the name of the zone and this instant."""
        self._page = text_page.Page(tz, now)
        self.now = now
        self.tz = self._page.tz

    def iso(self, moment: datetime) -> str:
        """Return an instant for programs."""
        return clock.iso(moment)

    def full(self, moment: datetime) -> str:
        """Return an instant with all its parts: `Fri 20 Nov 2026, 12:00:05 UTC`."""
        local = self._page.placed(moment)
        return f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S %Z}"

    def short(self, moment: datetime) -> str:
        """Return an instant in few signs: the time of today, the weekday of a day near by, else the date."""
        local, today = self._page.placed(moment), self._page.placed(self.now)
        time = self._page.clock(moment)
        if local.date() == today.date():
            return time
        if abs(local.date() - today.date()) <= NEAR:
            return f"{local:%a} {time}"
        if local.year == today.year:
            return f"{local.day} {local:%b} {local:%H:%M}"
        return f"{local.day} {local:%b %Y}"

    def day(self, moment: datetime) -> str:
        """Return the day of an instant: `Friday 20 November`, and whether that is today or tomorrow."""
        local, today = self._page.placed(moment), self._page.placed(self.now)
        near = {0: "Today", 1: "Tomorrow", -1: "Yesterday"}.get((local.date() - today.date()).days)
        text = f"{local:%A} {local.day} {local:%B}"
        return text if near is None else f"{near}, {text}"

    def date(self, moment: datetime) -> str:
        """Return the day of an instant in few signs: `20 Nov`."""
        local = self._page.placed(moment)
        return f"{local.day} {local:%b}"

    def clock(self, moment: datetime) -> str:
        """Return the time of day of an instant, with seconds only if they are not zero."""
        return self._page.clock(moment)

    def distance(self, moment: datetime) -> str:
        """Return how far an instant is from now in whole seconds: `in 5m`, `3h 20m ago`, `now`."""
        gap = round((moment - self.now).total_seconds())
        if not gap:
            return "now"
        return f"in {human(gap)}" if gap > 0 else f"{human(-gap)} ago"

    def since(self, moment: datetime) -> str:
        """Return how long something lasts that began at an instant, in whole seconds."""
        return human(max(0, round((self.now - moment).total_seconds())))

    def local(self, text: str) -> str:
        """Return a sentence with its instants in the zone of the page, and nothing unseen in it."""
        return text_page.visible(self._page.local(text))

    def why(self, run: Run, trace: Trace | None = None) -> str:
        """Return the reason of a run, with what its output tells beside it."""
        told = [self.local(run.reason)] if run.reason else []
        if trace is not None and trace.left_out:
            told.append(f"{spelling.about(trace.left_out)} of its output left out")
        if trace is not None and trace.last_line is not None:
            line = text_page.visible(trace.last_line)
            told.append(f"last line: {text_page.cut(line, LONGEST_LINE)}")
        if run.coalesced > 1:
            count = f"{'at least ' * run.coalesced_at_least}{run.coalesced}"
            told.append(f"stands for {count} slots")
        return "; ".join(told)


def human(seconds: float | None) -> str:
    """Return a length of time for people."""
    return NOTHING if seconds is None else durations.human(seconds)


def state(given: State | None) -> str:
    """Return a state in words."""
    return "never ran" if given is None else given.replace("_", " ")


def share(found: float | None) -> str:
    """Return a share in percent, rounded down: 100 % means all."""
    return NOTHING if found is None else f"{floor(found * 1000) / 10:g} %"


def streak(count: int) -> str:
    """Return how many runs in a row ended alike."""
    if not count:
        return NOTHING
    return f"{abs(count)} {'succeeded' if count > 0 else 'failed'}"


def output(data: bytes) -> str:
    """Return the output of a program with control characters made visible; its lines and tabs stay."""
    return text_page.on_screen(data.decode(errors="replace"))


def serious(entry: Entry) -> bool:
    """Return whether something may delay or prevent a coming run, other than a neighbour."""
    return any(each.kind in SERIOUS for each in entry.collisions)
