"""Graph of past slots as marks on a time line, for people; and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from taskrunner.model.values import State
from taskrunner.render.documents import document, instant
from taskrunner.render.page import COLOURS, Page, cut, visible, wide
from taskrunner.schedule import durations

if TYPE_CHECKING:
    from taskrunner.model.answers import Graph, Line

# Characters that any terminal has, and that are clear without colours.
MARKS = {
    State.SUCCEEDED: "+",
    State.FAILED: "F",
    State.TIMED_OUT: "T",
    State.LOST: "L",
    State.MISSED: "M",
    State.CANCELLED: "C",
    State.SKIPPED: "S",
    State.RUNNING: "R",
    State.PENDING: "P",
}
NOTHING = "."
LONGEST_NAME = 24  # columns, on a terminal
LEAST, USUAL, MOST = 20, 60, 200  # marks of a line: at least, where there is no terminal, at most


def room(page: Page, names: Sequence[str]) -> int:
    """Return how many marks fit on a line beside the names."""
    if page.width is None:
        return USUAL
    return max(LEAST, min(MOST, page.width - _beside(page, names) - 2))


def _beside(page: Page, names: Sequence[str]) -> int:
    longest = max((wide(visible(name)) for name in names), default=4)
    if page.width is None:
        return longest
    return min(longest, LONGEST_NAME, max(8, page.width - LEAST - 2))


def graph_page(page: Page, graph: Graph) -> str:
    """Return lines of marks under a ruler, with a legend."""
    names = [f"{line.task}{' (removed)' if line.removed else ''}" for line in graph.lines]
    beside = _beside(page, names)
    count = len(graph.edges) - 1
    lines = [f"{'':{beside}}  {_ruler(page, graph.edges[:-1])}".rstrip()]
    for name, line in zip(names, graph.lines, strict=True):
        shown = cut(visible(name), beside) if page.width is not None else visible(name)
        marks = "".join(_mark(page, line, place) for place in range(count))
        lines.append(f"{shown}{' ' * (beside - wide(shown))}  {marks}")
    return "\n".join([*lines, "", *_legend(page, graph)])


def _mark(page: Page, line: Line, place: int) -> str:
    if place not in line.marks:
        return NOTHING
    state, _ = line.marks[place]
    return page.painted(MARKS[state], COLOURS[state])


def _ruler(page: Page, starts: Sequence[datetime]) -> str:
    """Return a line with the dates of days, or within a day some times, as many as fit."""
    short = starts[-1] - starts[0] < timedelta(days=1)
    text = ""
    for place, start in enumerate(starts):
        named = page.clock(start) if short else page.midnight(start)
        if named and place >= len(text) + bool(text) and place + len(named) <= len(starts):
            text = f"{text:<{place}}{named}"
            text += " " * (2 if short else 0)
    return text


def _legend(page: Page, graph: Graph) -> list[str]:
    """Return the legend of the marks in a graph, as lines."""
    seen = {state for line in graph.lines for state, _ in line.marks.values()}
    words = [
        (page.painted(mark, COLOURS[state]), str(state))
        for state, mark in MARKS.items()
        if state in seen
    ]
    words.append((NOTHING, "nothing"))
    lengths = [late - early for early, late in pairwise(graph.edges)]
    usual = max(lengths, key=lengths.count)
    lines, now = [], ""
    for mark, word in words:
        if page.width is not None and wide(now) + len(word) + 4 > page.width:
            lines.append(now.rstrip())
            now = ""
        now += f"{mark} {word}  "
    what = f"{durations.format(usual)} ({page.tz}), the worst of its slots"
    return [*lines, now.rstrip(), page.beside_title("a mark is ", what)]


def graph_document(graph: Graph) -> str:
    """Return lines of marks as a document."""
    lines = [
        {
            "task": line.task,
            "marks": [
                {
                    "from": instant(graph.edges[place]),
                    "until": instant(graph.edges[place + 1]),
                    "state": state,
                    "runs": runs,
                }
                for place, (state, runs) in sorted(line.marks.items())
            ],
        }
        for line in graph.lines
    ]
    return document(since=instant(graph.edges[0]), until=instant(graph.edges[-1]), graph=lines)
