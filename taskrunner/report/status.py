"""The present state of a home, and its next slots; all read-only.

It must not write, nor start anything.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

from taskrunner import clock
from taskrunner.decide import ledger
from taskrunner.errors import InputError
from taskrunner.home import channels, heartbeat, lock, paths
from taskrunner.model.answers import Disabled, Entry, Status, Upcoming
from taskrunner.model.values import FAILING, Hold, Run, State, Task
from taskrunner.render.spelling import many
from taskrunner.report import agenda
from taskrunner.schedule import counting, durations, of_task, zones
from taskrunner.schedule.kinds import Schedule
from taskrunner.store.connection import full
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store

if TYPE_CHECKING:
    from taskrunner.home.queues import Queue

DAY = timedelta(days=1)
UNDELIVERED = timedelta(days=7)  # undelivered messages older than this are not reported
SILENT_QUEUE = r"the queue \S+ (?:does not answer|does not take it now|needs)\b.*|the variable \S+ with the address .*"
SILENT_TICKS = 2.5  # tick periods without a tick that are reported


def status(here: OpenHome) -> Status:
    """Return the status: whether ticks arrive, and running, failing and coming runs."""
    beat = heartbeat.read(here.path(paths.HEARTBEAT))
    live, hold = here.store.runs.live(), here.store.facts.held(here.now())
    failing, coming = here.store.tasks.page(failing=True), upcoming(here, None, 5, None, each=True)
    return Status(
        last_tick=None if beat is None else clock.from_ms(beat.at),
        clock=None if beat is None else beat.caller,
        held=None if hold is None else ledger.sentence(hold),
        running=[run for run in live if run.state is State.RUNNING],
        pending=[run for run in live if run.state is State.PENDING],
        failing=failing,
        next=coming,
        coming=coming,
        problems=[
            *_hold_problems(hold),
            *_disk_problems(here.folder),
            *_clock_problems(here, beat),
            *_task_problems(here.store),
            *_queue_problems(here.store, here.config.queues, live),
            *_message_problems(here),
        ],
        failures=list(_failures(here.store, failing)),
    )


def _failures(store: Store, tasks: Sequence[Task]) -> Iterator[Run]:
    for task in tasks:
        yield from store.runs.history([task.id], states=FAILING, limit=1)


def upcoming(
    here: OpenHome,
    names: Sequence[str | int] | None,
    count: int | None,
    until: datetime | None,
    since: datetime | None = None,
    *,
    each: bool = False,
) -> list[Upcoming]:
    """Return the next slots of some tasks, or of all, soonest first; all slots without a count.

    These are slots from `since` on, else future ones; with `each` one for each task.
    """
    now = here.now()
    if names is None and since is not None:
        chosen: Iterable[tuple[Task, Schedule]] = _valued(here.store.tasks.all())
    elif names is None:
        chosen = _valued(_soonest(here.store, now, count))
    else:
        found = {task.id: task for task in map(here.store.tasks.get, names)}
        chosen = [(task, of_task.value_of(task)) for task in found.values()]
    begin = None if since is None else since - clock.MILLISECOND  # a slot at that very instant, too
    walks = [
        islice(_of_task(task, value, begin or max(now, task.evaluated), until), 1 if each else None)
        for task, value in chosen
    ]
    return list(islice(merge(*walks, key=lambda item: item.slot), count))


OFTEN = 12  # slots a day; a task that has more is one line of an agenda for each day
LONGEST = 10_000  # lines of an agenda


def agenda_until(
    here: OpenHome,
    until: datetime,
    tz: str,
    names: Sequence[str | int] | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Return the coming runs up to an instant with their collisions, by the days of a zone.

    Of some tasks only, if they are named: other tasks may get in their way all the same. With a `limit` the first
    lines, for which only as many tasks are read. Raises InputError when that is too much to be read.
    """
    now = here.now()
    wanted = None if names is None else {here.store.tasks.get(name).name for name in names}
    few = limit is not None and names is None
    valued = list(_valued(_soonest(here.store, now, limit if few else None)))
    tasks = {task.name: task for task, _ in valued}
    limits = here.store.tasks.group_limits()
    seldom: list[tuple[Task, Schedule]] = []
    often: list[tuple[Task, Schedule]] = []
    days = max(1.0, (until - now) / DAY)
    for task, value in valued:
        many = _count(task, value, now, until)
        (often if many > OFTEN * days else seldom).append((task, value))
    usual = {
        task.name: here.store.figures.usual_time(task.id) for task in tasks.values() if task.enabled
    }
    walks = [_of_task(task, value, max(now, task.evaluated), until) for task, value in seldom]
    found = islice(merge(*walks, key=lambda item: item.slot), LONGEST + 1)
    listed = [
        Entry(item.task, item.slot, item.slot, 1, False, usual[item.task], item.note)
        for item in found
        if item.task is not None
    ]
    load = agenda.Load(tasks, usual, limits, here.config.max_parallel)
    entries = list(agenda.collided(listed, load))
    for task, value in often if few or len(entries) <= LONGEST else ():
        entries += _each_day(task, value, now, until, zones.zone(tz), usual[task.name])
    entries = [each for each in entries if wanted is None or each.task in wanted]
    if limit is None and len(entries) > LONGEST:
        raise InputError(
            f"up to {clock.iso(until)} there are more than {LONGEST} lines: give an earlier --until"
        )
    return sorted(entries, key=lambda each: (each.slot, each.task))[:limit]


