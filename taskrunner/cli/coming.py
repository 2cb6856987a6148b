"""The verb about the coming runs: next."""

import argparse
from datetime import datetime
from typing import Any

from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    door,
    number,
    out,
    page,
    say,
    with_json,
    with_tasks,
)
from taskrunner.cli.when import schedule
from taskrunner.errors import InputError
from taskrunner.render import agenda, documents, tables
from taskrunner.schedule import describe
from taskrunner.schedule.kinds import Cron

MOST = 10_000  # slots at a time: a cron expression needs about a second for them


def _declare_next(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner next\n  taskrunner next backup -n 3\n  taskrunner next --until 7d\n"
        "  taskrunner next --cron '30 2 * * *' --tz Europe/Berlin --from 2026-03-28T00:00Z -n 5 --json\n"
    )
    parser = declare(verbs, common, "next", "show when tasks are due next", _next, examples)
    with_tasks(parser)
    parser.add_argument(
        "-n", "--limit", metavar="N", type=number(MOST), help="number of slots to show (default: 5)"
    )
    parser.add_argument(
        "--until",
        metavar="WHEN",
        help="show all slots up to this time; for several tasks as an agenda that marks collisions with !",
    )
    parser.add_argument(
        "--from",
        metavar="WHEN",
        dest="since",
        help="start at this time, which may be past: yesterday, '2026-12-01 18:00' (default: now)",
    )
    by_hand = parser.add_argument_group("a schedule instead of tasks")
    by_hand.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *'")
    by_hand.add_argument("--every", metavar="LENGTH", help="an interval: 30m, 1d, 1mo")
    by_hand.add_argument("--at", metavar="WHEN", help="once: '2030-12-01 22:00', or +30m")
    parser.add_argument(
        "--tz", metavar="ZONE", help="time zone of that schedule (default: the host's)"
    )
    parser.add_argument(
        "--anchor", metavar="WHEN", help="with --every: count intervals from this time"
    )
    with_json(parser)
    parser.set_defaults(now=False, after=None, boot=False, manual=False, from_finish=False)


def _next(args: Any) -> int:
    with door(args) as runner:
        given = schedule(runner, args)
        if given is not None and args.tasks:
            raise InputError(
                f"next takes the task {args.tasks[0]!r} or a schedule (--cron, --every or --at), not both"
            )
        if given is None and args.tz is not None:
            raise InputError("--tz goes only with a schedule: --cron, --every or --at")
        start = None if args.since is None else runner.moment(args.since, args.tz)
        until = None if args.until is None else runner.moment(_ahead(args.until), args.tz)
        many = given is None and len(args.tasks) != 1
        if until is not None and many and args.limit is None and start is None:
            return _agenda(args, until)
        if given is not None:
            if isinstance(given, Cron) and (either := describe.either(given.meaning)):
                say(either)
            items = runner.upcoming(given, tz=args.tz, since=start, count=args.limit, until=until)
        else:
            items = runner.next(args.tasks or None, since=start, count=args.limit, until=until)
        if args.json:
            out(documents.document(next=[documents.upcoming_document(item) for item in items]))
        elif items:
            out(tables.upcoming_table(page(args), items))
        else:
            say(_nothing(args))
    return 0


def _nothing(args: Any) -> str:
    return f"no runs are scheduled{' for ' * bool(args.tasks)}{', '.join(args.tasks)}"


def _agenda(args: Any, until: datetime) -> int:
    sheet, names = page(args), args.tasks or None
    entries = args.runner.agenda(until, tz=sheet.tz, name=names)
    if args.json:
        out(agenda.agenda_document(args.runner.next(names, until=until), entries))
    elif entries:
        out(agenda.agenda_page(sheet, entries))
        say(agenda.agenda_sentence(entries))
    else:
        say(_nothing(args))
    return 0


def _ahead(text: str) -> str:
    """Return an instant to come; a bare length of time is counted from now."""
    return f"+{text}" if text[:1].isdigit() and "-" not in text and ":" not in text else text


VERBS: dict[str, Declare] = {"next": _declare_next}
