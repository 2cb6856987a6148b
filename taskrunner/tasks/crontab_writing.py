"""Write tasks as the lines of a crontab, so that cron runs the same commands.

Pure: tasks in, text out.
"""

import shlex
from collections.abc import Sequence

from taskrunner.errors import shown
from taskrunner.model.values import Kind, Task
from taskrunner.render import page, spelling
from taskrunner.schedule.kinds import Every, On
from taskrunner.supervise import command
from taskrunner.tasks import crontab, options

EXPRESSED = ("cwd", "env", "stdin", "umask", "interpreter", "django")  # as part of the command
LONGEST = 998  # bytes of a command; Debian's crontab(1) refuses a longer one


def write(tasks: Sequence[Task], path: str, zone: str) -> str:
    """Return tasks as the lines of a crontab; comments name the options that cron cannot express.

    `path` is the PATH of tasks, `zone` the time zone of cron. Values of variables whose names look
    secret are hidden.
    """
    parts, here = [f"PATH={path}"], zone
    for task in tasks:
        when, lost = _when(task), _lost(task, path)
        lines = [f"# {task.name}" + (f": {_flat(task.description)}" if task.description else "")]
        lines += [f"#   cron cannot express: {', '.join(lost)}"] if lost else []
        if when is not None and task.kind in (Kind.CRON, Kind.ON) and task.tz not in (None, here):
            here = str(task.tz)
            lines.append(f"CRON_TZ={here}")
        off = "" if when is not None and task.enabled and not _too_long(task, path) else "# "
        lines.append(f"{off}{when or '- - - - -'}  {_command(task, path)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _flat(text: str) -> str:
    return " ".join(page.visible(text).replace("\\x0a", " ").split())


def _when(task: Task) -> str | None:
    """Return the schedule of a task as cron's fields; None when cron cannot express it."""
    if task.kind is Kind.BOOT:
        return "@reboot"
    if task.kind is Kind.CRON:
        return task.schedule
    if task.kind is Kind.ON:
        return _numbered(On(task.schedule))
    return _grid(task) if task.kind is Kind.EVERY and not task.from_finish else None


def _numbered(days: On) -> str | None:
    """Return the fields of days that always have the same number; cron knows no other days of the month."""
    what, time = days.meaning, days.time_of_day
    if what.day != "day" or what.position == "last":
        return None
    number = what.in_month(2000, 1).day
    return f"{time.minute} {time.hour} {number} {','.join(map(str, what.months)) if what.names else '*'} *"


def _grid(task: Task) -> str | None:
    """Return an interval on whole minutes that divides the hour, or on whole hours that divide the day.

    The slots are the same unless clocks of the zone change by less than the interval.
    """
    length, anchor = Every(task.schedule).length.seconds, task.anchor
    if not length or length % 60 or anchor is None or anchor.second:
        return None
    minutes = length // 60
    if minutes < 60 and 60 % minutes == 0:
        first = anchor.minute % minutes
        return f"{first}-59/{minutes} * * * *" if first else f"*/{minutes} * * * *"
    return f"{anchor.minute} * * * *" if minutes == 60 else None


def _lost(task: Task, path: str) -> list[str]:
    """Return the parts of a task that a crontab line cannot express, a phrase each."""
    found = []
    if _when(task) is None:
        found.append(f"its schedule, {spelling.when(task)}, so the line is a comment")
    if not task.enabled:
        found.append("that it is disabled, so the line is a comment")
    if _too_long(task, path):
        found.append(f"a command of more than {LONGEST} bytes, so the line is a comment")
    found += [
        f"{name} {shown(text)[1:-1]}"
        for name, text in options.told(task)
        if name not in EXPRESSED and text != "none"
    ]
    if not task.command and task.shell is None:
        found.append(
            "Python tasks: the line calls the launcher of taskrunner, which must stay installed"
        )
    masked = [name for name, value in spelling.masked(task.env).items() if value != task.env[name]]
    if masked:
        found.append(f"the value of {', '.join(masked)}, which looks secret")
    return found


def _too_long(task: Task, path: str) -> bool:
    return len(_command(task, path).encode(errors="replace")) > LONGEST


def _of_python(task: Task, path: str) -> list[str]:
    """Return the variables for the launcher of Python tasks, as words of a shell."""
    if task.command:
        return []
    found = {**command.activation(task, path), "TASKRUNNER_TASK": task.name}
    return [f"{name}={shlex.quote(value)}" for name, value in found.items()]


def _command(task: Task, path: str) -> str:
    """Return the command line of a task, with directory, umask, variables and input, for one line of a crontab."""
    parts = [f"cd {shlex.quote(task.cwd)} &&"] if task.cwd is not None else []
    parts += [f"umask {task.umask:03o};"] if task.umask is not None else []
    pairs = [f"{name}={shlex.quote(value)}" for name, value in spelling.masked(task.env).items()]
    if task.shell is None:
        pairs += _of_python(task, path)
        parts += [*pairs, shlex.join(command.argv(task))]
    else:
        parts += [f"export {' '.join(pairs)};"] if pairs else []
        parts.append(task.shell)
    text, given = " ".join(parts), task.stdin
    if not _is_read_back(text, given) and given:
        text, given = f"printf %b {_in_one_line(given)} | /bin/sh -c {shlex.quote(text)}", None
    if not _is_read_back(text, given):
        end = " " * text.endswith("\n")  # $( ) removes line breaks at the end
        text = f'eval "$(printf %b {_in_one_line(text + end)})"'
    return _escaped(text, given)


def _is_read_back(text: str, given: str | None) -> bool:
    """Return whether every cron reads the same command and input back from a line."""
    line = _escaped(text, given)
    plain = "\n" not in line and line[:1] not in (" ", "\t") and line[-1:] != "\r"
    return plain and all(
        crontab.unescaped(line, halves=halves) == (text, given) for halves in (True, False)
    )


def _escaped(text: str, given: str | None) -> str:
    """Return a command and its input as cron separates them."""
    escaped = text.replace("%", "\\%")
    if given is None:
        return escaped
    bare = given.removesuffix("\n")  # cron adds a line break at the end when there is none
    after = given if bare.endswith("\n") or not bare else bare
    return f"{escaped}%{after.replace('%', chr(92) + '%').replace(chr(10), '%')}"


def _in_one_line(text: str) -> str:
    """Return a text as a word for %b of printf(1), without characters special to cron."""
    made = text.replace("\\", "\\0134")  # not two backslashes: only some crons reduce them to one
    return shlex.quote(made.replace("\n", "\\n").replace("\r", "\\r"))
