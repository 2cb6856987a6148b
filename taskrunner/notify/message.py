"""The contents of a message as a line, a text, a document and variables; about one run, or many together.

It must not know how a message is sent.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from taskrunner import clock
from taskrunner.errors import UnknownRun
from taskrunner.model.record import record
from taskrunner.model.values import Posted, Run, State, Task
from taskrunner.processes import output
from taskrunner.render import documents, page
from taskrunner.schedule import durations
from taskrunner.store.open_home import OpenHome

LINES = 20  # the newest lines of the output
BYTES = 10_000  # at most, of these lines
LONGEST = 200  # characters of a summary
TEST = "test"  # the event of a test message


@record
class Message:
    """A message about one run; a test message has none."""

    event: str
    summary: str
    at: datetime
    home: str
    task: Task | None = None
    run: Run | None = None
    output: str = ""

    @cached_property
    def subject(self) -> str:
        """The subject of a mail."""
        return f"[taskrunner {host()}] {self.summary}"

    @cached_property
    def text(self) -> str:
        """The whole message as text."""
        lines = [self.summary, "", *_lines(self)]
        if self.output:
            lines += ["", "the last lines of its output:", "", self.output.rstrip("\n")]
        if self.run is not None:
            lines += ["", f"more of it: taskrunner --home {self.home} log {self.run.id}"]
        return "\n".join(lines) + "\n"

    @cached_property
    def document(self) -> dict[str, Any]:
        """The whole message for programs."""
        run = None if self.run is None else documents.run_document(self.run)
        return {
            "version": 1,
            "event": self.event,
            "task": None if self.task is None else self.task.name,
            "host": host(),
            "at": clock.iso(self.at),
            "summary": self.summary,
            "run": run,
            "output": self.output,
        }

    def content(self) -> dict[str, Any]:
        """Return the message as plain values, for the process that sends it."""
        run = self.run
        return {
            **{name: getattr(self, name) for name in ("event", "subject", "text", "output")},
            **{name: getattr(self, name) for name in ("document", "variables")},
            "at": clock.iso(self.at),
            "slot_of": None if run is None else f"{self.home} {run.task_id} {clock.iso(run.slot)}",
        }

    @cached_property
    def variables(self) -> dict[str, str]:
        """The parts of the message as environment variables, with the same names as in tasks."""
        found = {
            "event": self.event,
            "summary": self.summary,
            "home": self.home,
            "host": host(),
        }
        if self.task is not None:
            success = self.task.last_success
            found |= {
                "task": self.task.name,
                "last_success": "" if success is None else clock.iso(success),
            }
        return found | ({} if self.run is None else _of_run(self.run))


def _of_run(run: Run) -> dict[str, str]:
    values = {
        "run": run.id,
        "slot": clock.iso(run.slot),
        "started": None if run.started is None else clock.iso(run.started),
        "finished": None if run.finished is None else clock.iso(run.finished),
        "attempt": run.attempt,
        "trigger": run.trigger,
        "coalesced": run.coalesced,
        "state": run.state,
        "reason": run.reason,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "duration": run.duration,
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}


def _lines(message: Message) -> list[str]:
    """Return the facts about the run, one a line."""
    pairs = [("host", host()), ("home", message.home)]
    if message.task is not None:
        about = f" ({message.task.description})" if message.task.description else ""
        pairs.append(("task", message.task.name + about))
    if message.run is not None:
        pairs += _about(message.run)
    if message.task is not None and message.task.last_success is not None:
        pairs.append(("last success", clock.iso(message.task.last_success)))
    return [f"{name:<13} {page.visible(value)}" for name, value in pairs]


def _about(run: Run) -> list[tuple[str, str]]:
    took = "" if run.duration is None else f", took {durations.human(run.duration)}"
    pairs = [
        ("run", f"{run.id}{f', attempt {run.attempt}' if run.attempt > 1 else ''}"),
        ("slot", clock.iso(run.slot)),
        ("state", f"{run.state}{f': {run.reason}' if run.reason else ''}"),
    ]
    if run.started is not None:
        pairs.append(("started", clock.iso(run.started)))
    if run.finished is not None:
        pairs.append(("finished", f"{clock.iso(run.finished)}{took}"))
    return pairs


def host() -> str:
    """Return the name of this host."""
    return os.uname().nodename


def compose(here: OpenHome, posted: Posted, now: datetime) -> Message:
    """Return the contents of a message of the outbox; raises UnknownRun when its run has been pruned."""
    run = here.store.runs.get(posted.run_id)
    task = here.store.tasks.of_run(run)
    summary = _short(f"{run.task} {_said(posted.event, run, now)}")
    tail = "" if posted.event == "start" else last_lines(here, run)
    return Message(posted.event, summary, posted.created, here.folder, task, run, tail)


def a_test(home: str, now: datetime) -> Message:
    """Return a test message."""
    return Message(TEST, f"a test message from taskrunner on {host()}", now, home)


def known(here: OpenHome, batch: Sequence[Posted], now: datetime) -> list[Message]:
    """Return the contents of messages of the outbox, without those of pruned runs."""
    found = []
    for each in batch:
        try:
            found.append(compose(here, each, now))
        except UnknownRun:
            continue
    return found


def together(messages: Sequence[Message]) -> Message:
    """Return one message for many."""
    counts: dict[str, int] = {}
    for each in messages:
        counts[each.event] = counts.get(each.event, 0) + 1
    totals = ", ".join(f"{count} {event}" for event, count in counts.items())
    lines = "\n".join(_short(each.summary) for each in messages)
    first = messages[0]
    return Message(
        "digest", f"{len(messages)} messages: {totals}", first.at, first.home, output=lines
    )


def _short(text: str) -> str:
    """Return a text as one line, cut to a limit."""
    line = " ".join(page.visible(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


ENDS = {
    State.FAILED: "failed",
    State.TIMED_OUT: "timed out",
    State.LOST: "was lost",
}


def _said(event: str, run: Run, now: datetime) -> str:
    """Return the summary of a run, without the name of its task."""
    why = f": {run.reason}" if run.reason else ""
    if event in ("failure", "lost"):
        return f"{ENDS.get(run.state, run.state)}{why}"
    if event == "missed":
        return f"missed its slot of {clock.iso(run.slot)}{why}"
    if event == "late":
        return f"started late, {durations.human(run.late or 0)} after its slot"
    if event == "long":
        return _long(run, now)
    return {
        "start": "started",
        "success": "succeeded",
        "first-success": "succeeded for the first time",
        "recovery": "succeeded again",
    }[event]


def _long(run: Run, now: datetime) -> str:
    if run.duration is not None:
        return f"took longer than usual: {durations.human(run.duration)}"
    since = run.started or run.slot
    return f"takes longer than usual: {durations.human((now - since).total_seconds())} so far"


def last_lines(here: OpenHome, run: Run) -> str:
    """Return the last lines of output of a run, also while it is running."""
    data = here.store.runs.output(run.id)
    if data is None:
        process = here.store.processes.of(run.id)
        place = output.kept(here.output, run.id)
        if process is not None:
            place = output.path_of(here.output, process.output)
        data = _end_of(place)
    whole = data[-BYTES:].decode(errors="replace")
    lines = whole.rstrip("\n").split("\n")[-LINES:]
    return "\n".join(lines) + "\n" if any(lines) else ""


def _end_of(place: str) -> bytes:
    with output.opened(place) as fd:
        if fd is None:
            return b""
        return os.pread(fd, BYTES, max(0, os.fstat(fd).st_size - BYTES))
