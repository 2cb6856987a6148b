"""The options of a task, one row each: reader, default, help text, section of the help, and how it is written.

The command line, task files, `show`, export and the reference pages are made from this table. It must not know
the store.
"""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, TypedDict

from taskrunner.errors import InputError, shown
from taskrunner.home import notify_rules
from taskrunner.model.values import CatchUp, OnLost, Overlap, Task
from taskrunner.render import spelling
from taskrunner.schedule import durations
from taskrunner.tasks import python, readers

WORK = {  # the options that hold the command of a task
    "command": "a command",
    "shell": "a shell text",
    "python": "a function of Python",
    "code": "a text of Python",
    "code_file": "a file of Python",
}
PYTHON = ("python", "code", "code_file")  # instead of a command
OF_PYTHON = (*PYTHON, "args", "interpreter", "django")


class Option(NamedTuple):
    """One option of a task; the flag and the key in a task file have the same name.

    `write` converts a value of the model to that of a task file, if they differ.
    """

    name: str
    value: str  # its name in the help
    read: Callable[[Any], object]
    default: Any
    help: str
    write: Callable[[Any], Any] | None = None
    again: bool = False  # the flag may be given several times
    secret: bool = False  # messages never show the value

    @property
    def flag(self) -> str:
        """The flag of the command line."""
        return "--" + self.name.replace("_", "-")


