"""What the verbs share: how they are declared, where they print, and the page they print on."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from taskrunner import config, duration, render
from taskrunner.api import TaskRunner
from taskrunner.errors import shown

Verbs = Any  # argparse gives its type no public name
Declare = Callable[[Verbs, argparse.ArgumentParser], None]


class Arguments(argparse.Namespace):
    """The words of a command line, read; each verb adds its own."""

    verb: str | None = None
    home: str | None = None
    verbose: bool = False
    json: bool = False
    after_dashes: list[str] | None = None
    takes_command: bool = False
    do: Callable[["Arguments"], int]


def declare(
    verbs: Verbs,
    common: argparse.ArgumentParser,
    name: str,
    does: str,
    do: Callable[[Any], int],
    examples: str,
) -> argparse.ArgumentParser:
    """Return a new parser for a verb, with its sentence and its examples."""
    made: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"examples:\n{examples.rstrip()}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    made.set_defaults(do=do)
    return made


def with_json(parser: argparse.ArgumentParser) -> None:
    """Let a verb take --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def out(text: str) -> None:
    """Print data."""
    print(text)


def say(text: str) -> None:
    """Print what is not data."""
    print(f"taskrunner: {text}", file=sys.stderr)


def door(args: Arguments) -> TaskRunner:
    """Return the taskrunner of the home that was asked for."""
    return TaskRunner(args.home)


def page(runner: TaskRunner) -> render.Page:
    """Return the page to print on: as wide as the terminal, without a limit when piped."""
    terminal = sys.stdout.isatty()
    width = os.get_terminal_size(sys.stdout.fileno()).columns if terminal else None
    return render.Page(
        runner.default_zone(), runner.now(), width, terminal and config.colour_wanted()
    )


def since(runner: TaskRunner, text: str | None) -> datetime | None:
    """Return the instant of --since or --until: a length of time ago, or an instant."""
    if text is None:
        return None
    if text[:1].isdigit() and not text[:5].count("-"):
        return duration.parse_ago(text, runner.now())
    return runner.moment(text)


def number(text: str) -> int:
    """Return a count given on the command line; at least 1."""
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or int(text) < 1:
        sentence = f"{shown(text)} is no count: write a whole number from 1 to 999999"
        raise argparse.ArgumentTypeError(sentence)
    return int(text)
