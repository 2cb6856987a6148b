"""The options of a task: what each may be, given as text by a person or as a value by a program.

One table for `add`, `set` and the library, so that they cannot differ. It must not know the store.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from taskrunner import duration
from taskrunner.config import variables
from taskrunner.errors import InputError, TaskNameError, shown
from taskrunner.model import CatchUp, Overlap
from taskrunner.schedule import After, Boot, Manual, Schedule

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,99}")
LONGEST_TEXT = 1_000_000  # characters of a command, a shell text or an input


class Options(TypedDict, total=False):
    """The keywords of `add` and `set` that are options of the task; each has the name of its flag."""

    timeout: str | timedelta | None
    kill_after: str | timedelta
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str]
    env_file: str | os.PathLike[str] | None
    stdin: str | None
    umask: str | int | None
    user: str | None
    nice: str | int | None
    overlap: str
    catch_up: str
    catch_up_limit: str | int | None
    deadline: str | timedelta | None
    max_instances: str | int | None


DEFAULTS: Options = {
    "timeout": "1h",
    "kill_after": "10s",
    "cwd": None,
    "env": {},
    "env_file": None,
    "stdin": None,
    "umask": None,
    "user": None,
    "nice": None,
    "overlap": "skip",
    "catch_up": "last",
    "catch_up_limit": None,
    "deadline": None,
    "max_instances": None,
}


def name(value: object) -> str:
    """Return the name of a task, checked; raises TaskNameError."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or value.isdigit():
        raise TaskNameError(
            f"{shown(value)} cannot be the name of a task: use 1 to 100 letters, digits and . _ - @ +, "
            "beginning with a letter, digit or _, and not digits alone"
        )
    return value


def argv(value: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return a command as an argv, checked; raises InputError."""
    if value is None:
        return ()
    if isinstance(value, str):
        raise InputError(
            f"the command {shown(value)} is one text: give a list of words, or use shell for a text"
        )
    try:
        words = tuple(value)
    except TypeError as exc:
        raise InputError(f"the command {shown(value)} is no list of words") from exc
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"the command {shown(words)} has words that are no text")
    if not words or not words[0]:
        raise InputError("there is no command: write it after --, or give --shell TEXT")
    return tuple(_text(word, "the command") for word in words)


def shell(value: str | None) -> str | None:
    """Return a text for the shell, checked; raises InputError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"the shell text {shown(value)} is no text: a list of words is a command")
    if not value.strip():
        raise InputError(f"the shell text {shown(value)} is empty: write the command line to run")
    return _text(value, "the shell text")


def schedule(value: Schedule, tz: str | None) -> Schedule:
    """Return a schedule, checked, also against the zone given beside it; raises InputError."""
    if not isinstance(value, Schedule):
        raise InputError(
            f"{shown(value)} is no schedule: give one of Cron, Every, At, After, Boot, Manual"
        )
    if tz is not None and isinstance(value, After | Boot | Manual):
        raise InputError(f"{value.kind} has no time zone: leave out {shown(tz)}")
    return value


def _text(value: str, what: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"{what} {shown(value)} is not UTF-8") from exc
    if "\0" in value or len(value) > LONGEST_TEXT:
        raise InputError(
            f"{what} {shown(value)} holds a NUL byte or more than {LONGEST_TEXT} characters"
        )
    return value


def _length(value: Any) -> timedelta:
    return duration.parse(value)


def _length_or_none(value: Any) -> timedelta | None:
    if value in (None, "none"):
        return None
    try:
        return duration.parse(value)
    except InputError as exc:
        raise InputError(f"{exc}, or none") from exc


def _one_of(kind: type[Overlap] | type[CatchUp]) -> Callable[[Any], Overlap | CatchUp]:
    def read(value: Any) -> Overlap | CatchUp:
        try:
            return kind(value)
        except ValueError as exc:
            raise InputError(f"it must be one of {', '.join(kind)}") from exc

    return read


def _variables(value: Any) -> dict[str, str]:
    try:
        return variables(value)
    except InputError as exc:
        raise InputError(f"it must be {exc}") from exc


def _number(low: int, high: int, base: int = 10) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if value is None:
            return None
        try:
            number = int(value, base) if isinstance(value, str) else value
            good = not isinstance(value, bool) and isinstance(number, int) and low <= number <= high
        except ValueError:
            good = False
        if not good or (isinstance(value, str) and not value.isascii()):
            written = f"{low:o} to {high:o}, in octal" if base == 8 else f"{low} to {high}"
            raise InputError(f"it must be a number from {written}")
        return int(number)

    return read


def _optional(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InputError("it must be a text that is not empty")
    return _text(value, "the value")


def _input(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InputError("it must be text")
    return None if value is None else _text(value, "the input")


def _place(value: Any) -> str | None:
    found = _optional(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return None if found is None else os.path.abspath(os.path.expanduser(found))


READERS: Mapping[str, Callable[[Any], object]] = {
    "timeout": _length_or_none,
    "kill_after": _length,
    "cwd": _place,
    "env": _variables,
    "env_file": _place,
    "stdin": _input,
    "umask": _number(0, 0o777, base=8),
    "user": _optional,
    "nice": _number(-20, 19),
    "overlap": _one_of(Overlap),
    "catch_up": _one_of(CatchUp),
    "catch_up_limit": _number(1, 10_000),
    "deadline": _length_or_none,
    "max_instances": _number(1, 10_000),
}


def read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as values of the model; raises InputError that names the option and the value."""
    found: dict[str, Any] = {}
    for option, value in given.items():
        if option not in READERS:
            raise InputError(
                f"{shown(option)} is no option of a task: known are {', '.join(READERS)}"
            )
        try:
            found[option] = READERS[option](value)
        except InputError as exc:
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{flag} {shown(value)}: {exc}") from exc
    return found


def without_leftovers(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of a task, with the limit of a policy taken back when the policy is left."""
    found = dict(changes)
    if found.get("catch_up", CatchUp.ALL) is not CatchUp.ALL:
        found.setdefault("catch_up_limit", None)
    if found.get("overlap", Overlap.ALLOW) is not Overlap.ALLOW:
        found.setdefault("max_instances", None)
    return found


def agree(options: Mapping[str, Any]) -> None:
    """Raise InputError for options that contradict each other; `options` is the whole set of a task."""
    if options["catch_up_limit"] is not None and options["catch_up"] is not CatchUp.ALL:
        raise InputError(
            f"--catch-up-limit {options['catch_up_limit']} goes only with --catch-up all"
        )
    if options["max_instances"] is not None and options["overlap"] is not Overlap.ALLOW:
        raise InputError(
            f"--max-instances {options['max_instances']} goes only with --overlap allow"
        )
