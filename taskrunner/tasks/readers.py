"""Read one value of an option, typed by a person or given by a program.

Each raises InputError with the valid form; `options` adds the name of the option. It must not know the store.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from taskrunner.errors import InputError, TaskNameError, shown
from taskrunner.home import notify_rules
from taskrunner.home.config import names_to_pass, size, variables
from taskrunner.schedule import durations
from taskrunner.schedule.kinds import After, Boot, Manual, Schedule
from taskrunner.tasks import python

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,99}")
GROUP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._@+-]{0,99})(?::([1-9][0-9]{0,4}))?")
CODE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")
LARGEST_CODE = 255  # wait(2): a byte
LARGEST_FACTOR = 100
LONGEST_DESCRIPTION = 1000  # characters
LONGEST_TEXT = 1_000_000  # characters of a command, a shell text or an input


def text(value: str, what: str) -> str:
    """Return a text that the database and a process can hold; `what` names it in messages."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise InputError(f"{what} {shown(value)} is not UTF-8") from exc
    if "\0" in value or len(value) > LONGEST_TEXT:
        raise InputError(
            f"{what} {shown(value)} holds a NUL byte or more than {LONGEST_TEXT} characters"
        )
    return value


def length_or_none(value: Any) -> timedelta | None:
    """Return a duration; None for `none`."""
    if value in (None, "none"):
        return None
    try:
        return durations.parse(value)
    except InputError as exc:
        raise InputError(f"{exc}, or none") from exc


def one_of(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    """Return a reader for the words of an enumeration."""

    def read(value: Any) -> StrEnum:
        try:
            return kind(value)
        except ValueError as exc:
            raise InputError(f"it must be one of {', '.join(kind)}") from exc

    return read


def environment(value: Any) -> dict[str, str]:
    """Return variables by their names."""
    try:
        return variables(value)
    except InputError as exc:
        raise InputError(f"it must be {exc}") from exc


def variable_names(value: Any) -> tuple[str, ...]:
    """Return names of variables that a run takes from whoever starts it."""
    try:
        return names_to_pass([] if value is None else _one_by_one(value))
    except InputError as exc:
        raise InputError(f"it must be {exc}") from exc


def _one_by_one(value: Any) -> Any:
    """Return the parts of texts such as `A,B` in a list, which is how the command line gives them."""
    if not isinstance(value, list | tuple):
        return value
    return [
        part for each in value for part in (each.split(",") if isinstance(each, str) else [each])
    ]


def number(low: int, high: int, base: int = 10) -> Callable[[Any], int]:
    """Return a reader for a whole number within bounds, written in this base."""

    def read(value: Any) -> int:
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


def number_or_none(low: int, high: int, base: int = 10) -> Callable[[Any], int | None]:
    """Return the same, for an option that may have no value."""
    read = number(low, high, base)
    return lambda value: None if value is None else read(value)


def factor(value: Any) -> float:
    """Return a factor, 1 or more."""
    try:
        found = float(value)
        good = not isinstance(value, bool) and 1 <= found <= LARGEST_FACTOR
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"it must be a number from 1 to {LARGEST_FACTOR}, such as 2")
    return found


def factor_or_none(value: Any) -> float | None:
    """Return a factor; None for `none`."""
    return None if value in (None, "none") else factor(value)


def recipient(value: Any) -> str | None:
    """Return a channel, a mail address or a command to notify; None for nobody."""
    return None if value is None else notify_rules.checked(value)


def codes(value: Any) -> tuple[int, ...]:
    """Return exit codes, given as a list of numbers or as a text such as `0,3-5`, sorted."""
    try:
        found = _read_codes(value) if isinstance(value, str) else set(value)
        good = all(type(code) is int and 0 <= code <= LARGEST_CODE for code in found)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"it must be exit codes from 0 to {LARGEST_CODE}, such as 0,3-5")
    return tuple(sorted(found))


