"""Geometry of the small plots on the pages: marks of runs, days of a task, bars of durations.

Values in, numbers out; the templates draw them. It must know neither Flask nor the store.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from taskrunner.model.values import FAILING, NOT_RUN, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskrunner.model.answers import Graph, Line
    from taskrunner.model.values import Run

HEIGHT, STEP = 16, 5  # of a mark, in units of the drawing, and from one to the next
TALL, MIDDLE, LOW = 16, 8, 4  # a failure stands out also without colours
BAR = 64  # height of the longest bar


class Marks(NamedTuple):
    """The last runs of a task in a row, the newest at the right: an outline for each state, and the row in words."""

    paths: list[tuple[State, str]]
    told: str


class Day(NamedTuple):
    """One span of time in the strip of a task: the worst state in it, None for nothing, and how many runs."""

    since: datetime
    until: datetime
    state: State | None
    runs: int


class Bar(NamedTuple):
    """The duration of one run as a bar; `height` is a share of `BAR`."""

    run: Run
    seconds: float
    height: float


def marks(states: Sequence[State | None], room: int, what: str = "run") -> Marks:
    """Return a row of marks for states given newest first, with `room` for so many; None leaves its place empty."""
    paths: dict[State, str] = {}
    for place, state in enumerate(states[:room]):
        if state is not None:
            left, high = (room - 1 - place) * STEP, _tall(state)
            paths[state] = paths.get(state, "") + f"M{left} {HEIGHT}v-{high}h{STEP - 1}v{high}z"
    return Marks(list(paths.items()), _told([each for each in states[:room] if each], what))


def month(graph: Graph, line: Line) -> Marks:
    """Return the spans of a line of a graph as a row of marks, the worst state of each."""
    count = len(graph.edges) - 1
    found = [line.marks.get(place, (None, 0))[0] for place in reversed(range(count))]
    return marks(found, count, "day")


def _tall(state: State) -> int:
    if state in FAILING:
        return TALL
    return LOW if state in NOT_RUN or state is State.CANCELLED else MIDDLE


def _told(states: Sequence[State], what: str) -> str:
    """Return what a row of marks says, in words: `last 30 runs: 28 succeeded, 2 failed`."""
    if len(states) < 2:
        return f"last {what}: {states[0].replace('_', ' ')}" if states else f"no {what}s yet"
    counts = [(states.count(state), state.replace("_", " ")) for state in State]
    parts = ", ".join(f"{count} {state}" for count, state in counts if count)
    return f"last {len(states)} {what}s: {parts}"


def days(graph: Graph, line: Line) -> list[Day]:
    """Return the spans of a line of a graph, oldest first."""
    found = []
    for place, (since, until) in enumerate(pairwise(graph.edges)):
        state, runs = line.marks.get(place, (None, 0))
        found.append(Day(since, until, state, runs))
    return found


def bars(runs: Sequence[Run]) -> list[Bar]:
    """Return bars of the runs that have a duration, given newest first, oldest first; from zero to the longest."""
    timed = [(run, run.duration or 0.0) for run in reversed(runs) if run.finished and run.started]
    longest = max((seconds for _, seconds in timed), default=0.0)
    return [
        Bar(run, seconds, max(1.0, round(BAR * seconds / longest, 1)) if longest else 1.0)
        for run, seconds in timed
    ]
