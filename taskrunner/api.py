"""The one door: everything taskrunner can do, for the command line, for web applications and for strangers.

    runner = TaskRunner()
    runner.add("report", ["/opt/report.sh"], Every("1d"))
    runner.tick()
    for run in runner.history("report"):
        print(run.slot, run.state)

Here a request is checked and put into words of the model; the work is done in the rooms below.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from types import TracebackType
from typing import Any, Self, Unpack

from taskrunner import (
    by_hand,
    claim,
    clock,
    command,
    config,
    heartbeat,
    home,
    options,
    schedule,
    zone,
)
from taskrunner import daemon as loop
from taskrunner import tick as visits
from taskrunner.errors import InputError, ScheduleError, StateError, TaskBusy, UnknownTask, shown
from taskrunner.model import LIVE, Event, Kind, Run, State, Status, Task, Upcoming
from taskrunner.opened import OpenHome
from taskrunner.options import Options
from taskrunner.policy import Decision, named
from taskrunner.schedule import After, At, Every, Schedule
from taskrunner.store import MISSING, id_of, open_store

FAILING = (State.FAILED, State.TIMED_OUT, State.LOST)
SILENT_TICKS = 2.5  # tick periods without a tick are worth a word


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
        values = {**options.read({**options.DEFAULTS, **given}), **_work(name, command, shell)}
        options.agree(values)
        if schedule is None:
            raise InputError(
                f"the task {shown(name)} has no schedule: give one of Cron, Every, At, After, Boot, Manual"
            )
        moment = self.now()
        whole = self._completed(schedule, tz, moment)
        self._check_account(values.get("user"))
        if not (replace and _same_schedule(self._find(name), schedule, whole)):
            self._check_new(self._here(), name, whole, now, moment)
        here = self._here(create=True)  # only now that all is checked: nothing is half-written
        with here.store.transaction():
            old = self._find(name) if replace else None
            if not _same_schedule(old, schedule, whole):
                values |= _timing(whole, moment) | (_revived(old) if old else {})
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
                values |= _work(rename or task.name, command, shell)
            values = options.without_leftovers(values)
            options.agree({**{key: getattr(task, key) for key in options.READERS}, **values})
            self._check_account(values.get("user"))
            if schedule is not None or tz is not None:
                values |= self._new_timing(here, task, schedule, tz, now, moment)
            if now:
                _check_enabled(task, values)
                values["requested"] = moment
            if values:
                here.store.change_task(task.id, **values)
                self._note("changed", task.id, ", ".join(sorted(_told(values))))
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
        whole = self._completed(given, tz, moment, task.tz)
        self._check_new(here, task.name, whole, now, moment)
        return _timing(whole, moment) | _revived(task)

    def _completed(
        self, given: Schedule, tz: str | None, moment: datetime, before: str | None = None
    ) -> Schedule:
        """Return a schedule with zone and anchor: its own, the one given beside it, the one before, the default."""
        own = getattr(given, "tz", None)
        if tz is not None and own is not None and tz != own:
            raise InputError(
                f"the zone {shown(tz)} contradicts the {shown(own)} of the schedule: give one of them"
            )
        where = own or tz or before or self.default_zone()
        return schedule.complete(given, tz=where, now=moment)

    def _check_new(
        self, here: OpenHome, name: str, whole: Schedule, now: bool, moment: datetime
    ) -> None:
        """Refuse a one-off in the past and a chain that bites its tail."""
        if isinstance(whole, At) and whole.instant <= moment and not now:
            raise ScheduleError(
                f"{shown(whole.text)} is in the past: give a later instant, or run it at once with --now"
            )
        if isinstance(whole, After):
            _check_chain(here, name, whole.parent)

    def _check_account(self, user: str | None) -> None:
        if user is None:
            return
        command.account(user)
        if os.geteuid() != 0 and user != command.account(None)[0]:
            raise StateError(f"only root can run tasks as {shown(user)}: add the task as that user")

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
        found = []
        program = task.command[0] if task.command else None
        if program is not None and not command.program_found(task, self._here().config):
            found.append(
                f"the program {shown(program)} is not found on the PATH that the task will see"
            )
        if task.cwd is not None and not os.path.isdir(task.cwd):
            found.append(f"the directory {shown(task.cwd)} does not exist")
        if task.env_file is not None and not os.path.exists(task.env_file):
            found.append(f"the environment file {shown(task.env_file)} does not exist")
        problem = _problem(task)
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
            here.store.change_task(task.id, enabled=True, **_timing(value, here.now()))
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
        here = self._here()
        now = here.now()
        # A task that cannot be evaluated has no slots to show; `status` tells why.
        tasks = here.store.tasks() if name is None else [here.store.task(name)]
        sound = [task for task in tasks if name is not None or _problem(task) is None]
        walks = [
            _walk(task.name, claim.value_of(task), max(now, task.evaluated), _utc(until), task)
            for task in sound
        ]
        return list(islice(merge(*walks, key=lambda item: item.slot), _count(count, until)))

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
        whole = self._completed(given, tz, start)
        start -= clock.MILLISECOND  # a slot at this very instant is meant too
        return list(islice(_walk(None, whole, start, _utc(until)), _count(count, until)))

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
        if name is not None and not here.store.has_history(name):
            here.store.task(name)  # which is not there, and says so
        wanted = None if state is None else _state(state)
        if limit is not None and limit < 1:
            raise InputError(f"{limit} is no count of runs: give 1 or more, or None for all")
        return here.store.history(
            name,
            state=wanted,
            since=_utc(since),
            until=_utc(until),
            limit=-1 if limit is None else limit,
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
        here = self._here()
        beat = heartbeat.read(here.path(home.HEARTBEAT))
        live = here.store.live()
        failing = [task for task in here.store.tasks() if task.last_state in FAILING]
        return Status(
            last_tick=None if beat is None else clock.from_ms(beat.at),
            clock=None if beat is None else beat.caller,
            held=None,
            running=[run for run in live if run.state is State.RUNNING],
            pending=[run for run in live if run.state is State.PENDING],
            failing=failing,
            next=self.next(),
            problems=[*_clock_problems(here, beat), *_task_problems(here)],
        )

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

    def schedule_of(self, task: Task) -> Schedule:
        """Return the schedule of a task as a value; raises InputError when it means nothing any more."""
        return claim.value_of(task)

    def describe(self, task: Task) -> str:
        """Return the schedule of a task in words, or what is wrong with it."""
        return _problem(task) or claim.value_of(task).describe()

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


def _work(name: str, argv: Sequence[str] | None, shell: str | None) -> dict[str, Any]:
    """Return name, argv and shell text as stored; exactly one of the two says what to run."""
    if argv is not None and shell is not None:
        raise InputError(f"the task {shown(name)} has a command and a shell text: give one of them")
    if shell is None and not argv:
        raise InputError(
            f"the task {shown(name)} has no command: write it after --, or give --shell TEXT"
        )
    return {
        "name": options.name(name),
        "command": options.argv(argv),
        "shell": options.shell(shell),
    }


def _timing(whole: Schedule, moment: datetime) -> dict[str, Any]:
    """Return the columns that say when, counted from `moment`."""
    delay = isinstance(whole, Every) and whole.from_finish
    first = whole.next_after(moment)
    if first is None and delay and isinstance(whole, Every):
        first = whole.after_finish(moment)
    return {
        "kind": Kind(whole.kind),
        "schedule": whole.text,
        "tz": getattr(whole, "tz", None),
        "anchor": getattr(whole, "anchor", None),
        "from_finish": delay,
        "evaluated": moment,
        "next": first,
        "following": None if first is None or delay else whole.next_after(first),
        "boot_id": clock.boot_id() if whole.kind == Kind.BOOT else None,
        "error": None,
    }


def _revived(task: Task) -> dict[str, Any]:
    """Return what a new schedule does to a one-off that has run: it comes due again."""
    retired = task.kind is Kind.AT and task.next is None
    return {"enabled": True} if retired else {}


def _check_enabled(task: Task, changes: Mapping[str, Any]) -> None:
    """Refuse a run due at once of a task that is disabled: no tick would start it."""
    if not changes.get("enabled", task.enabled):
        raise StateError(
            f"{task.name} is disabled: enable it first, or use `taskrunner run {task.name}`"
        )


def _same_schedule(old: Task | None, given: Schedule, whole: Schedule) -> bool:
    """Whether a task redefined keeps its place in time; an anchor that is not given is no difference."""
    if old is None:
        return False
    anchor = getattr(given, "anchor", None)
    return (
        (old.kind, old.schedule, old.tz) == (whole.kind, whole.text, getattr(whole, "tz", None))
        and old.from_finish == getattr(whole, "from_finish", False)
        and (anchor is None or anchor == old.anchor)
    )


def _check_chain(here: OpenHome, name: str, parent: str) -> None:
    """Raise unless the parent exists and does not itself come after the task."""
    chain, above = [name], parent
    while True:
        if above == name:
            raise StateError(
                f"{name} cannot come after {parent}: that is a circle ({' after '.join([*chain, above])})"
            )
        chain.append(above)
        task = here.store.task(above)
        if task.kind is not Kind.AFTER:
            return
        above = task.schedule.partition(":")[0]


def _told(values: Mapping[str, Any]) -> list[str]:
    hidden = ("evaluated", "next", "following", "boot_id", "error", "requested")
    return [name for name in values if name not in hidden]


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as exc:
        raise InputError(
            f"{shown(text)} is no state of a run: use one of {', '.join(State)}"
        ) from exc


def _count(count: int | None, until: datetime | None) -> int | None:
    if count is not None and count < 1:
        raise InputError(f"{count} is no count of slots: give 1 or more")
    return count if count is not None or until is not None else 5


def _walk(
    name: str | None,
    value: Schedule,
    after: datetime,
    until: datetime | None,
    task: Task | None = None,
) -> Iterator[Upcoming]:
    """Give the slots of a schedule, or of a task with what is known of its next one."""
    if task is not None and not task.enabled:
        return
    where = zone.zone(getattr(value, "tz", None) or "UTC")
    slot = task.next if task is not None and task.from_finish else value.next_after(after)
    while slot is not None and (until is None or slot <= until):
        yield Upcoming(name, slot, slot.astimezone(where), schedule.slot_note(value, slot))
        slot = value.next_after(slot)


def _clock_problems(here: OpenHome, beat: heartbeat.Beat | None) -> Iterator[str]:
    if here.store.place == MISSING:
        return
    if beat is None:
        yield "no tick has come yet: call `taskrunner tick` every minute from cron or a systemd timer"
        return
    silent = (here.now() - clock.from_ms(beat.at)).total_seconds()
    if silent * 1000 > SILENT_TICKS * beat.period:
        yield f"no tick has come since {clock.iso(clock.from_ms(beat.at))}: the clock entry does not fire"


def _task_problems(here: OpenHome) -> Iterator[str]:
    for task in here.store.tasks():
        problem = task.error or _problem(task)
        if problem is not None:
            yield f"{task.name} cannot be evaluated: {problem}"


def _problem(task: Task) -> str | None:
    """Return why the schedule of a task means nothing any more, as when its zone is gone from the host."""
    try:
        claim.value_of(task)
    except InputError as exc:
        return str(exc)
    return None


def _utc(moment: datetime | None) -> datetime | None:
    """Return an aware datetime in UTC; raises MomentError for one without a zone."""
    return None if moment is None else zone.utc(moment)
