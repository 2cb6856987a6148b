"""Common to the admin of tasks and of runs: the store that a page needs, bounded lists, and what users may.

Each page opens the home once. A store that cannot be read is a message of the page. All that changes anything is a call
of the library, in the name of the user of Django.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db import DatabaseError, connections
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_protect

from taskrunner import TaskRunner
from taskrunner.django import project, settings, users
from taskrunner.django.cells import NOTHING
from taskrunner.django.router import ALIAS, LABEL, PATIENCE
from taskrunner.errors import StateError, StoreBusy, TaskRunnerError, UnknownRun, UnknownTask, shown
from taskrunner.home import paths
from taskrunner.model.values import Run

ROWS = 50  # on a page of a list
LISTED = 10_000  # rows that a list counts and shows at most
AT_ONCE = 100  # rows that an action may change
LINKS = 10  # to the runs that an action has started
TOLD = 5  # refusals that are told one by one


def place_on_page(request: HttpRequest, path: str) -> str | None:
    """Return the address of a page of `taskrunner.django.urls`, None when it is not mounted, or not for the user."""
    if not users.has(request.user, users.SEES):
        return None
    try:
        return reverse("taskrunner:page", args=[path])
    except NoReverseMatch:
        return None


# ---- the store


def check_store(runner: TaskRunner) -> None:
    """Raise the reason why the store cannot be read."""
    if project.in_tests():  # the alias leads to their database, which they may not have declared
        raise StateError("in tests of the project the admin shows no tasks and runs")
    if not os.path.exists(paths.path(runner.home, paths.STORE)):
        runner.now()  # raises for a home that is refused
        raise StateError(
            f"there is no database in {shown(runner.home)}: `manage.py migrate` makes it from the tasks defined in code, "
            "`manage.py taskrunner add` with a first task, and `manage.py taskrunner restore` from a backup"
        )
    # By this connection first, as it waits for a shorter time than the library.
    with reading(), connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1 FROM tasks LIMIT 1")
    runner.held()  # raises for a home that is refused, and for a newer store


def opened() -> TaskRunner:
    """Return the library over the home of the project; a page does not wait long for a locked database."""
    return TaskRunner(settings.read().home, patience=timedelta(seconds=PATIENCE))


def _is_readable() -> bool:
    with contextlib.suppress(TaskRunnerError), opened() as runner:
        check_store(runner)
        return True
    return False


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn errors of the database of taskrunner into ours."""
    try:
        yield
    except DatabaseError as exc:
        place = shown(connections[ALIAS].settings_dict["NAME"])
        kind = StoreBusy if "locked" in str(exc) else StateError
        raise kind(f"the database {place} cannot be read: {exc}") from exc


class Bounded(Paginator):
    """Pages of the first `LISTED` rows: their ids are read once, so that the last page costs as much as the first."""

    @cached_property
    def keys(self) -> list[int]:
        """The ids of the rows in their order."""
        return list(self.object_list.values_list("pk", flat=True)[:LISTED])

    @cached_property
    def count(self) -> int:
        """The number of rows, or the bound: counting a million would take longer than showing some."""
        return len(self.keys)

    def page(self, number: int) -> Page:
        """Return the rows of a page."""
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        keys = self.keys[first : first + self.per_page]
        rows = self.object_list.model.objects.in_bulk(keys)
        return self._get_page([rows[key] for key in keys if key in rows], number, self)


class Searched(Bounded):
    """Pages of the search as one types, whose answer has no place for a message: none of a store that cannot be read."""

    @cached_property
    def keys(self) -> list[int]:
        """The ids of the rows in their order."""
        with contextlib.suppress(DatabaseError):
            return super().keys
        return []

    def page(self, number: int) -> Page:
        """Return the rows of a page."""
        with contextlib.suppress(DatabaseError):
            return super().page(number)
        return self._get_page([], number, self)


