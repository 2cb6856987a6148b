"""Values to text: tables for people, documents for programs. It returns text and never prints.

The keys of the documents are promised to scripts outside: see docs/reference/json.md.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from taskrunner import clock, duration, zone
from taskrunner.errors import ZoneError
from taskrunner.model import Kind, Run, State, Status, Task, Upcoming
from taskrunner.policy import Decision

VERSION = 1  # of the documents
# Whole words between underscores, the long ones also at the end of a word (PGPASSWORD): PWD alone is the
# directory, MYSQL_PWD is a password, and AUTHOR, BYPASS and SSH_AUTH_SOCK are nothing of the kind.
SECRET = re.compile(
    r"(?:^|_)(?:[A-Z0-9]*(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL)S?"
    r"|[A-Z0-9]*(?:API|ACCESS|SECRET|PRIVATE)_?KEYS?|PASS|PRIVATE|AUTHORIZATION|AUTH$|(?<=_)PWD)"
    r"[0-9]*(?:_|$)",
    re.IGNORECASE,
)
MASK = "***"
# Control characters, and signs without a shape that turn, break or hide what stands beside them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
COLOURS = {
    State.SUCCEEDED: "32",
    State.RUNNING: "36",
    State.PENDING: "36",
    State.FAILED: "31",
    State.TIMED_OUT: "31",
    State.LOST: "31",
    State.CANCELLED: "33",
    State.SKIPPED: "33",
    State.MISSED: "33",
}


def document(**parts: object) -> str:
    """Return one JSON document."""
    return json.dumps({"version": VERSION, **parts}, ensure_ascii=False, indent=2)


def instant(moment: datetime | None) -> str | None:
    """Return an instant for a document."""
    return None if moment is None else clock.iso(moment)


def seconds(length: timedelta | None) -> float | int | None:
    """Return a length for a document, in seconds; whole ones as integers."""
    if length is None:
        return None
    found = length.total_seconds()
    return int(found) if found == int(found) else found


def task_document(task: Task) -> dict[str, Any]:
    """Return a task for a document, every option under its flag's name."""
    return {
        "id": task.id,
        "name": task.name,
        "enabled": task.enabled,
        "kind": task.kind,
        "schedule": task.schedule,
        "tz": task.tz,
        "command": list(task.command) or None,
        "shell": task.shell,
        "next": instant(task.next),
        "last_run": instant(task.last_run),
        "last_state": task.last_state,
        "last_success": instant(task.last_success),
        "timeout": seconds(task.timeout),
        "overlap": task.overlap,
        "catch_up": task.catch_up,
        "catch_up_limit": task.catch_up_limit,
        "deadline": seconds(task.deadline),
        "max_instances": task.max_instances,
        "anchor": instant(task.anchor),
        "from_finish": task.from_finish,
        "kill_after": seconds(task.kill_after),
        "cwd": task.cwd,
        "env": masked(task.env),
        "env_file": task.env_file,
        "stdin": task.stdin,
        "umask": None if task.umask is None else f"{task.umask:03o}",
        "user": task.user,
        "nice": task.nice,
        "created": instant(task.created),
        "error": task.error,
    }


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of those whose names look secret hidden."""
    return {name: MASK if SECRET.search(name) else value for name, value in env.items()}


def run_document(run: Run) -> dict[str, Any]:
    """Return a run for a document."""
    return {
        "id": run.id,
        "task": run.task,
        "slot": instant(run.slot),
        "first_slot": instant(run.first_slot),
        "state": run.state,
        "reason": run.reason,
        "attempt": run.attempt,
        "trigger": run.trigger,
        "coalesced": run.coalesced,
        "coalesced_at_least": run.coalesced_at_least,
        "started": instant(run.started),
        "finished": instant(run.finished),
        "duration": run.duration,
        "late": run.late,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "output_size": run.output_size,
        "cpu_seconds": run.cpu_seconds,
        "peak_memory": run.peak_memory,
    }


def upcoming_document(item: Upcoming) -> dict[str, Any]:
    """Return a slot to come for a document."""
    return {
        "task": item.task,
        "slot": instant(item.slot),
        "local": item.local.isoformat(),
        "note": item.note,
    }


def decision_document(decision: Decision) -> dict[str, Any]:
    """Return a decision for a document."""
    return {
        "task": decision.task,
        "slot": instant(decision.span.slot),
        "first_slot": instant(decision.span.first),
        "coalesced": decision.span.count,
        "decision": decision.action,
        "reason": decision.reason,
    }


def status_document(status: Status) -> str:
    """Return how things stand as a document."""
    return document(
        last_tick=instant(status.last_tick),
        clock=status.clock,
        held=status.held,
        running=[run_document(run) for run in status.running],
        pending=[run_document(run) for run in status.pending],
        failing=[task.name for task in status.failing],
        next=[upcoming_document(item) for item in status.next],
        problems=status.problems,
    )


class Page:
    """How text for people looks: the zone of its times, its width, whether it has colours, and the present."""

    def __init__(
        self, tz: str, now: datetime, width: int | None = None, colour: bool = False
    ) -> None:
        """Take the zone's name, this instant, and the columns of the terminal or None for no limit."""
        self.tz = tz
        self.now = now
        self.width = width
        self.colour = colour
        self._zone = zone.zone(tz)

    def time(self, moment: datetime | None) -> str:
        """Return an instant in the page's zone."""
        return "-" if moment is None else f"{moment.astimezone(self._zone):%Y-%m-%d %H:%M:%S}"

    def beside(self, tz: str | None) -> "Page":
        """Return the same page in another zone; this one when that is none, or none any more."""
        try:
            return Page(tz or self.tz, self.now, self.width, self.colour)
        except ZoneError:
            return self

    def distance(self, moment: datetime) -> str:
        """Return how far an instant is from now: `in 5m`, `3h 20m ago`."""
        gap = (moment - self.now).total_seconds()
        return f"in {duration.human(gap)}" if gap >= 0 else f"{duration.human(-gap)} ago"

    def state(self, state: State | None) -> str:
        """Return a state, in its colour."""
        if state is None:
            return "-"
        return Painted(f"\033[{COLOURS[state]}m{state}\033[0m") if self.colour else str(state)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Return rows under a head; only the last column is cut, and only to the width of a terminal."""
        cells = [list(head), *([visible(cell) for cell in row] for row in rows)]
        widths = [max(_width(row[column]) for row in cells) for column in range(len(head))]
        return "\n".join(self._line(row, widths) for row in cells)

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        *first, last = row
        line = "".join(
            cell + " " * (width - _width(cell) + 2)
            for cell, width in zip(first, widths, strict=False)
        )
        if self.width is not None:
            last = _cut(last, max(8, self.width - _width(line)))
        return (line + last).rstrip()


class Painted(str):
    """A text of our own with colours in it; the only kind that reaches a terminal as it is."""

    __slots__ = ()


ESCAPE = re.compile(r"\033\[[0-9;]*m")


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes; colours take none."""
    bare = ESCAPE.sub("", text)
    return len(bare) if bare.isascii() else sum(map(_columns, bare))


