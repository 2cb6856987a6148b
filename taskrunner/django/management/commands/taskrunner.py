"""`manage.py taskrunner VERB ...`: the command line of taskrunner with the home of the project."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from taskrunner import errors, report_error
from taskrunner.cli.common import out, say
from taskrunner.cli.main import main
from taskrunner.django import clock, project, settings
from taskrunner.django.applying import ProjectRunner
from taskrunner.errors import TaskRunnerError
from taskrunner.render import documents

OF_DJANGO = ("--settings", "--pythonpath")  # each with a value; `manage.py` has heeded them
OF_APPLY = ("--dry-run", "--json", "--quiet", "-v", "--verbose")
ADVISING = (["status"], ["explain"], ["doctor"])
APPLY = """
With the project, `manage.py taskrunner apply` without FILE applies the definitions in scheduled.py of all installed
applications, with --prune and one or more of: --dry-run --json --quiet --verbose."""


class Command(BaseCommand):
    """Hands all words on: verbs, options, help and exit codes are those of `taskrunner`."""

    help = "Run taskrunner with the home of this project: taskrunner VERB ..."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take all words, for `call_command`."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run a command line and end with its exit code."""
        sys.exit(run(_without_those_of_django(argv[2:])))

    def print_help(self, prog_name: str, subcommand: str) -> None:  # noqa: ARG002
        """Print the help of taskrunner, for `manage.py help taskrunner`."""
        main(["--help"])

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        """Run words that `call_command` was given."""
        code = run([str(each) for each in words])
        if code:
            raise CommandError(f"taskrunner {' '.join(words)} failed", returncode=code)


def run(words: Sequence[str]) -> int:
    """Run a command line with the home of the project, and return the exit code."""
    try:
        wanted = settings.read()
    except ImproperlyConfigured as exc:
        return report_error.refuse(str(exc), errors.EXIT_USAGE)
    if words[:1] == ["apply"] and all(each in OF_APPLY for each in words[1:]):
        return _apply(wanted, words[1:])
    clock.expect(wanted)
    try:
        with _named(words):
            return main(["--home", wanted.home, *words] if words else [])
    finally:  # argparse ends the program after it has printed help
        if words[:1] == ["apply"] and {*words} & {"-h", "--help"}:
            out(APPLY)


class Named:
    """A stream whose sentences name the verbs as `manage.py` has them."""

    def __init__(self, stream: Any) -> None:
        """Take the stream."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        return int(self._stream.write(project.by_manage(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _named(words: Sequence[str]) -> Iterator[None]:
    """Let messages, and the answers that advise, name `manage.py`; other answers are data, such as commands of tasks."""
    with contextlib.ExitStack() as stack:
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(Named(sys.stderr)))
        if sys.stdout is not None and words[:1] in ADVISING and "--json" not in words:
            stack.enter_context(contextlib.redirect_stdout(Named(sys.stdout)))
        yield


def _apply(wanted: settings.Settings, words: Sequence[str]) -> int:
    """Apply the definitions in the code of the project."""
    try:
        with ProjectRunner(wanted) as runner:
            plan = runner.apply_code(dry_run="--dry-run" in words)
            if "--json" in words:
                out(documents.plan_document(plan))
            elif "--quiet" not in words:
                for line in runner.told(plan, verbose={"-v", "--verbose"} & {*words} != set()):
                    say(line)
    except TaskRunnerError as exc:
        return report_error.refuse(project.by_manage(str(exc)), exc.exit_code)
    return errors.EXIT_DONE


def _without_those_of_django(words: Sequence[str]) -> list[str]:
    """Return the words without the options that are for Django; after -- all belong to a task."""
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*kept, word, *left]
        if word in OF_DJANGO:
            del left[:1]
        elif word.partition("=")[0] not in OF_DJANGO:
            kept.append(word)
    return kept
