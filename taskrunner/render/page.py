"""Layout of text for people: columns, colours, zones, and escaped control characters."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, chain

from taskrunner.errors import ZoneError
from taskrunner.model.record import like, record
from taskrunner.model.values import State
from taskrunner.schedule import durations, zones

IN_UTC = r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\b"  # an instant in a reason
# Control characters, and invisible characters that reorder, break or hide the text beside them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
COLOURS = {
    State.SUCCEEDED: "32",
    State.RUNNING: "36",
    State.PENDING: "36",
    State.FAILED: "31",
    State.TIMED_OUT: "31",
    State.LOST: "31",
    State.CANCELLED: "33",
    State.SKIPPED: "33",
    State.MISSED: "33",
}


@record
class Column:
    """A column of a table, and how it shrinks on a narrow terminal.

    Columns shrink by `rank`, the highest first, and never at 0: a column gets its `short` cells, if it has them,
    or is removed. One with `least` may be cut to so many columns after that. A column for a `screen` only is not
    shown without a terminal.
    """

    head: str
    cells: Sequence[str]
    rank: int = 0
    short: Sequence[str] | None = None
    least: int | None = None
    screen: bool = False

    @property
    def width(self) -> int:
        """The number of terminal columns."""
        return max(wide(cell) for cell in (self.head, *self.cells))


class Page:
    """The layout of a page: the zone of its times, its width, its colours, and the current time."""

    def __init__(
        self, tz: str, now: datetime, width: int | None = None, colour: bool = False
    ) -> None:
        """Take the zone's name, the current time, and the width of the terminal or None for no limit."""
        self.tz = zones.told(tz)
        self.now = now
        self.width = width
        self.colour = colour
        self._zone = zones.zone(tz)

    def placed(self, moment: datetime) -> datetime:
        """Return an instant in the page's zone."""
        return moment.astimezone(self._zone)

    def time(self, moment: datetime | None) -> str:
        """Return an instant in the page's zone, as text."""
        return "-" if moment is None else f"{self.placed(moment):%Y-%m-%d %H:%M:%S}"

    def local(self, text: str) -> str:
        """Return a sentence with its instants converted from UTC to the page's zone."""
        return text if self.tz == "UTC" else re.sub(IN_UTC, self._localised, text)

    def _localised(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(f"{found[1]}+00:00").astimezone(self._zone)
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}"

    def beside(self, tz: str | None) -> "Page":
        """Return the same page in another zone; this page for None or an unknown zone."""
        try:
            return Page(tz or self.tz, self.now, self.width, self.colour)
        except ZoneError:
            return self

    def narrower(self, by: int) -> "Page":
        """Return the same page with fewer columns, for indented text."""
        width = None if self.width is None else max(1, self.width - by)
        return Page(self.tz, self.now, width, self.colour)

    def distance(self, moment: datetime) -> str:
        """Return the distance of an instant from now: `in 5m`, `3h 20m ago`."""
        gap = (moment - self.now).total_seconds()
        return f"in {durations.human(gap)}" if gap >= 0 else f"{durations.human(-gap)} ago"

    def state(self, state: State | None) -> str:
        """Return a state, in its colour."""
        if state is None:
            return "-"
        return self.painted(state, COLOURS[state])

    def painted(self, text: str, colour: str) -> str:
        """Return a text of our own in a colour, if the page has colours."""
        return Painted(f"\033[{colour}m{text}\033[0m") if self.colour else str(text)

    def shortly(self, moment: datetime | None) -> str:
        """Return an instant in fewer characters: the time if it is near, else the day and the minute."""
        if moment is None:
            return "-"
        local, today = moment.astimezone(self._zone), self.now.astimezone(self._zone).date()
        if local.date() == today:
            return f"{local:%H:%M:%S}"
        return f"{local:%b %d %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d}"

    def clock(self, moment: datetime) -> str:
        """Return the time of day of an instant, with seconds only if they are not zero."""
        local = moment.astimezone(self._zone)
        return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"

    def day(self, moment: datetime) -> str:
        """Return the day of an instant, with a note for today and tomorrow."""
        day, today = moment.astimezone(self._zone).date(), self.now.astimezone(self._zone).date()
        near = {0: ", today", 1: ", tomorrow", -1: ", yesterday"}.get((day - today).days, "")
        return f"{day:%a %Y-%m-%d}{near}"

    def midnight(self, moment: datetime) -> str:
        """Return the day of an instant at midnight, "" for any other."""
        local = moment.astimezone(self._zone)
        begins = (local - timedelta(minutes=1)).date() != local.date()
        return f"{local:%b} {local.day}" if begins else ""

    def ago(self, moment: datetime | None) -> str:
        """Return the distance of an instant from now, - for None."""
        return "-" if moment is None else self.distance(moment)

    def beside_title(self, title: str, text: str) -> str:
        """Return a text beside its title, folded to the terminal's width."""
        return beside(title, text, self.width)

    def columns(self, given: Sequence[Column], *, cut: bool = False) -> str:
        """Return columns as a table that fits the terminal; complete without one."""
        seen = [like(each, cells=[visible(cell) for cell in each.cells]) for each in given]
        if self.width is None:
            seen = [each for each in seen if not each.screen]
        else:
            seen = _fitted(seen, self.width)
        rows = zip(*(each.cells for each in seen), strict=True)
        return self.table([each.head for each in seen], list(rows), cut=cut)

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], *, cut: bool = False
    ) -> str:
        """Return rows under a head; the last column is wrapped, or `cut`, to the terminal's width."""
        cells = [list(head), *([visible(cell) for cell in row] for row in rows)]
        widths = [max(wide(row[column]) for row in cells) for column in range(len(head))]
        fit = self._cut if cut else self._wrapped
        lines = (fit(_padded(row, widths), row[-1]) for row in cells)
        return "\n".join(line.rstrip() for line in chain.from_iterable(lines))

    def _cut(self, line: str, last: str) -> list[str]:
        """Return a line of a table, its last cell cut to the width."""
        return [line + (last if self.width is None else cut(last, max(8, self.width - wide(line))))]

    def _wrapped(self, line: str, last: str) -> list[str]:
        """Return a row of a table as lines: its last cell continues under itself, or indented if that is too narrow."""
        if self.width is None or wide(line) + wide(last) <= self.width:
            return [line + last]
        room, indent = self.width - wide(line), wide(line)
        if room < LEAST:
            room, indent = max(LEAST, self.width - INDENT), INDENT
            return [line, *(" " * indent + part for part in folded(last, room))]
        first, *more = folded(last, room)
        return [line + first, *(" " * indent + part for part in more)]