COMMAND = "the command and its limits"  # a section
LARGEST_STDIN = 1_000_000  # bytes that a queue takes along
LENGTH = readers.length_or_none
# By section of the help, in the order of the help and of exported files.
# fmt: off
SECTIONS: Mapping[str, tuple[Option, ...]] = {
    COMMAND: (
        Option("timeout", "LENGTH", LENGTH, "1h",
            "stop a run after this time (default: 1h); none: never"),
        Option("kill_after", "LENGTH", durations.parse, "10s",
            "when stopping, send KILL this long after TERM (default: 10s)"),
        Option("max_silence", "LENGTH", LENGTH, None,
            "stop a run that writes no output for this long"),
        Option("max_output", "SIZE", readers.output_size, "10MB",
            "keep only the start and end of larger output (default: 10MB)", spelling.size),
        Option("limit", "LIMITS", readers.limits, {},
            "kernel limits: memory=512MB,cpu=10m,files=1024,processes=64",
            lambda value: spelling.limits(value) or None),
        Option("cwd", "DIR", readers.place, None, "working directory (default: the user's home)"),
        Option("env", "NAME=VALUE", readers.environment, {},
            "set an environment variable; may be repeated", again=True, secret=True),
        Option("env_file", "FILE", readers.place, None,
            "a file of NAME=VALUE lines, read at each run"),
        Option("pass_env", "NAME", readers.variable_names, (),
            "take this variable from the environment of whoever starts the run; may be repeated",
            again=True),
        Option("stdin", "TEXT", readers.stdin, None,
            "text for standard input (default: none)", secret=True),
        Option("umask", "OCTAL", readers.number_or_none(0, 0o777, base=8), None,
            "file mode mask (default: 022)", lambda value: None if value is None else f"{value:03o}"),
        Option("user", "NAME", readers.optional, None, "run as this user (root only)"),
        Option("nice", "N", readers.number_or_none(-20, 19), None, "niceness, -20 to 19"),
        Option("queue", "NAME", readers.optional, None,
            "run on another machine, through this queue of taskrunner.toml"),
    ),
    "late and overlapping runs": (
        Option("overlap", "WHAT", readers.one_of(Overlap), "skip",
            "if the task is still running: skip (default; with --after: queue), queue, replace or allow"),
        Option("max_instances", "N", readers.number_or_none(1, 10_000), None,
            "with --overlap allow: at most N runs at the same time"),
        Option("catch_up", "WHAT", readers.one_of(CatchUp), "last",
            "which of the slots missed so far to run: last (default), all or none"),
        Option("catch_up_limit", "N", readers.number_or_none(1, 10_000), None,
            "with --catch-up all: run at most N (default: 100)"),
        Option("deadline", "LENGTH", LENGTH, None,
            "skip a run that cannot start within this time of its due time"),
        Option("jitter", "LENGTH", LENGTH, None,
            "delay each start by up to this time, always the same for a slot"),
        Option("group", "NAME[:N]", readers.group, None,
            "run at most N (default: 1) tasks of this group at a time", spelling.group),
        Option("priority", "N", readers.number(-1000, 1000), 0,
            "start tasks with a higher number first when not all can start (default: 0)"),
    ),
    "success, failure and retries": (
        Option("retries", "N", readers.number(0, 1000), 0,
            "retry a failed run up to N times (default: 0)"),
        Option("retry_delay", "LENGTH", durations.parse, "1m",
            "wait this long before the first retry (default: 1m)"),
        Option("retry_backoff", "X", readers.factor, 1,
            "multiply the delay by X after each retry (default: 1)"),
        Option("retry_codes", "CODES", readers.codes, (),
            "retry only after these exit codes: 75 or 1,3-5 (default: all)"),
        Option("on_lost", "WHAT", readers.one_of(OnLost), "fail",
            "when the process of a run is lost: fail (default) or retry"),
        Option("ok_codes", "CODES", readers.codes, (0,),
            "exit codes that count as success (default: 0)"),
        Option("noop_codes", "CODES", readers.codes, (),
            "exit codes that mean success with nothing to do"),
        Option("expect", "REGEX", readers.pattern, None,
            "fail the run unless its output matches this pattern"),
        Option("reject", "REGEX", readers.pattern, None,
            "fail the run if its output matches this pattern"),
    ),
    "Python instead of a command": (
        Option("python", "MODULE:NAME", python.spelling, None,
            "a function, such as app.tasks:clean"),
        Option("args", "JSON", python.arguments, None,
            "its arguments, a list or an object: '{\"days\": 7}'", python.written_arguments),
        Option("code", "TEXT", python.code, None,
            "Python code, in which names such as date and slot are defined"),
        Option("code_file", "FILE", readers.place, None,
            "a file of Python code, read at each run"),
        Option("interpreter", "PYTHON", readers.interpreter, None,
            "a Python program, or the folder of a virtual environment (default: taskrunner's own)"),
        Option("django", "SETTINGS", python.settings, None,
            "set up Django first, with these settings: crm.settings"),
    ),
    "notifications (taskrunner notify lists the channels)": (
        Option("on_failure", "WHOM", readers.recipient, None,
            "after the last attempt failed, notify @CHANNEL or a mail address, or run a shell command"),
        Option("notify", "RULE", notify_rules.rules, {},
            "@CHANNEL for the usual events, or EVENT,...=WHOM; may be repeated", again=True),
        Option("late_after", "LENGTH", LENGTH, None,
            "notify when a run starts this long after its due time"),
        Option("long_after", "X", readers.factor_or_none, None,
            "notify when a run takes X times as long as usual"),
    ),
    "notes": (
        Option("description", "TEXT", readers.description, None, "the purpose of the task, shown by show"),
    ),
}
# fmt: on
OPTIONS = {option.name: option for section in SECTIONS.values() for option in section}
DEFAULTS: dict[str, Any] = {option.name: option.default for option in OPTIONS.values()}


class Options(TypedDict, total=False):
    """The keywords of `add` and `set` that are options of the task: the rows of the table, for type checkers."""

    timeout: str | timedelta | None
    kill_after: str | timedelta
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str]
    env_file: str | os.PathLike[str] | None
    pass_env: str | Sequence[str]
    stdin: str | None
    umask: str | int | None
    user: str | None
    nice: str | int | None
    queue: str | None
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


def read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as values of the model; raises InputError that names the option and the value."""
    found: dict[str, Any] = {}
    for option, value in given.items():
        if option not in OPTIONS:
            raise InputError(
                f"{shown(option)} is not an option of a task: known are {', '.join(OPTIONS)}"
            )
        try:
            found[option] = OPTIONS[option].read(value)
        except InputError as exc:
            flag = OPTIONS[option].flag
            told = value[0] if isinstance(value, list) and len(value) == 1 else value
            raise InputError(f"{flag} {shown(told)}: {exc}") from exc
    if "group" in found:  # one flag, two columns
        found["group"], found["group_limit"] = found["group"]
    return found


def without_leftovers(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of a task; leaving a policy also clears its limit."""
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
    _agree_on_queue(options)
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


