"""Crontabs of others: text to lines and back, as cron itself reads it (crontab(5)).

Pure: texts in, values out. It must not know where crontabs are kept, nor what becomes of their lines.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from taskrunner import command, render
from taskrunner.config import variable
from taskrunner.errors import ScheduleError, shown
from taskrunner.model import Kind, Task
from taskrunner.options import NAME
from taskrunner.record import field, record
from taskrunner.schedule import Boot, Cron, Every, Schedule
from taskrunner.values import LONGEST_DESCRIPTION

SETTING = re.compile(
    r"""[ \t]*(?:"([^"]*)"|'([^']*)'|([^\s="']+))[ \t]*=[ \t]*(?:"([^"]*)"|'([^']*)'|([^"'].*?)?)[ \t]*"""
)
ENTRY = re.compile(r"[ \t]*(@[A-Za-z]+|[^ \t@]\S*(?:[ \t]+\S+){4})[ \t]+(.*)")
USER = re.compile(r"(\S+)[ \t]+(.*)")
ESCAPED = re.compile(r"\\(.)|%")
ODD = re.compile(r"(?<!\\)(?:\\\\)*\\%")  # a backslash that cron would take for its own
HEADING = re.compile(r"#\s*m\s+h\s+dom\s", re.IGNORECASE)  # that of a fresh crontab
MOVED = "# moved to taskrunner as {}: "
OURS = re.compile(r"# moved to taskrunner as |# (?:>>>|<<<) taskrunner |#   cron cannot express: ")
SHELLS = ("/bin/sh", "/usr/bin/sh")
# Settings of cron itself, which its commands need not see.
OF_CRON = {
    "MAILTO",
    "MAILFROM",
    "CRON_TZ",
    "RANDOM_DELAY",
    "CONTENT_TYPE",
    "CONTENT_TRANSFER_ENCODING",
}
FIXED = {"LOGNAME", "USER"}  # cron does not let them be changed

# Words of a command line that are not what it is about.
WRAPPERS = {
    *(
        "sh",
        "bash",
        "dash",
        "zsh",
        "env",
        "nice",
        "ionice",
        "chronic",
        "nohup",
        "sudo",
        "exec",
        "time",
    ),
    *(
        "timeout",
        "flock",
        "setsid",
        "perl",
        "php",
        "ruby",
        "node",
        "java",
        "uv",
        "run",
        "poetry",
        "command",
    ),
}
PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")
GUARDS = {
    "cd",
    "test",
    "[",
    "[[",
    "export",
    ".",
    "source",
    "umask",
    "ulimit",
    "set",
    "{",
    "(",
    "sleep",
}
PARTS = re.compile(r"&&|\|\||;|\|")
SUFFIX = re.compile(r"\.(?:sh|py|pl|php|rb|bash)$")
LONGEST_NAME = 60


@record
class Line:
    """One entry: what cron would run, and with which settings above it; `stdin` is what follows a %."""

    number: int  # from 1
    text: str
    when: str
    command: str
    stdin: str | None = None
    user: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None


@record
class Left:
    """A line that is no entry that could be taken, and why."""

    number: int
    text: str
    why: str


# ---- text to lines


def read(text: str, *, system: bool = False) -> tuple[list[Line], list[Left]]:
    """Return the entries of a crontab, `system` with a user in each, and the lines that are none."""
    lines: list[Line] = []
    left: list[Left] = []
    settings: dict[str, str] = {}
    above: list[str] = []
    for number, typed in enumerate(text.split("\n"), start=1):
        bare = typed.strip(" \t")
        if bare.startswith("#") or not bare:
            above = _comment(above, bare)
            continue
        found = _setting(typed)
        if found is not None:
            name, value = found
            settings |= {name: value}
            left += [] if variable(name, value) else [Left(number, typed, "it is no variable")]
        else:
            entry = _entry(number, typed, settings, above, system=system)
            (lines if isinstance(entry, Line) else left).append(entry)  # type: ignore[arg-type]
        above = []
    return lines, left


def _comment(above: list[str], line: str) -> list[str]:
    """Return the comments that stand right above a line to come."""
    if not line or HEADING.match(line) or OURS.match(line):
        return above if line.startswith("#   ") else []
    bare = line.lstrip("#").strip()
    # An entry that was made a comment says nothing of the next one.
    return [] if _is_when(" ".join(bare.split()[:5])) else [*above, bare]


def _is_when(text: str) -> bool:
    try:
        Cron(text)
    except ScheduleError:
        return False
    return True


def _setting(line: str) -> tuple[str, str] | None:
    """Return the name and the value of a line that sets one; an empty value needs quotes."""
    found = SETTING.fullmatch(line)
    if found is None:
        return None
    name = next(each for each in found.groups()[:3] if each is not None)
    value = next((each for each in found.groups()[3:] if each is not None), None)
    return None if value is None else (name, value)


def _entry(
    number: int, typed: str, settings: Mapping[str, str], above: Sequence[str], *, system: bool
) -> Line | Left:
    found = ENTRY.fullmatch(typed)
    if found is None:
        sign = typed.strip().endswith("=")
        why = 'an empty value needs quotes: NAME=""' if sign else "it is no entry of a crontab"
        return Left(number, typed, why)
    when, rest, user = " ".join(found[1].split()), found[2], None
    if system:
        fields = USER.fullmatch(rest)
        if fields is None:
            return Left(number, typed, "it has no user and command, as a system crontab has them")
        user, rest = fields[1], fields[2]
    command, stdin = unescaped(rest)
    if not command.strip():
        return Left(number, typed, "it has no command")
    description = "\n".join(above).strip()[:LONGEST_DESCRIPTION] or None
    return Line(number, typed, when, command, stdin, user, dict(settings), description)


def unescaped(text: str) -> tuple[str, str | None]:
    r"""Return a command and its standard input: what follows the first % that has no \ before it."""
    end = next((each.start() for each in ESCAPED.finditer(text) if each[0] == "%"), None)
    command = ESCAPED.sub(lambda each: "%" if each[1] == "%" else each[0], text[:end])
    if end is None:
        return command, None
    given = re.sub(r"(\\?)%", lambda each: "%" if each[1] else "\n", text[end + 1 :])
    return command, given if given.endswith("\n") or not given else f"{given}\n"


def schedule(line: Line) -> Schedule:
    """Return when an entry is due; raises ScheduleError or ZoneError."""
    if line.when.lower() == "@reboot":
        return Boot()
    return Cron(line.when, line.settings.get("CRON_TZ") or None)


def work(line: Line) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the argv of an entry when it has a shell of its own, else its text for /bin/sh."""
    own = line.settings.get("SHELL", SHELLS[0])
    return (None, line.command) if own in SHELLS else ((own, "-c", line.command), None)


def environment(line: Line) -> dict[str, str]:
    """Return the variables of an entry."""
    unfit = OF_CRON | FIXED
    return {
        name: value
        for name, value in line.settings.items()
        if name not in unfit and variable(name, value)
    }


def notes(line: Line) -> list[str]:
    """Return what cron would do with an entry that a task does not."""
    found = []
    if line.settings.get("MAILTO"):
        found.append(f"its output is kept, and not mailed to {line.settings['MAILTO']}")
    if line.settings.get("CRON_TZ"):
        found.append("cronie obeys CRON_TZ, Debian's cron does not: the task does")
    if line.settings.get("RANDOM_DELAY"):
        delay = line.settings["RANDOM_DELAY"]
        found.append(
            f"RANDOM_DELAY={delay} is left out: `taskrunner set --jitter {delay}m` is like it"
        )
    return found


def commented_out(text: str, moved: Mapping[int, str]) -> str:
    """Return a crontab with some lines, by number and the task they became, turned into comments."""
    lines = text.split("\n")
    for number, name in moved.items():
        lines[number - 1] = MOVED.format(name) + lines[number - 1].strip()
    return "\n".join(lines)


# ---- names


def name(command: str, taken: Collection[str]) -> str:
    """Return a name for what a command line does that is not taken."""
    base, more = _said(command)
    for candidate in (base, f"{base}-{more}" if more else base):
        if candidate not in taken:
            return candidate
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _said(command: str) -> tuple[str, str]:
    """Return what a command line is about, as a name, and what tells it from others of the kind."""
    parts = [_words(part) for part in PARTS.split(command)]
    parts = [part for part in parts if part and part[0] not in GUARDS] or [
        part for part in parts if part
    ]
    names = [_slug(word) for word in (parts[0] if parts else [])]
    names = [each for each in names if each]
    first = names[0] if names else "task"
    return first, names[1] if len(names) > 1 else ""


def _words(part: str) -> list[str]:
    """Return the words of a part of a command line, without variables, options and wrappers at its start."""
    try:
        words = shlex.split(part)
    except ValueError:
        words = part.split()
    while words and words[0] not in GUARDS and _wraps(words[0]):
        words = words[1:]
    return [word for word in words if not word.startswith("-")]


def _wraps(word: str) -> bool:
    program = word.rpartition("/")[2]
    return (
        word.startswith("-")
        or "=" in word
        or word.replace(".", "").rstrip("smhd").isdigit()
        or program in WRAPPERS
        or PYTHON.fullmatch(program) is not None
        or word.endswith(".lock")
    )


def _slug(word: str) -> str:
    last = SUFFIX.sub("", word.rstrip("/").rpartition("/")[2])
    found = re.sub(r"[^A-Za-z0-9._@+-]+", "-", last)[:LONGEST_NAME].strip("-.@+")
    return found if NAME.fullmatch(found) and not found.isdigit() else ""


# ---- tasks to text


def write(tasks: Sequence[Task], path: str, zone: str) -> str:
    """Return tasks as the lines of a crontab; what cron cannot express is said in comments.

    `path` is the PATH that tasks see, `zone` the one that cron counts in. Values of variables whose names look
    secret are hidden.
    """
    parts, here = [f"PATH={path}"], zone
    for task in tasks:
        when, lost = _when(task), _lost(task)
        lines = [f"# {task.name}" + (f": {_flat(task.description)}" if task.description else "")]
        lines += [f"#   cron cannot express: {', '.join(lost)}"] if lost else []
        if task.kind is Kind.CRON and task.tz not in (None, here):
            here = str(task.tz)
            lines.append(f"CRON_TZ={here}")
        off = "" if when is not None and task.enabled else "# "
        lines.append(f"{off}{when or '- - - - -'}  {_command(task, path)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _flat(text: str) -> str:
    return " ".join(render.visible(text).replace("\\x0a", " ").split())


def _when(task: Task) -> str | None:
    """Return when a task is due as cron writes it; None when cron cannot."""
    if task.kind is Kind.BOOT:
        return "@reboot"
    if task.kind is Kind.CRON:
        return task.schedule
    return _grid(task) if task.kind is Kind.EVERY and not task.from_finish else None


def _grid(task: Task) -> str | None:
    """Return an interval on whole minutes that divides the hour, or on whole hours that divide the day.

    In a zone whose clocks never change by less than that, its slots are those of the interval.
    """
    length, anchor = Every(task.schedule).length.seconds, task.anchor
    if not length or length % 60 or anchor is None or anchor.second:
        return None
    minutes = length // 60
    if minutes < 60 and 60 % minutes == 0:
        first = anchor.minute % minutes
        return f"{first}-59/{minutes} * * * *" if first else f"*/{minutes} * * * *"
    return f"{anchor.minute} * * * *" if minutes == 60 else None


def _lost(task: Task) -> list[str]:
    """Return what a line of a crontab leaves out of a task, a phrase each."""
    found = []
    if _when(task) is None:
        found.append(f"its schedule, {render.when(task)}, so the line is a comment")
    if not task.enabled:
        found.append("that it is disabled, so the line is a comment")
    found += [f"{name} {text}" for name, text in _options(task)]
    if not task.command and task.shell is None:
        found.append(
            "Python by itself: the line calls the launcher of taskrunner, which has to stay"
        )
    masked = [name for name, value in render.masked(task.env).items() if value != task.env[name]]
    if masked:
        found.append(f"the value of {', '.join(masked)}, which looks secret")
    return found


def _options(task: Task) -> list[tuple[str, str]]:
    """Return the options that only taskrunner knows, as they are typed."""
    known = (
        *(
            "timeout",
            "overlap",
            "catch_up",
            "deadline",
            "jitter",
            "retries",
            "group",
            "priority",
            "user",
        ),
        *("expect", "reject", "max_silence", "env_file", "nice", "on_failure", "late_after"),
    )
    values = {name: getattr(task, name) for name in known}
    said = {
        name: render.length(value) if isinstance(value, timedelta) else str(value)
        for name, value in values.items()
        if value not in (None, 0)
    }
    return [(name.replace("_", "-"), shown(text)[1:-1]) for name, text in said.items()]


def _of_python(task: Task, path: str) -> list[str]:
    """Return what the launcher of Python tasks is to find in the environment, as words of a shell."""
    if task.command:
        return []
    found = {**command.activation(task, path), "TASKRUNNER_TASK": task.name}
    return [f"{name}={shlex.quote(value)}" for name, value in found.items()]


def _command(task: Task, path: str) -> str:
    """Return the command line of a task, with directory, umask, variables and input, for one line of a crontab."""
    parts = [f"cd {shlex.quote(task.cwd)} &&"] if task.cwd is not None else []
    parts += [f"umask {task.umask:03o};"] if task.umask is not None else []
    pairs = [f"{name}={shlex.quote(value)}" for name, value in render.masked(task.env).items()]
    if task.shell is None:
        pairs += _of_python(task, path)
        parts += [*pairs, shlex.join(command.argv(task))]
    else:
        parts += [f"export {' '.join(pairs)};"] if pairs else []
        parts.append(task.shell)
    text, given = " ".join(parts), task.stdin or ""
    if "\\\n" in given:  # cron would take the backslash for its own
        text, given = f"printf %b {_in_one_line(given)} | /bin/sh -c {shlex.quote(text)}", ""
    if "\n" in text or ODD.search(text):
        text = f'eval "$(printf %b {_in_one_line(text)})"'
    after = _given(given).replace("%", "\\%").replace("\n", "%")
    return text.replace("%", "\\%") + (f"%{after}" if given else "")


def _in_one_line(text: str) -> str:
    """Return a text as a word that printf(1) gives back for %b."""
    return shlex.quote(text.replace("\\", "\\\\").replace("\n", "\\n"))


def _given(text: str) -> str:
    """Return an input without the line break that cron adds where there is none at the end."""
    bare = text.removesuffix("\n")
    return text if bare.endswith("\n") or not bare else bare