NAME = 24  # columns for a name before other columns shrink for it
ROOM = 24  # wanted columns for the last cell of a table, if it needs them
LEAST = 16  # ... and at least this many; else it continues below its line
INDENT = 4  # of a cell that continues below its line


def _fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Return columns that fit a width, if possible: shrunk by rank, then cut."""
    found = list(columns)
    while _needed(found, NAME) > width and (least := max(each.rank for each in found)):
        place = next(at for at, each in enumerate(found) if each.rank == least)
        one = found[place]
        short = None if one.short is None else [visible(cell) for cell in one.short]
        instead = [] if short is None else [like(one, cells=short, short=None, rank=0)]
        found[place : place + 1] = instead
    for place, one in enumerate(found[:-1]):
        over = _needed(found) - width
        if one.least is not None and over > 0:
            room = max(one.least, one.width - over)
            found[place] = like(one, cells=[cut(cell, room) for cell in one.cells])
    return found


def _needed(columns: Sequence[Column], most: int | None = None) -> int:
    """Return the wanted width of a table, with at most `most` columns for a cell that may be cut."""
    *first, last = columns
    cuts = [most if most is not None and each.least is not None else each.width for each in first]
    widths = [min(each.width, cut) for each, cut in zip(first, cuts, strict=True)]
    return sum(width + 2 for width in widths) + min(ROOM, last.width)


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row without its last cell, padded up to it."""
    cells = zip(row[:-1], widths[:-1], strict=True)
    return "".join(cell + " " * (width - wide(cell) + 2) for cell, width in cells)


# A word; a command in `...` is one word.
WORD = re.compile(r"(?:[^\s`]|`[^`]*`|`)+")


def folded(text: str, room: int) -> list[str]:
    """Return a text as lines of at most `room` columns, broken between words if possible."""
    if wide(text) <= room or isinstance(text, Painted):
        return [text]
    lines, now = list[str](), ""
    for word in _that_fit(WORD.findall(text), room):
        if now and wide(now) + 1 + wide(word) <= room:
            now = f"{now} {word}"
        else:
            lines += [now] if now else []
            now = word
    return [*lines, now]


def _that_fit(words: Iterable[str], room: int) -> Iterator[str]:
    """Yield words; words wider than `room` in pieces."""
    for word in words:
        if wide(word) <= room:
            yield word
        elif len(parts := word.split()) > 1:
            yield from _that_fit(parts, room)
        else:
            yield from _pieces(word, room)


def _pieces(word: str, room: int) -> Iterator[str]:
    """Yield a word in pieces of at most `room` columns; a combining mark stays with its character."""
    now, taken = "", 0
    for sign in word:
        columns = _columns(sign)
        if now and taken + columns > room:
            yield now
            now, taken = "", 0
        now, taken = now + sign, taken + columns
    yield now


def beside(title: str, text: str, width: int | None) -> str:
    """Return a text beside its title, folded to a terminal's width, None for no limit."""
    if width is None:
        return f"{title}{text}"
    if width - wide(title) < LEAST:  # too narrow beside the title
        return f"\n{' ' * INDENT}".join(folded(title + text, max(LEAST, width - INDENT)))
    lines = folded(text, width - wide(title))
    return ("\n" + " " * wide(title)).join([f"{title}{lines[0]}", *lines[1:]])


class Painted(str):
    """A text of our own with colours; the only text that is printed on a terminal without escaping."""

    __slots__ = ()


ESCAPE = re.compile(r"\033\[[0-9;]*m")


def wide(text: str) -> int:
    """Return the width of a text on a terminal; colours have none."""
    bare = ESCAPE.sub("", text)
    return len(bare) if bare.isascii() else sum(map(_columns, bare))


def _columns(sign: str) -> int:
    """Return 2 for a wide character such as 漢, 0 for a combining mark, else 1."""
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def cut(text: str, room: int) -> str:
    """Return a text cut to `room` columns, with … at the end."""
    if wide(text) <= room or isinstance(text, Painted):
        return text
    ends = accumulate(map(_columns, text))
    return "".join(sign for sign, end in zip(text, ends, strict=True) if end < room) + "…"


def visible(text: str) -> str:
    """Return a text with control and invisible characters escaped."""
    return text if isinstance(text, Painted) else UNSEEN.sub(_escape, text)


def on_screen(text: str) -> str:
    """Return output of a program with control characters escaped; lines and tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in lines)


def escaped(document: str) -> str:
    """Return a JSON document with these characters as JSON escapes."""
    if document.isascii() and "\x7f" not in document:
        return document  # JSON itself escapes the others
    lines = document.split("\n")
    return "\n".join(
        UNSEEN.sub(lambda found: json.dumps(found.group())[1:-1], each) for each in lines
    )


def _escape(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def ascii_only(text: str) -> str:
    """Return a text with all characters beyond ASCII as JSON escapes."""
    return re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found.group())[1:-1], text)
