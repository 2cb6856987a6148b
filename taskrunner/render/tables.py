"""Values to tables, pages and sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from taskrunner.model.record import like
from taskrunner.model.values import Gap, Run, Severity, State, Task
from taskrunner.render.page import Column, Page, beside, cut, visible, wide
from taskrunner.render.spelling import (
    about,
    command_line,
    human,
    length,
    standing,
    when,
)
from taskrunner.schedule import durations, zones

if TYPE_CHECKING:
    from taskrunner.model.answers import (
        Checkup,
        Explained,
        Explanation,
        Finding,
        Status,
        Trace,
        Upcoming,
    )
    from taskrunner.model.decisions import Decision
INDENT = "  "  # of a table inside a page
NO_TRACES: Mapping[int, Trace] = {}
NOT_PENDING: Mapping[int, datetime] = {}
LONGEST_LINE = 200  # columns of the last line of an output
SENTENCES = ("schedule", "next", "last run", "last success", "description", "problem", "slot", "why")  # fmt: skip


def checkup_page(found: Checkup, width: int | None = None) -> str:
    """Return the findings of a checkup as text: problems first, then the paths in use."""
    lines = []
    for each in found.findings:
        lines.append(beside(f"{each.severity:<8} ", visible(each.what), width))
        if each.cure is not None:
            lines.append(beside(f"{'':8} fix: ", visible(each.cure), width))
    width = max(map(len, found.paths))
    paths = [f"{name:<{width}}  {visible(place)}" for name, place in found.paths.items()]
    return "\n".join([*lines, "", *paths])


def check_line(found: Finding) -> str:
    """Return a finding as the one line of a monitoring plugin."""
    word = {Severity.OK: "OK", Severity.WARNING: "WARNING", Severity.ERROR: "CRITICAL"}
    return f"{word[found.severity]} - {visible(found.what)}"


def tasks_table(
    page: Page, tasks: Sequence[Task], pending: Mapping[int, datetime] = NOT_PENDING
) -> str:
    """Return tasks as a table; on a terminal with relative times, and the columns that fit.

    `pending` are the start times of pending runs, by the ids of their tasks.
    """
    last = [page.state(task.last_state) for task in tasks]
    return page.columns(
        [
            Column("id", [str(task.id) for task in tasks], rank=2),
            Column("task", [task.name for task in tasks], least=12),
            Column("schedule", [when(task) for task in tasks], least=10),
            Column(
                f"next ({page.tz})", [_next(task, page.time, pending) for task in tasks], rank=6
            ),
            Column("in", [_next(task, page.ago, pending) for task in tasks], screen=True),
            Column("last", last),
            Column("last run", [page.time(task.last_run) for task in tasks], rank=5),
            Column("ago", [page.ago(task.last_run) for task in tasks], rank=3, screen=True),
            Column("command", [command_line(task) for task in tasks], rank=1),
        ],
        cut=True,
    )


def _next(
    task: Task, told: Callable[[datetime | None], str], pending: Mapping[int, datetime]
) -> str:
    """Return when a task is due next, by its schedule or by a pending run."""
    if task.enabled or task.id in pending:
        known = [each for each in (task.next, pending.get(task.id)) if each is not None]
        return told(min(known, default=None))
    return standing(task)


def task_page(
    page: Page,
    task: Task,
    described: str,
    options: Sequence[tuple[str, str]],
    runs: Sequence[Run],
    traces: Mapping[int, Trace] = NO_TRACES,
) -> str:
    """Return the details of a task: its schedule in words, and its `options` by their flags."""
    state = standing(task)
    lines = [
        (f"{task.name}", f"task {task.id}, {state}"),
        ("schedule", f"{when(task)}: {described}"),
        ("next", _moment(page.beside(task.tz), task.next)),
        ("last run", _last_run(page.beside(task.tz), task)),
        ("last success", _last_success(page.beside(task.tz), task)),
        *_work(task),
        *((("description", task.description),) if task.description else ()),
        *((("source", task.source),) if task.source else ()),
        *options,
        *((("problem", task.error),) if task.error else ()),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(_titled(page, f"{name:<{width}}  ", value) for name, value in lines)
    return f"{text}\n\n{runs_table(page, runs, traces)}" if runs else text


def _titled(page: Page, title: str, value: str) -> str:
    """Return a line of a page; a sentence is folded, a value to copy from the screen is not."""
    folds = title.strip() in SENTENCES
    return page.beside_title(title, visible(value)) if folds else f"{title}{visible(value)}"


def _work(task: Task) -> list[tuple[str, str]]:
    """Return the command of a task; a text of Python line by line, to keep its indentation."""
    if task.code is not None:
        first, *more = task.code.strip("\n").split("\n")
        return [("code", first), *(("", line) for line in more)]
    for name, value in (("python", task.python), ("code-file", task.code_file)):
        if value is not None:
            return [(name, command_line(task))]
    return [("command", command_line(task) + (" (by /bin/sh)" if task.shell is not None else ""))]


def _moment(page: Page, moment: datetime | None) -> str:
    if moment is None:
        return "-"
    return f"{page.time(moment)} ({page.tz}), {page.distance(moment)}"


def _last_run(page: Page, task: Task) -> str:
    """Return the time and result of the last run, with its streak."""
    if task.last_run is None:
        return "never"
    row = f", {abs(task.streak)} in a row" if abs(task.streak) > 1 else ""
    return f"{_moment(page, task.last_run)}: {task.last_state or 'not over yet'}{row}"


def _last_success(page: Page, task: Task) -> str:
    return "never" if task.last_success is None else _moment(page, task.last_success)


def run_page(page: Page, run: Run, traces: Mapping[int, Trace]) -> str:
    """Return the details of a run."""
    lines: list[tuple[str, str | None]] = [
        (run.task, f"run {run.id}, {run.state}"),
        ("slot", _slot(page, run)),
        ("trigger", str(run.trigger)),
        ("attempt", str(run.attempt) if run.attempt > 1 else None),
        ("due", None if run.ready is None else _moment(page, run.ready)),
        ("started", _moment(page, run.started)),
        ("finished", _moment(page, run.finished)),
        ("late", None if run.late is None else durations.human(run.late)),
        ("took", None if run.duration is None else durations.human(run.duration)),
        ("exit code", None if run.exit_code is None else str(run.exit_code)),
        ("signal", None if run.signal is None else str(run.signal)),
        ("cpu", None if run.cpu_seconds is None else length(timedelta(seconds=run.cpu_seconds))),
        ("peak memory", None if run.peak_memory is None else about(run.peak_memory)),
        ("output", None if run.output_size is None else about(run.output_size)),
        ("why", _why(page, run, traces)),
    ]
    told = [(name, value) for name, value in lines if value is not None]
    width = max(len(name) for name, _ in told)
    return "\n".join(_titled(page, f"{name:<{width}}  ", value) for name, value in told)


def _slot(page: Page, run: Run) -> str:
    if run.coalesced == 1:
        return _moment(page, run.slot)
    count = f"{'at least ' * run.coalesced_at_least}{run.coalesced}"
    return (
        f"{_moment(page, run.slot)}: stands for {count} slots from {page.time(run.first_slot)} on"
    )


def runs_table(page: Page, runs: Sequence[Run], traces: Mapping[int, Trace] = NO_TRACES) -> str:
    """Return runs as a table, with traces of their outputs beside the reasons."""
    return page.columns(_columns_of_runs(page, runs, traces))


def long_runs_table(
    page: Page, pages: Callable[[], Iterable[Sequence[Run]]], traces: Mapping[int, Trace]
) -> Iterator[str]:
    """Yield a table of very many runs for a reader that is no terminal, page by page.

    `pages` is called twice, for the widths of the columns and for their cells: so one page at a time is in memory.
    """
    widest: list[str] = []
    for runs in pages():
        columns = _columns_of_runs(page, runs, traces)
        found = [max(map(visible, column.cells), key=wide) for column in columns]
        widest = [max(pair, key=wide) for pair in zip(found, widest or found, strict=True)]
    for number, runs in enumerate(pages()):
        columns = _columns_of_runs(page, runs, traces)
        pairs = zip(columns, widest, strict=True)
        filled = [like(column, cells=[*column.cells, cell]) for column, cell in pairs]
        yield "\n".join(page.columns(filled).split("\n")[number > 0 : -1])  # one head, no filler


def _columns_of_runs(page: Page, runs: Sequence[Run], traces: Mapping[int, Trace]) -> list[Column]:
    return [
        Column("run", [str(run.id or "-") for run in runs]),
        Column("task", [run.task for run in runs], least=12),
        Column(
            f"slot ({page.tz})",
            [page.time(run.slot) for run in runs],
            rank=2,
            short=[page.shortly(run.slot) for run in runs],
        ),
        Column("", [page.ago(run.slot) for run in runs], rank=3, screen=True),
        Column("state", [page.state(run.state) for run in runs]),
        Column("late", [human(run.late) for run in runs], rank=1),
        Column("took", [_took(page, run) for run in runs]),
        Column("why", [_why(page, run, traces) for run in runs]),
    ]


def _took(page: Page, run: Run) -> str:
    if run.state is State.RUNNING and run.started is not None:
        return durations.human(max(0.0, (page.now - run.started).total_seconds())) + " so far"
    return "-" if run.duration is None else durations.human(run.duration)


def _why(page: Page, run: Run, traces: Mapping[int, Trace]) -> str:
    reason = None if run.reason is None else page.local(run.reason)
    told = [each for each in (reason, *_traced(traces.get(run.id))) if each]
    return f"{'; '.join(told)}{_stands_for(run)}".strip() or "-"


def _traced(trace: Trace | None) -> list[str]:
    """Return the traces of an output, a phrase each."""
    if trace is None:
        return []
    cut_out = [f"{about(trace.left_out)} of its output left out"] if trace.left_out else []
    line = None if trace.last_line is None else cut(visible(trace.last_line), LONGEST_LINE)
    return [*cut_out, *([] if line is None else [f"last line: {line}"])]


def _stands_for(run: Run) -> str:
    if run.coalesced == 1:
        return ""
    return f" [stands for {'at least ' * run.coalesced_at_least}{run.coalesced} slots]"


def upcoming_table(page: Page, items: Sequence[Upcoming]) -> str:
    """Return coming slots as a table: in the zone of their tasks if they share one, else in the page's."""
    named = any(item.task is not None for item in items)
    tasks = [Column("task", [item.task or "-" for item in items], least=12)]
    zone, moments = _in_one_zone(page, items)
    # The abbreviation distinguishes the two hours of a repeated autumn hour.
    changes = len({moment.utcoffset() for moment in moments}) > 1
    form = "%a %Y-%m-%d %H:%M:%S %Z" if changes else "%a %Y-%m-%d %H:%M:%S"
    return page.columns(
        [
            *(tasks if named else []),
            Column(f"slot ({zone})", [f"{moment:{form}}" for moment in moments]),
            Column("when", [page.distance(item.slot) for item in items]),
            Column("", [item.note or "" for item in items]),
        ]
    )


