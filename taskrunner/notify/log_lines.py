"""Lines of the log about runs and ticks: their words, and their levels.

It only collects the lines; the caller writes them after committing the change that they report.
"""

from collections.abc import Sequence
from datetime import datetime

from taskrunner import clock
from taskrunner.home.log_file import Log
from taskrunner.home.syslog import DEBUG, ERROR, INFO, WARNING
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.values import FAILING, Run, State, Task

URGENT = (*FAILING, State.MISSED)
DECIDED = {
    Action.RUN: "to run",
    Action.QUEUE: "queued",
    Action.REPLACE: "in place of another",
    Action.SKIP: "skipped",
    Action.MISS: "missed",
}


def decided(log: Log, decisions: Sequence[Decision], now: datetime, caller: str) -> None:
    """Log a summary of the decisions of a tick, and a line for each slot that is not run."""
    counts: dict[Action, int] = {}
    for each in decisions:
        if each.action in DECIDED:
            counts[each.action] = counts.get(each.action, 0) + 1
            quiet = each.action not in (Action.SKIP, Action.MISS)
            level = DEBUG if quiet else WARNING if each.action is Action.MISS else INFO
            if not log.keeps(level):
                continue
            text = f"{each.task}: slot {clock.iso(each.span.slot)} {DECIDED[each.action]}: {each.reason}"
            log.say(level, now, text, TASKRUNNER_TASK=each.task)
    if counts:
        summary = ", ".join(f"{count} {DECIDED[action]}" for action, count in counts.items())
        log.say(INFO, now, f"tick by {caller}: {summary}")


def start_of(run: Run) -> str:
    """Return the sentence for the start of a run."""
    return f"{run.task}: run {run.id} started for {_what(run)}"


def _what(run: Run) -> str:
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return f"{clock.iso(run.slot)} ({run.trigger}{attempt})"


def end_of(run: Run) -> str:
    """Return the sentence for the end of a run."""
    took = "" if run.duration is None else f", after {run.duration:.3f} s"
    return f"{run.task}: run {run.id} {run.state}: {run.reason}{took}"


def started(log: Log, run: Run, now: datetime, where: str | None = None) -> None:
    """Log the start of a run, on another host when `where` names it."""
    there = "" if where is None else f" on {where}"
    log.say(INFO, now, f"{start_of(run)}{there}", **_fields(run, State.RUNNING))


def handed(log: Log, run: Run, queue: str | None, now: datetime) -> None:
    """Log that a queue has a run."""
    text = f"{run.task}: run {run.id} handed over to the queue {queue} for {_what(run)}"
    log.say(INFO, now, text, **_fields(run, State.RUNNING))


def ended(log: Log, run: Run) -> None:
    """Log the end of a run."""
    if run.finished is None:
        return
    level = WARNING if run.state in URGENT else INFO
    log.say(level, run.finished, end_of(run), **_fields(run, run.state))


def changed(log: Log, task_id: int, what: str, who: str, text: str | None, now: datetime) -> None:
    """Log a change of a task by a person."""
    more = f": {text}" if text else ""
    log.say(INFO, now, f"task {task_id} {what} by {who}{more}")


def put_off(log: Log, task: Task, now: datetime, reason: str) -> None:
    """Log that a task cannot be evaluated."""
    text = f"{task.name}: cannot be evaluated, tried again in an hour: {reason}"
    log.say(ERROR, now, text, TASKRUNNER_TASK=task.name)


def _fields(run: Run, state: State) -> dict[str, object]:
    return {
        "TASKRUNNER_TASK": run.task,
        "TASKRUNNER_RUN": run.id,
        "TASKRUNNER_STATE": state,
        "TASKRUNNER_TRIGGER": run.trigger,
    }
