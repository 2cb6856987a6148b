"""Addresses for programs that ask and act: the documents of the command line, to the letter.

What each takes and gives is described in `openapi`, which a test holds against the answers.
"""

from typing import Any

from flask import Blueprint, Response

from taskrunner.api.moments import ahead, since
from taskrunner.api.task_runner import TaskRunner
from taskrunner.errors import InputError, UnknownTask, shown
from taskrunner.model.answers import Plan, Planned
from taskrunner.model.values import Run, Task
from taskrunner.render import agenda as agenda_module, documents
from taskrunner.tasks import writing
from taskrunner.web import asked, current, openapi
from taskrunner.web.guard import needs_role, who

api = Blueprint("api", __name__, url_prefix="/api")
COMING = "1d"  # of an agenda without an end
PLACE = "stdin, line "  # of a fault of a definition, which has no lines here


def _json(text: str, code: int = 200) -> Response:
    return Response(f"{text}\n", code, mimetype="application/json")


def _tasks(*tasks: Task) -> Response:
    return _json(documents.document(tasks=[documents.task_document(task) for task in tasks]))


def _runs(*runs: Run, code: int = 200) -> Response:
    return _json(documents.document(runs=[documents.run_document(run) for run in runs]), code)


# ---- reading


@api.get("/openapi.json")
def description() -> Response:
    """Describe these addresses."""
    asked.only()
    return _json(openapi.text())


@api.get("/status")
def status() -> Response:
    """Answer what `status --json` prints."""
    asked.only()
    return _json(documents.status_document(current.runner().status()))


@api.get("/tasks")
def tasks() -> Response:
    """Answer what `list --json` prints, or a page of it."""
    asked.only("kind", "like", "enabled", "failing", "after", "limit")
    found = current.runner().tasks(
        kind=asked.several("kind"),
        like=asked.text("like"),
        enabled=asked.flag("enabled"),
        failing=asked.flag("failing"),
        after=asked.text("after"),
        limit=asked.whole("limit", 1, asked.MOST),
    )
    return _tasks(*found)


@api.get("/tasks/<name>")
def task(name: str) -> Response:
    """Answer what `show NAME --json` prints."""
    asked.only()
    return _tasks(current.runner().task(name))


@api.get("/runs")
def runs() -> Response:
    """Answer what `history --json` prints, or a page of it."""
    asked.only("task", "state", "since", "until", "before", "limit")
    runner = current.runner()
    found = runner.history(
        asked.several("task"),
        state=asked.several("state"),
        since=since(runner, asked.text("since")),
        until=since(runner, asked.text("until")),
        before=asked.whole("before", 1, asked.LARGEST),
        limit=asked.whole("limit", 1, asked.MOST) or 20,
    )
    return _runs(*found)


@api.get("/runs/<key>")
def run(key: str) -> Response:
    """Answer what `show RUN --json` prints."""
    asked.only()
    return _runs(asked.run(key))


@api.get("/next")
def next_slots() -> Response:
    """Answer what `next --json` prints."""
    asked.only("task", "from", "until", "limit")
    runner, start, until = current.runner(), asked.text("from"), asked.text("until")
    found = runner.next(
        asked.several("task"),
        since=None if start is None else runner.moment(start),
        until=None if until is None else runner.moment(ahead(until)),
        count=asked.whole("limit", 1, asked.MOST),
    )
    return _json(documents.document(next=[documents.upcoming_document(each) for each in found]))


@api.get("/agenda")
def agenda() -> Response:
    """Answer what `next --until WHEN --json` prints."""
    asked.only("task", "until")
    runner, names = current.runner(), asked.several("task")
    until = runner.moment(ahead(asked.text("until") or COMING))
    entries = runner.agenda(until, name=names)
    return _json(agenda_module.agenda_document(runner.next(names, until=until), entries))


@api.get("/stats")
def stats() -> Response:
    """Answer what `stats --json` prints."""
    asked.only("task", "since", "until")
    runner = current.runner()
    found = runner.stats(
        asked.several("task"),
        since=since(runner, asked.text("since")),
        until=since(runner, asked.text("until")),
    )
    return _json(documents.stats_document(found))


