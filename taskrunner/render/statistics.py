"""Statistics, and the results of pruning, as tables and sentences."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from taskrunner.model.record import like
from taskrunner.model.values import Pruned
from taskrunner.render.page import Column, Page
from taskrunner.render.spelling import about, human, many

if TYPE_CHECKING:
    from taskrunner.model.answers import Figures, Stats


def stats_table(page: Page, stats: Stats) -> str:
    """Return statistics as a table, with a total row when there are several tasks."""
    all_of = [*stats.tasks, *([like(stats.total, task="all")] if len(stats.tasks) > 1 else [])]
    names = [f"{each.task}{' (removed)' if each.removed else ''}" for each in all_of]
    table = page.columns(
        [
            Column("task", names, least=12),
            Column("runs", [str(each.runs) for each in all_of]),
            Column("ok", [_rate(each.success_rate) for each in all_of]),
            Column("streak", [f"{each.streak:+d}" if each.streak else "-" for each in all_of]),
            Column("median", [human(each.duration_median) for each in all_of], rank=1),
            Column("p95", [human(each.duration_p95) for each in all_of], rank=3),
            Column("last", [human(each.duration_last) for each in all_of], rank=4),
            Column("late", [human(each.late_median) for each in all_of], rank=2),
            Column("last success", [page.ago(each.last_success) for each in all_of]),
            Column("else", [_not_succeeded(each) for each in all_of]),
        ]
    )
    if stats.newest is None or all(each.runs <= stats.newest for each in stats.tasks):
        return table
    told = (
        f"the newest {stats.newest} runs of each task; --since gives those of all runs in a period"
    )
    return f"{table}\n\n{page.beside_title('median, p95 and late are of ', told)}"


def _rate(share: float | None) -> str:
    """Return a share in percent, rounded down: 100% means all."""
    if share is None:
        return "-"
    return f"{floor(share * 1000) / 10:g}%"


def _not_succeeded(found: Figures) -> str:
    """Return the counts of runs that did not succeed, by state."""
    states = ("failed", "timed_out", "lost", "cancelled", "skipped", "missed")
    counts = [(getattr(found, state), state.replace("_", " ")) for state in states]
    return ", ".join(f"{count} {state}" for count, state in counts if count) or "-"


def pruned_sentence(pruned: Pruned) -> str:
    """Return the deleted history as a sentence."""
    outputs = f"{many(pruned.outputs, 'output')} ({about(pruned.bytes)})"
    parts = f"{many(pruned.runs, 'run')}, {outputs} and {many(pruned.events, 'event')}"
    if pruned.dry_run:
        return f"{parts} would be removed"
    return f"{parts} removed, {about(pruned.freed)} of disk freed"