def _columns(sign: str) -> int:
    """Return 2 for a wide sign such as 漢, 0 for a mark that stands on the sign before it, else 1."""
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _cut(text: str, room: int) -> str:
    """Return a text cut to so many columns, with a sign that says so."""
    if _width(text) <= room:
        return text
    ends = accumulate(map(_columns, text))
    return "".join(sign for sign, end in zip(text, ends, strict=True) if end < room) + "…"


def visible(text: str) -> str:
    """Return a text with what would steer the terminal, or not be seen there, made visible."""
    return text if isinstance(text, Painted) else UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def ascii_only(text: str) -> str:
    """Return a text with all signs beyond ASCII as escapes, which in a document mean the same."""
    return re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found.group())[1:-1], text)


def command_line(task: Task) -> str:
    """Return what a task runs, as one line for a shell."""
    return shlex.join(task.command) if task.shell is None else task.shell


def length(value: timedelta | None) -> str:
    """Return a length as it is typed."""
    return "none" if value is None else duration.format(value)


def tasks_table(page: Page, tasks: Sequence[Task]) -> str:
    """Return tasks as a table."""
    rows = [
        (
            str(task.id),
            task.name,
            when(task),
            ("-" if task.next is None else page.time(task.next)) if task.enabled else "disabled",
            page.state(task.last_state),
            page.time(task.last_run),
            command_line(task),
        )
        for task in tasks
    ]
    return page.table(
        ("id", "task", "schedule", f"next ({page.tz})", "last", "last run", "command"), rows
    )


def when(task: Task) -> str:
    """Return the schedule of a task as it was given."""
    delay = " from finish" if task.from_finish else ""
    return (
        f"{task.kind} {task.schedule}{delay}".strip()
        if task.kind is not Kind.CRON
        else task.schedule
    )


