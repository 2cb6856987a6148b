"""The verb for queues to other machines: queue."""

import argparse
import sys
from typing import Any

from taskrunner import errors
from taskrunner.cli.common import Declare, Verbs, declare, open_runner, out, page, say, with_json
from taskrunner.errors import InputError, StateError
from taskrunner.render import queues

EXAMPLES = (
    "  taskrunner queue                 count the runs in each queue, and its workers\n"
    "  taskrunner queue heavy --json\n"
    "  taskrunner queue heavy --empty   cancel our runs that wait there\n"
)


def _declare_queue(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "queue", _queue, EXAMPLES)
    parser.add_argument("name", metavar="NAME", nargs="?", help="a queue of taskrunner.toml")
    parser.add_argument(
        "--empty",
        action="store_true",
        help="cancel our runs that wait in it; on a terminal it asks before",
    )
    parser.add_argument(
        "--others",
        action="store_true",
        help="with --empty: also take out everything that is not of this home",
    )
    with_json(parser)


def _queue(args: Any) -> int:
    if args.empty and args.name is None:
        raise InputError("--empty needs the name of a queue: write taskrunner queue NAME --empty")
    if args.others and not args.empty:
        raise InputError("--others goes only with --empty")
    return _empty(args) if args.empty else _show(args)


def _show(args: Any) -> int:
    with open_runner(args) as runner:
        found = runner.queues(args.name)
        if args.json:
            out(queues.queues_document(found))
        elif found:
            out(queues.queues_table(page(args), found))
            for each in found:
                if each.workers and (args.name is not None or args.verbose):
                    out("\n" + queues.workers_table(page(args), each))
        else:
            say("there are no queues: write [queues.NAME] into taskrunner.toml")
    return errors.EXIT_FAILED if any(each.error for each in found) else errors.EXIT_DONE


def _empty(args: Any) -> int:
    with open_runner(args) as runner:
        (found,) = runner.queues(args.name)
        if found.error is not None:
            raise StateError(found.error)
        count = found.waiting + (found.others_waiting if args.others else 0)
        if count and not _agreed(f"take {count} out of the queue {found.name}?"):
            say("nothing was taken out")
            return errors.EXIT_FAILED
        done = runner.empty_queue(args.name, others=args.others)
    if args.json:
        out(queues.emptied_document(done))
    else:
        say(queues.emptied(args.name, done))
    return errors.EXIT_DONE


def _agreed(question: str) -> bool:
    """Ask on the terminal; without one the request is clear enough."""
    if sys.stdin is None or not sys.stdin.isatty():
        return True
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


VERBS: dict[str, Declare] = {"queue": _declare_queue}