def _agree_on_queue(options: Mapping[str, Any]) -> None:
    """Raise InputError for options that cannot travel to another machine."""
    queue, user, stdin = options["queue"], options["user"], options["stdin"]
    if queue is None:
        return
    if user is not None:
        raise InputError(
            f"--user {shown(user)} does not go with --queue {shown(queue)}: a run on another machine has the "
            "account of its worker"
        )
    if stdin is not None and len(stdin.encode()) > LARGEST_STDIN:
        raise InputError(
            f"--stdin has {len(stdin.encode())} bytes: with --queue {shown(queue)} at most 1 MB goes to another machine"
        )


def _agree_on_codes(options: Mapping[str, Any]) -> None:
    good = {*options["ok_codes"], *options["noop_codes"]}
    both = sorted(good & set(options["retry_codes"]))
    if both:
        raise InputError(
            f"--retry-codes has {both[0]}, which --ok-codes or --noop-codes counts as a success: remove one of them"
        )
    if options["retry_codes"] and not options["retries"]:
        written = ",".join(map(str, options["retry_codes"]))
        raise InputError(f"--retry-codes {written} goes only with --retries")


def _no_default(defaults: Mapping[str, Any]) -> None:
    for name in (*PYTHON, "args"):
        if name in defaults:
            raise InputError(f"{name} cannot be a default: it belongs to a single task")


def usual(defaults: Mapping[str, Any], *, after: bool = False) -> dict[str, Any]:
    """Return the default options of a task: the config's `defaults`, else ours; raises InputError.

    A task that comes `after` another queues, so that the newest run of its parent is always followed.
    """
    try:
        found = read({**DEFAULTS, **({"overlap": "queue"} if after else {}), **defaults})
        agree(found)
        _no_default(defaults)
    except InputError as exc:
        raise InputError(f"the table defaults in taskrunner.toml: {exc}") from exc
    return found


def of_new_task(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a new task: the given ones, else the `usual` ones; raises InputError."""
    # The limit of a policy belongs to the policy: a default limit must not contradict a given policy.
    found = {**usual, **without_leftovers(read(given))}
    agree(found)
    return found


# ---- options as text


def written(option: Option, task: Task) -> Any:
    """Return an option as written in a task file; None when it has no value there."""
    value = getattr(task, option.name)
    if option.write is not None:
        return option.write(task if option.name == "group" else value)
    if isinstance(value, timedelta):
        whole = not value % timedelta(seconds=1)
        return spelling.length(value) if whole else value.total_seconds()
    return str(value) if isinstance(value, StrEnum) else value


def told(task: Task) -> list[tuple[str, str]]:
    """Return the options of a task that differ from the defaults, as text: name and value.

    Command and description are shown elsewhere; timeout and policies are always included.
    """
    return [
        (option.flag.removeprefix("--"), _text(option, task))
        for option in OPTIONS.values()
        if option.name not in APART
        and (option.name in ALWAYS or getattr(task, option.name) != defaults()[option.name])
    ]


ALWAYS = ("catch_up", "overlap", "timeout")
APART = (*PYTHON, "args", "description")


def _text(option: Option, task: Task) -> str:
    value = getattr(task, option.name)
    if option.secret and isinstance(value, str):
        return f"{len(value)} characters"
    found = written(option, task)
    if isinstance(value, timedelta):
        return spelling.length(value)
    if isinstance(found, Mapping):
        pairs = spelling.masked(found).items()
        return " ".join(
            f"{name}={text if text == spelling.MASK else shlex.quote(text)}" for name, text in pairs
        )
    if isinstance(found, tuple):
        return spelling.codes(found)
    if isinstance(found, float):
        return f"{found:g}"
    return "none" if found is None else str(found)


@cache
def defaults() -> Mapping[str, Any]:
    """Return our own defaults as values of the model."""
    return read(DEFAULTS)
