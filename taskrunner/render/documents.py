"""Values to JSON documents. The keys are stable for scripts: see docs/reference/json.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import clock
from taskrunner.model.record import names_of
from taskrunner.model.values import Pruned, Run, Task
from taskrunner.render.page import escaped
from taskrunner.render.spelling import group, masked

if TYPE_CHECKING:
    from taskrunner.model.answers import (
        Checkup,
        Explanation,
        Figures,
        Import,
        Plan,
        Stats,
        Status,
        Upcoming,
    )
    from taskrunner.model.decisions import Decision

VERSION = 1  # of the documents


def document(**parts: object) -> str:
    """Return one JSON document."""
    return escaped(json.dumps({"version": VERSION, **parts}, ensure_ascii=False, indent=2))


def streamed(key: str, items: Iterable[object]) -> Iterator[str]:
    """Yield a document with one list in pieces, each for lines of their own, to the letter as `document` returns it."""
    whole = document(**{key: [None]})
    head, foot = whole.split("\n    null\n")
    waiting = head
    for number, item in enumerate(items):
        yield waiting + ("," if number else "")
        text = json.dumps(item, ensure_ascii=False, indent=2)
        waiting = escaped("\n".join(f"    {line}" for line in text.split("\n")))
    yield from (document(**{key: []}),) if waiting == head else (waiting, foot)


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
    found = {name: _plain(getattr(task, name)) for name in (*FIRST, *names_of(Task))}
    for name in UNSAID:
        del found[name]
    return found | {
        "command": list(task.command) or None,
        "env": masked(task.env),
        "group": group(task),
        "umask": None if task.umask is None else f"{task.umask:03o}",
    }


FIRST = (
    *("id", "name", "enabled", "kind", "schedule", "tz", "command", "shell"),
    *("next", "last_run", "last_state", "last_success"),
)
UNSAID = ("evaluated", "following", "requested", "boot_id", "streak", "group_limit")


def _plain(value: Any) -> Any:
    """Return a value of the model as a JSON value."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, timedelta):
        return seconds(value)
    return list(value) if isinstance(value, tuple) else value


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
    """Return a coming slot for a document."""
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
    """Return a status as a document."""
    return document(**status_parts(status))


def status_parts(status: Status) -> dict[str, object]:
    """Return the parts of the document of a status."""
    return {
        "last_tick": instant(status.last_tick),
        "clock": status.clock,
        "held": status.held,
        "running": [run_document(run) for run in status.running],
        "pending": [run_document(run) for run in status.pending],
        "failing": [task.name for task in status.failing],
        "next": [upcoming_document(item) for item in status.next],
        "problems": status.problems,
    }


def checkup_document(found: Checkup) -> str:
    """Return the findings of a checkup as a document."""
    findings = [
        {"severity": each.severity, "what": each.what, "cure": each.cure} for each in found.findings
    ]
    return document(findings=findings, paths=dict(found.paths))


def explanation_document(*found: Explanation) -> str:
    """Return an explanation as a document; for several tasks a list of explanations."""
    told = [_explanation(each) for each in found]
    return document(**told[0]) if len(told) == 1 else document(tasks=told)


def _explanation(found: Explanation) -> dict[str, object]:
    return {
        "task": found.task,
        "slots": [
            {
                "slot": instant(each.slot),
                "first_slot": instant(each.first_slot),
                "state": each.state,
                "reason": each.reason,
                "run": each.run,
            }
            for each in found.slots
        ],
        "gaps": [
            {"from": instant(each.since), "until": instant(each.until), "cause": each.cause}
            for each in found.gaps
        ],
        "changes": [
            {"at": instant(each.at), "what": each.what, "by": each.by} for each in found.changes
        ],
    }


def stats_document(stats: Stats) -> str:
    """Return the statistics of a period as a document."""
    total = figures_document(stats.total)
    del total["task"]
    return document(
        since=instant(stats.since),
        until=instant(stats.until),
        tasks=[figures_document(each) for each in stats.tasks],
        total=total,
        newest=stats.newest,
    )


def figures_document(found: Figures) -> dict[str, Any]:
    """Return the statistics of one task for a document."""
    return {
        "task": found.task,
        "runs": found.runs,
        "succeeded": found.succeeded,
        "failed": found.failed,
        "timed_out": found.timed_out,
        "cancelled": found.cancelled,
        "lost": found.lost,
        "skipped": found.skipped,
        "missed": found.missed,
        "success_rate": found.success_rate,
        "duration_median": found.duration_median,
        "duration_p95": found.duration_p95,
        "late_median": found.late_median,
        "streak": found.streak,
        "last_success": instant(found.last_success),
    }


def pruned_document(pruned: Pruned) -> str:
    """Return the deleted history as a document."""
    return document(
        dry_run=pruned.dry_run,
        runs=pruned.runs,
        outputs=pruned.outputs,
        bytes=pruned.bytes,
        events=pruned.events,
        freed=pruned.freed,
        refused=pruned.refused,
    )


def plan_document(plan: Plan) -> str:
    """Return a plan as a document."""
    tasks = [
        {"task": each.task, "action": each.action, "consequences": list(each.told)}
        for each in plan.tasks
    ]
    return document(dry_run=plan.dry_run, tasks=tasks)


def import_document(found: Import) -> str:
    """Return the result of importing a crontab as a document."""
    lines = [
        {
            "line": each.line,
            "action": each.action,
            "task": each.task,
            "schedule": each.schedule,
            "command": each.command,
            "differing": each.differing,
            "notes": list(each.notes),
        }
        for each in found.lines
    ]
    return document(dry_run=found.dry_run, source=found.source, lines=lines)
