"""The admin of tasks: the list, one task, its definition where `EDIT` allows it, and the pause of all runs."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_protect

from taskrunner import TaskRunner
from taskrunner.django import cells, project, store_admin, task_parts, users
from taskrunner.django.cells import NOTHING, layout_of, state, when
from taskrunner.django.fields import aware
from taskrunner.django.router import LABEL
from taskrunner.django.store_admin import StoreAdmin
from taskrunner.django.tables import Task
from taskrunner.django.task_form import FIELDSETS, KINDS, TaskForm
from taskrunner.django.users import author
from taskrunner.errors import TaskRunnerError, UnknownTask, shown
from taskrunner.model.values import FAILING, Kind
from taskrunner.render import page as text_page, spelling

LAST_RUNS = 10  # on the page of a task


class StandingFilter(admin.SimpleListFilter):
    """Whether a task is scheduled, and whether it fails."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the states of tasks."""
        return [("enabled", "enabled"), ("disabled", "disabled"), ("failing", "failing")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002
        """Return the tasks in that state."""
        if self.value() == "failing":
            return queryset.filter(last_state__in=FAILING)
        if self.value() in ("enabled", "disabled"):
            return queryset.filter(enabled=self.value() == "enabled")
        return queryset


class KindFilter(admin.SimpleListFilter):
    """The kind of schedule."""

    title = "kind of schedule"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the kinds."""
        return [(str(kind), words) for kind, words in KINDS.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002
        """Return the tasks of that kind."""
        return queryset.filter(kind=self.value()) if self.value() in list(Kind) else queryset


class HoldForm(forms.Form):
    """The pause of all scheduled runs."""

    length = forms.CharField(
        required=False, max_length=20, help_text="Such as 30m or 2h; empty: until it is resumed."
    )
    reason = forms.CharField(
        required=False, max_length=200, widget=forms.TextInput(attrs={"class": "vTextField"})
    )


class TaskAdmin(StoreAdmin):
    """The list of tasks, and one task."""

    list_display = ("name", "last", "words", "enabled", "due")
    list_filter = (StandingFilter, KindFilter)
    sortable_by = ("name",)
    search_fields = ("name",)
    actions = ("run_now", "enable", "disable")
    change_list_template = "admin/taskrunner/task/change_list.html"
    change_form_template = "admin/taskrunner/task/change_form.html"
    fieldsets_without_form = (
        (None, {"fields": ("name", "words", "enabled", "due", "waiting", "last", "success")}),
        ("Definition", {"fields": ("runs", "description", "group", "origin")}),
    )

    # ---- the list

    def complete(self, request: HttpRequest, rows: list[Task]) -> None:
        """Add the schedules in words, and what each task is to the library."""
        runner: TaskRunner = request.taskrunner
        layout, live = layout_of(runner), task_parts.live(runner)
        for row in rows:
            row.layout, row.live = layout, live.get(row.id)
            try:
                row.known = runner.task(row.id)
                row.told = runner.describe(row.known)
            except UnknownTask:  # removed at this moment
                row.known, row.told = None, row.schedule

    @admin.display(description="schedule")
    def words(self, row: Task) -> str:
        """Return the schedule in words."""
        return row.told

    @admin.display(description="next")
    def due(self, row: Task) -> SafeString | str:
        """Return the next slot."""
        return when(row.layout, row.next, far=True) if row.enabled else NOTHING

    @admin.display(description="last run")
    def last(self, row: Task) -> SafeString | str:
        """Return the run that goes on, or the last one that ended: how long ago, how many alike, and the last success."""
        if row.live is None:
            return self._ended(row)
        begun = row.live.started
        lasts = "" if begun is None else row.layout.distance(begun).replace(" ago", "")
        before = (
            ""
            if aware(row.last_run) is None
            else format_html("<small>before: {}</small>", self._ended(row))
        )
        return format_html("{} <small>{}</small>{}", state(row.live.state), lasts, before)

    def _ended(self, row: Task) -> SafeString | str:
        moment = aware(row.last_run)
        if moment is None:
            return state(row.last_state)
        many = f"{abs(row.streak)} in a row, " if abs(row.streak) > 1 else ""
        ago, good = row.layout.distance(moment), aware(row.last_success)
        if row.last_state in FAILING:
            before = "" if good is None else f"last success {row.layout.distance(good)}"
            ago = f"{ago}; {before or 'no success yet'}"
        return format_html("{} <small>{}{}</small>", state(row.last_state), many, ago)

    @admin.display(description="now")
    def waiting(self, row: Task) -> str:
        """Return what it waits for."""
        return row.waits or NOTHING

    @admin.display(description="last success")
    def success(self, row: Task) -> SafeString | str:
        """Return when the last run that succeeded ended."""
        return when(row.layout, row.last_success)

    @admin.display(description="runs")
    def runs(self, row: Task) -> str:
        """Return the command on one line."""
        return "" if row.known is None else text_page.visible(spelling.command_line(row.known))

    @admin.display(description="defined in")
    def origin(self, row: Task) -> str:
        """Return where the definition comes from."""
        return cells.origin(row.source)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list, and whether scheduled runs are paused."""
        more = {
            "title": "Tasks",
            "none_yet": lambda: not request.taskrunner.tasks(limit=1),
            "held": lambda: task_parts.paused(request.taskrunner),
            "may_hold": self.has_toggle_permission(request),
            "hold": self.address("hold"),
            "resume": self.address("resume"),
            "on_page": store_admin.place_on_page(request, ""),
        }
        return super().changelist_view(request, {**more, **(extra_context or {})})

    # ---- one task

    def get_object(self, request: HttpRequest, *args: Any, **named: Any) -> Any:
        """Return a task that is complete."""
        row = super().get_object(request, *args, **named)
        if row is not None:
            self.complete(request, [row])
            row.why = None if row.known is None else request.taskrunner.explain(row.name)
            row.waits = task_parts.waits(row)
        return row

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        obj: Any = None,
        **named: Any,
    ) -> Any:
        """Add the next slots, the last runs, advice, and the buttons."""
        if obj is not None and obj.known is not None:
            runner: TaskRunner = request.taskrunner
            toggle = {"disable": "Disable"} if obj.enabled else {"enable": "Enable"}
            context |= {
                "sees_runs": users.has(request.user, ["view_run"]),
                "last_runs": self._last_runs(runner, obj),
                "all_runs": f"{self._of_runs('changelist')}?task={obj.id}",
                "slots": task_parts.slots(runner, obj),
                "changes": task_parts.changes(obj),
                "disabled": task_parts.disabled(runner, obj),
                "held": task_parts.paused(runner),
                "advice": [obj.layout.local(each) for each in runner.advice(obj.known)],
                "list": self.address("changelist"),
                "buttons": self.buttons(request, {"run_now": "Run now", **toggle}),
                "on_page": store_admin.place_on_page(request, f"tasks/{obj.name}"),
                "defined_in": cells.origin(obj.source) if obj.source else "",
                "may_define": self.may_define(request),
            }
        return super().render_change_form(request, context, *args, obj=obj, **named)

    def _last_runs(self, runner: TaskRunner, row: Task) -> list[dict[str, Any]]:
        return [
            {
                "id": run.id,
                "place": self._of_runs("change", run.id),
                "state": state(run.state),
                "slot": when(row.layout, run.slot),
                "took": spelling.human(run.duration),
                "why": row.layout.local(run.reason or ""),
            }
            for run in runner.history(row.id, limit=LAST_RUNS)
        ]

    def _of_runs(self, view: str, *args: Any) -> str:
        return reverse(f"{self.admin_site.name}:{LABEL}_run_{view}", args=args)

    # ---- definitions

    def may_define(self, request: HttpRequest) -> bool:
        """Return whether the user may define tasks."""
        return users.may_define(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether a task may be added."""
        return self.may_define(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return whether the definition may be changed; `change_task` is to enable, disable and pause."""
        return self.may_define(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return whether a task may be removed."""
        return self.may_define(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return whether tasks may be seen."""
        return bool(request.user.has_perm(f"{LABEL}.view_task")) or self.may_define(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002
        """Return the fields of the form, or of a page without one."""
        return FIELDSETS if self.may_define(request) else self.fieldsets_without_form

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **named: Any
    ) -> Any:
        """Return the form that defines a task, with the library and the author that it needs."""
        if not self.may_define(request):
            return super().get_form(request, obj, change, **named)
        made = super().get_form(request, obj, change, **{**named, "form": TaskForm})
        made.taskrunner, made.author = request.taskrunner, author(request)
        return made

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:  # noqa: ARG002
        """Return the task: the form has written it, as a refusal of the library is a fault of the form."""
        row = Task.objects.get(name=form.written)
        self.complete(request, [row])
        for sentence in dict.fromkeys((row.told, *form.told)):
            self.message_user(request, f"{shown(row.name)}: {sentence}", messages.INFO)
        return row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """Write nothing: the form has."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """Write nothing: a task has no rows that belong to it."""

    @method_decorator(csrf_protect)
    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Remove a task, after a page that asks."""
        return self.opened(request, lambda: self._remove(request, object_id, extra_context or {}))

    def _remove(self, request: HttpRequest, object_id: str, more: dict[str, Any]) -> Any:
        row = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if request.method != "POST":
            context = {"title": f"Remove {row.name}?", "original": row, "opts": self.opts, **more}
            context["defined_in"] = cells.origin(row.source) if row.source else ""
            return self._page(request, "admin/taskrunner/task/remove.html", context)
        try:
            left = request.taskrunner.remove(row.id, by=author(request))
        except TaskRunnerError as exc:
            self.message_user(request, store_admin.refusal(row, exc), messages.ERROR)
            return HttpResponseRedirect(self.address("change", row.id))
        self.log_change(request, row, "removed")
        never = f"; {', '.join(left)} came after it and will not run any more" if left else ""
        self.message_user(
            request, f"{shown(row.name)} is removed; its history stays{never}", messages.SUCCESS
        )
        return HttpResponseRedirect(self.address("changelist"))

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> Any:
        request.current_app = self.admin_site.name
        whole = {**self.admin_site.each_context(request), "media": self.media, **context}
        return TemplateResponse(request, template, whole)

    # ---- actions

    def has_toggle_permission(self, request: HttpRequest) -> bool:
        """Return whether tasks may be enabled and disabled, and all runs paused."""
        return bool(request.user.has_perm(f"{LABEL}.change_task"))

    @admin.action(description="Run now", permissions=("run",))
    def run_now(self, request: HttpRequest, rows: Any) -> Any:
        """Start a run of each task."""
        runner, who = request.taskrunner, author(request)
        return self.to_each(
            request, rows, "started", lambda row: runner.run(row.id, detach=True, by=who)
        )

    @admin.action(description="Enable", permissions=("toggle",))
    def enable(self, request: HttpRequest, rows: Any) -> Any:
        """Let tasks come due again."""
        runner, who = request.taskrunner, author(request)
        return self.to_each(request, rows, "enabled", lambda row: runner.enable(row.id, by=who))

    @admin.action(description="Disable", permissions=("toggle",))
    def disable(self, request: HttpRequest, rows: Any) -> Any:
        """Let tasks come due no more."""
        runner, who = request.taskrunner, author(request)
        return self.to_each(request, rows, "disabled", lambda row: runner.disable(row.id, by=who))

    # ---- the pause

    def get_urls(self) -> list[Any]:
        """Return the addresses, with those of the pause."""
        views = {"hold": self.hold_view, "resume": self.resume_view}
        own = [
            path(f"{each}/", self.admin_site.admin_view(view), name=f"{LABEL}_task_{each}")
            for each, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def hold_view(self, request: HttpRequest) -> Any:
        """Pause all scheduled runs, after a page that asks for how long and why."""
        return self._pause(request, lambda: self._hold(request))

    def resume_view(self, request: HttpRequest) -> Any:
        """End the pause; the address alone, as after a login, only leads to the list."""
        if request.method != "POST":
            return HttpResponseRedirect(self.address("changelist"))
        return self._pause(request, lambda: self._resume(request))

    def _pause(self, request: HttpRequest, view: Any) -> Any:
        if not self.has_toggle_permission(request):
            raise PermissionDenied
        return self.opened(request, view)

    def _hold(self, request: HttpRequest) -> Any:
        form = HoldForm(request.POST or None)
        if form.is_valid():
            given = form.cleaned_data
            try:
                request.taskrunner.hold(
                    given["length"] or None, reason=given["reason"] or None, by=author(request)
                )
            except TaskRunnerError as exc:
                form.add_error("length" if given["length"] else None, project.by_manage(str(exc)))
            else:
                text = "scheduled runs are paused; runs by hand still work"
                self.message_user(request, text, messages.SUCCESS)
                return HttpResponseRedirect(self.address("changelist"))
        context = {"title": "Pause all scheduled runs", "form": form, "opts": self.opts}
        return self._page(request, "admin/taskrunner/task/hold.html", context)

    def _resume(self, request: HttpRequest) -> Any:
        request.taskrunner.resume(by=author(request))
        text = "resumed; runs missed during the pause follow each task's catch-up rule"
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.address("changelist"))
