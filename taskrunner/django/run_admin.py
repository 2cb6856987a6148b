"""The admin of runs: newest first, filtered by state, end and task, each with its reason and its output."""

from collections.abc import Generator, Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskrunner import TaskRunner
from taskrunner.django import store_admin, users
from taskrunner.django.cells import NOTHING, layout_of, state, when
from taskrunner.django.router import LABEL
from taskrunner.django.run_filters import EndedFilter, RunFilter, StateFilter, TaskFilter
from taskrunner.django.store_admin import StoreAdmin
from taskrunner.django.streams import streamed
from taskrunner.django.tables import Run
from taskrunner.django.users import author
from taskrunner.errors import StateError
from taskrunner.model import values
from taskrunner.model.values import FAILING, LIVE
from taskrunner.render import page as text_page, spelling

TAIL = 64 * 1024  # bytes of an output on the page of its run
LONGEST_LINE = 200  # characters of the last line of an output
LATE = timedelta(seconds=10)  # of a start that is told in the list


class RunAdmin(StoreAdmin):
    """The list of runs, and one run."""

    list_display = ("id", "task_name", "state_words", "why", "slot_time", "took")
    list_filter = (StateFilter, EndedFilter, TaskFilter)
    sortable_by = ("id",)
    search_fields = ("task__name",)
    search_help_text = "The name of a task or a part of it, or the id of a run."
    actions = ("cancel", "again")
    change_form_template = "admin/taskrunner/run/change_form.html"
    fieldsets = (
        (
            None,
            {"fields": ("task_name", "state_words", "why", "slot_time", "start", "end", "took")},
        ),
        ("Details", {"fields": ("trigger", "attempt", "exit_code", "signal", "counted", "size")}),
    )

    # ---- the list

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list."""
        return super().changelist_view(request, {"title": "Runs", **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the runs that the address asks for."""
        return RunFilter.of(request).restrict(super().get_queryset(request))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:  # noqa: ARG002
        """Return the rows as they are: `get_queryset` has searched."""
        return queryset, False

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:
        """Return the fields of the search of the list; none as one types, where Django fails at fields that lead here."""
        return self.search_fields if hasattr(request, "taskrunner") else ()

    def get_ordering(self, request: HttpRequest) -> Sequence[str]:
        """Return the order that an index has: by end where that is the filter, else by id."""
        asked = RunFilter.of(request)
        by_end = asked.ended is not None and asked.states is None and asked.tasks is None
        return ("-finished", "-id") if by_end else ("-id",)

    def complete(self, request: HttpRequest, rows: list[Run], *, whole: bool = False) -> None:
        """Add how times are told, and the last lines of failed runs."""
        runner: TaskRunner = request.taskrunner
        layout = layout_of(runner)
        sees_tasks = users.has(request.user, ["view_task"])
        failed = [row.id for row in rows if row.state in FAILING]
        traces = runner.traces([runner.run_of(f"run:{key}") for key in failed])
        for row in rows:
            row.layout, row.trace, row.whole = layout, traces.get(row.id), whole
            row.sees_task = sees_tasks

    @admin.display(description="task")
    def task_name(self, row: Run) -> SafeString | str:
        """Return the task, with a link unless it was removed, or is not for the user."""
        if row.task.removed is not None:
            return f"{row.task.name} (removed)"
        if not row.sees_task:
            return row.task.name
        place = reverse(f"{self.admin_site.name}:{LABEL}_task_change", args=[row.task_id])
        return format_html('<a href="{}">{}</a>', place, row.task.name)

    @admin.display(description="state")
    def state_words(self, row: Run) -> SafeString | str:
        """Return the state."""
        return state(row.state)

    @admin.display(description="slot")
    def slot_time(self, row: Run) -> SafeString | str:
        """Return the instant it is for."""
        late = None if row.whole or row.started is None else row.started - row.slot
        if late is None or late < LATE:
            return self._when(row, row.slot)
        told = spelling.human(late.total_seconds())
        return format_html("{} <small>{} late</small>", self._when(row, row.slot), told)

    @admin.display(description="started")
    def start(self, row: Run) -> SafeString | str:
        """Return when it started."""
        return self._when(row, row.started)

    @admin.display(description="ended")
    def end(self, row: Run) -> SafeString | str:
        """Return when it ended."""
        return self._when(row, row.finished)

    def _when(self, row: Any, moment: Any) -> SafeString | str:
        return when(row.layout, moment, far=row.whole, whole=row.whole)

    @admin.display(description="took")
    def took(self, row: Any) -> str:
        """Return how long it ran, or has run."""
        if row.started is None:
            return NOTHING
        end = row.finished or timezone.now()
        return spelling.human(max(0.0, (end - row.started).total_seconds()))

    @admin.display(description="why")
    def why(self, row: Run) -> str:
        """Return the reason, with the last line of the output of a failed run."""
        told = [text_page.visible(row.layout.local(row.reason))] if row.reason else []
        if row.trace is not None and row.trace.last_line is not None:
            line = text_page.cut(text_page.visible(row.trace.last_line), LONGEST_LINE)
            told.append(f"last line: {line}")
        if row.attempt > 1 and not row.whole:
            told.append(f"attempt {row.attempt}")
        if row.coalesced > 1:
            told.append(f"stands for {row.coalesced} slots")
        return "; ".join(told) or NOTHING

    @admin.display(description="slots")
    def counted(self, row: Run) -> str:
        """Return how many slots it stands for."""
        since = "" if row.coalesced < 2 else f", from {row.layout.time(row.first_slot)} on"
        return f"{row.coalesced}{since}"

    @admin.display(description="output")
    def size(self, row: Run) -> str:
        """Return how much it wrote."""
        return NOTHING if row.output_size is None else spelling.about(row.output_size)

    # ---- one run

    def get_object(self, request: HttpRequest, *args: Any, **named: Any) -> Any:
        """Return a run that is complete."""
        row = super().get_object(request, *args, **named)
        if row is not None:
            self.complete(request, [row], whole=True)
        return row

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        obj: Any = None,
        **named: Any,
    ) -> Any:
        """Add why it is as it is, the end of its output, and the buttons."""
        runner: TaskRunner = request.taskrunner
        names = {"cancel": "Cancel"} if obj.state in LIVE else {"again": "Run again"}
        context |= {
            **_output(runner, obj),
            "story": [
                {
                    "state": state(each.state),
                    "run": each.run,
                    "reason": obj.layout.local(each.reason),
                }
                for each in runner.explain(f"run:{obj.id}").slots
            ],
            "list": self.address("changelist"),
            "download": self.address("output", obj.id),
            "buttons": self.buttons(request, names if obj.task.removed is None else {}),
            "on_page": store_admin.place_on_page(request, f"runs/{obj.id}"),
        }
        return super().render_change_form(request, context, *args, obj=obj, **named)

    def get_urls(self) -> list[Any]:
        """Return the addresses, with that of an output."""
        view = self.admin_site.admin_view(self.output_view)
        name = f"{LABEL}_run_output"
        return [path("<int:key>/output/", view, name=name), *super().get_urls()]

    def output_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Answer with all of an output, as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.opened(request, lambda: _whole(request, key))

    # ---- actions

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether a run may be ended."""
        return bool(request.user.has_perm(f"{LABEL}.cancel_run"))

    @admin.action(description="Cancel", permissions=("cancel",))
    def cancel(self, request: HttpRequest, rows: Any) -> Any:
        """End runs that are running or pending."""
        runner: TaskRunner = request.taskrunner
        who = author(request)
        return self.to_each(
            request,
            rows,
            "cancelled",
            lambda row: runner.cancel(f"run:{row.id}", by=who, wait=False),
        )

    @admin.action(description="Run again (the same slot)", permissions=("run",))
    def again(self, request: HttpRequest, rows: Any) -> Any:
        """Run the slots of runs again."""
        runner: TaskRunner = request.taskrunner
        who = author(request)

        def start(row: Run) -> values.Run:
            old = runner.run_of(f"run:{row.id}")
            return runner.run(old.task_id, slot=old.slot, detach=True, by=who)

        return self.to_each(request, rows, "started again", start)


def _output(runner: TaskRunner, row: Run) -> dict[str, Any]:
    """Return the end of an output, how much comes before it, and why there is none."""
    try:
        found = runner.written(row.id, start=-TAIL, most=TAIL)
    except StateError as exc:  # it was pruned
        return {"output": "", "before": 0, "gone": str(exc)}
    text = text_page.on_screen(found.data.decode(errors="replace"))
    before = max(0, found.end - TAIL)
    return {"output": text, "before": spelling.about(before) if before else "", "gone": None}


def _whole(request: HttpRequest, key: int) -> StreamingHttpResponse:
    """Return an output as a file; a large one is not read at once."""
    runner: TaskRunner = request.taskrunner
    run = runner.run_of(f"run:{key}")
    runner.written(run, most=1)  # raises for one that was pruned, before the answer begins
    headers = {
        "Content-Disposition": f'attachment; filename="{run.task}-{run.id}.txt"',
        "X-Content-Type-Options": "nosniff",
    }
    kind = "text/plain; charset=utf-8"
    return streamed(request, _pieces(runner.home, run), content_type=kind, headers=headers)


def _pieces(home: str, run: values.Run) -> Generator[bytes, None, None]:
    """Yield an output; the library of the request is closed by then."""
    with TaskRunner(home) as runner:
        yield from runner.log(run)