class Listed(ChangeList):
    """A list whose rows are read at once, and completed by the library."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        """Read a page of rows."""
        with reading():
            super().get_results(request)
            self.result_list = list(self.result_list)
        if not self.query and not self.get_filters_params():
            self.full_result_count = self.result_count  # else it offers to show all of all
        self.bound = LISTED if self.result_count >= LISTED else None
        self.model_admin.complete(request, self.result_list)


class StoreAdmin(admin.ModelAdmin):
    """The admin of one table of the store."""

    list_per_page = ROWS
    list_max_show_all = ROWS
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each would count all rows
    actions_selection_counter = True
    empty_value_display = NOTHING

    class Media:
        """The signs and colours of states."""

        css = {"all": ("taskrunner/admin.css",)}  # noqa: RUF012  the form is Django's

    def complete(self, request: HttpRequest, rows: list[Any]) -> None:
        """Add to each row what its cells show beside its columns."""
        raise NotImplementedError

    # ---- pages

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list, or why it cannot be shown; an action with its buttons comes here, too."""
        return self.opened(request, partial(super().changelist_view, request, extra_context))

    @method_decorator(csrf_protect)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        """Show one row, or a form; without the transaction of Django, as the library has its own."""
        view = partial(self._changeform_view, request, object_id, form_url, extra_context)
        return self.opened(request, view)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Show the changes that were made here."""
        return self.opened(
            request, partial(super().history_view, request, object_id, extra_context)
        )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:  # noqa: ARG002
        """Refuse to remove a row: that of Django would look for it first, in a store that is not open."""
        raise PermissionDenied

    def opened(self, request: HttpRequest, view: Callable[[], Any]) -> Any:
        """Return the answer of a view, for which `request.taskrunner` is open; or the reason there is none."""
        try:
            with opened() as runner:
                check_store(runner)
                request.taskrunner = runner
                answer = view()
                # Rows are read by the template, too.
                return answer.render() if isinstance(answer, TemplateResponse) else answer
        except (UnknownRun, UnknownTask) as exc:
            raise Http404(str(exc)) from exc
        except TaskRunnerError as exc:
            return self._unavailable(request, exc)

    def _unavailable(self, request: HttpRequest, exc: TaskRunnerError) -> TemplateResponse:
        if not self.has_view_or_change_permission(request):
            sentence = "tasks and runs cannot be shown now"
        else:
            sentence = project.by_manage(str(exc))
        context = {
            **self.admin_site.each_context(request),
            "title": "taskrunner",
            "sentence": sentence,
            "opts": self.opts,
        }
        template = "admin/taskrunner/unavailable.html"
        return TemplateResponse(request, template, context, status=503)

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ARG002
        """Return the kind of list."""
        return Listed

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows; none where a view of Django, such as the search as one types, has not opened the store."""
        found = super().get_queryset(request)
        return found if hasattr(request, "taskrunner") or _is_readable() else found.none()

    def get_paginator(self, request: HttpRequest, *args: Any, **named: Any) -> Paginator:
        """Return the pages of some rows; those of a list tell why the store cannot be read."""
        kind = Bounded if hasattr(request, "taskrunner") else Searched
        return kind(*args, **named)

    def get_object(self, *args: Any, **named: Any) -> Any:
        """Return a row by its id, None when there is none."""
        with reading():
            return super().get_object(*args, **named)

    def message_user(self, request: HttpRequest, message: str, *args: Any, **named: Any) -> None:
        """Tell the user a sentence; commands in it are those of `manage.py`."""
        said = message if isinstance(message, SafeString) else project.by_manage(message)
        super().message_user(request, said, *args, **named)

    # ---- permissions: some are custom ones of the models

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Return whether a row may be added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return whether the definition may be changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return whether a row may be removed."""
        return False

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Return whether a run may be started."""
        return bool(request.user.has_perm(f"{LABEL}.run_task"))

    # ---- actions

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Return the actions of a place, without that of Django which would delete rows by the ORM."""
        # Only Django 6.1 and later know places.
        where = {} if action_location is None else {"action_location": action_location}
        actions = super().get_actions(request, **where)
        actions.pop("delete_selected", None)
        return actions

    def to_each(
        self, request: HttpRequest, rows: Any, done: str, change: Callable[[Any], object]
    ) -> HttpResponseRedirect | None:
        """Change each of some rows by the library, and tell the number and the refusals.

        Returns where to go when the button was that of a page of one row, None for the list.
        """
        with reading():
            chosen = list(rows[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(
                request, f"select at most {AT_ONCE} at a time: nothing was done", messages.ERROR
            )
            return None
        made, refused = list[object](), list[str]()
        for row in chosen:
            try:
                made.append(change(row))
            except TaskRunnerError as exc:
                refused.append(refusal(row, exc))
                continue
            self.log_change(request, row, done)
        if made:
            told = format_html("{}: {}", done, _counted(len(made), self.opts))
            self.message_user(request, told + self._links(request, made), messages.SUCCESS)
        for text in refused[:TOLD]:
            self.message_user(request, text, messages.ERROR)
        if len(refused) > TOLD:
            text = f"and {len(refused) - TOLD} more were refused"
            self.message_user(request, text, messages.ERROR)
        if "_one" in request.POST and len(chosen) == 1:
            return HttpResponseRedirect(self.address("change", chosen[0].pk))
        return None

    def _links(self, request: HttpRequest, made: list[object]) -> SafeString:
        """Return links to the runs that an action has started; nothing for users without `view_run`."""
        runs = [each for each in made if isinstance(each, Run)]
        if not runs or not users.has(request.user, ["view_run"]):
            return SafeString()
        name = f"{self.admin_site.name}:{LABEL}_run_change"
        links = [(reverse(name, args=[run.id]), run.id) for run in runs[:LINKS]]
        return format_html(" ({})", format_html_join(", ", '<a href="{}">run {}</a>', links))

    def buttons(self, request: HttpRequest, names: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the actions among some that the user may do, with their labels."""
        offered = self.get_actions(request)
        return [(name, label) for name, label in names.items() if name in offered]

    def address(self, view: str, *args: Any) -> str:
        """Return the address of a view of this admin."""
        name = f"{self.admin_site.name}:{LABEL}_{self.opts.model_name}_{view}"
        return reverse(name, args=args)


def refusal(row: Any, exc: TaskRunnerError) -> str:
    """Return a refusal that begins with its row, once, and in quotes: messages of the admin begin with a capital."""
    said, named = str(exc), str(row)
    rest = said.removeprefix(f"{named} ")
    return f"{shown(named)}: {said}" if rest == said else f"{shown(named)} {rest}"


def _counted(count: int, opts: Any) -> str:
    return f"{count} {opts.verbose_name if count == 1 else opts.verbose_name_plural}"