def _read_codes(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = CODE.fullmatch(part.strip())
        if match is None:
            raise ValueError(part)
        low, high = int(match[1]), int(match[2] or match[1])
        if not low <= high <= LARGEST_CODE:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return found


def group(value: Any) -> tuple[str | None, int | None]:
    """Return the name of a group and its limit, if given."""
    if value is None:
        return None, None
    found = GROUP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InputError("it must be NAME or NAME:N, with a number from 1 to 99999, such as db:2")
    return found[1], None if found[2] is None else int(found[2])


def pattern(value: Any) -> str | None:
    """Return a regular expression as its text; None for none."""
    found = optional(value)
    if found is not None:
        try:
            re.compile(found)
        except (re.error, OverflowError, RecursionError) as exc:
            raise InputError(f"it is not a valid regular expression: {exc}") from exc
    return found


def optional(value: Any) -> str | None:
    """Return a text that is not empty; None for none."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InputError("it must be a text that is not empty")
    return text(value, "the value")


def description(value: Any) -> str | None:
    """Return the description of a task; None for none."""
    found = optional(value)
    if found is not None and len(found) > LONGEST_DESCRIPTION:
        raise InputError(f"it must be at most {LONGEST_DESCRIPTION} characters long")
    return found


def stdin(value: Any) -> str | None:
    """Return the standard input of a command; None for none."""
    if value is not None and not isinstance(value, str):
        raise InputError("it must be text")
    return None if value is None else text(value, "the input")


def output_size(value: Any) -> int:
    """Return a size in bytes."""
    try:
        return size(value)
    except InputError as exc:
        raise InputError(f"it must be {exc}") from exc


def limits(value: Any) -> dict[str, int]:
    """Return limits of the kernel, given as a mapping or as a text such as `memory=512MB,cpu=10m`.

    `memory` in bytes, `cpu` in seconds, `files` and `processes` as they are.
    """
    if isinstance(value, str):
        parts = [_limit(part) for part in value.split(",")]
        value = dict(parts)
        if len(value) < len(parts):
            raise InputError("a limit is given twice: give each of them once")
    if not isinstance(value, Mapping):
        raise InputError(LIMITS)
    found: dict[str, int] = {}
    for name, given in value.items():
        if name not in LIMIT_READERS:
            raise InputError(f"{LIMITS}; it has {shown(name)}")
        try:
            found[name] = LIMIT_READERS[name](given)
        except InputError as exc:
            raise InputError(f"{name} of it, {shown(given)}, must be {exc}") from exc
    return found


def _limit(text: str) -> tuple[str, str]:
    name, sign, value = text.strip().partition("=")
    if not sign:
        raise InputError(LIMITS)
    return name, value


def _whole_seconds(value: Any) -> int:
    """Return CPU time in seconds, the unit of the kernel."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    try:
        seconds = durations.parse(value).total_seconds()
    except InputError as exc:
        raise InputError("a duration such as 10m") from exc
    return max(1, round(seconds))


def _many(value: Any) -> int:
    try:
        return number(1, 1_000_000)(value)
    except InputError as exc:
        raise InputError("a number from 1 to 1000000") from exc


LIMITS = "it must be limits such as memory=512MB,cpu=10m,files=1024,processes=64"
LIMIT_READERS: Mapping[str, Callable[[Any], int]] = {
    "memory": size,
    "cpu": _whole_seconds,
    "files": _many,
    "processes": _many,
}


def place(value: Any) -> str | None:
    """Return an absolute path; None for none."""
    found = optional(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return None if found is None else os.path.abspath(os.path.expanduser(found))


def interpreter(value: Any) -> str | None:
    """Return a Python: the name of a program, or a path."""
    return str(value) if python.is_program(value) else place(value)


# ---- name, work and schedule


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
        raise InputError(f"the command {shown(value)} is not a list of words") from exc
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"the command {shown(words)} has words that are not text")
    if not words or not words[0]:
        raise InputError("there is no command: write it after --, or give --shell TEXT")
    for word in words:
        text(word, "the command")
    return words


def shell(value: str | None) -> str | None:
    """Return a text for the shell, checked; raises InputError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"the shell text {shown(value)} is not text: a list of words is a command")
    if not value.strip():
        raise InputError(f"the shell text {shown(value)} is empty: write the command line to run")
    return text(value, "the shell text")


def schedule(value: Schedule, tz: str | None) -> Schedule:
    """Return a schedule, checked also against the given zone; raises InputError."""
    if not isinstance(value, Schedule):
        raise InputError(
            f"{shown(value)} is not a schedule: give one of Cron, Every, On, At, After, Boot, Manual"
        )
    if tz is not None and isinstance(value, After | Boot | Manual):
        raise InputError(f"{value.kind} has no time zone: leave out {shown(tz)}")
    return value
