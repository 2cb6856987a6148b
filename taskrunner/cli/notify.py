"""The verb for notifications: notify."""

import argparse
from typing import Any

from taskrunner import errors
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    number,
    open_runner,
    out,
    page,
    say,
    with_json,
)
from taskrunner.errors import InputError
from taskrunner.render import notices

MOST = 1000  # messages kept after they were sent or given up
EXAMPLES = (
    "  taskrunner notify                   show the channels and the recent messages\n"
    "  taskrunner notify --test ops        send a test message and report the result\n"
    "  taskrunner notify --send -v         send pending messages now\n"
)


def _declare_notify(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "notify",
        _notify,
        EXAMPLES,
    )
    parser.add_argument(
        "--test", metavar="CHANNEL", help="send a test message to a channel and report the result"
    )
    parser.add_argument(
        "--send",
        action="store_true",
        help="send the messages that are due, as ticks do by themselves",
    )
    parser.add_argument(
        "-n",
        "--limit",
        metavar="N",
        type=number(MOST),
        help="number of messages to show (default: 20)",
    )
    with_json(parser)


def _notify(args: Any) -> int:
    if args.test is not None and args.send:
        raise InputError(f"--test {args.test!r} does not go with --send: give one of them")
    if args.limit is not None and (args.send or args.test is not None):
        raise InputError(f"-n {args.limit} goes only without --test and --send")
    if args.test is not None:
        return _test(args)
    return _send(args) if args.send else _show(args)


def _show(args: Any) -> int:
    with open_runner(args) as runner:
        channels, messages = runner.channels(), runner.outbox(args.limit or 20)
        if args.json:
            out(notices.notices_document(channels, messages))
            return 0
        if channels:
            out(notices.channels_table(page(args), channels))
        else:
            say("there are no channels: write [notify.NAME] into taskrunner.toml")
        if messages:
            out(("\n" if channels else "") + notices.messages_table(page(args), messages))
    return 0


def _test(args: Any) -> int:
    with open_runner(args) as runner:
        done = runner.test_channel(args.test)
    if args.json:
        out(notices.deliveries_document([done]))
    elif done.error is None:
        out(notices.sentence(done))
    else:
        say(notices.sentence(done))
    return errors.EXIT_DONE if done.error is None else errors.EXIT_FAILED


def _send(args: Any) -> int:
    with open_runner(args) as runner:
        done = runner.deliver()
    if args.json:
        out(notices.deliveries_document(done))
    elif args.verbose:
        out("\n".join(notices.deliveries(done)) or "nothing is due")
    return 0


VERBS: dict[str, Declare] = {"notify": _declare_notify}
