"""The command line: a parser, one call of the library, text, an exit code.

Each verb is declared beside its function, in a module that is imported when the verb is called. Data
goes to stdout, messages to stderr; an error is one sentence with an exit code of `errors`.
"""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from functools import cache, partial
from typing import Any, NoReturn

import taskrunner
from taskrunner import errors
from taskrunner.cli.common import (
    ALIASES,
    GROUPS,
    SENTENCES,
    Arguments,
    Declare,
    Once,
    Several,
    aliases,
    drop_stdout,
    fitted,
    flush,
    out,
    say,
)
from taskrunner.report_error import is_new, refuse, report

# The verbs in the order of the help, each with the module it is declared in.
VERBS = {
    "add": "define",
    "set": "define",
    "show": "tasks",
    "list": "tasks",
    "next": "tasks",
    "enable": "tasks",
    "disable": "tasks",
    "remove": "tasks",
    "status": "clock",
    "history": "runs",
    "log": "log",
    "explain": "runs",
    "stats": "runs",
    "page": "page",
    "run": "runs",
    "cancel": "runs",
    "queue": "queue",
    "hold": "clock",
    "resume": "clock",
    "install": "install",
    "uninstall": "install",
    "doctor": "install",
    "notify": "notify",
    "env": "tasks",
    "apply": "taskfiles",
    "export": "taskfiles",
    "import": "taskfiles",
    "backup": "upkeep",
    "restore": "upkeep",
    "prune": "upkeep",
    "tick": "clock",
    "daemon": "clock",
    "metrics": "clock",
    "completion": "completion",
}
EXAMPLES = """\
  taskrunner add backup --cron '0 2 * * *' -- /opt/backup.sh
  taskrunner history backup
  taskrunner explain backup
"""
REPEATED = ("tick", "daemon")  # verbs that a clock starts repeatedly
BACK = re.compile(r"-[0-9]+[a-z][0-9a-z]*")
SEE = "\nsee taskrunner --help"


class NoColours:
    """The colours of a formatter that has none: each is an empty text."""

    def __getattr__(self, name: str) -> str:
        """Return the colour of that name."""
        return ""


