"""Plans of task files and of crontabs as tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrunner.render.page import Column, Page
from taskrunner.render.spelling import many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrunner.model.answers import Import, ImportedLine, Plan, Planned

ACTIONS = {"add": "added", "change": "changed", "remove": "removed", "keep": "unchanged"}
IMPORTED = {
    "add": "added",
    "change": "changed",
    "remove": "removed",
    "keep": "known",
    "leave": "left alone",
}


def plan_table(page: Page, tasks: Sequence[Planned]) -> str:
    """Return the changes of tasks as a table."""
    return page.columns(
        [
            Column("task", [each.task for each in tasks], least=12),
            Column("", [ACTIONS[each.action] for each in tasks]),
            Column("consequences", ["; ".join(each.told) for each in tasks]),
        ]
    )


def import_table(page: Page, lines: Sequence[ImportedLine]) -> str:
    """Return the results for the lines of a crontab as a table."""
    return page.columns(
        [
            Column("line", [str(each.line) for each in lines]),
            Column("task", [each.task or "-" for each in lines], least=12),
            Column("", [IMPORTED[each.action] for each in lines]),
            Column("schedule", [each.schedule or "-" for each in lines], rank=1),
            Column("two years", [_differing(each.differing) for each in lines]),
            Column("command", [each.command for each in lines], rank=2),
            Column("notes", ["; ".join(each.notes) for each in lines]),
        ],
    )


def _differing(differing: int | None) -> str:
    if differing is None:
        return "-"
    return f"{many(differing, 'slot')} differ" if differing else "identical"


def import_sentence(found: Import) -> str:
    """Return a summary of an import as a sentence."""
    counts = {name: sum(each.action == name for each in found.lines) for name in IMPORTED}
    told = ", ".join(f"{count} {IMPORTED[name]}" for name, count in counts.items() if count)
    return f"{found.source}: {told or 'no entries'}{'; nothing is written in a dry run' if found.dry_run else ''}"


def plan_sentence(plan: Plan) -> str:
    """Return a summary of a plan as a sentence."""
    counts = {name: sum(each.action == name for each in plan.tasks) for name in ACTIONS}
    told = [f"{count} {ACTIONS[name]}" for name, count in counts.items() if count]
    if not plan.changes:
        return f"nothing {'to change' if plan.dry_run else 'changed'}: {told[0] if told else 'no tasks'}"
    return f"{', '.join(told)}{'; nothing is written in a dry run' if plan.dry_run else ''}"