def _count(task: Task, value: Schedule, after: datetime, until: datetime) -> int:
    """Return how many slots a task has up to an instant, counted up to a limit."""
    if not task.enabled or task.next is None:
        return 0
    return counting.count(value, max(after, task.evaluated), until)[0]


def _each_day(
    task: Task,
    value: Schedule,
    after: datetime,
    until: datetime,
    where: tzinfo,
    usual: float | None,
) -> Iterator[Entry]:
    """Yield an entry for each day of a task with many slots a day."""
    begin = max(after, task.evaluated)
    while begin < until and (first := value.next_after(begin)) is not None and first <= until:
        day = first.astimezone(where).date()
        over = datetime.combine(day + DAY, datetime.min.time(), where).astimezone(UTC)
        end = min(until, over - clock.MILLISECOND)
        many, more = counting.count(value, begin, end)
        last = counting.newest(value, begin, end) or first
        entry = Entry(task.name, first, last, many, more, usual, None)
        second = value.next_after(first)
        yield agenda.too_long(entry, second - first) if second else entry
        begin = end


def _soonest(store: Store, now: datetime, count: int | None) -> list[Task]:
    """Return the tasks that can have the next slots: few of many, by the `next` column."""
    return store.tasks.all() if count is None else store.tasks.soonest(now, count)


def _valued(tasks: Iterable[Task]) -> Iterator[tuple[Task, Schedule]]:
    """Yield tasks with their schedules, without tasks that cannot be evaluated; `status` reports these."""
    for task in tasks:
        with suppress(InputError):
            yield task, of_task.value_of(task)


def _of_task(
    task: Task, value: Schedule, after: datetime, until: datetime | None
) -> Iterator[Upcoming]:
    """Yield the coming slots of a task; with a delay after each run only the next one is known."""
    if task.enabled:
        first = task.next if task.from_finish else value.next_after(after)
        yield from walk(task.name, value, first, until)


def walk(
    name: str | None, value: Schedule, slot: datetime | None, until: datetime | None
) -> Iterator[Upcoming]:
    """Yield the slots of a schedule from a first one on."""
    where = zones.zone(getattr(value, "tz", None) or "UTC")
    while slot is not None and (until is None or slot <= until):
        yield Upcoming(name, slot, slot.astimezone(where), counting.slot_note(value, slot))
        slot = value.next_after(slot)


def _hold_problems(hold: Hold | None) -> Iterator[str]:
    if hold is not None:
        yield f"scheduled runs are paused by {hold.by}; `taskrunner resume` ends the pause"


def _disk_problems(home: str) -> Iterator[str]:
    if full(home):
        yield f"the disk of {home} is full: nothing is started or recorded until there is space"


def _clock_problems(here: OpenHome, beat: heartbeat.Beat | None) -> Iterator[str]:
    if here.store.missing:
        return
    if beat is None:
        yield f"no tick has come yet: {_remedy(here.folder)}"
        return
    if is_silent(beat, here.now()):
        yield f"no tick has come since {clock.iso(clock.from_ms(beat.at))}: {_cause(here.folder, beat)}"


def _remedy(home: str) -> str:
    if of_application(home):
        return "start the application whose server is the clock of this home"
    return "set up a clock with `taskrunner install cron` or `taskrunner install systemd`"


def _cause(home: str, beat: heartbeat.Beat) -> str:
    if beat.caller not in ("daemon", paths.HAND):
        return "the clock entry does not fire"
    if daemon_lives(home):
        return "the daemon does not tick"
    if of_application(home):
        return "the application whose server is the clock does not run"
    return "the daemon does not run" if beat.caller == "daemon" else "the clock entry does not fire"


def disabled(store: Store, key: str | int, now: datetime) -> Disabled | None:
    """Return since when a task is disabled, None when it is not; raises UnknownTask."""
    task = store.tasks.get(key)
    if task.enabled or task.done:
        return None
    events = [each for each in store.events.about(task.id) if each.task is not None]
    # A task may be added disabled, too.
    last = next((each for each in events[::-1] if each.what in ("disabled", "added")), None)
    coming = None
    with suppress(InputError):
        coming = of_task.value_of(task).next_after(max(now, task.evaluated))
    since, by = (task.created, None) if last is None else (last.at, last.by)
    return Disabled(since, by, coming)