def task_page(page: Page, task: Task, described: str, runs: Sequence[Run]) -> str:
    """Return all that is known of a task, with its schedule described in words."""
    state = "enabled" if task.enabled else "disabled"
    lines = [
        (f"{task.name}", f"task {task.id}, {state}"),
        ("schedule", f"{when(task)}: {described}"),
        ("next", _moment(page.beside(task.tz), task.next)),
        ("command", command_line(task) + (" (by /bin/sh)" if task.shell is not None else "")),
        *((name, text) for name, text in _options(task) if text is not None),
        ("last success", _moment(page.beside(task.tz), task.last_success)),
        *((("problem", task.error),) if task.error else ()),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{name:<{width}}  {visible(value)}" for name, value in lines)
    return f"{text}\n\n{runs_table(page, runs)}" if runs else text


def _moment(page: Page, moment: datetime | None) -> str:
    if moment is None:
        return "-"
    return f"{page.time(moment)} ({page.tz}), {page.distance(moment)}"


def _options(task: Task) -> list[tuple[str, str | None]]:
    """Return the options of a task as they are typed; None for those that say nothing."""
    limit = f", at most {task.catch_up_limit}" if task.catch_up_limit else ""
    instances = f", at most {task.max_instances}" if task.max_instances else ""
    env = " ".join(
        f"{name}={value if value == MASK else shlex.quote(value)}"
        for name, value in masked(task.env).items()
    )
    return [
        ("timeout", f"{length(task.timeout)}, then KILL after {length(task.kill_after)}"),
        ("overlap", f"{task.overlap}{instances}"),
        ("catch-up", f"{task.catch_up}{limit}"),
        ("deadline", None if task.deadline is None else length(task.deadline)),
        ("user", task.user),
        ("cwd", task.cwd),
        ("env", env or None),
        ("env-file", task.env_file),
        ("stdin", None if task.stdin is None else f"{len(task.stdin)} characters"),
        ("umask", None if task.umask is None else f"{task.umask:03o}"),
        ("nice", None if task.nice is None else str(task.nice)),
    ]


def runs_table(page: Page, runs: Sequence[Run]) -> str:
    """Return runs as a table."""
    rows = [
        (
            str(run.id),
            run.task,
            page.time(run.slot),
            page.state(run.state),
            "-" if run.late is None else duration.human(run.late),
            _took(page, run),
            f"{run.reason or ''}{_stands_for(run)}" or "-",
        )
        for run in runs
    ]
    return page.table(("run", "task", f"slot ({page.tz})", "state", "late", "took", "why"), rows)


def _took(page: Page, run: Run) -> str:
    if run.state is State.RUNNING and run.started is not None:
        return duration.human(max(0.0, (page.now - run.started).total_seconds())) + " so far"
    return "-" if run.duration is None else duration.human(run.duration)


def _stands_for(run: Run) -> str:
    if run.coalesced == 1:
        return ""
    return f" [stands for {'at least ' * run.coalesced_at_least}{run.coalesced} slots]"


def upcoming_table(page: Page, items: Sequence[Upcoming]) -> str:
    """Return slots to come as a table, each in the zone of its task."""
    named = any(item.task is not None for item in items)
    rows = [
        (
            *([item.task or "-"] if named else []),
            f"{item.local:%a %Y-%m-%d %H:%M:%S %Z}",
            page.distance(item.slot),
            item.note or "",
        )
        for item in items
    ]
    return page.table((*(["task"] if named else []), "slot", "when", ""), rows)


def decisions_table(page: Page, decisions: Sequence[Decision]) -> str:
    """Return what a tick would do as a table."""
    rows = [
        (d.task, page.time(d.span.slot), str(d.span.count), str(d.action), d.reason)
        for d in decisions
    ]
    return page.table(("task", f"slot ({page.tz})", "slots", "decision", "why"), rows)


def status_page(page: Page, status: Status) -> str:
    """Return how things stand."""
    beat = (
        "never"
        if status.last_tick is None
        else f"{page.distance(status.last_tick)}, called by {visible(status.clock or '?')}"
    )
    parts = [f"last tick  {beat}"]
    for title, runs in (("running", status.running), ("pending", status.pending)):
        parts.append(f"{title:<9}  {len(runs) or 'nothing'}")
        if runs:
            parts.append(_indented(runs_table(page, runs)))
    failing = ", ".join(f"{task.name} ({task.last_state})" for task in status.failing)
    parts.append(f"failing    {failing or 'nothing'}")
    parts.append(f"next       {'' if status.next else 'nothing'}".rstrip())
    if status.next:
        parts.append(_indented(upcoming_table(page, status.next)))
    parts += [f"problem    {visible(problem)}" for problem in status.problems]
    return "\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
