"""The contents of each page as values, read from the library.

It must not know Flask, nor how anything looks.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from taskrunner.errors import InputError, StateError, UnknownRun, UnknownTask, shown
from taskrunner.home import paths
from taskrunner.model.answers import Entry
from taskrunner.model.values import FAILING, LIVE, NOT_RUN, Kind, State
from taskrunner.report import status
from taskrunner.web import plots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from taskrunner.api.task_runner import TaskRunner
    from taskrunner.model.answers import (
        Disabled,
        Explanation,
        Status,
        Trace,
        Upcoming,
    )
    from taskrunner.model.values import Run, Task

JUST = timedelta(seconds=15)  # a run stays among the running ones for so long after its end
LATELY = timedelta(days=7)  # the runs that ended last are looked for in this time
READ, LISTED = 100, 12  # ended runs that are read, and lines that are shown of them
ROWS = 50  # on a page of a list
MARKS = 30  # runs beside a task
BARS = 60  # durations of a task
LATELY_RUNS = 500  # of a task, for its figures
USUAL_OF, USUAL_LEAST = 20, 3  # successes that tell how long a run usually takes
STRIP = timedelta(days=30)
STRIPS = 40  # tasks below the agenda
COMPARED = 100  # tasks whose slots are compared; of more the next slots are told
SOONEST = 100  # of them
HEAD, TAIL = 64_000, 192_000  # bytes of an output that are shown when it is larger than both
DAY = timedelta(days=1)

GROUPS: Mapping[str, tuple[State, ...]] = {"live": LIVE, "not_run": NOT_RUN}
TASK_STATES = ("enabled", "disabled", "failing")


def no_database(runner: TaskRunner) -> str | None:
    """Return the folder of a home that has no database, None when there is one."""
    there = os.path.exists(paths.path(runner.home, paths.STORE))
    return None if there else shown(runner.home)


# ---- now


class Folded(NamedTuple):
    """A run that ended, and how many successes of its task it stands for."""

    run: Run
    times: int


class Now(NamedTuple):
    """The present: the status, the runs under way or just over, the failing tasks, and the ends before."""

    status: Status
    empty: bool  # the database has no task
    silent: bool  # ticks should come, and do not
    daemon: bool  # one lives, whoever called the last tick
    running: int
    waiting: int
    failures: int
    active: list[Run]
    pending: list[Run]
    failing: list[tuple[Task, Run | None]]
    ended: list[Folded]
    traces: Mapping[int, Trace]


def now(runner: TaskRunner) -> Now:
    """Return the present."""
    found, moment = runner.status(), runner.now()
    just = [run for run in runner.ended(moment - JUST, limit=ROWS) if run.started is not None]
    running = sorted(found.running, key=lambda run: (run.started or moment, run.id), reverse=True)
    failures = {run.task_id: run for run in found.failures}
    failing = [(task, failures.get(task.id)) for task in found.failing[:ROWS]]
    return Now(
        found,
        no_database(runner) is None and not runner.tasks(limit=1),
        any(problem.startswith("no tick") for problem in found.problems),
        status.daemon_lives(runner.home),
        len(found.running),
        len(found.pending),
        len(found.failing),
        [*running[:ROWS], *just],
        found.pending[:ROWS],
        failing,
        folded(runner.ended(moment - LATELY, limit=READ))[:LISTED],
        runner.traces([run for _, run in failing if run is not None]),
    )


def folded(runs: Iterable[Run]) -> list[Folded]:
    """Return runs with the successes of each task put together at the newest of them."""
    found: list[Folded] = []
    places: dict[int, int] = {}
    for run in runs:
        place = places.get(run.task_id)
        if run.state is State.SUCCEEDED and place is not None:
            found[place] = found[place]._replace(times=found[place].times + 1)
            continue
        if run.state is State.SUCCEEDED:
            places[run.task_id] = len(found)
        found.append(Folded(run, 1))
    return found


# ---- runs


class Wanted(NamedTuple):
    """The filter of a list of runs, as it stands in the address."""

    state: str = ""
    task: str = ""
    since: str = ""
    until: str = ""
    before: str = ""

    def given(self, **other: str) -> dict[str, str]:
        """Return the parts that say something, for an address; `other` take their places."""
        return {key: value for key, value in (self._asdict() | other).items() if value}


class Listed(NamedTuple):
    """Rows of a list, and where the next page of it begins, None at its end."""

    rows: list[Run]
    older: int | None
    traces: Mapping[int, Trace]


def runs(runner: TaskRunner, wanted: Wanted) -> Listed:
    """Return a page of runs, newest first; raises InputError or UnknownTask."""
    found = runner.history(
        wanted.task or None,
        state=states(wanted.state),
        since=runner.moment(wanted.since) if wanted.since else None,
        until=runner.moment(wanted.until) if wanted.until else None,
        before=number(wanted.before, "before") if wanted.before else None,
        limit=ROWS + 1,
    )
    rows = found[:ROWS]
    older = rows[-1].id if len(found) > ROWS else None
    return Listed(rows, older, runner.traces([run for run in rows if run.state in FAILING]))


def states(text: str) -> Sequence[str] | None:
    """Return the states that a filter means, None for all."""
    return GROUPS.get(text, (text,)) if text else None


def number(text: str, what: str) -> int:
    """Return the id of a run; raises InputError."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(f"{what}={shown(text)} is not the id of a run: give a whole number")
    return int(text)


