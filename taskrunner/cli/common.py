"""Helpers of all verbs: declare a verb, print data and messages, lay out a page."""

import argparse
import codecs
import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

from taskrunner.errors import StateError, ZoneError, shown
from taskrunner.model.values import Kind
from taskrunner.render.page import Page, ascii_only, beside, on_screen, visible
from taskrunner.render.spelling import comes_due, standing
from taskrunner.report_error import PREFIX, drop, to_stderr

if TYPE_CHECKING:
    from taskrunner.api.task_runner import TaskRunner

Verbs = Any  # argparse gives its type no public name
Declare = Callable[[Verbs, argparse.ArgumentParser], None]
# Aliases of verbs: short ones, and those of other schedulers.
ALIASES = {
    "ls": "list",
    "rm": "remove",
    "pause": "hold",
    "unpause": "resume",
    "delete": "remove",
}


class Once(argparse.Action):
    """Option with one value: refused when it is given again, as one value would be lost."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the value."""
        if option_string is not None and parser.given is not None:
            if self.dest in parser.given:
                first, second = shown(parser.given[self.dest]), shown(values)
                both = f"both times {first}" if first == second else f"{first} and {second}"
                parser.error(f"{option_string} is given twice, {both}: give it once")
            parser.given[self.dest] = values
        setattr(namespace, self.dest, values)


