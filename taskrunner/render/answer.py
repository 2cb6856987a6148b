"""The JSON document of an answer of the library, as the command line prints it with --json."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskrunner.clock import EPOCH
from taskrunner.errors import InputError, shown
from taskrunner.model.answers import (
    Checkup,
    Explanation,
    Graph,
    Import,
    Plan,
    Stats,
    Status,
    Upcoming,
)
from taskrunner.model.decisions import Decision
from taskrunner.model.values import Pruned, Run, Task
from taskrunner.render import documents, graph
from taskrunner.render.page import Page

WHOLE: Mapping[type, Callable[[Any], str]] = {
    Status: documents.status_document,
    Checkup: documents.checkup_document,
    Explanation: documents.explanation_document,
    Stats: documents.stats_document,
    Pruned: documents.pruned_document,
    Plan: documents.plan_document,
    Import: documents.import_document,
    Graph: graph.graph_document,
}
LISTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "tasks": documents.task_document,
    "runs": documents.run_document,
    "next": documents.upcoming_document,
    "decisions": documents.decision_document,
}


def document(
    answer: Status | Checkup | Explanation | Stats | Pruned | Plan | Import | Graph | None = None,
    *,
    tasks: Iterable[Task] | None = None,
    runs: Iterable[Run] | None = None,
    next: Iterable[Upcoming] | None = None,  # noqa: A002  the key of the document
    decisions: Iterable[Decision] | None = None,
) -> str:
    """Return the JSON document that the command line prints for an answer, or for a list under its key, as text.

    The text is the same to the letter. Raises InputError for anything that has no document.
    """
    given = {"tasks": tasks, "runs": runs, "next": next, "decisions": decisions}
    lists = {key: items for key, items in given.items() if items is not None}
    if answer is not None and lists:
        raise InputError("one document is of an answer, or of lists: give one of the two")
    if answer is None:
        return documents.document(
            **{key: [LISTS[key](item) for item in items] for key, items in lists.items()}
        )
    if type(answer) not in WHOLE:
        raise InputError(
            f"{shown(type(answer).__name__)} has no document: give an answer of the library"
        )
    return WHOLE[type(answer)](answer)


def in_zone(text: str, tz: str) -> str:
    """Return a sentence of the library, such as a reason, with its instants, which are in UTC, in a zone.

    Raises ZoneError for an unknown zone.
    """
    return Page(tz, EPOCH).local(text)
