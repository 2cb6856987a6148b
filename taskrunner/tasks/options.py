"""The options of a task: what each may be, given as text by a person or as a value by a program.

One table for `add`, `set` and the library, so that they cannot differ. It must not know the store.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from taskrunner.errors import InputError, TaskNameError, shown
from taskrunner.home import channels
from taskrunner.model.values import CatchUp, OnLost, Overlap
from taskrunner.schedule import durations
from taskrunner.schedule.kinds import After, Boot, Manual, Schedule
from taskrunner.tasks import python, values

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,99}")
WORK = {  # what says what a task runs
    "command": "a command",
    "shell": "a shell text",
    "python": "a function of Python",
    "code": "a text of Python",
    "code_file": "a file of Python",
}
PYTHON = ("python", "code", "code_file")  # what says what to run, instead of a command
OF_PYTHON = (*PYTHON, "args", "interpreter", "django")


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
    jitter: str | timedelta | None
    retries: str | int
    retry_delay: str | timedelta
    retry_backoff: str | float
    retry_codes: str | Sequence[int]
    on_lost: str
    group: str | None
    priority: str | int
    ok_codes: str | Sequence[int]
    noop_codes: str | Sequence[int]
    expect: str | None
    reject: str | None
    max_silence: str | timedelta | None
    max_output: str | int
    limit: str | Mapping[str, Any]
    on_failure: str | None
    notify: str | Sequence[str] | Mapping[str, str]
    late_after: str | timedelta | None
    long_after: str | float | None
    python: str | None
    args: str | Sequence[Any] | Mapping[str, Any] | None
    code: str | None
    code_file: str | os.PathLike[str] | None
    interpreter: str | os.PathLike[str] | None
    django: str | None
    description: str | None


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
    "jitter": None,
    "retries": 0,
    "retry_delay": "1m",
    "retry_backoff": 1,
    "retry_codes": (),
    "on_lost": "fail",
    "group": None,
    "priority": 0,
    "ok_codes": (0,),
    "noop_codes": (),
    "expect": None,
    "reject": None,
    "max_silence": None,
    "max_output": "10MB",
    "limit": {},
    "on_failure": None,
    "notify": {},
    "late_after": None,
    "long_after": None,
    "python": None,
    "args": None,
    "code": None,
    "code_file": None,
    "interpreter": None,
    "django": None,
    "description": None,
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
    for word in words:
        values.text(word, "the command")
    return words


def shell(value: str | None) -> str | None:
    """Return a text for the shell, checked; raises InputError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"the shell text {shown(value)} is no text: a list of words is a command")
    if not value.strip():
        raise InputError(f"the shell text {shown(value)} is empty: write the command line to run")
    return values.text(value, "the shell text")


def schedule(value: Schedule, tz: str | None) -> Schedule:
    """Return a schedule, checked, also against the zone given beside it; raises InputError."""
    if not isinstance(value, Schedule):
        raise InputError(
            f"{shown(value)} is no schedule: give one of Cron, Every, At, After, Boot, Manual"
        )
    if tz is not None and isinstance(value, After | Boot | Manual):
        raise InputError(f"{value.kind} has no time zone: leave out {shown(tz)}")
    return value


READERS: Mapping[str, Callable[[Any], object]] = {
    "timeout": values.length_or_none,
    "kill_after": durations.parse,
    "cwd": values.place,
    "env": values.environment,
    "env_file": values.place,
    "stdin": values.stdin,
    "umask": values.number_or_none(0, 0o777, base=8),
    "user": values.optional,
    "nice": values.number_or_none(-20, 19),
    "overlap": values.one_of(Overlap),
    "catch_up": values.one_of(CatchUp),
    "catch_up_limit": values.number_or_none(1, 10_000),
    "deadline": values.length_or_none,
    "max_instances": values.number_or_none(1, 10_000),
    "jitter": values.length_or_none,
    "retries": values.number(0, 1000),
    "retry_delay": durations.parse,
    "retry_backoff": values.factor,
    "retry_codes": values.codes,
    "on_lost": values.one_of(OnLost),
    "group": values.group,
    "priority": values.number(-1000, 1000),
    "ok_codes": values.codes,
    "noop_codes": values.codes,
    "expect": values.pattern,
    "reject": values.pattern,
    "max_silence": values.length_or_none,
    "max_output": values.output_size,
    "limit": values.limits,
    "on_failure": lambda value: None if value is None else channels.told(value),
    "notify": channels.rules,
    "late_after": values.length_or_none,
    "long_after": lambda value: None if value in (None, "none") else values.factor(value),
    "python": python.spelling,
    "args": python.arguments,
    "code": python.code,
    "code_file": values.place,
    "interpreter": values.interpreter,
    "django": python.settings,
    "description": values.description,
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
            told = value[0] if isinstance(value, list) and len(value) == 1 else value
            raise InputError(f"{flag} {shown(told)}: {exc}") from exc
    if "group" in found:  # one flag, two columns
        found["group"], found["group_limit"] = found["group"]
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
    _agree_on_codes(options)
    jitter, deadline = options["jitter"], options["deadline"]
    if jitter is not None and deadline is not None and jitter >= deadline:
        raise InputError(
            f"--jitter {durations.format(jitter)} delays a start past --deadline {durations.format(deadline)}: "
            "make the jitter shorter"
        )
    if options["max_instances"] is not None and options["overlap"] is not Overlap.ALLOW:
        raise InputError(
            f"--max-instances {options['max_instances']} goes only with --overlap allow"
        )


def _agree_on_codes(options: Mapping[str, Any]) -> None:
    good = {*options["ok_codes"], *options["noop_codes"]}
    both = sorted(good & set(options["retry_codes"]))
    if both:
        raise InputError(
            f"--retry-codes has {both[0]}, which --ok-codes or --noop-codes calls a success: leave one of them out"
        )
    if options["retry_codes"] and not options["retries"]:
        written = ",".join(map(str, options["retry_codes"]))
        raise InputError(f"--retry-codes {written} goes only with --retries")


def _no_default(defaults: Mapping[str, Any]) -> None:
    for name in (*PYTHON, "args"):
        if name in defaults:
            raise InputError(f"{name} can be no default: it says what one task runs")


def usual(defaults: Mapping[str, Any], *, after: bool = False) -> dict[str, Any]:
    """Return all options of a task that gives none: the config's `defaults`, else ours; raises InputError.

    A task that comes `after` another queues: the newest run of that one is to be followed, however close two end.
    """
    try:
        found = read({**DEFAULTS, **({"overlap": "queue"} if after else {}), **defaults})
        agree(found)
        _no_default(defaults)
    except InputError as exc:
        raise InputError(f"the table defaults in taskrunner.toml: {exc}") from exc
    return found


def of_new_task(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a new task: what is given, else the `usual` ones; raises InputError."""
    # The limit of a policy goes with the policy: a default does not stand against what is given.
    found = {**usual, **without_leftovers(read(given))}
    agree(found)
    return found
