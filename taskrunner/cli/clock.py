"""The verbs of the clock and its state: tick, daemon, status, hold, resume, metrics."""

import argparse
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import errors
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    open_runner,
    out,
    out_text,
    page,
    say,
    with_json,
    write_or_drop,
)
from taskrunner.cli.interleaved import Interleaved
from taskrunner.cli.watch import watch, with_watch
from taskrunner.decide import policy
from taskrunner.errors import InputError
from taskrunner.home import paths
from taskrunner.model.values import Severity
from taskrunner.render import documents, spelling, tables
from taskrunner.schedule import durations
from taskrunner.tick.visit import Visit

if TYPE_CHECKING:
    from taskrunner.model.answers import Piece

JUST_ENDED = timedelta(seconds=15)
MOST_ENDED = 10  # ended runs on a page that is redrawn
CHECK_CODES = {Severity.OK: errors.EXIT_DONE, Severity.WARNING: 1, Severity.ERROR: 2}


def _declare_tick(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  * * * * *  /usr/local/bin/taskrunner tick        the line for a crontab\n"
        "  taskrunner tick --dry-run -v\n  taskrunner tick --dry-run --at '2030-12-24 02:00'\n"
    )
    parser = declare(
        verbs,
        common,
        "tick",
        _tick,
        examples,
    )
    parser.add_argument(
        "--task",
        metavar="NAME",
        action="several",
        help="consider only this task, and run it only if it is due; may be repeated, or given as a,b",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the decision for each slot; starts and writes nothing",
    )
    parser.add_argument(
        "--at", metavar="WHEN", help="with --dry-run: decide as if it were this time"
    )
    with_json(parser)


def _tick(args: Any) -> int:
    if args.at is not None and not args.dry_run:
        raise InputError(f"--at {args.at!r} goes only with --dry-run: a real tick is always now")
    if args.json and not args.dry_run:
        raise InputError("--json goes only with --dry-run: a real tick is silent")
    with open_runner(args) as runner:
        if args.dry_run:
            return _dry_run(runner, args)
        visit = runner.tick(task=args.task, caller=paths.caller())
        if visit.warning:
            say(visit.warning)
        if args.verbose:
            out(_told(visit, _why_nothing(runner, args, visit.at)))
            if visit.runs:
                out(tables.runs_table(page(args), visit.runs))
        return errors.EXIT_INTERRUPTED if visit.interrupted else errors.EXIT_DONE


def _told(visit: "Visit", why: str | None) -> str:
    if visit.busy:
        return "another tick is running"
    if visit.runs or visit.decisions:
        return f"{len(visit.decisions)} decided, {len(visit.runs)} ended"
    return f"nothing was started: {why}" if why else "nothing is due"


def _why_nothing(runner: Any, args: Any, at: datetime) -> str | None:
    """Return why a tick starts nothing, None when simply nothing is due."""
    hold = runner.held()
    if hold is not None:
        return f"scheduled runs are paused by {hold.by}; `taskrunner resume` ends the pause"
    return "; ".join(_why_not(runner, args, name, at) for name in args.task or ()) or None


def _why_not(runner: Any, args: Any, name: str, at: datetime) -> str:
    """Return why a tick at an instant does not run a task."""
    task = runner.task(name)
    if not task.enabled:
        return f"{task.name} is {spelling.standing(task)}; {spelling.comes_due(task, runner.now())}"
    if task.next is not None and task.next > at:
        sheet = page(args)
        return f"{task.name} is not due until {sheet.time(task.next)} {sheet.tz}"
    return f"{task.name} is not due: {runner.describe(task)}"


def _dry_run(runner: Any, args: Any) -> int:
    at = None if args.at is None else runner.moment(args.at)
    moment, decisions = runner.dry_run(at=at, task=args.task)
    if args.json:
        out(
            documents.document(
                at=documents.instant(moment),
                decisions=[documents.decision_document(decision) for decision in decisions],
            )
        )
    elif decisions:
        out(tables.decisions_table(page(args), decisions))
    else:
        why = _why_nothing(runner, args, moment)
        say(f"nothing would be started{f': {why}' if why else ''}")
    if args.verbose and not args.json:
        for item in runner.next(args.task):
            say(f"later: {item.task} at {documents.instant(item.slot)}")
    return 0


def _declare_daemon(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner daemon --interval 10s\n  taskrunner daemon --interval 10s --verbose --output\n"
        "  taskrunner daemon --wait-for tcp://db:5432 --wait-for file:/srv/data/.mounted\n"
        "  taskrunner daemon --only-one --while-held application.lock --linger 15s\n"
    )
    parser = declare(
        verbs,
        common,
        "daemon",
        _daemon,
        examples,
    )
    parser.add_argument(
        "--interval", metavar="LENGTH", default="60s", help="time between two ticks (default: 60s)"
    )
    parser.add_argument(
        "--grace",
        metavar="LENGTH",
        default="30s",
        help="time for runs to end when the daemon is stopped (default: 30s)",
    )
    parser.add_argument(
        "--wait-for",
        metavar="WHAT",
        action="append",
        default=[],
        help="before the first tick, wait until tcp://HOST:PORT answers or file:/PATH exists; may be repeated",
    )
    parser.add_argument(
        "--output",
        action="store_true",
        help="print the output of all runs; the task's name begins each line",
    )
    parser.add_argument(
        "--wait-limit",
        metavar="LENGTH",
        help="stop waiting for all of them after this time (default: 5m)",
    )
    parser.add_argument(
        "--only-one",
        action="store_true",
        help="end at once, with exit code 0, when another daemon of this home lives",
    )
    parser.add_argument(
        "--while-held",
        metavar="FILE",
        help="end when no process holds a lock (flock) on this file any more; relative to the home",
    )
    parser.add_argument(
        "--linger",
        metavar="LENGTH",
        help="with --while-held: time without such a lock before the end, or forever (default: 15s)",
    )


