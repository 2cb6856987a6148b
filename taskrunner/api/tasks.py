"""Calls for tasks: add, change, enable, disable, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskrunner.api.base import Base, at_most, author
from taskrunner.errors import (
    DuplicateTask,
    InputError,
    StateError,
    TaskBusy,
    UnknownTask,
    shown,
)
from taskrunner.home import config
from taskrunner.model.values import Kind, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Unpack

    from taskrunner.schedule.kinds import Schedule
    from taskrunner.store.open_home import OpenHome
    from taskrunner.tasks.options import Options

# No text as the bound: Python 3.14 imports `annotationlib` to keep one.
Function = TypeVar("Function", bound=Callable[..., Any])


class Tasks(Base):
    """The requests about tasks."""

    def add(
        self,
        name: str,
        command: Sequence[str] | None = None,
        schedule: Schedule | None = None,
        *,
        shell: str | None = None,
        tz: str | None = None,
        now: bool = False,
        replace: bool = False,
        by: str | None = None,
        **given: Unpack[Options],
    ) -> Task:
        """Add a task and return it.

        `command` is an argv; `shell` a text for /bin/sh instead. `now` also makes a run due at once. `replace`
        redefines a task of that name; if the schedule is the same, no slot is lost or repeated. `by` is the
        author of the change for the record, unless it is the user of this process. Raises InputError for a bad value,
        DuplicateTask when the name is taken, HomeRefused and StoreRefused.
        """
        from taskrunner.tasks import change, columns
        from taskrunner.tasks.taskfile import Definition

        if schedule is None:
            raise InputError(
                f"the task {shown(name)} has no schedule: give one of Cron, Every, On, At, After, Boot, Manual"
            )
        moment, here, who = self.now(), self._here(), author(by)
        given_task = Definition(name, None, schedule, command, shell, tz, now, given=given)
        draft = change.draft(here.config, given_task, self._usual(schedule), moment)
        old = self._find(name) if replace else None
        if old is None or change.moved(draft, old):
            columns.check_new(here.store, name, draft.whole, now, moment)
        if old is not None and not change.of_old(here.store, draft, old, moment, now=now):
            return old
        here = self._here(create=True)  # after all checks, so that nothing is half-written
        with here.store.transaction():
            group = draft.values["group"], draft.values["group_limit"]
            columns.check_group(here.store, name, *group)
            old = self._find(name) if replace else None
            if old is None:
                (key,) = change.add(here, [change.of_new(here.store, draft, moment)], moment, who)
            else:
                key = old.id
                values = change.of_old(here.store, draft, old, moment, now=now)
                change.change(here, old, values, moment, who)
            return here.store.tasks.get(key)

    def set(
        self,
        name: str | int,
        *,
        rename: str | None = None,
        command: Sequence[str] | None = None,
        shell: str | None = None,
        schedule: Schedule | None = None,
        tz: str | None = None,
        now: bool = False,
        by: str | None = None,
        **given: Unpack[Options],
    ) -> Task:
        """Change the given options of a task and return it; a new schedule or zone counts from now on.

        `rename` is its new name; `by` as with `add`. Raises InputError, UnknownTask or DuplicateTask.
        """
        from taskrunner.tasks import change, columns, options, readers

        here, who = self._here(), author(by)
        values = options.read(given)
        moment = here.now()
        with here.store.transaction():
            task = here.store.tasks.get(name)
            if rename is not None:
                values["name"] = readers.name(rename)
            values |= self._new_work(task, rename or task.name, command, shell, values)
            values = options.without_leftovers(values)
            options.agree({**{key: getattr(task, key) for key in options.OPTIONS}, **values})
            columns.check_account(values.get("user"))
            columns.check_mailer(here.config, values)
            columns.check_queue(here.config, values.get("queue"))
            columns.check_group(
                here.store, task.name, values.get("group"), values.get("group_limit")
            )
            if schedule is not None or tz is not None:
                values |= self._new_timing(here, task, schedule, tz, now, moment)
            if now:
                columns.check_enabled(task, values)
                values["requested"] = moment
            if values:
                change.change(here, task, values, moment, who)
            if rename is not None:
                here.store.tasks.rename_parent(task.name, rename)
            return here.store.tasks.get(task.id)

    def _new_work(
        self,
        task: Task,
        name: str,
        command: Sequence[str] | None,
        shell: str | None,
        given: dict[str, Any],
    ) -> dict[str, Any]:
        """Return the changed columns when a task is to run another command."""
        from taskrunner.tasks import columns, options

        if command is None and shell is None and not given.keys() & {*options.PYTHON}:
            columns.check_python(columns.kind_of_work(task), given)
            return {}
        found = columns.work(name, command, shell, given)
        columns.check_code(found["code"], given.get("interpreter", task.interpreter), name)
        return found

    def _new_timing(
        self,
        here: OpenHome,
        task: Task,
        given: Schedule | None,
        tz: str | None,
        now: bool,
        moment: datetime,
    ) -> dict[str, Any]:
        from taskrunner.schedule import kinds
        from taskrunner.tasks import columns

        if given is None:
            given = kinds.parse(
                task.kind, task.schedule, tz=tz, anchor=task.anchor, from_finish=task.from_finish
            )
        whole = columns.completed(here.config, given, tz, moment, task.tz)
        columns.check_new(here.store, task.name, whole, now, moment)
        return columns.timing(here.store, whole, moment, task.evaluated) | columns.revived(task)

    def _find(self, name: str) -> Task | None:
        try:
            return self._here().store.tasks.get(name)
        except UnknownTask:
            return None

    @overload
    def task(self, name: str | int) -> Task: ...  # type: ignore[overload-overlap]

    @overload
    def task(
        self,
        name: str | None = None,
        *,
        schedule: Schedule | None = None,
        every: str | None = None,
        cron: str | None = None,
        on: str | None = None,
        at_time: str | None = None,
        at: str | None = None,
        after: str | None = None,
        boot: bool = False,
        manual: bool = False,
        tz: str | None = None,
        now: bool = False,
        **given: Unpack[Options],
    ) -> Callable[[Function], Function]: ...

    def task(
        self,
        name: str | int | None = None,
        *,
        schedule: Schedule | None = None,
        every: str | None = None,
        cron: str | None = None,
        on: str | None = None,
        at_time: str | None = None,
        at: str | None = None,
        after: str | None = None,
        boot: bool = False,
        manual: bool = False,
        tz: str | None = None,
        now: bool = False,
        **given: Unpack[Options],
    ) -> Task | Callable[[Function], Function]:
        """Return a task by name or id; or, with a schedule, decorate a function that becomes a task.

            @runner.task(every="1d")
            def clean(): ...

        The task has the name of the function unless `name` is given, and the options of `add`; unless they are given,
        its interpreter is this one and its directory the folder that the module is imported from. It is added if it
        is new, and changed if its definition differs; `now` counts only if it is new. Inside a run nothing is added.
        Raises InputError for a function that other processes cannot import, DuplicateTask for the name of another task,
        and without a schedule UnknownTask.
        """
        said = {"every": every, "cron": cron, "on": on, "at": at, "after": after, "boot": boot}
        said |= {"manual": manual}
        other = (schedule, tz, at_time, *said.values())
        bare = all(each in (None, False) for each in other) and not given
        if bare and isinstance(name, str | int):
            return self._here().store.tasks.get(name)
        from taskrunner.tasks import columns

        when = columns.schedule_of(schedule, said, at_time)
        if when is None:
            raise InputError('a task needs a schedule: write @runner.task(every="1d")')

        def made(function: Function) -> Function:
            self._add_function(function, name, when, tz, now, given)
            return function

        return made

    def _add_function(
        self,
        function: Callable[..., Any],
        name: object,
        when: Schedule,
        tz: str | None,
        now: bool,
        given: Options,
    ) -> None:
        """Add a function as a task, unless it is that task already."""
        from taskrunner.home import program
        from taskrunner.tasks import python, readers

        spelled = python.spelled(function)
        wanted = readers.name(function.__name__ if name is None else name)
        if config.inside_run():  # a run may have another home and another user
            return
        old = self._find(wanted)
        if old is not None and old.python != spelled:
            runs = f"runs {old.python}" if old.python else "is not a function"
            raise DuplicateTask(
                f"there is already a task {shown(wanted)}, which {runs} and not {spelled}: "
                "give this one another name, or remove that task"
            )
        own: Options = {"interpreter": program.interpreter(), "cwd": python.folder(function)}
        given = {**own, **given, "python": spelled}
        self.add(wanted, None, when, tz=tz, now=now and old is None, replace=True, **given)

    def tasks(
        self,
        *,
        kind: str | Sequence[str] | None = None,
        like: str | None = None,
        enabled: bool | None = None,
        failing: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """Return all tasks by name, or those with all that is given.

        `kind` is a kind of schedule, or several; `like` a text in the name, in capitals or not; `failing` ones have a
        last run that failed, timed out or was lost. A page has at most `limit` tasks, and the name of its last is the
        `after` of the next page. Raises InputError.
        """
        kinds = [kind] if isinstance(kind, str) else kind
        for each in kinds or ():
            if each not in list(Kind):
                raise InputError(
                    f"{shown(each)} is not a kind of schedule: use one of {', '.join(Kind)}"
                )
        return self._here().store.tasks.page(
            kinds=kinds,
            like=like,
            enabled=enabled,
            failing=failing,
            after=after,
            limit=at_most(limit, "tasks"),
        )

    def defaults(self) -> dict[str, Any]:
        """Return the default options of a task: the config's `defaults`, else ours."""
        from taskrunner.tasks import options

        return {**options.DEFAULTS, **self._here().config.defaults}

    def _usual(self, given: Schedule | None) -> dict[str, Any]:
        from taskrunner.schedule import kinds
        from taskrunner.tasks import options

        return options.usual(self._here().config.defaults, after=isinstance(given, kinds.After))

    def advice(self, task: Task) -> list[str]:
        """Return advice about a valid task, one sentence each."""
        from taskrunner import host
        from taskrunner.report import status
        from taskrunner.schedule import describe, of_task
        from taskrunner.schedule.kinds import At, Boot, Cron, Every
        from taskrunner.tasks import obstacles

        settings = self._here().config
        found = obstacles.obstacles(task, settings) + obstacles.untold(task, settings)
        problem = status.problem(task)
        if problem is not None:
            return [*found, f"{task.name} cannot be evaluated: {problem}"]
        value = of_task.value_of(task)
        if isinstance(value, Every) and (rare := status.too_often(self.home, value.length.seconds)):
            found.append(rare)
        if isinstance(value, At) and value.note:
            found.append(value.note)
        if isinstance(value, Cron) and (either := describe.either(value.meaning)):
            found.append(either)
        if isinstance(value, Boot) and host.in_container():
            found.append(status.boot_of_container(self.home))
        return found

    def enable(self, name: str | int, *, by: str | None = None) -> Task:
        """Start scheduling a task again, from now on: missed slots are not caught up. `by` as with `add`."""
        from taskrunner.schedule import of_task
        from taskrunner.schedule.kinds import At
        from taskrunner.tasks import change, columns

        here, who = self._here(), author(by)
        with here.store.transaction():
            task = here.store.tasks.get(name)
            if task.enabled:
                return task
            value = of_task.value_of(task)
            if isinstance(value, At) and value.instant <= here.now():
                raise StateError(
                    f"the one slot of {task.name}, {task.schedule}, has passed: "
                    f"`taskrunner set {task.name} --at WHEN` gives it another time"
                )
            timing = columns.timing(here.store, value, here.now(), task.evaluated)
            change.change(here, task, {**timing, "enabled": True}, here.now(), who)
            return here.store.tasks.get(task.id)

    def disable(self, name: str | int, *, by: str | None = None) -> Task:
        """Stop scheduling a task; a running run goes on, a pending one is skipped. `by` as with `add`."""
        from taskrunner.tasks import change

        here, who = self._here(), author(by)
        with here.store.transaction():
            task = here.store.tasks.get(name)
            if not task.enabled:
                return task
            change.change(here, task, {"enabled": False, "requested": None}, here.now(), who)
            return here.store.tasks.get(task.id)

    def remove(self, name: str | int, *, force: bool = False, by: str | None = None) -> list[str]:
        """Remove a task, and return the names of the tasks that ran after it and will not run any more.

        Its history stays under its name. Raises TaskBusy while a run of it is live, unless `force`, which cancels that. `by`
        as with `add`.
        """
        from taskrunner.decide.policy import named
        from taskrunner.tasks import change
        from taskrunner.tick import by_hand

        here, who = self._here(), author(by)
        task = here.store.tasks.get(name)
        if force:
            going = [run.id for run in here.store.runs.live(task.id)]
            by_hand.cancel(here, going, f"{task.name} was removed")
        with here.store.transaction():
            if not force and (live := here.store.runs.live(task.id)):
                raise TaskBusy(
                    f"{task.name} is not removed: {named(live)} has not ended; wait for its end, or cancel it",
                    force="removes the task and cancels that run",
                )
            change.remove(here, task, here.now(), who)
            return [follower.name for follower in here.store.tasks.followers(task.name)]

    def describe(self, task: Task) -> str:
        """Return the schedule of a task in words, or its fault."""
        from taskrunner.report import status
        from taskrunner.schedule import of_task

        return status.problem(task) or of_task.value_of(task).describe()
