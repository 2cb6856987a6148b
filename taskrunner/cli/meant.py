"""Advice for an unknown verb: our verb for a word of other programs, or a similar one.

It only prints advice: no verb is run for a similar word, and no verb that deletes something is suggested by similarity.
"""

import argparse
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from taskrunner import errors
from taskrunner.cli.common import ALIASES, Arguments

# Words of other schedulers, of systemctl and of containers, with our verbs for them.
ANSWERS = {
    "start": "`taskrunner run NAME` starts a task now, `taskrunner enable NAME` starts scheduling it again",
    "stop": "`taskrunner cancel NAME` stops a run, `taskrunner disable NAME` stops scheduling a task",
    "kill": "`taskrunner cancel NAME` stops a run",
    "edit": "`taskrunner set NAME` changes a task",
    "logs": "`taskrunner log NAME` prints the output of a run",
    "jobs": "`taskrunner list` shows the tasks, `taskrunner status` the running ones",
    "why": "`taskrunner explain NAME` says why a task ran or did not",
    "check": "`taskrunner status --check` is for monitoring, `taskrunner doctor` finds problems",
}
SAME = {
    "start": ("restart", "trigger", "launch", "fire", "exec", "execute", "retry", "rerun"),
    "stop": ("terminate", "abort"),
    "edit": ("update", "change", "modify", "alter", "rename"),
    "jobs": ("tasks", "ps", "top"),
}
MORE = {
    "`taskrunner add NAME` adds a task": ("create", "new", "schedule", "register"),
    "`taskrunner show NAME` shows a task": ("info", "describe", "inspect", "get", "cat"),
    "`taskrunner history` shows runs, `taskrunner log NAME` their output": ("runs", "output"),
    "`taskrunner next` shows the coming runs": ("upcoming", "agenda", "when"),
    "`taskrunner remove NAME` removes a task, `taskrunner prune` deletes old history": (
        *("del", "drop", "unschedule", "purge", "clear", "clean"),
    ),
    "`taskrunner doctor` finds problems, `taskrunner apply --dry-run FILE` checks a task file": (
        *("validate", "verify", "diagnose", "lint"),
    ),
    "`taskrunner --version` prints it": ("version",),
}
# Verbs that cannot be undone, or stop something: they are never suggested.
DESTRUCTIVE = {"remove", "rm", "delete", "cancel", "prune", "restore", "uninstall", "disable"}

# Verbs for all tasks, with those for one task.
OF_ALL = {"hold": "disable", "resume": "enable"}
# Sentences of argparse, and ours for them.
PLAINLY = (
    (r"argument (\S+): ignored explicit argument (.+)", r"\1 takes no value, and was given \2"),
    (r"argument (\S+): not allowed with argument (\S+)", r"\1 and \2 exclude each other: give one"),
)


def advice(word: str, verbs: tuple[str, ...]) -> str:
    """Return the advice for an unknown verb."""
    meant = word.lower()
    known = ANSWERS | {each: ANSWERS[one] for one, others in SAME.items() for each in others}
    known |= {each: told for told, words in MORE.items() for each in words}
    if meant in known:
        return known[meant]
    harmless = [each for each in (*verbs, *ALIASES) if each not in DESTRUCTIVE]
    return errors.advice(word, harmless, "the help lists all")


def plainly(message: str, options: Mapping[str, Any]) -> str:
    """Return a sentence of argparse about an option in our words."""
    without = re.fullmatch("argument (.+): expected one argument", message)
    if without:
        one = options[without[1].rpartition("/")[2]]
        return f"{without[1]} needs {one.metavar}, {one.help}"
    for theirs, ours in PLAINLY:
        message = re.sub(f"(?s){theirs}", ours, message)
    return message.removeprefix("argument ")


def refuse_left(args: Arguments, left: list[str], whole: argparse.ArgumentParser) -> NoReturn:
    """Refuse unknown words, with the most likely reason."""
    # Names come before options here: an unknown option explains why its value is left over.
    option = next((word for word in left if word.startswith("-")), None)
    why = ": a command follows --" if args.takes_command and option is None else ""
    if args.verb in OF_ALL and option is None:
        why = f": it acts on all tasks; for one task use `taskrunner {OF_ALL[args.verb]} {left[0]}`"
    if option is not None and option.startswith("--"):
        meant = errors.nearest(option.partition("=")[0], _flags(whole, args.verb))
        why = "" if meant is None else f": did you mean {meant}?"
    unknown = left if option is None else [word for word in left if word.startswith("-")]
    raise errors.InputError(
        f"{args.verb or 'taskrunner'} does not know {' '.join(map(errors.shown, unknown))}{why}\n"
        f"see taskrunner {args.verb or ''} --help".replace("  ", " ")
    )


def _flags(whole: argparse.ArgumentParser, verb: str | None) -> list[str]:
    """Return the long flags of a verb."""
    (verbs,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    asked = whole if verb is None else verbs.choices[verb]
    return [flag for flag in asked._option_string_actions if flag.startswith("--")]
