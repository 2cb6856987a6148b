"""The filters of the admin's list of runs: by state, by the time since the end, by task, and by a text.

Django would apply one after the other; here they are one question, for which there is an index.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone

from taskrunner.django.store_admin import LISTED
from taskrunner.django.tables import Task
from taskrunner.model.record import record
from taskrunner.model.values import FAILING, LIVE, NOT_RUN, State
from taskrunner.store import history

LOOKED_AT = 200_000  # ids of runs that successes are looked for among
BOUND = " AND id > (SELECT max(id) FROM runs) - {}"
MOST_TASKS = 50  # whose names have the text that is searched
FAILING_TASKS = 10  # that the filter offers
GROUPS: dict[str, tuple[str, Sequence[State]]] = {
    "bad": ("failed, timed out or lost", FAILING),
    "live": ("running or pending", LIVE),
    "not_run": ("skipped or missed", NOT_RUN),
}
ENDED = {
    "1h": ("the past hour", timedelta(hours=1)),
    "1d": ("the past 24 hours", timedelta(days=1)),
    "7d": ("the past 7 days", timedelta(days=7)),
    "30d": ("the past 30 days", timedelta(days=30)),
}


@record
class RunFilter:
    """The filter of the list as one question: an index has its rows in order only when all parts are known."""

    states: Sequence[State] | None
    tasks: Sequence[int] | None
    runs: Sequence[int]
    ended: timedelta | None

    @classmethod
    def of(cls, request: Any) -> "RunFilter":
        """Return the filter of an address, read once; a value that nobody offers asks for nothing."""
        if not hasattr(request, "asked_runs"):
            request.asked_runs = cls._read(request)
        known: RunFilter = request.asked_runs
        return known

    @classmethod
    def _read(cls, request: HttpRequest) -> "RunFilter":
        task = _number(request.GET.get("task", ""))
        tasks: Sequence[int] | None = None if task is None else [task]
        runs: Sequence[int] = ()
        text = request.GET.get("q", "").strip()
        if text:
            run, named = _number(text), _tasks_named(text)
            tasks = named if tasks is None else [each for each in named if each in tasks]
            runs = () if run is None else (run,)
        _, ended = ENDED.get(request.GET.get("ended", ""), ("", None))
        return cls(_states(request.GET.get("state", "")), tasks, runs, ended)

    def restrict(self, rows: Any) -> Any:
        """Return the rows that are asked for, of states and tasks the newest `LISTED`."""
        if self.ended is not None:
            rows = rows.filter(finished__gte=timezone.now() - self.ended)
        if self.states is None and self.tasks is None:
            return rows
        walks = list(history.walks(self.tasks, self.runs, self.states))
        if not walks:
            return rows.none()
        # No index has successes: without a bound all runs would be read where few are there.
        bound = BOUND.format(LOOKED_AT) if State.SUCCEEDED in (self.states or ()) else ""
        ids = " UNION ".join(f"SELECT id FROM runs {walk}{bound}" for walk in walks)  # noqa: S608  ids and states only
        newest = f"SELECT id FROM ({ids} ORDER BY id DESC LIMIT {LISTED})"  # noqa: S608  the same
        return rows.filter(id__in=RawSQL(newest, ()))  # noqa: S611  it has no text of a visitor


def _states(text: str) -> Sequence[State] | None:
    """Return the states of a group, or the state of this name; None for another text."""
    if text in GROUPS:
        return GROUPS[text][1]
    return [State(text)] if text in list(State) else None


def _number(text: str) -> int | None:
    """Return an id that was typed, None for another text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _tasks_named(text: str) -> list[int]:
    """Return the ids of the tasks of a name, also of removed ones, else of those with the text in their name."""
    known = Task._base_manager.order_by("name", "id").values_list("id", flat=True)
    return list(known.filter(name=text)) or list(known.filter(name__icontains=text)[:MOST_TASKS])


class Offered(admin.SimpleListFilter):
    """A filter that is only offered here: `RunFilter` applies all of them together."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002  the signature is Django's
        """Return the rows as they are."""
        return queryset


class StateFilter(Offered):
    """The states of runs, alone and in groups."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return groups first."""
        groups = [(key, words) for key, (words, _) in GROUPS.items()]
        return groups + [(str(each), str(each).replace("_", " ")) for each in State]


class EndedFilter(Offered):
    """The time since the end of a run."""

    title = "time of the end"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return some lengths of time."""
        return [(key, words) for key, (words, _) in ENDED.items()]


class TaskFilter(Offered):
    """The task that is asked for, and some that fail; links of tasks lead here."""

    title = "failing task"
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return few of ten thousand tasks."""
        failing = request.taskrunner.tasks(failing=True, limit=FAILING_TASKS)
        offered = {str(task.id): task.name for task in failing}
        asked = _number(self.value() or "")
        if asked is not None and str(asked) not in offered:
            names = Task._base_manager.filter(id=asked).values_list("name", flat=True)
            offered = {str(asked): next(iter(names), "unknown"), **offered}
        return list(offered.items())