@api.get("/explain")
def explain() -> Response:
    """Answer what `explain NAME --json` prints."""
    asked.only("task", "at", "since", "until")
    runner, names = current.runner(), asked.several("task")
    if names is None:
        raise InputError("explain needs a task: give task=NAME, or the id of a run")
    at = asked.text("at")
    found = [
        runner.explain(
            name,
            at=None if at is None else runner.moment(at, _zone(runner, name)),
            since=since(runner, asked.text("since")),
            until=since(runner, asked.text("until")),
        )
        for name in dict.fromkeys(names)
    ]
    return _json(documents.explanation_document(*found))


def _zone(runner: TaskRunner, name: str) -> str | None:
    """Return the zone of a task, None when the task was removed."""
    try:
        return runner.task(name).tz
    except UnknownTask:
        return None


@api.get("/doctor")
def doctor() -> Response:
    """Answer what `doctor --json` prints."""
    asked.only()
    return _json(documents.checkup_document(current.runner().doctor()))


# ---- acting


@api.post("/tasks/<name>/run")
@needs_role("operate")
def start(name: str) -> Response:
    """Start a run, and answer with it at once."""
    asked.only()
    given, runner = asked.fields("slot", "force", "reason"), current.runner()
    slot, force = given.get("slot"), given.get("force", False)
    if not isinstance(force, bool):
        raise InputError(f"force {shown(force)} is neither true nor false")
    moment = None if slot is None else runner.moment(_text("slot", slot), runner.task(name).tz)
    if moment is not None and moment > runner.now():
        raise InputError(f"the slot {shown(slot)} is in the future: give one that has come")
    made = runner.run(
        name, slot=moment, force=force, reason=given.get("reason"), detach=True, by=who()
    )
    return _runs(made, code=202)


@api.post("/tasks/<name>/enable")
@needs_role("operate")
def enable(name: str) -> Response:
    """Let a task come due again, and answer with it."""
    asked.only()
    asked.fields()
    return _tasks(current.runner().enable(name, by=who()))


@api.post("/tasks/<name>/disable")
@needs_role("operate")
def disable(name: str) -> Response:
    """Let a task come due no more, and answer with it."""
    asked.only()
    asked.fields()
    return _tasks(current.runner().disable(name, by=who()))


@api.post("/runs/<key>/cancel")
@needs_role("operate")
def cancel(key: str) -> Response:
    """Tell a run to end, and answer with it at once."""
    asked.only()
    reason = asked.fields("reason").get("reason")
    made = current.runner().cancel(f"run:{asked.run(key).id}", reason=reason, by=who(), wait=False)
    return _runs(*made, code=202)


@api.post("/hold")
@needs_role("operate")
def hold() -> Response:
    """Pause all scheduled runs, and answer as `status` does."""
    asked.only()
    given = asked.fields("for", "reason")
    length = given.get("for")
    current.runner().hold(
        None if length is None else _text("for", length), reason=given.get("reason"), by=who()
    )
    return status()


@api.post("/resume")
@needs_role("operate")
def resume() -> Response:
    """End the pause, and answer as `status` does."""
    asked.only()
    asked.fields()
    current.runner().resume(by=who())
    return status()


@api.put("/tasks/<name>")
@needs_role("define")
def define(name: str) -> Response:
    """Make a task what a definition says, as a task file has it, and answer what `apply --json` prints."""
    asked.only("dry_run")
    text = writing.definition(name, asked.body())
    try:
        plan = current.runner().apply(text=text, dry_run=asked.flag("dry_run") or False, by=who())
    except InputError as exc:
        raise InputError(_without_lines(str(exc))) from exc
    return _json(documents.plan_document(plan))


def _without_lines(text: str) -> str:
    """Return the faults of a definition in one line, without the lines of a file that nobody wrote."""
    faults = [
        line.partition(": ")[2] if line.startswith(PLACE) else line for line in text.split("\n")
    ]
    return "; ".join(faults)


@api.delete("/tasks/<name>")
@needs_role("define")
def remove(name: str) -> Response:
    """Remove a task, and answer in the form of `apply --json`."""
    asked.only("force")
    runner = current.runner()
    task = runner.task(name)
    left = runner.remove(task.id, force=asked.flag("force") or False, by=who())
    told = tuple(f"{each} ran after it and will not run any more" for each in left)
    return _json(documents.plan_document(Plan([Planned(task.name, "remove", told)])))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} {shown(value)} is not a text")
    return value
