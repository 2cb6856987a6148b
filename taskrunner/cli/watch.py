"""The option --watch: redraw a page until the user quits.

`screen` is imported only when it is used.
"""

import argparse
from collections.abc import Callable

from taskrunner.api.task_runner import TaskRunner


def with_watch(parser: argparse.ArgumentParser) -> None:
    """Add --watch to a verb."""
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const="2",
        help="redraw every SECONDS (default: 2) and after each change, until q is pressed",
    )


def watch(runner: TaskRunner, draw: Callable[[], str], pause: str) -> None:
    """Draw a page until the user quits, after each `pause` and after each change of the database."""
    from taskrunner.cli import screen

    screen.watch(draw, runner.changes, screen.seconds(pause))