class Several(argparse.Action):
    """Filter option: it may be repeated, and each value may be a list: `a,b`."""

    def __call__(
        self,
        parser: Any,  # noqa: ARG002  the signature is argparse's
        namespace: Any,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Add the values to those given before."""
        given = [values] if isinstance(values, str) else values
        before = getattr(namespace, self.dest) or []
        setattr(
            namespace, self.dest, [*before, *(one for each in given for one in each.split(","))]
        )


class UsualHelp(argparse.Action):
    """Prints the help with only the usual options, given as `const`."""

    def __init__(self, option_strings: Sequence[str], **options: Any) -> None:
        """Take the arguments of argparse; the option takes no value, and leaves none."""
        options |= {"dest": "help", "default": argparse.SUPPRESS, "nargs": 0}
        super().__init__(option_strings, **options)

    def __call__(self, parser: Any, *_: Any) -> None:
        """Print it and end."""
        parser.usual = self.const
        parser.print_help()
        parser.exit()


# The verbs in the groups and the order of the help, each with its sentence; the help needs no more than these.
GROUPS = {
    "tasks": {
        "add": "add a task",
        "set": "change a task",
        "show": "show the details of a task or a run",
        "list": "list the tasks",
        "next": "show when tasks are due next",
        "enable": "start scheduling a task again",
        "disable": "stop scheduling a task",
        "remove": "remove a task; its history is kept",
    },
    "what happened": {
        "status": "show whether ticks arrive, and what is running, failing and due next",
        "history": "show runs, including skipped and missed ones, newest first",
        "log": "show the output of a run",
        "explain": "explain why a task ran or did not run, slot by slot",
        "stats": "show success rates, durations and streaks",
        "page": "show the tasks and runs in a browser",
    },
    "act": {
        "run": "run a task now and show its output",
        "cancel": "stop a running or pending run",
        "queue": "show the runs in the queues to other machines, or empty a queue",
        "hold": "pause all scheduled runs; manual runs still work",
        "resume": "resume scheduled runs after a hold",
    },
    "set up": {
        "install": "set up cron or systemd to call a tick every minute, or to serve the page",
        "uninstall": "undo install: remove its crontab line or systemd units",
        "doctor": "find problems that can keep tasks from running, and suggest fixes",
        "notify": "show notification channels and send pending messages",
        "env": "show the environment variables of a task",
    },
    "files": {
        "apply": "create, change or remove tasks to match task files",
        "export": "print tasks as a task file",
        "import": "create tasks from the lines of a crontab",
        "backup": "back up the database and verify the copy; safe while tasks run",
        "restore": "restore the database from a backup (the current one is kept aside)",
        "prune": "delete history older than the retention settings",
    },
    "for programs": {
        "tick": "run everything that is due now (cron calls this every minute)",
        "daemon": "run ticks in a loop, for containers and short intervals",
        "metrics": "print metrics for a monitoring system, in the OpenMetrics format",
        "completion": "print the completion script for a shell",
    },
}
SENTENCES = {verb: does for group in GROUPS.values() for verb, does in group.items()}


class Arguments(argparse.Namespace):
    """The parsed command line; each verb adds its own attributes."""

    verb: str | None = None
    home: str | None = None
    verbose: bool = False
    json: bool = False
    color: str = "auto"
    after_dashes: list[str] | None = None
    takes_command: bool = False
    runner: "TaskRunner | None" = None
    do: Callable[["Arguments"], int]


def declare(
    verbs: Verbs,
    common: argparse.ArgumentParser,
    name: str,
    do: Callable[[Any], int],
    examples: str,
    usual: Collection[str] = (),
) -> argparse.ArgumentParser:
    """Return a new parser for a verb, with its help text and its examples; `-h` shows only the `usual` options."""
    does = SENTENCES[name]
    made: argparse.ArgumentParser = verbs.add_parser(
        name,
        aliases=aliases(name),
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"examples:\n{examples.rstrip()}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
        add_help=not usual,
    )
    if usual:
        made.add_argument(
            "-h", action=UsualHelp, const=usual, help="show the usual options and exit"
        )
        made.add_argument("--help", action="help", help="show all options and exit")
    made.set_defaults(do=do, verb=name)
    return made


def aliases(verb: str) -> list[str]:
    """Return the other names of a verb."""
    return [alias for alias, meant in ALIASES.items() if meant == verb]


def with_json(parser: argparse.ArgumentParser) -> None:
    """Add --json to a verb."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


@contextlib.contextmanager
def on_stdout() -> Iterator[None]:
    """Turn a failed write to stdout into a StateError; a closed pipe is not an error."""
    if sys.stdout is None:  # it was closed before we started
        raise StateError("there is no stdout to print on: it is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        drop_stdout()
        raise StateError(f"stdout cannot be written: {exc.strerror}") from exc


def out(text: str) -> None:
    """Print data; characters that stdout cannot encode are escaped."""
    with on_stdout():
        try:
            print(text)
        except UnicodeEncodeError:
            print(ascii_only(text))


def out_text(text: str) -> None:
    """Print a text of the user's unchanged; on a terminal control characters are escaped."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    out(on_screen(text) if on_terminal else text)


def write(block: bytes, *, last: bool = False) -> None:
    """Print output of a task at once and unchanged; on a terminal control characters are escaped."""
    with on_stdout():
        if sys.stdout.isatty():
            text = on_screen(_signs().decode(block, final=last))
            block = text.encode(sys.stdout.encoding, "backslashreplace")
        left = memoryview(block)
        while left:  # unbuffered (PYTHONUNBUFFERED), an interrupted write is incomplete
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()


def write_or_drop(block: bytes) -> None:
    """Print output of a run; without a reader the run goes on, as the database keeps the output."""
    try:
        if block:
            write(block)
    except BrokenPipeError:  # the reader has closed the pipe
        drop_stdout()
    except StateError as exc:
        say(f"{exc}; `taskrunner log` shows the output")
        drop_stdout()


@lru_cache(maxsize=1)
def _signs() -> codecs.IncrementalDecoder:
    """Return a decoder of bytes to characters, also for characters split between two blocks."""
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


def flush() -> None:
    """Print buffered data."""
    if sys.stdout is not None:
        if _signs.cache_info().currsize:
            write(b"", last=True)
        with on_stdout():
            sys.stdout.flush()


def drop_stdout() -> None:
    """Discard everything written to stdout from now on."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process
    else:
        drop(sys.stdout)


def say(text: str) -> None:
    """Print a message on stderr."""
    to_stderr(fitted(visible(text)))


def fitted(message: str) -> str:
    """Return a message folded to the width of the terminal; unchanged without one."""
    first, *rest = message.split("\n")
    width = columns(sys.stderr)
    told = beside(PREFIX, first, width).removeprefix(PREFIX)
    return "\n".join([told, *(beside("", line, width) for line in rest)])


def columns(stream: TextIO | None) -> int | None:
    """Return the width of a stream's terminal, None when it is not a terminal."""
    if stream is None or not stream.isatty():
        return None
    return os.get_terminal_size(stream.fileno()).columns or None


def open_runner(args: Arguments) -> "TaskRunner":
    """Return the taskrunner of the requested home."""
    from taskrunner.api.task_runner import TaskRunner  # the help does without

    args.runner = TaskRunner(args.home)
    return args.runner


def page(args: Any) -> Page:
    """Return the page to print on: as wide as the terminal, without a limit when piped."""
    from taskrunner.home import config  # the help does without

    runner, terminal = args.runner, sys.stdout is not None and sys.stdout.isatty()
    colour = args.color == "always" or (
        args.color == "auto" and config.colour_wanted(terminal=terminal)
    )
    return Page(_zone(runner), runner.now(), columns(sys.stdout), colour)


@lru_cache(maxsize=1)  # the warning comes once for all pages
def _zone(runner: "TaskRunner") -> str:
    """Return the zone of the times on a page."""
    try:
        return runner.default_zone()
    except ZoneError as exc:
        say(f"times are shown in UTC, as {exc}")
        return "UTC"


def say_when(args: Arguments, name: str) -> None:
    """Print when a task is due next, after it was added or changed."""
    runner = args.runner
    assert runner is not None
    task = runner.task(name)
    described = runner.describe(task)
    if not task.enabled:
        say(f"{task.name}: {described}; it is {standing(task)}: {comes_due(task, runner.now())}")
    elif task.requested is not None:
        then = "" if task.kind is Kind.AT else f", then {described}"
        say(f"{task.name}: due at once{then}")
    elif task.next is not None:
        sheet = page(args)
        say(
            f"{task.name}: {described}; next {sheet.time(task.next)} {sheet.tz} ({sheet.distance(task.next)})"
        )
    else:
        say(f"{task.name}: {described}")


def with_tasks(parser: argparse.ArgumentParser) -> None:
    """Add names of tasks to a verb; none means all tasks."""
    parser.add_argument(
        "tasks",
        metavar="NAME",
        nargs="*",
        action="several",
        help="names or ids of tasks, also as a,b (default: all tasks)",
    )


def number(most: int, expected: str = "") -> Callable[[str], int]:
    """Return a reader for a number on the command line, from 1 to `most`; `expected` says what it is, if no count."""
    expected = expected or f"count: write a whole number from 1 to {most}"

    def read(text: str) -> int:
        good = text.isascii() and text.isdigit() and len(text) <= len(str(most))
        if not good or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not a valid {expected}")
        return int(text)

    return read
