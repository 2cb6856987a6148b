"""The one door: everything taskrunner can do, for the command line, for web applications and for strangers.

    runner = TaskRunner()
    runner.add("report", ["/opt/report.sh"], Every("1d"))
    runner.tick()
    for run in runner.history("report"):
        print(run.slot, run.state)

Here a request is checked and put into words of the model; the work is done in the rooms below.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Self, Unpack

from taskrunner import (
    by_hand,
    claim,
    clock,
    command,
    config,
    definition,
    home,
    options,
    outlook,
    schedule,
    zone,
)
from taskrunner import daemon as loop
from taskrunner import tick as visits
from taskrunner.errors import InputError, StateError, TaskBusy, UnknownTask, shown
from taskrunner.model import LIVE, Event, Run, State, Status, Task, Upcoming
from taskrunner.opened import OpenHome
from taskrunner.options import Options
from taskrunner.policy import Decision, named
from taskrunner.schedule import At, Every, Schedule
from taskrunner.store import MISSING, id_of, open_store


class TaskRunner:
    """One taskrunner in one home; a context manager.

    `home` is a path; without it $TASKRUNNER_HOME, else the user's default. `clock` returns an aware datetime
    and stands in for the wall clock, for tests.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Remember where; nothing is opened or made before the first request."""
        self.home = find_home(home)
        self._clock = clock or wall_clock
        self._opened: OpenHome | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close the store; a later request opens it again."""
        if self._opened is not None:
            self._opened.store.close()
            self._opened = None

    def _here(self, *, create: bool = False) -> OpenHome:
        """Return the opened home; a store that does not exist is an empty one until it has to be made."""
        if self._opened is None or self._opened.store.place == MISSING:
            home.check(self.home)
            settings = config.load(self.home)
            store = open_store(
                self.home,
                create=create,
                synchronous=settings.synchronous,
                network=settings.allow_network_home,
            )
            self._opened = OpenHome(self.home, store, settings, self._clock)
        return self._opened

    # ---- tasks

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
        **given: Unpack[Options],
    ) -> Task:
        """Add a task and return it.

        `command` is an argv; `shell` a text for /bin/sh instead. `now` makes a first run due at once. `replace`
        redefines a task of that name, and keeps its place in time when the schedule is the same. Raises
        InputError for a bad value, DuplicateTask when the name is taken, HomeRefused and StoreRefused.
        """
        values = {
            **options.read({**options.DEFAULTS, **given}),
            **definition.work(name, command, shell),
        }
        options.agree(values)
        if schedule is None:
            raise InputError(
                f"the task {shown(name)} has no schedule: give one of Cron, Every, At, After, Boot, Manual"
            )
        moment = self.now()
        whole = definition.completed(self._here(), schedule, tz, moment)
        definition.check_account(values.get("user"))
        if not (replace and definition.same_schedule(self._find(name), schedule, whole)):
            definition.check_new(self._here(), name, whole, now, moment)
        here = self._here(create=True)  # only now that all is checked: nothing is half-written
        with here.store.transaction():
            old = self._find(name) if replace else None
            if not definition.same_schedule(old, schedule, whole):
                values |= definition.timing(whole, moment) | (
                    definition.revived(old) if old else {}
                )
            if now:
                values["requested"] = moment
            if old is None:
                key = here.store.add_task({"enabled": True, "created": moment, **values})
            else:
                key = old.id
                here.store.change_task(key, **values)
            self._note("changed" if old else "added", key, f"{whole.kind} {whole.text}".strip())
            return here.store.task(key)

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
        **given: Unpack[Options],
    ) -> Task:
        """Change what is given of a task and return it; a new schedule or zone counts from now on.

        `rename` is its new name. Raises InputError, UnknownTask or DuplicateTask.
        """
        here = self._here()
        values = options.read(given)
        moment = here.now()
        with here.store.transaction():
            task = here.store.task(name)
            if rename is not None:
                values["name"] = options.name(rename)
            if command is not None or shell is not None:
                values |= definition.work(rename or task.name, command, shell)
            values = options.without_leftovers(values)
            options.agree({**{key: getattr(task, key) for key in options.READERS}, **values})
            definition.check_account(values.get("user"))
            if schedule is not None or tz is not None:
                values |= self._new_timing(here, task, schedule, tz, now, moment)
            if now:
                definition.check_enabled(task, values)
                values["requested"] = moment
            if values:
                here.store.change_task(task.id, **values)
                self._note("changed", task.id, ", ".join(sorted(definition.told(values))))
            if rename is not None:
                here.store.rename_parent(task.name, rename)
            return here.store.task(task.id)

    def _new_timing(
        self,
        here: OpenHome,
        task: Task,
        given: Schedule | None,
        tz: str | None,
        now: bool,
        moment: datetime,
    ) -> dict[str, Any]:
        if given is None:
            given = schedule.parse(
                task.kind, task.schedule, tz=tz, anchor=task.anchor, from_finish=task.from_finish
            )
        whole = definition.completed(here, given, tz, moment, task.tz)
        definition.check_new(here, task.name, whole, now, moment)
        return definition.timing(whole, moment) | definition.revived(task)

    def _find(self, name: str) -> Task | None:
        try:
            return self._here().store.task(name)
        except UnknownTask:
            return None

    def _note(self, what: str, key: int, text: str | None = None) -> None:
        here = self._here()
        here.store.note(Event(here.now(), what, command.account(None)[0], text=text), key)

    def task(self, name: str | int) -> Task:
        """Return a task by name or id; raises UnknownTask."""
        return self._here().store.task(name)

    def tasks(self) -> list[Task]:
        """Return all tasks, by name."""
        return self._here().store.tasks()

    def advice(self, task: Task) -> list[str]:
        """Return what a person should know about a task that is not wrong, one sentence each."""
        found = command.warnings(task, self._here().config)
        problem = outlook.problem(task)
        if problem is not None:
            return [*found, f"{task.name} cannot be evaluated: {problem}"]
        value = claim.value_of(task)
        if isinstance(value, Every) and 0 < value.length.seconds < 60:
            found.append(
                "cron ticks once a minute: an interval under a minute needs `taskrunner daemon`"
            )
        if isinstance(value, At) and value.note:
            found.append(value.note)
        return found

    def enable(self, name: str | int) -> Task:
        """Let a task come due again, from now on: slots that passed meanwhile are not made up for."""
        here = self._here()
        with here.store.transaction():
            task = here.store.task(name)
            if task.enabled:
                return task
            value = claim.value_of(task)
            if isinstance(value, At) and value.instant <= here.now():
                raise StateError(
                    f"the one slot of {task.name}, {task.schedule}, has passed: give it another with set --at"
                )
            here.store.change_task(task.id, enabled=True, **definition.timing(value, here.now()))
            self._note("enabled", task.id)
            return here.store.task(task.id)

    def disable(self, name: str | int) -> Task:
        """Let a task come due no more; what runs goes on, what waits is skipped."""
        here = self._here()
        with here.store.transaction():
            task = here.store.task(name)
            if not task.enabled:
                return task
            here.store.change_task(task.id, enabled=False, requested=None)
            self._skip_pending(here, task, f"{task.name} was disabled")
            self._note("disabled", task.id)
            return here.store.task(task.id)

    def _skip_pending(self, here: OpenHome, task: Task, reason: str) -> None:
        for run in here.store.live(task.id):
            if run.state is State.PENDING:
                claim.finish(here, run, State.SKIPPED, reason, here.now())

    def remove(self, name: str | int, *, force: bool = False) -> list[str]:
        """Remove a task, and return the names of those that come after it and now never will.

        Its history stays, by its name. Raises TaskBusy while a run of it is live, unless `force`, which cancels.
        """
        here = self._here()
        task = here.store.task(name)
        live = here.store.live(task.id)
        if live and force:
            by_hand.cancel(here, [run.id for run in live], f"{task.name} was removed")
        elif live:
            raise TaskBusy(
                f"{task.name} is not removed: {named(live)} has not ended; wait, cancel it, or use --force"
            )
        with here.store.transaction():
            self._skip_pending(here, task, f"{task.name} was removed")
            here.store.change_task(task.id, enabled=False, removed=here.now())
            self._note("removed", task.id)
            return [follower.name for follower in here.store.followers(task.name)]

    # ---- what comes

    def next(
        self,
        name: str | int | None = None,
        *,
        count: int | None = None,
        until: datetime | None = None,
    ) -> list[Upcoming]:
        """Return the next slots of a task, or of all together, soonest first.

        `count` is 5 unless `until` is given. A task that is disabled has none.
        """
        return outlook.upcoming(self._here(), name, _count(count, until), _utc(until))

    def upcoming(
        self,
        given: Schedule,
        *,
        tz: str | None = None,
        since: datetime | None = None,
        count: int | None = None,
        until: datetime | None = None,
    ) -> list[Upcoming]:
        """Return the next slots of a schedule that is in no store, from `since` or now on."""
        start = _utc(since) or self.now()
        whole = definition.completed(self._here(), given, tz, start)
        first = whole.next_after(
            start - clock.MILLISECOND
        )  # a slot at this very instant is meant too
        return list(islice(outlook.walk(None, whole, first, _utc(until)), _count(count, until)))

    # ---- runs

    def history(
        self,
        name: str | int | None = None,
        *,
        state: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 20,
    ) -> list[Run]:
        """Return runs, newest first; also those of a task that was removed. Raises UnknownTask or InputError."""
        here = self._here()
        if name is not None and not here.store.ids_ever(name):
            here.store.task(name)  # which is not there, and says so
        wanted = None if state is None else _state(state)
        return here.store.history(
            name,
            state=wanted,
            since=_utc(since),
            until=_utc(until),
            limit=_limit(limit),
        )

    def run_of(self, key: str | int) -> Run:
        """Return a run by its id, or the newest of a task by name; raises UnknownRun or UnknownTask."""
        here = self._here()
        number = id_of(key)
        if number is not None:
            return here.store.run(number)
        for run in self.history(key, limit=1):
            return run
        raise StateError(f"{key} has no runs yet: `taskrunner next {key}` tells when it is due")

    def log(self, run: Run, *, follow: bool = False) -> Iterator[bytes]:
        """Give the output of a run in pieces; with `follow` as it grows, b"" when there is nothing new yet."""
        return (
            by_hand.follow(self._here(), run.id) if follow else by_hand.read(self._here(), run.id)
        )

    def output(self, run: Run) -> bytes:
        """Return the output of a run as far as it has come."""
        return b"".join(self.log(run))

    def run(
        self,
        name: str | int,
        *,
        echo: Callable[[bytes], object] = lambda _: None,
        slot: datetime | None = None,
        force: bool = False,
        detach: bool = False,
    ) -> Run:
        """Run a task now, also when it is disabled, and return the run.

        It returns when the run has ended, its output having gone to `echo`; with `detach` at once. `slot` does
        an older slot again. Obeys the task's overlap unless `force`; raises TaskBusy.
        """
        here = self._here()
        task, slot = here.store.task(name), _utc(slot)
        if not detach:
            return by_hand.run(here, task, echo, slot=slot, force=force)
        with here.store.transaction():
            asked, _ = by_hand.request(here, task, slot, here.now(), force=force)
        by_hand.start_tick(here)
        return asked

    def cancel(self, key: str | int, *, reason: str | None = None) -> list[Run]:
        """End a run by its id, or all live runs of a task by name, and return them; waits until they have ended.

        Raises StateError when there is nothing to end.
        """
        here = self._here()
        number = id_of(key)
        if number is not None:
            found = [here.store.run(number)]
        else:
            found = here.store.live(here.store.task(key).id)
        live = [run.id for run in found if run.state in LIVE]
        if not live:
            told = f"{named(found)} has ended already" if found else f"no run of {key} is live"
            raise StateError(f"there is nothing to cancel: {told}")
        return by_hand.cancel(here, live, reason or f"cancelled by {command.account(None)[0]}")

    # ---- the clock

    def tick(self, *, task: str | int | None = None, caller: str = "library") -> visits.Visit:
        """Do one visit of the clock; returns when everything it started has ended.

        With `task`, a name or id, only that task is looked at. A home without a store has nothing to do. Raises
        StoreBusy, StoreRefused, HomeRefused, LockHeld, UnknownTask.
        """
        here = self._here()
        only = None if task is None else here.store.task(task)
        if here.store.place == MISSING:
            return visits.Visit(here.now(), idle=True)
        return visits.tick(here, caller=caller, only=only)

    def dry_run(
        self, *, at: datetime | None = None, task: str | int | None = None
    ) -> tuple[datetime, list[Decision]]:
        """Return the instant, and what a tick then would decide, slot by slot; writes nothing."""
        here = self._here()
        moment = _utc(at) or here.now()
        return moment, visits.dry_run(here, moment, None if task is None else here.store.task(task))

    def status(self) -> Status:
        """Return how things stand."""
        return outlook.status(self._here())

    def moment(self, text: str, tz: str | None = None) -> datetime:
        """Return the instant that a text means: ISO 8601, `now`, `+30m` or `-2h`; without offset in `tz`."""
        here = self._here()
        return schedule.moment(text, tz=tz or config.default_zone(here.config), now=here.now())

    def daemon(
        self,
        *,
        interval: timedelta,
        grace: timedelta,
        say: Callable[[str], None] = lambda _: None,
        verbose: bool = False,
    ) -> None:
        """Tick every `interval` until TERM or INT; then let what runs end within `grace`, and return.

        `say` is called with a sentence when something goes wrong, with `verbose` also when it goes well. Makes
        the store when there is none.
        """
        loop.daemon(self._here(create=True), interval, grace, say, verbose=verbose)

    def describe(self, task: Task) -> str:
        """Return the schedule of a task in words, or what is wrong with it."""
        return outlook.problem(task) or claim.value_of(task).describe()

    def default_zone(self) -> str:
        """Return the zone of tasks that name none."""
        return config.default_zone(self._here().config)

    def now(self) -> datetime:
        """Return this instant by the clock in use."""
        return self._here().now()


def find_home(given: str | os.PathLike[str] | None) -> str:
    """Return the path of the home."""
    return home.find(None if given is None else os.fspath(given))


def wall_clock() -> datetime:
    """Return this instant."""
    return clock.now()


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as exc:
        raise InputError(
            f"{shown(text)} is no state of a run: use one of {', '.join(State)}"
        ) from exc


def _limit(limit: Any) -> int:
    """Return how many rows at most, as SQLite has it: -1 for no limit."""
    if limit is None:
        return -1
    if not isinstance(limit, int) or limit < 1:
        raise InputError(f"{shown(limit)} is no count of runs: give 1 or more, or None for all")
    return limit


def _count(count: int | None, until: datetime | None) -> int | None:
    if count is not None and count < 1:
        raise InputError(f"{count} is no count of slots: give 1 or more")
    return count if count is not None or until is not None else 5


def _utc(moment: datetime | None) -> datetime | None:
    """Return an aware datetime in UTC; raises MomentError for one without a zone."""
    return None if moment is None else zone.utc(moment)
