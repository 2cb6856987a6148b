"""A graph of some days: the outcomes of the slots as marks on one time line for each task.

`graph` asks the store and the rest is pure. The line is cut into spans of equal length by the clocks of a zone, so
that a day begins at midnight even when clocks change; the mark of a span is the worst outcome in it.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from math import gcd
from zoneinfo import ZoneInfo

from taskrunner.clock import to_ms
from taskrunner.errors import InputError
from taskrunner.model.answers import Graph, Line
from taskrunner.model.values import State
from taskrunner.schedule.zones import place, zone
from taskrunner.store.store import Store

DAY = 24 * 60  # minutes
STEPS = (5, 10, 15, 30, *(hours * 60 for hours in (1, 2, 3, 4, 6, 8, 12)), DAY)
WORST = (
    State.FAILED,
    State.TIMED_OUT,
    State.LOST,
    State.MISSED,
    State.CANCELLED,
    State.SKIPPED,
    State.RUNNING,
    State.PENDING,
    State.SUCCEEDED,
)
RANK = {state: rank for rank, state in enumerate(WORST)}


def graph(
    store: Store,
    ids: Sequence[int] | None,
    since: datetime,
    until: datetime,
    *,
    states: Sequence[State] | None,
    most: int,
    tz: str,
) -> Graph:
    """Return a line of at most `most` marks for each task, or for each of those with these ids."""
    if until <= since:
        raise InputError(f"{since} is not before {until}: swap since and until")
    edges = spans(since, until, most, zone(tz))
    unit = _unit(edges)
    with store.connection.unchanged():
        known = store.figures.known(ids)
        found = store.figures.states_by_time(ids, edges[0], edges[-1], unit, states)
    lines: dict[str, Line] = {}
    for task in sorted(known, key=lambda each: each.name):
        if not task.removed:
            lines.setdefault(task.name, Line(task.name, {}))
    spot = _places(edges, unit)
    names = {task.id: task for task in known}
    for task_id, number, one, count in found:
        task = names[task_id]
        line = lines.setdefault(task.name, Line(task.name, {}, removed=True))
        _add(line.marks, spot[number], one, count)
    return Graph(edges, [lines[key] for key in sorted(lines)])


def _add(marks: dict[int, tuple[State, int]], span: int, state: State, count: int) -> None:
    """Put runs into a span: the worst state stays, the runs add up."""
    before, runs = marks.get(span, (state, 0))
    marks[span] = (min(before, state, key=RANK.__getitem__), runs + count)


def spans(since: datetime, until: datetime, most: int, where: ZoneInfo) -> list[datetime]:
    """Return the edges of at most `most` spans that cover a period: parts of a day, or days, as short as possible."""
    first, last = since.astimezone(where).date(), until.astimezone(where).date()
    days = (last - first).days + 1
    for minutes in STEPS:
        if days * (DAY // minutes) <= most + 2 * DAY // minutes:
            found = _cut(first, days, minutes, where, since, until)
            if len(found) - 1 <= most:
                return found
    many = -(-days // most)
    starts = [first + timedelta(days=each) for each in range(0, days + many, many)]
    return [place(datetime.combine(day, time()), where) for day in starts]


def _cut(
    first: date, days: int, minutes: int, where: ZoneInfo, since: datetime, until: datetime
) -> list[datetime]:
    """Return the edges of the parts of the days in a period, by the clocks of a zone."""
    walls = [
        datetime.combine(first + timedelta(days=day), time()) + timedelta(minutes=at)
        for day in range(days)
        for at in range(0, DAY, minutes)
    ]
    walls.append(datetime.combine(first + timedelta(days=days), time()))
    found = sorted({place(wall, where) for wall in walls})  # times in a gap are one instant
    low = max(at for at, edge in enumerate(found) if edge <= since)
    high = next(at for at, edge in enumerate(found) if edge >= until)
    return found[low : high + 1]


def _unit(edges: Sequence[datetime]) -> int:
    """Return the longest time, in milliseconds, that all spans are whole numbers of."""
    marks = [to_ms(edge) for edge in edges]
    return gcd(*(late - early for early, late in pairwise(marks)))


def _places(edges: Sequence[datetime], unit: int) -> Mapping[int, int]:
    """Return the span of each unit of time."""
    start, found = to_ms(edges[0]), {}
    for span, (early, late) in enumerate(pairwise(edges)):
        for number in range((to_ms(early) - start) // unit, (to_ms(late) - start) // unit):
            found[number] = span
    return found
