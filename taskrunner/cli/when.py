"""When a task is due, as flags say it: of `add`, `set` and `next`."""

import argparse
from datetime import datetime, timedelta
from typing import Any

from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli.common import say
from taskrunner.errors import InputError, shown
from taskrunner.schedule.kinds import (
    After,
    At,
    Boot,
    Cron,
    Every,
    Manual,
    Schedule,
    moment_note,
    near,
)

SCHEDULES = ("every", "cron", "at", "after", "boot", "manual")


def with_schedule(parser: argparse.ArgumentParser) -> None:
    """Let a verb take the flags of schedules."""
    group = parser.add_argument_group("schedule (exactly one)")
    group.add_argument(
        "--every", metavar="LENGTH", help="an interval: 30m, 7h30m, 1d, 2w, 1mo, 1y6mo"
    )
    group.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *', '@daily'")
    group.add_argument(
        "--at", metavar="WHEN", help="once: '2030-12-01 22:00', with or without offset, or +30m"
    )
    group.add_argument(
        "--after",
        metavar="NAME[:HOW]",
        help="after a run of NAME that succeeded (default), failed or any",
    )
    group.add_argument("--boot", action="store_true", help="once after each boot")
    group.add_argument(
        "--manual", action="store_true", help="only when started with `taskrunner run`"
    )
    more = parser.add_argument_group("schedule details")
    more.add_argument("--tz", metavar="ZONE", help="IANA time zone (default: the host's)")
    more.add_argument(
        "--anchor",
        metavar="WHEN",
        help="with --every: count intervals from this time (default: this minute)",
    )
    more.add_argument(
        "--from-finish",
        action="store_true",
        help="with --every: count the interval from the end of each run",
    )
    more.add_argument("--now", action="store_true", help="also run the task at the next tick")


def schedule(runner: TaskRunner, args: Any) -> Schedule | None:
    """Return the schedule that the flags ask for, None when there is none."""
    _check_when(args)
    if args.every is not None:
        anchor = None if args.anchor is None else _anchor(runner, args)
        return Every(args.every, anchor=anchor, from_finish=args.from_finish)
    if args.cron is not None:
        return Cron(args.cron)
    if args.at is not None:
        if args.at[:1] in "+-n":
            return At(_whole(runner.moment(args.at), args))
        where = args.tz or runner.default_zone()
        return At(near(args.at, tz=where, now=runner.now()) or args.at)
    if args.after is not None:
        parent, _, how = args.after.partition(":")
        return After(parent, how or "succeeded")
    if args.boot:
        return Boot()
    return Manual() if args.manual else None


def _anchor(runner: TaskRunner, args: Any) -> datetime:
    """Return slot 0 of an interval; one that comes twice or not at all on the clocks of its zone is told."""
    found = runner.moment(args.anchor, args.tz)
    if told := moment_note(args.anchor, tz=args.tz or runner.default_zone()):
        say(f"--anchor {told}, and later slots count from it")
    return found


def _check_when(args: Any) -> None:
    """Raise InputError for flags about when that do not go together."""
    given = {flag: getattr(args, flag) for flag in SCHEDULES}
    told = [typed(flag, value) for flag, value in given.items() if value not in (None, False)]
    if len(told) > 1:
        raise InputError(f"{' and '.join(told)} are {len(told)} schedules: give one of them")
    if args.every is None and args.anchor is not None:
        raise InputError(f"--anchor {args.anchor!r} goes only with --every")
    if args.every is None and args.from_finish:
        raise InputError("--from-finish goes only with --every")


def typed(option: str, value: object) -> str:
    """Return an option as it was typed."""
    flag = "--" + option.replace("_", "-")
    return flag if value is True else f"{flag} {shown(value)}"


def _whole(moment: datetime, args: Any) -> datetime:
    """Return an instant counted from now to the second, as nobody means the milliseconds.

    It is not sooner than was asked for, which would often be past already; with --now it may be.
    """
    up = args.at[0] in "+n" and not args.now and moment.microsecond > 0
    return moment.replace(microsecond=0) + timedelta(seconds=up)