# ---- one run


class Output(NamedTuple):
    """The output of a run as far as it is shown: all of it, or its head and its tail."""

    head: bytes
    tail: bytes
    left_out: int  # bytes between the two
    end: int  # where the next bytes begin
    gone: str | None = None  # why there is none any more


class OneRun(NamedTuple):
    """One run: why, its output, and how long its task usually takes."""

    run: Run
    why: Explanation | None
    output: Output
    usual: float | None
    known: bool  # its task is still there
    trace: Trace | None


def run(runner: TaskRunner, key: int) -> OneRun:
    """Return one run; raises UnknownRun."""
    found = runner.run_of(f"run:{key}")
    try:
        known = runner.task(found.task_id).name == found.task
    except UnknownTask:
        known = False
    return OneRun(
        found,
        runner.explain(f"run:{key}"),
        output(runner, found),
        usual(runner.history(found.task_id, state=State.SUCCEEDED, limit=USUAL_OF)),
        known,
        runner.traces([found]).get(found.id),
    )


def usual(runs: Sequence[Run]) -> float | None:
    """Return how many seconds runs usually take, None when there are too few to tell."""
    lengths = sorted(run.duration for run in runs if run.duration is not None)
    return lengths[len(lengths) // 2] if len(lengths) >= USUAL_LEAST else None


def output(runner: TaskRunner, run: Run) -> Output:
    """Return the output of a run, of a large one its head and its tail; nothing when it was pruned."""
    try:
        found = runner.written(run, most=HEAD + TAIL)
        if found.end >= found.size:
            return Output(found.data, b"", 0, found.end)
        head, tail = runner.written(run, most=HEAD), runner.written(run, start=-TAIL, most=TAIL)
    except UnknownRun:
        raise
    except StateError as exc:
        return Output(b"", b"", 0, 0, str(exc))
    return Output(head.data, tail.data, tail.size - HEAD - len(tail.data), tail.end)


# ---- tasks


class Row(NamedTuple):
    """A task in the list: its schedule in words, and its last runs as marks."""

    task: Task
    schedule: str
    marks: plots.Marks
    live: bool


class TaskList(NamedTuple):
    """A page of tasks, and the name after which the next begins, None at the end."""

    rows: list[Row]
    after: str | None


def tasks(runner: TaskRunner, like: str, state: str, after: str) -> TaskList:
    """Return a page of tasks by name; raises InputError."""
    if state and state not in TASK_STATES:
        raise InputError(f"{shown(state)} is not a filter: use one of {', '.join(TASK_STATES)}")
    found = runner.tasks(
        like=like or None,
        enabled={"enabled": True, "disabled": False}.get(state),
        failing=True if state == "failing" else None,
        after=after or None,
        limit=ROWS + 1,
    )
    last = runner.last_states([task.name for task in found[:ROWS]], limit=MARKS)
    rows = [
        Row(
            task,
            runner.describe(task),
            plots.marks(last[task.name], MARKS),
            State.RUNNING in last[task.name],
        )
        for task in found[:ROWS]
    ]
    return TaskList(rows, rows[-1].task.name if len(found) > ROWS else None)


# ---- one task


class Lately(NamedTuple):
    """Figures of the newest runs of a task, as many as are quickly read; durations are in seconds."""

    runs: int
    success_rate: float | None
    median: float | None
    p95: float | None


class OneTask(NamedTuple):
    """One task: its figures, past, future, and definition."""

    task: Task
    schedule: str
    disabled: Disabled | None
    advice: list[str]
    lately: Lately
    live: list[Run]
    strip: list[plots.Day]
    bars: list[plots.Bar]
    next: list[Upcoming]
    why: Explanation
    definition: str
    hiding: bool  # secret values are masked in the definition


def task(runner: TaskRunner, name: str) -> OneTask:
    """Return one task; raises UnknownTask."""
    found = runner.task(name)
    last = runner.history(found.id, limit=LATELY_RUNS)
    graph = runner.graph(found.id, since=runner.now() - STRIP, most=31)
    exported = runner.export(found.id)
    return OneTask(
        found,
        runner.describe(found),
        runner.disabled(found.id),
        runner.advice(found),
        lately(last),
        [run for run in last if run.state in LIVE],
        plots.days(graph, graph.lines[0]) if graph.lines else [],
        plots.bars(last[:BARS]),
        runner.next(found.id) if found.enabled else [],
        runner.explain(found.name),
        exported.text,
        bool(exported.hiding),
    )


def lately(runs: Sequence[Run]) -> Lately:
    """Return the figures of some runs."""
    started = [run for run in runs if run.started is not None and run.state not in LIVE]
    good = sum(run.state is State.SUCCEEDED for run in started)
    judged = good + sum(run.state in FAILING for run in started)
    lengths = sorted(run.duration for run in started if run.duration is not None)
    return Lately(
        len(started),
        good / judged if judged else None,
        lengths[len(lengths) // 2] if lengths else None,
        lengths[-(-95 * len(lengths) // 100) - 1] if lengths else None,
    )


def followers(runner: TaskRunner, name: str) -> list[str]:
    """Return the names of the tasks that come after a task."""
    after = runner.tasks(kind=Kind.AFTER)
    return [each.name for each in after if each.schedule.partition(":")[0] == name]


# ---- agenda


class Coming(NamedTuple):
    """The coming slots, and the last 30 days of tasks, those that fail first."""

    entries: list[Entry]
    cut: bool  # of very many tasks only the next slots are told, and not what they collide with
    strips: list[tuple[str, plots.Marks]]
    rest: bool  # there are more tasks than strips


def agenda(runner: TaskRunner, until: str) -> Coming:
    """Return the agenda up to an instant, the coming day unless it is given; raises InputError."""
    moment = runner.now()
    end = runner.moment(until) if until else moment + DAY
    cut = len(runner.tasks(enabled=True, limit=COMPARED + 1)) > COMPARED
    entries = _soonest(runner, end) if cut else runner.agenda(end)
    failing = runner.tasks(failing=True, limit=STRIPS)
    others = runner.tasks(limit=STRIPS + 1)
    names = list(dict.fromkeys(task.name for task in [*failing, *others]))
    shown_names, rest = names[:STRIPS], len(names) > STRIPS
    graph = runner.graph(shown_names, since=moment - STRIP, most=31) if names else None
    lines = {line.task: line for line in graph.lines} if graph else {}
    strips = [(each, plots.month(graph, lines[each])) for each in shown_names if graph]
    return Coming(entries, cut, strips, rest)


def _soonest(runner: TaskRunner, end: datetime) -> list[Entry]:
    """Return the next slot of each of the tasks that are due soonest."""
    found = runner.next(each=True, count=SOONEST, until=end)
    return [
        Entry(item.task, item.slot, item.slot, 1, False, None, item.note)
        for item in found
        if item.task is not None
    ]
