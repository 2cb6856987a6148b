"""Single values as text, as a person types them: lengths, sizes, groups, limits; and masks for secrets."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner.model.values import Kind, Task
from taskrunner.schedule import durations

# Whole words between underscores, the long ones also at the end of a word (PGPASSWORD): PWD alone is the
# directory, MYSQL_PWD is a password, and AUTHOR, BYPASS and SSH_AUTH_SOCK are no secrets.
HIDDEN = (
    r"(?i)(?:^|_)(?:[A-Z0-9]*(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL)S?"
    r"|[A-Z0-9]*(?:API|ACCESS|SECRET|PRIVATE)_?KEYS?|PASS|PRIVATE|AUTHORIZATION|AUTH$|(?<=_)PWD)"
    r"[0-9]*(?:_|$)"
)
MASK = "***"


def group(task: Task) -> str | None:
    """Return the group of a task as it is typed, with the limit that the task gives."""
    limit = "" if task.group_limit is None else f":{task.group_limit}"
    return None if task.group is None else task.group + limit


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of those whose names look secret hidden."""
    return {name: MASK if re.search(HIDDEN, name) else value for name, value in env.items()}


def command_line(task: Task) -> str:
    """Return the command of a task on one line: as for a shell, or its function or text of Python."""
    if task.python is not None:
        return f"{task.python} {'' if task.args is None else arguments(task.args)}".rstrip()
    if task.code is not None:
        first, *more = task.code.strip().split("\n")
        return f"{first} …" if more else first
    if task.code_file is not None:
        return task.code_file
    return shlex.join(task.command) if task.shell is None else task.shell


def arguments(args: Any) -> str:
    """Return the arguments of a function as JSON."""
    return json.dumps(args, ensure_ascii=False)


def length(value: timedelta | None) -> str:
    """Return a length as it is typed."""
    return "none" if value is None else durations.format(value)


def when(task: Task) -> str:
    """Return the schedule of a task as it was given, an instant in our usual form."""
    if task.kind is Kind.CRON:
        return task.schedule
    if task.kind is Kind.AT:
        return f"at {task.schedule.replace('T', ' ').replace('+00:00', ' UTC')}"
    delay = " from finish" if task.from_finish else ""
    return f"{task.kind} {task.schedule}{delay}".strip()


def standing(task: Task) -> str:
    """Return in a word whether a task is scheduled."""
    return "enabled" if task.enabled else "done" if task.done else "disabled"


def comes_due(task: Task, now: datetime) -> str:
    """Return the command that schedules a disabled or finished task again."""
    if task.kind is Kind.AT and (task.next is None or task.next <= now):
        return f"`taskrunner set {task.name} --at WHEN` gives it another time"
    return f"`taskrunner enable {task.name}` starts scheduling it again"


def limits(limit: Mapping[str, int]) -> str:
    """Return limits as they are typed."""
    written: Mapping[str, Callable[[Any], str]] = {
        "memory": size,
        "cpu": lambda seconds: length(timedelta(seconds=seconds)),
    }
    return ",".join(f"{name}={written.get(name, str)(value)}" for name, value in limit.items())


def codes(codes: Sequence[int]) -> str:
    """Return exit codes as they are typed."""
    return ",".join(map(str, codes)) or "none"


def size(count: int) -> str:
    """Return a number of bytes as it is typed: in the largest unit without a fraction."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"


def many(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def about(count: int) -> str:
    """Return a number of bytes with three digits, for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def human(seconds: float | None) -> str:
    """Return a length of time in words, - when it is unknown."""
    return "-" if seconds is None else durations.human(seconds)