def _daemon(args: Any) -> int:
    interval, grace = durations.parse(args.interval), durations.parse(args.grace)
    if args.wait_limit is not None and not args.wait_for:
        raise InputError(f"--wait-limit {args.wait_limit!r} goes only with --wait-for")
    if args.linger is not None and args.while_held is None:
        raise InputError(f"--linger {args.linger!r} goes only with --while-held")
    limit = durations.parse("5m" if args.wait_limit is None else args.wait_limit)
    linger = "15s" if args.linger is None else args.linger
    with open_runner(args) as runner:
        runner.daemon(
            interval=interval,
            grace=grace,
            say=say,
            verbose=args.verbose,
            wait_for=args.wait_for,
            wait_limit=limit,
            watch=_watch(args) if args.verbose or args.output else None,
            only_one=args.only_one,
            while_held=args.while_held,
            linger=None if linger == durations.FOREVER else durations.parse(linger),
        )
    return 0


def _watch(args: Any) -> Callable[["Piece"], None]:
    """Return a function that prints the output of runs (--output), and their starts and ends (--verbose)."""
    show = Interleaved(write_or_drop)

    def watch(piece: "Piece") -> None:
        if args.output and piece.what != "started":
            show(piece)
        if args.verbose and piece.told:
            say(piece.told)

    return watch


def _declare_status(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "status",
        _status,
        "  taskrunner status\n  taskrunner status --watch\n  taskrunner status --check\n",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="print one line for a monitoring plugin and exit with 0, 1 or 2 (OK, WARNING, CRITICAL)",
    )
    with_watch(parser)
    with_json(parser)


def _status(args: Any) -> int:
    if args.check and args.json:
        raise InputError("--json goes only without --check, which prints one line")
    if args.watch is not None and (args.check or args.json):
        raise InputError("--watch draws a page for people: it goes without --check and --json")
    with open_runner(args) as runner:
        if args.watch is not None:
            watch(runner, lambda: _status_screen(args), args.watch)
            return 0
        if args.check:
            found = runner.check()
            out(tables.check_line(found))
            return CHECK_CODES[found.severity]
        status = runner.status()
        out(documents.status_document(status) if args.json else _status_page(args, status))
    return 0


def _status_screen(args: Any) -> str:
    """Return the status with the runs that have just ended: a short run may fall between two redraws."""
    ended = args.runner.ended(args.runner.now() - JUST_ENDED, limit=MOST_ENDED)
    return _status_page(args, args.runner.status(), ended)


def _status_page(args: Any, status: Any, ended: Any = None) -> str:
    return tables.status_page(page(args), status, ended, args.runner.traces(status.failures))


def _declare_hold(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner hold\n  taskrunner hold --for 2h --reason 'the database moves'\n"
    parser = declare(verbs, common, "hold", _hold, examples)
    parser.add_argument(
        "--for", metavar="LENGTH", dest="length", help="length of the pause (default: until resume)"
    )
    parser.add_argument("--reason", metavar="TEXT", help="the reason, shown by status")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _hold(args: Any) -> int:
    with open_runner(args) as runner:
        before = runner.held()
        hold = runner.hold(args.length, reason=args.reason)
        if not args.quiet:
            until = "" if hold.until is None else f" until {policy.words(hold.until)}"
            instead = "" if before is None else f", replacing the pause by {before.by}"
            say(f"scheduled runs are paused{until}{instead}: `taskrunner resume` ends the pause")
    return 0


def _declare_resume(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "resume",
        _resume,
        "  taskrunner resume\n",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _resume(args: Any) -> int:
    with open_runner(args) as runner:
        ended = runner.resume()
    if not args.quiet:
        say(
            "nothing was paused"
            if ended is None
            else "resumed; runs missed during the pause follow each task's --catch-up"
        )
    return 0


def _declare_metrics(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner metrics\n"
        "  taskrunner metrics --textfile \\\n      /var/lib/prometheus/node-exporter/taskrunner.prom\n"
    )
    parser = declare(verbs, common, "metrics", _metrics, examples)
    parser.add_argument(
        "--textfile",
        metavar="FILE",
        help="write to this file instead, atomically, for the textfile collector of node_exporter",
    )


def _metrics(args: Any) -> int:
    with open_runner(args) as runner:
        if args.textfile is None:
            out_text(runner.metrics().removesuffix("\n"))
        else:
            runner.write_metrics(args.textfile)
    return 0


VERBS: dict[str, Declare] = {
    "tick": _declare_tick,
    "daemon": _declare_daemon,
    "status": _declare_status,
    "hold": _declare_hold,
    "resume": _declare_resume,
    "metrics": _declare_metrics,
}
