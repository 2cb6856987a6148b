"""The verb that shows the output of runs: log."""

import argparse
import time
from typing import Any

from taskrunner.cli.common import Declare, Verbs, declare, open_runner, out, say, with_json, write
from taskrunner.cli.interleaved import Interleaved
from taskrunner.errors import InputError
from taskrunner.render import documents

FOLLOW = 0.2  # seconds between two looks at a log that is quiet


def _declare_log(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner log backup\n  taskrunner log 42\n  taskrunner log -f backup\n"
        "  taskrunner log -f --all\n  taskrunner log -f --all backup\n"
    )
    parser = declare(verbs, common, "log", _log, examples)
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        action="several",
        help="id of a run; or name or id of a task, for its newest run",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="keep printing until the run has ended"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="with -f: follow all runs from now on, of these tasks or of all; the task's name begins each line",
    )
    with_json(parser)


def _log(args: Any) -> int:
    if args.all:
        return _log_all(args)
    if len(args.runs) != 1:
        raise InputError(
            f"log shows one run and was given {', '.join(args.runs) or 'none'}: "
            "name a task or the id of a run, or give -f --all"
        )
    with open_runner(args) as runner:
        run = runner.run_of(args.runs[0])
        if args.json:
            out(documents.document(runs=[documents.run_document(run)]))
            return 0
        if args.verbose:
            say(f"run {run.id} of {run.task}, {run.state}: {run.reason or 'no reason yet'}")
        for block in runner.log(run, follow=args.follow):
            if block:
                write(block)
            else:
                time.sleep(FOLLOW)
    return 0


def _log_all(args: Any) -> int:
    """Print the output of all runs until interrupted."""
    if not args.follow or args.json:
        raise InputError("--all goes only with -f, and without --json: log -f --all")
    with open_runner(args) as runner:
        show = Interleaved(write)
        for piece in runner.follow(args.runs or None):
            if piece is None:
                time.sleep(FOLLOW)
                continue
            if piece.what != "started":
                show(piece)
            if args.verbose and piece.told:
                say(piece.told)
    return 0


VERBS: dict[str, Declare] = {"log": _declare_log}
