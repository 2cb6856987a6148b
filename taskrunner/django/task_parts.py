"""The parts of the page of one task beside its columns: what it waits for, its coming slots, its changes, and the pause."""

from typing import Any

from taskrunner import TaskRunner
from taskrunner.django.cells import NOTHING, layout_of, when
from taskrunner.django.tables import Task
from taskrunner.model.values import LIVE, Run, State
from taskrunner.render import page as text_page

NEXT_SLOTS = 5
CHANGES = 10
MOST_LIVE = 1_000  # runs that go on, and are looked at for a list of tasks


def live(runner: TaskRunner) -> dict[int, Run]:
    """Return the runs that go on by their tasks, of several of one task a running one before a pending one."""
    found = runner.history(state=LIVE, limit=MOST_LIVE)
    return {run.task_id: run for run in sorted(found, key=lambda run: run.state is State.RUNNING)}


def paused(runner: TaskRunner) -> str:
    """Return the author, the time and the reason of the pause of all scheduled runs; "" without one."""
    found = runner.held()
    if found is None:
        return ""
    layout = layout_of(runner)
    until = "" if found.until is None else f", until {layout.time(found.until)}"
    why = "" if found.reason is None else f": {found.reason}"
    return f"by {found.by} since {layout.time(found.since)}{until}{why}"


def disabled(runner: TaskRunner, row: Task) -> str:
    """Return who disabled a task and when, and its next slot if it were enabled now; "" for others."""
    found = runner.disabled(row.id)
    if found is None:
        return ""
    by = "" if found.by is None else f" by {found.by}"
    slot = found.next
    coming = (
        "" if slot is None else f" If it is enabled now, its next slot is {row.layout.time(slot)}."
    )
    return f"Disabled{by} since {row.layout.time(found.since)}.{coming}"


def waits(row: Task) -> str:
    """Return what a task waits for, as `explain` tells; "" while it runs, or where the next slot or `disabled` tells."""
    if row.why is None or not row.why.slots or not row.enabled:
        return ""
    last = row.why.slots[-1]
    coming = last.slot is not None and last.slot > row.layout.now
    return "" if coming or last.run is not None else row.layout.local(last.reason)


def changes(row: Task) -> list[dict[str, Any]]:
    """Return the newest changes of a task, wherever they were made."""
    found = [] if row.why is None else row.why.changes[::-1][:CHANGES]
    return [
        {
            "at": when(row.layout, each.at, whole=True),
            "by": each.by or NOTHING,
            "what": text_page.visible(row.layout.local(each.what)),
        }
        for each in found
    ]


def slots(runner: TaskRunner, row: Task) -> list[str]:
    """Return the next slots of a task, with their notes."""
    found = runner.next(row.id, count=NEXT_SLOTS) if row.enabled else []
    return [
        f"{row.layout.time(each.slot)}{f' ({each.note})' if each.note else ''}" for each in found
    ]
