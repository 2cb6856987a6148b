"""The open slots of a task at an instant, and the decisions about them; nothing is written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from taskrunner import host
from taskrunner.decide import policy
from taskrunner.errors import InputError
from taskrunner.model.decisions import Decision, Span
from taskrunner.model.values import Kind, Run, Task
from taskrunner.schedule import counting, of_task


def evaluate(
    task: Task, live: Sequence[Run], now: datetime, boot: str
) -> tuple[list[Decision], dict[str, Any]]:
    """Return the decisions about the open slots of a task, and the changes of its row; writes nothing."""
    decisions: list[Decision] = []
    changes: dict[str, Any] = {"evaluated": max(task.evaluated, now), "error": None}
    if task.requested is not None:
        decisions.append(policy.requested(task, task.requested, live))
        changes["requested"] = None
    if task.kind is Kind.BOOT and host.is_new_boot(boot, task.boot_id):
        decisions += policy.decide(task, Span(now, now), [now], live, now)
        changes["boot_id"] = boot
    elif task.next is not None and task.next <= now:
        try:
            span, newest, changes["next"] = open_slots(task, now)
        except InputError:
            if not decisions:
                raise
            # A requested run needs no schedule; the next tick reports the fault in it.
            return decisions, {"requested": None}
        changes["following"] = None
        if span is not None:
            decisions += policy.decide(task, span, newest, live, now)
    return decisions, changes


def by_task(runs: Sequence[Run]) -> dict[int, list[Run]]:
    """Return runs by the ids of their tasks."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.task_id, []).append(run)
    return found


def open_slots(
    task: Task, now: datetime
) -> tuple[Span | None, Sequence[datetime], datetime | None]:
    """Return the slots of a task in (evaluated, now], the newest few of them one by one, and the first one after now.

    Without any slot the first is None.
    """
    due = task.next
    if due is not None and task.following is not None and due <= now < task.following:
        return Span(due, due), [due], task.following
    value = of_task.value_of(task)
    if due is not None and task.from_finish:
        return Span(due, due), [due], None
    newest = counting.newest(value, task.evaluated, now)
    first = value.next_after(task.evaluated)
    if newest is None or first is None:
        return None, [], first
    count, at_least = counting.count(value, task.evaluated, now)
    few = counting.newest_slots(value, task.evaluated, now, min(policy.wanted(task), count))
    return Span(newest, first, count, at_least), few, of_task.slot_after(value, now)