def _in_one_zone(page: Page, items: Sequence[Upcoming]) -> tuple[str, list[datetime]]:
    """Return the zone of a table of slots, and the instants in it."""
    zones_of_items = {getattr(item.local.tzinfo, "key", None) for item in items}
    (zone, *others) = zones_of_items or {None}
    if zone is None or others:
        return page.tz, [page.placed(item.slot) for item in items]
    return zones.told(zone), [item.local for item in items]


def decisions_table(page: Page, decisions: Sequence[Decision]) -> str:
    """Return the decisions of a tick as a table."""
    return page.columns(
        [
            Column("task", [each.task for each in decisions], least=12),
            Column(
                f"slot ({page.tz})",
                [page.time(each.span.slot) for each in decisions],
                rank=1,
                short=[page.shortly(each.span.slot) for each in decisions],
            ),
            Column("slots", [str(each.span.count) for each in decisions], rank=2),
            Column("decision", [str(each.action) for each in decisions]),
            Column("why", [each.reason for each in decisions]),
        ],
    )


def status_page(
    page: Page,
    status: Status,
    ended: Sequence[Run] | None = None,
    traces: Mapping[int, Trace] = NO_TRACES,
) -> str:
    """Return the status as text; `ended` are runs of the last moments, for --watch."""
    beat = (
        "never"
        if status.last_tick is None
        else f"{page.distance(status.last_tick)}, called by {visible(status.clock or '?')}"
    )
    held = [] if status.held is None else [page.local(status.held)]
    parts = [page.beside_title("held       ", visible(each)) for each in held]
    parts.append(f"last tick  {beat}")
    inner, known = page.narrower(len(INDENT)), [] if ended is None else [("ended", ended)]
    for title, runs in (("running", status.running), *known, ("pending", status.pending)):
        parts.append(f"{title:<9}  {len(runs) or 'nothing'}")
        if runs:
            parts.append(_indented(runs_table(inner, runs)))
    parts.append(f"failing    {len(status.failing) or 'nothing'}")
    if status.failing:
        parts.append(_indented(_failing_table(inner, status, traces)))
    parts.append(f"next       {'' if status.coming else 'nothing'}".rstrip())
    if status.coming:
        parts.append(_indented(upcoming_table(inner, status.coming)))
    parts += [page.beside_title("problem    ", visible(each)) for each in status.problems]
    return "\n".join(parts)