def boot_of_container(home: str) -> str:
    """Return a sentence about the meaning of a boot in our container, by the caller of ticks."""
    beat = heartbeat.read(paths.path(home, paths.HEARTBEAT))
    if beat is not None and beat.caller == "daemon":
        return "this is a container: its boot is each start of the container with the daemon in it"
    return (
        "this is a container: its start is a boot only for `taskrunner daemon` in it; "
        "for ticks that are called from outside, the boot is that of the machine"
    )


def too_often(home: str, seconds: int) -> str | None:
    """Return advice about an interval that is shorter than that between two ticks, None when they are frequent enough.

    Until an application that is to be the clock has ticked, nobody knows how often it will.
    """
    if seconds == 0:  # it has days or months
        return None
    beat = heartbeat.read(paths.path(home, paths.HEARTBEAT))
    if beat is not None and beat.caller == "daemon":
        if seconds * 1000 >= beat.period:
            return None
        return f"the daemon ticks every {durations.human(beat.period / 1000)}: a shorter interval needs a daemon that ticks more often"
    if seconds >= 60 or (of_application(home) and (beat is None or beat.caller == paths.HAND)):
        return None
    return "cron ticks once a minute: an interval under a minute needs `taskrunner daemon`"


def of_application(home: str) -> bool:
    """Return whether an application has been, or is to be, the clock of a home: it leaves its lock there."""
    return os.path.exists(paths.path(home, paths.APPLICATION_LOCK))


def daemon_lives(home: str) -> bool:
    """Return whether a daemon lives in a home, whoever called the last tick; also one in another container."""
    with suppress(OSError):  # a home of somebody else
        return lock.is_held(paths.path(home, paths.DAEMON_LOCK))
    return False


def is_silent(beat: heartbeat.Beat, now: datetime) -> bool:
    """Return whether no tick has come for too long."""
    return clock.to_ms(now) - beat.at > SILENT_TICKS * beat.period


def _task_problems(store: Store) -> Iterator[str]:
    """Yield the reasons for which tasks are not scheduled: those that a tick has noted, and zones that are gone."""
    gone = [tz for tz in store.tasks.zones() if _unknown(tz)]
    found = {task.name: task for task in (*store.tasks.suspects(), *store.tasks.of_zones(gone))}
    for name in sorted(found):
        why = found[name].error or problem(found[name])
        if why is not None:
            yield f"{name} cannot be evaluated: {why}"


def _unknown(tz: str) -> bool:
    try:
        zones.zone(tz)
    except InputError:
        return True
    return False


def _queue_problems(
    store: Store, known: Mapping[str, "Queue"], live: Sequence[Run]
) -> Iterator[str]:
    """Yield the queues with mistakes, and those that do not answer or are gone, as far as live runs are affected."""
    silent, gone, wrong = Counter[str](), Counter[str](), Counter[str]()
    tasks = store.tasks.by_id({run.task_id for run in live})
    for run in live:
        queue = tasks[run.task_id].queue
        if queue is None:
            continue
        if queue not in known:
            gone[queue] += 1
        elif known[queue].mistake is not None:
            wrong[queue] += 1
        elif found := re.search(SILENT_QUEUE, run.reason or ""):
            silent[found[0]] += 1
    for queue, settings in known.items():
        if settings.mistake is not None:
            affected = f"; {many(wrong[queue], 'run')} affected" if wrong[queue] else ""
            yield f"a queue with a mistake in its settings takes no runs: {settings.mistake}{affected}"
    for queue, count in gone.items():
        yield f"{many(count, 'run')} of the queue {queue}, which is not in taskrunner.toml: put it back, or cancel them"
    for why, count in silent.items():
        yield f"{why}; {many(count, 'run')} affected"


def _message_problems(here: OpenHome) -> Iterator[str]:
    """Yield the reasons why notifications do not arrive."""
    for wrong in channels.mistakes(here.config.notify).values():
        yield f"a channel with a mistake in its settings sends nothing: {wrong}"
    if here.store.missing:
        return
    for channel, count, error in here.store.outbox.undelivered(here.now() - UNDELIVERED):
        name = f"channel {channel}" if channel else "--on-failure or --notify of a task"
        yield f"{many(count, 'notification')} could not be delivered ({name}): {error}; see `taskrunner notify`"


def problem(task: Task) -> str | None:
    """Return why the schedule of a task is not valid any more, such as a zone missing on the host."""
    try:
        of_task.value_of(task)
    except InputError as exc:
        return str(exc)
    return None