class Narrow(argparse.HelpFormatter):
    """A formatter that arguments are tested with: without a width, argparse imports `shutil` to find the terminal's."""

    def __init__(self, prog: str) -> None:
        """Take the name of the program."""
        super().__init__(prog, width=80)

    def _set_color(self, *_: object) -> None:
        """Have no colours: from Python 3.14 on, argparse imports `_colorize` for them, and that `dataclasses`."""
        self._theme, self._decolor = NoColours(), str


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without a dump of the usage."""

    words: Sequence[str] = ()
    usual: Collection[str] = ()  # the options in the help, by their dest; empty: all
    given: dict[str, object] | None = None  # options read so far, by their dest; None: not recorded

    def __init__(
        self,
        prog: str | None = None,
        formatter_class: type[argparse.HelpFormatter] = argparse.HelpFormatter,
        **options: Any,
    ) -> None:
        """Take the arguments of argparse."""
        narrow: Any = type(Narrow.__name__, (Narrow, formatter_class), {})
        super().__init__(prog, formatter_class=narrow, **options)
        self.color = False  # from Python 3.14 on, argparse would colour the help
        self._as_wide_as_the_terminal = formatter_class
        for action, does in ((None, Once), ("store", Once), ("several", Several)):
            self.register("action", action, does)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keep the words for error messages; options may be anywhere."""
        self.words = args or ()
        return super().parse_known_args(args and self._ordered(args), namespace)

    def _ordered(self, words: Sequence[str]) -> list[str]:
        """Return the words with positional arguments first: argparse accepts NAME and FILE only side by side."""
        if not any(each.nargs != argparse.PARSER for each in self._get_positional_actions()):
            return list(words)  # the order around a verb stays as it is
        plain, options, takes = [], [], None
        for word in words:
            if takes is not None and _is_value(takes, word):
                options.append(word)
                takes = None
            elif word[:1] == "-" and word != "-" and not self._negative_number_matcher.match(word):
                options.append(word)
                takes = self._option_string_actions.get(word)
            else:
                plain.append(word)
                takes = None
        return plain + options

    def format_help(self) -> str:
        """Return the help, with `usual` only of these options."""
        if not self.usual:
            return super().format_help()
        text = self._get_formatter()
        text.add_usage(self.usage, (), ())
        text.add_text(self.description)
        for group in self._action_groups:
            text.start_section(group.title)
            text.add_arguments(each for each in group._group_actions if self._is_usual(each))
            text.end_section()
        text.add_text(self.epilog)
        return f"{text.format_help()}\nThese are the usual options: {self.prog} --help shows all."

    def _is_usual(self, option: argparse.Action) -> bool:
        return not option.option_strings or option.dest in (*self.usual, "help")

    def print_help(self, file: Any = None) -> None:  # noqa: ARG002  the signature is argparse's
        """Print the help as data, and report a failed write."""
        self.formatter_class = self._as_wide_as_the_terminal
        out(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        """Raise InputError with a hint to the help."""
        known = self._option_string_actions
        options = [word for word in self.words if word[:1] == "-" and not word[1:2].isdigit()]
        unknown = [word for word in options if word.partition("=")[0] not in known]
        if unknown and "required" in message:  # NAME is missing when an unknown option took it
            verb = self.prog.rpartition(" ")[2]
            message = f"{errors.shown(unknown[0])} is not an option of {verb}, and {message}"
        missing = re.fullmatch("the following arguments are required: (.+)", message)
        if missing:
            message = f"{self.prog.rpartition(' ')[2]} needs {self._described(missing[1])}"
        from taskrunner.cli import meant

        raise errors.InputError(f"{meant.plainly(message, known)}\nsee {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not among the choices."""
        if action.choices is not None and value not in action.choices:
            verb = self.prog.rpartition(" ")[2]
            where = "/".join(action.option_strings) or f"{verb} does not know"
            known = ", ".join(action.choices)
            message = f"{where} {errors.shown(value)}: use {'one of ' * (',' in known)}{known}"
            raise argparse.ArgumentError(None, message)

    def _described(self, names: str) -> str:
        """Return the missing arguments, each with its help."""
        helps = {str(each.metavar): each.help for each in self._actions if not each.option_strings}
        told = [f"{each}, {helps[each]}" if helps.get(each) else each for each in names.split(", ")]
        return "; and ".join(told)


class Whole(Parser):
    """The parser of all verbs; its help begins with examples and lists the verbs in groups."""

    def format_help(self) -> str:
        """Return the help."""
        head, text = self._get_formatter(), self._get_formatter()
        head.add_usage("taskrunner [options] VERB ...", (), ())
        head.add_text(self.description)
        (verbs,) = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        listed = {each.dest: each for each in verbs._choices_actions}
        for title, group in GROUPS.items():
            text.start_section(title)
            text.add_arguments(listed[verb] for verb in group if verb in listed)
            text.end_section()
        text.start_section("options")
        text.add_arguments(each for each in self._actions if each is not verbs)
        text.end_section()
        text.add_text(self.epilog)
        return f"{head.format_help()}\nexamples:\n{EXAMPLES}\n{text.format_help()}"


class Version(argparse.Action):
    """Prints the version as data; argparse would ignore a failed write."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and end."""
        out(f"taskrunner {taskrunner.__version__}")
        parser.exit()


def _is_value(option: argparse.Action, word: str) -> bool:
    """Return whether a word after an option is its value; an optional value must be a number."""
    if option.nargs == argparse.OPTIONAL:
        return word[:1].isdigit()
    return option.nargs != 0


@cache
def _common() -> argparse.ArgumentParser:
    """Return the parser of the options before and after any verb."""
    common = Parser(
        "taskrunner", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    common.add_argument(
        "--home",
        metavar="DIR",
        help="the home folder to use (default: $TASKRUNNER_HOME, else the user's)",
    )
    common.add_argument(
        "--color",
        metavar="WHEN",
        choices=("auto", "always", "never"),
        help="auto (default: on a terminal unless NO_COLOR is set, elsewhere if FORCE_COLOR is set), always or never",
    )
    common.add_argument("-v", "--verbose", action="store_true", help="print more details")
    return common


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs, or of one verb, which is faster."""
    whole, verbs = _without_verbs()
    for name in VERBS if verb is None else (verb,):
        _declare(name)(verbs, _common())
    whole.given = {}
    for each in verbs.choices.values():
        each.given = whole.given  # an option before the verb must not be given again after it
    return whole


def _lister() -> Parser:
    """Return the parser of words without a verb: its help lists the verbs, whose modules need not be imported."""
    whole, verbs = _without_verbs()
    for name, does in SENTENCES.items():
        verbs.add_parser(name, aliases=aliases(name), help=does, add_help=False)
    return whole


def _without_verbs() -> tuple[Parser, Any]:
    """Return a parser of what is common to all verbs, and the action that verbs are added to."""
    whole = Whole(
        prog="taskrunner",
        description="Cron with a memory: runs scheduled tasks, and remembers every task, every due time and every run.",
        epilog="taskrunner VERB --help shows the options of a verb, with examples.",
        parents=[_common()],
        allow_abbrev=False,
    )
    whole.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    return whole, whole.add_subparsers(metavar="VERB", dest="verb", parser_class=Parser)


def _declare(verb: str) -> Declare:
    """Return the function that declares a verb, from its module."""
    from importlib import import_module

    found: Declare = import_module(f"taskrunner.cli.{VERBS[verb]}").VERBS[verb]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    args = Arguments()
    try:
        if words:
            _read(words, args)
            code = args.do(args)
            if args.runner is not None and args.runner.snapshot is not None:
                say(args.runner.snapshot)
        else:
            _lister().print_help()
            code = errors.EXIT_DONE
        flush()
        return code
    except errors.TaskRunnerError as exc:
        return refuse(fitted(_said(exc)), _code(args, exc.exit_code))
    except KeyboardInterrupt:
        return refuse("interrupted", errors.EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has closed the pipe
        drop_stdout()
        return errors.EXIT_DONE
    except Exception:  # noqa: BLE001  a bug of ours: keep a report for its fix, show one sentence
        return _code(args, report(partial(_due, args)))


def _said(exc: errors.TaskRunnerError) -> str:
    """Return the sentence of an error, with the option of the command line that gets around it."""
    return f"{exc}; --force {exc.force}" if isinstance(exc, errors.TaskBusy) else str(exc)


def _due(args: Arguments, text: str) -> bool:
    """Return whether to report a fault: a verb that a clock starts repeatedly reports it once an hour."""
    if args.verb not in REPEATED or (sys.stderr is not None and sys.stderr.isatty()):
        return True
    from taskrunner import host
    from taskrunner.home import paths

    return is_new(paths.find(args.home), text, host.now_ms())


def _read(words: Sequence[str], args: Arguments) -> None:
    """Read the words of a command line into `args`; raises InputError."""
    # The words after -- belong to the task, unchanged; argparse would find options in them.
    cut = words.index("--") if "--" in words else len(words)
    args.after_dashes = list(words[cut + 1 :]) if cut < len(words) else None
    typed = _with_lengths(words[:cut])
    try:
        verb = _verb(typed)
        whole = _lister() if verb is None else parser(verb)
        _, left = whole.parse_known_args(typed, args)
    except SystemExit:  # the help or the version has been printed
        flush()
        raise
    if left:
        from taskrunner.cli import meant

        meant.refuse_left(args, left, whole)
    if args.verb is None:
        said = " ".join(map(errors.shown, words))
        raise errors.InputError(f"{said} has no verb: add one, such as list{SEE}")
    if args.after_dashes is not None and not args.takes_command:
        raise errors.InputError(f"{args.verb} takes no command after --")


def _with_lengths(words: Sequence[str]) -> list[str]:
    """Return the words with a negative length, such as -2h, joined to its flag: argparse would read it as a flag."""
    found: list[str] = []
    for word in words:
        flag = found[-1] if found else ""
        if BACK.fullmatch(word) and flag.startswith("--") and "=" not in flag:
            found[-1] = f"{flag}={word}"
        else:
            found.append(word)
    return found


def _verb(words: Sequence[str]) -> str | None:
    """Return the verb among the words, None when there is none; raises InputError for an unknown one."""
    _, rest = _common().parse_known_args(words)
    verb = next((word for word in rest if not word.startswith("-")), None)
    if verb is None or verb in VERBS:
        return verb
    if verb in ALIASES:
        return ALIASES[verb]
    from taskrunner.cli import meant

    raise errors.InputError(
        f"unknown verb {errors.shown(verb)}: {meant.advice(verb, (*VERBS,))}{SEE}"
    )


def _code(args: Arguments, code: int) -> int:
    return errors.EXIT_RUN_REFUSED if getattr(args, "verb", None) == "run" else code
