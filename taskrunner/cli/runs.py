"""The verbs about runs: run, cancel, history, log, explain, stats."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from taskrunner import errors
from taskrunner.api.moments import since
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    fitted,
    number,
    open_runner,
    out,
    page,
    say,
    with_json,
    with_tasks,
    write_or_drop,
)
from taskrunner.cli.watch import watch, with_watch
from taskrunner.errors import InputError, StateError, TaskRunnerError, UnknownTask, shown
from taskrunner.model.values import Run, State, Trigger
from taskrunner.render import documents, graph, statistics, tables
from taskrunner.render.page import Page
from taskrunner.report_error import to_stderr
from taskrunner.store.keys import LARGEST_ID

WIDE = 100  # columns of a terminal from which on tables also show the last output line
MOST_TRACED = 1000  # runs whose outputs are looked at
NO_RUNS = "no runs match"
TIMED_OUT = 124  # as with timeout(1)


def _declare_run(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner run backup\n  taskrunner run backup --detach\n  taskrunner run backup --slot '2026-11-19 02:00'\n"
    parser = declare(verbs, common, "run", _run, examples)
    parser.add_argument("task", metavar="NAME", help="name or id of a task")
    parser.add_argument(
        "--force", action="store_true", help="start it even while another run of the task is active"
    )
    parser.add_argument(
        "--detach", action="store_true", help="print the id of the run and do not wait for its end"
    )
    parser.add_argument("--slot", metavar="WHEN", help="run the slot of this time again")


def _run(args: Any) -> int:
    with open_runner(args) as runner:
        slot = None if args.slot is None else runner.moment(args.slot, runner.task(args.task).tz)
        if slot is not None and slot > runner.now():
            raise InputError(f"--slot {args.slot!r} is in the future: give one that has come")
        run = runner.run(
            args.task,
            echo=write_or_drop,
            slot=slot,
            force=args.force,
            detach=args.detach,
            tell=say,
        )
    if args.detach:
        out(str(run.id))
        return 0
    if run.state is State.RUNNING:  # two signals came
        say(
            f"run {run.id} of {run.task} is marked to be stopped, and its queue has not stopped it yet"
        )
        return errors.EXIT_INTERRUPTED
    if run.state is not State.SUCCEEDED:
        say(f"run {run.id} of {run.task} {run.state}: {run.reason}")
    return _passed_through(run)


def _passed_through(run: Run) -> int:
    """Return the exit code for the end of a run, as a shell would."""
    if run.state is State.TIMED_OUT:
        return TIMED_OUT
    if run.state is State.CANCELLED:
        return errors.EXIT_INTERRUPTED
    if run.signal is not None:
        return 128 + run.signal
    return errors.EXIT_RUN_REFUSED if run.exit_code is None else run.exit_code


def _declare_cancel(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "cancel",
        _cancel,
        "  taskrunner cancel backup\n  taskrunner cancel 42\n",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="id of a run; or name or id of a task, to cancel its running and pending runs and coming retries",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _cancel(args: Any) -> int:
    troubles: list[TaskRunnerError] = []
    with open_runner(args) as runner:
        for key in args.runs:
            try:
                _cancel_one(runner.cancel(key), quiet=args.quiet)
            except TaskRunnerError as exc:  # the other runs are cancelled all the same
                troubles.append(exc)
    for each in troubles[:-1]:
        to_stderr(fitted(str(each)))
    if troubles:
        raise troubles[-1]
    return 0


def _cancel_one(runs: Iterable[Run], *, quiet: bool) -> None:
    for run in runs:
        if run.state is State.RUNNING:
            raise StateError(
                f"run {run.id} of {run.task} is still running ({run.reason or 'its supervisor looks each second'}): "
                "its cancellation is recorded, and it has not stopped yet"
            )
        if not quiet:
            say(f"run {run.id} of {run.task} {run.state}: {run.reason}")


def _declare_history(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner history\n  taskrunner history backup --state failed,lost --since 7d --json\n"
        "  taskrunner history --graph --since 7d\n  taskrunner history backup --watch\n"
    )
    parser = declare(
        verbs,
        common,
        "history",
        _history,
        examples,
    )
    with_tasks(parser)
    parser.add_argument(
        "--task", metavar="NAME", dest="tasks", action="several", help="the same as NAME"
    )
    parser.add_argument(
        "-n",
        "--limit",
        metavar="N",
        type=number(999_999),
        help="number of runs to show (default: 20)",
    )
    parser.add_argument(
        "--state",
        metavar="STATE",
        action="several",
        help=f"only these: {', '.join(State)}; `bad` is failed, timed_out and lost; may be given again, or as a,b",
    )
    parser.add_argument(
        "--before",
        metavar="ID",
        type=number(LARGEST_ID, "id of a run: write a number from the first column of `history`"),
        help="only runs older than the run of this id: that of the last run shown gives the next page",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="only runs since this time: a length of time ago (7d, 1mo) or an instant",
    )
    parser.add_argument(
        "--until", metavar="WHEN", help="only runs until this time, written as for --since"
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="show one line of marks for each task (30 days unless --since is given)",
    )
    parser.add_argument(
        "--wide",
        action="store_true",
        help="show the last output line of failed runs, and how much output was cut, also on a narrow terminal",
    )
    with_watch(parser)
    with_json(parser)


def _history(args: Any) -> int:
    for flag, given in (("-n", args.limit), ("--before", args.before)):
        if args.graph and given is not None:
            raise InputError(f"{flag} {given} goes only without --graph, which shows all of a time")
    if args.watch is not None and args.json:
        raise InputError("--watch draws a page for people: it goes without --json")
    show = _graph if args.graph else _runs
    with open_runner(args) as runner:
        if args.watch is not None:
            watch(runner, lambda: show(args) or NO_RUNS, args.watch)
        elif not args.graph and _many_runs(args):
            pass
        elif text := show(args):
            out(text)
        else:
            say(NO_RUNS)
    return 0


def _asked(args: Any) -> dict[str, Any]:
    """Return the filters of the command line, counted from now."""
    return {
        "name": args.tasks or None,
        "state": args.state,
        "since": since(args.runner, args.since),
        "until": since(args.runner, args.until),
    }


def _pages(args: Any) -> Iterator[list[Run]]:
    """Yield the requested runs, so many at a time that they fit into memory however many there are."""
    before, left = args.before, args.limit
    while left > 0:
        found = args.runner.history(**_asked(args), before=before, limit=min(MOST_TRACED, left))
        if found:
            yield found
            before, left = found[-1].id, left - len(found)
        if len(found) < MOST_TRACED:
            return


def _many_runs(args: Any) -> bool:
    """Print very many runs page by page, where nothing has to fit a terminal; return whether that was done."""
    sheet = page(args)
    if args.limit is None or args.limit <= MOST_TRACED or "pending" in (args.state or ()):
        return False
    first = next(iter(_pages(args)), [])
    if len(first) < MOST_TRACED or not (args.json or sheet.width is None):
        return False
    if args.json:
        runs = (documents.run_document(run) for found in _pages(args) for run in found)
        pieces = documents.streamed("runs", runs)
    else:
        traces = args.runner.traces(first)
        pieces = tables.long_runs_table(sheet, lambda: _pages(args), traces)
    for piece in pieces:
        out(piece)
    return True


def _runs(args: Any) -> str:
    """Return the requested runs as text or JSON, "" when there are none to show to a person."""
    runs = args.runner.history(**_asked(args), before=args.before, limit=args.limit or 20)
    if not args.json and "pending" in (args.state or ()) and args.before is None:
        runs = [*_to_come(args), *runs][: args.limit or 20]
    if args.json:
        return documents.document(runs=[documents.run_document(run) for run in runs])
    sheet = page(args)
    wide = args.wide or sheet.width is None or sheet.width >= WIDE
    traces = args.runner.traces(runs[:MOST_TRACED]) if wide else {}
    return tables.runs_table(sheet, runs, traces) if runs else ""


def _to_come(args: Any) -> list[Run]:
    """Return pending one-offs as runs, as they have no run yet."""
    names = [args.runner.either(each).name for each in args.tasks or () if not each.isdigit()]
    return [
        Run(
            *(0, task.name, task.next, task.next, State.PENDING, "waits for its time", 1),
            *(Trigger.SCHEDULE, 1, False),
        )
        for task in args.runner.tasks(kind="at")
        if task.enabled and task.next and (not args.tasks or task.name in names)
    ]


def _graph(args: Any) -> str:
    """Return the requested slots as a graph."""
    sheet, asked = page(args), _asked(args)
    names = asked["name"] or [task.name for task in args.runner.tasks()]
    found = args.runner.graph(**asked, most=graph.room(sheet, names), tz=sheet.tz)
    if args.json:
        return graph.graph_document(found)
    return graph.graph_page(sheet, found) if found.lines else ""


def _declare_explain(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner explain backup\n  taskrunner explain backup --at '2026-11-19 02:00'\n"
        "  taskrunner explain backup --since 7d --json\n  taskrunner explain 42\n"
    )
    parser = declare(verbs, common, "explain", _explain, examples)
    parser.add_argument(
        "tasks",
        metavar="NAME",
        nargs="+",
        action="several",
        help="name of a task or id of a run; several also as a,b",
    )
    parser.add_argument("--at", metavar="WHEN", help="explain only the slot at this time")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="explain all slots since this time: a length of time ago (7d, 1mo) or an instant",
    )
    parser.add_argument(
        "--until", metavar="WHEN", help="with --since: stop at this time (default: now)"
    )
    with_json(parser)


def _explain(args: Any) -> int:
    if args.until is not None and args.since is None:
        raise InputError(f"--until {shown(args.until)} goes only with --since")
    with open_runner(args) as runner:
        told = [_explained(args, key) for key in dict.fromkeys(args.tasks)]
        if args.json:
            out(documents.explanation_document(*told))
        else:
            sheet = page(args)
            pages = (_page_of(runner, sheet.beside(each.tz), each) for each in told)
            out("\n\n".join(pages))
    return 0


def _page_of(runner: Any, sheet: Page, found: Any) -> str:
    traces = runner.traces(each.run for each in found.slots if each.run is not None)
    return tables.explanation_page(sheet, found, traces)


def _explained(args: Any, key: str) -> Any:
    """Return why a task ran or did not."""
    runner = args.runner
    found = runner.explain(
        key,
        at=None if args.at is None else runner.moment(args.at, _zone_of(runner, key)),
        since=since(runner, args.since),
        until=since(runner, args.until),
    )
    if found.cut:
        say(f"these are the newest {len(found.slots)} slots: name an earlier --until for others")
    return found


def _zone_of(runner: Any, key: str) -> str | None:
    """Return the zone of a task, None when the task was removed."""
    try:
        zone: str | None = runner.task(key).tz
    except UnknownTask:
        return None
    return zone


def _declare_stats(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner stats\n  taskrunner stats backup --since 30d\n  taskrunner stats --json\n"
    )
    parser = declare(
        verbs,
        common,
        "stats",
        _stats,
        examples,
    )
    with_tasks(parser)
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="count runs that ended since this time: a length of time ago (7d, 1mo) or an instant (default: all "
        "runs, also those pruned since)",
    )
    parser.add_argument(
        "--until",
        metavar="WHEN",
        help="count runs that ended until this time, written as for --since",
    )
    with_json(parser)


def _stats(args: Any) -> int:
    with open_runner(args) as runner:
        stats = runner.stats(
            args.tasks or None, since=since(runner, args.since), until=since(runner, args.until)
        )
        if args.json:
            out(documents.stats_document(stats))
        elif stats.tasks:
            out(statistics.stats_table(page(args), stats))
        else:
            say("there are no tasks yet: taskrunner add NAME --every 1d -- COMMAND")
    return 0


VERBS: dict[str, Declare] = {
    "run": _declare_run,
    "cancel": _declare_cancel,
    "history": _declare_history,
    "explain": _declare_explain,
    "stats": _declare_stats,
}