def _failing_table(page: Page, status: Status, traces: Mapping[int, Trace]) -> str:
    """Return failing tasks as a table: since when, how often, and why."""
    runs = {run.task: run for run in status.failures}
    found = [(task, runs.get(task.name)) for task in status.failing]
    return page.columns(
        [
            Column("task", [task.name for task, _ in found], least=12),
            Column("state", [page.state(task.last_state) for task, _ in found]),
            Column("in a row", [str(max(1, -task.streak)) for task, _ in found]),
            Column(
                f"last run ({page.tz})", [page.time(task.last_run) for task, _ in found], rank=1
            ),
            Column("why", ["-" if run is None else _why(page, run, traces) for _, run in found]),
        ]
    )


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{line}" for line in text.splitlines())


def explanation_page(
    page: Page, found: Explanation, traces: Mapping[int, Trace] = NO_TRACES
) -> str:
    """Return an explanation as text; slots without a row that have the same reason share a line."""
    parts = [page.beside_title(f"{found.task}: ", visible(found.schedule))]
    if found.slots:
        head = (f"slot ({page.tz})", "state", "run", "why")
        together = groupby(found.slots, lambda each: (each.run, each.slot is None, each.reason))
        rows = [_explained(page, list(each), traces) for _, each in together]
        parts.append(page.table(head, rows))
    if found.gaps:
        times = [_gaps(page, gaps) for gaps in _touching(found.gaps)]
        parts.append(page.table((f"no tick from ({page.tz})", "until", "why"), times))
    if found.changes:
        made = [(page.time(c.at), c.by or "-", page.local(c.what)) for c in found.changes]
        parts.append(page.table((f"changed ({page.tz})", "by", "what"), made))
    return "\n\n".join(parts)


def _touching(gaps: Sequence[Gap]) -> list[list[Gap]]:
    """Return gaps grouped by direct succession, as when ticks come too rarely."""
    found: list[list[Gap]] = []
    for gap in gaps:
        if found and (found[-1][-1].until, found[-1][-1].cause) == (gap.since, gap.cause):
            found[-1].append(gap)
        else:
            found.append([gap])
    return found


def _gaps(page: Page, gaps: Sequence[Gap]) -> tuple[str, str, str]:
    many = f" [{len(gaps)} gaps with a tick between them: set tick_period]" * (len(gaps) > 2)
    return page.time(gaps[0].since), page.time(gaps[-1].until), gaps[-1].cause + many


def _explained(
    page: Page, same: Sequence[Explained], traces: Mapping[int, Trace]
) -> tuple[str, str, str, str]:
    """Return the line of a slot, or of several that have no row for the same reason."""
    last = same[-1]
    many = "" if len(same) == 1 else f" [{len(same)} slots from {page.time(same[0].slot)} on]"
    run = "-" if last.run is None else str(last.run)
    trace = None if last.run is None else traces.get(last.run)
    why = "; ".join([page.local(last.reason), *_traced(trace)])
    return page.time(last.slot), page.state(last.state), run, why + many
