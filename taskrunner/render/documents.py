"""Values to JSON documents. The keys are promised to scripts outside: see docs/reference/json.md."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import clock
from taskrunner.model.values import Decision, Pruned, Run, Task
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

VERSION = 1  # of the documents


def document(**parts: object) -> str:
    """Return one JSON document."""
    return escaped(json.dumps({"version": VERSION, **parts}, ensure_ascii=False, indent=2))


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
        "jitter": seconds(task.jitter),
        "retries": task.retries,
        "retry_delay": seconds(task.retry_delay),
        "retry_backoff": task.retry_backoff,
        "retry_codes": list(task.retry_codes),
        "on_lost": task.on_lost,
        "group": group(task),
        "priority": task.priority,
        "ok_codes": list(task.ok_codes),
        "noop_codes": list(task.noop_codes),
        "expect": task.expect,
        "reject": task.reject,
        "max_silence": seconds(task.max_silence),
        "max_output": task.max_output,
        "limit": dict(task.limit),
        "on_failure": task.on_failure,
        "notify": dict(task.notify),
        "late_after": seconds(task.late_after),
        "long_after": task.long_after,
        "python": task.python,
        "args": task.args,
        "code": task.code,
        "code_file": task.code_file,
        "interpreter": task.interpreter,
        "django": task.django,
        "description": task.description,
        "source": task.source,
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


def checkup_document(found: Checkup) -> str:
    """Return what a checkup has found as a document."""
    findings = [
        {"severity": each.severity, "what": each.what, "cure": each.cure} for each in found.findings
    ]
    return document(findings=findings, paths=dict(found.paths))


def explanation_document(*found: Explanation) -> str:
    """Return why a task ran or did not as a document; of several tasks it has a list of the same."""
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
    """Return the figures of a span of time as a document."""
    total = figures_document(stats.total)
    del total["task"]
    return document(
        since=instant(stats.since),
        until=instant(stats.until),
        tasks=[figures_document(each) for each in stats.tasks],
        total=total,
    )


def figures_document(found: Figures) -> dict[str, Any]:
    """Return the figures of one task for a document."""
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
    """Return what was removed as a document."""
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
    """Return what became of a crontab as a document."""
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
