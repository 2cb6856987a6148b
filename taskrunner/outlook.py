"""What comes, how things stand, and why: answers that only read.

It must not write, nor start anything.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from heapq import merge
from itertools import islice

from taskrunner import (
    agenda as plan_of_days,
    claim,
    clock,
    explain as why,
    heartbeat,
    home,
    ledger,
    rehearsal,
    schedule,
    zone,
)
from taskrunner.answers import Entry, Explained, Explanation, Status, Upcoming
from taskrunner.errors import InputError, UnknownTask
from taskrunner.explain import Case
from taskrunner.model import Gap, Hold, Kind, Run, State, Task, Trigger
from taskrunner.opened import OpenHome
from taskrunner.record import like
from taskrunner.schedule import Schedule
from taskrunner.store import MISSING

NEWEST = 5  # slots that are told of when nobody asks for a time
MOST = 1_000  # slots that are told of at a time
LAST = datetime(9999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)
TOOK_PLACE = re.compile(r"the slot of (\S+ \S+) UTC took its place")
FAILING = (State.FAILED, State.TIMED_OUT, State.LOST)
SILENT_TICKS = 2.5  # tick periods without a tick are worth a word


def status(here: OpenHome) -> Status:
    """Return how things stand."""
    beat = heartbeat.read(here.path(home.HEARTBEAT))
    live, tasks, hold = here.store.live(), here.store.tasks(), here.store.held(here.now())
    return Status(
        last_tick=None if beat is None else clock.from_ms(beat.at),
        clock=None if beat is None else beat.caller,
        held=None if hold is None else ledger.sentence(hold),
        running=[run for run in live if run.state is State.RUNNING],
        pending=[run for run in live if run.state is State.PENDING],
        failing=[task for task in tasks if task.last_state in FAILING],
        next=upcoming(here, None, 5, None),
        problems=[*_hold_problems(hold), *_clock_problems(here, beat), *_task_problems(tasks)],
    )


def upcoming(
    here: OpenHome, name: str | int | None, count: int | None, until: datetime | None
) -> list[Upcoming]:
    """Return the next slots of a task, or of all together, soonest first; all of them when there is no count."""
    now = here.now()
    # A task that cannot be evaluated has no slots to show; `status` tells why.
    tasks = [task for task in here.store.tasks() if problem(task) is None]
    chosen = _soonest(tasks, now, count) if name is None else [here.store.task(name)]
    walks = [_of_task(task, max(now, task.evaluated), until) for task in chosen]
    return list(islice(merge(*walks, key=lambda item: item.slot), count))


OFTEN = 12  # slots a day; a task that has more is one line of an agenda for each day
LONGEST = 10_000  # lines of an agenda


def agenda(here: OpenHome, until: datetime, tz: str) -> list[Entry]:
    """Return what is to come up to an instant with what gets in each other's way, by the days of a zone.

    Raises InputError when that is too much to be read.
    """
    now = here.now()
    tasks = {task.name: task for task in here.store.tasks() if problem(task) is None}
    limits: dict[str, int] = {}
    for task in tasks.values():
        if task.group is not None:
            limits[task.group] = max(limits.get(task.group, 1), task.group_limit or 1)
    seldom: list[Task] = []
    often: list[Task] = []
    days = max(1.0, (until - now) / DAY)
    for task in tasks.values():
        many = _count(task, now, until)
        (often if many > OFTEN * days else seldom).append(task)
    usual = {task.name: here.store.usual_time(task.id) for task in tasks.values() if task.enabled}
    walks = [_of_task(task, max(now, task.evaluated), until) for task in seldom]
    found = islice(merge(*walks, key=lambda item: item.slot), LONGEST + 1)
    listed = [
        Entry(item.task, item.slot, item.slot, 1, False, usual[item.task], item.note)
        for item in found
        if item.task is not None
    ]
    load = plan_of_days.Load(tasks, usual, limits, here.config.max_parallel)
    told = list(plan_of_days.collided(listed, load))
    for task in often if len(told) <= LONGEST else ():
        told += _each_day(task, now, until, zone.zone(tz), usual[task.name])
    if len(told) > LONGEST:
        raise InputError(
            f"up to {clock.iso(until)} there are more than {LONGEST} lines: give an earlier --until"
        )
    return sorted(told, key=lambda each: (each.slot, each.task))


def _count(task: Task, after: datetime, until: datetime) -> int:
    """Return how many slots a task has up to an instant, of very many as many as are counted."""
    if not task.enabled or task.next is None:
        return 0
    return schedule.count(claim.value_of(task), max(after, task.evaluated), until)[0]


def _each_day(
    task: Task, after: datetime, until: datetime, where: tzinfo, usual: float | None
) -> Iterator[Entry]:
    """Give an entry for each day that a task comes on very often."""
    value, begin = claim.value_of(task), max(after, task.evaluated)
    while begin < until and (first := value.next_after(begin)) is not None and first <= until:
        day = first.astimezone(where).date()
        over = datetime.combine(day + DAY, datetime.min.time(), where).astimezone(UTC)
        end = min(until, over - clock.MILLISECOND)
        many, more = schedule.count(value, begin, end)
        last = schedule.newest(value, begin, end) or first
        entry = Entry(task.name, first, last, many, more, usual, None)
        second = value.next_after(first)
        yield plan_of_days.too_long(entry, second - first) if second else entry
        begin = end


def _soonest(tasks: Sequence[Task], now: datetime, count: int | None) -> Sequence[Task]:
    """Return the tasks that the next slots can be of, by what the store knows: of many tasks few have to be worked out."""
    if count is None:
        return tasks
    known = [task for task in tasks if task.next is not None and task.next > now]
    known.sort(key=lambda task: task.next or now)
    rest = [task for task in tasks if task.next is not None and task.next <= now]
    return [*rest, *(task for task in known if task.enabled)][: len(rest) + count]


def _of_task(task: Task, after: datetime, until: datetime | None) -> Iterator[Upcoming]:
    """Give the slots to come of a task; a delay is known only as far as the end of its run."""
    value = claim.value_of(task)
    if task.enabled:
        first = task.next if task.from_finish else value.next_after(after)
        yield from walk(task.name, value, first, until)


def walk(
    name: str | None, value: Schedule, slot: datetime | None, until: datetime | None
) -> Iterator[Upcoming]:
    """Give the slots of a schedule from a first one on."""
    where = zone.zone(getattr(value, "tz", None) or "UTC")
    while slot is not None and (until is None or slot <= until):
        yield Upcoming(name, slot, slot.astimezone(where), schedule.slot_note(value, slot))
        slot = value.next_after(slot)


def _hold_problems(hold: Hold | None) -> Iterator[str]:
    if hold is not None:
        yield f"nothing is started: the store is held by {hold.by}; `taskrunner resume` ends that"


def _clock_problems(here: OpenHome, beat: heartbeat.Beat | None) -> Iterator[str]:
    if here.store.place == MISSING:
        return
    if beat is None:
        yield "no tick has come yet: call `taskrunner tick` every minute from cron or a systemd timer"
        return
    if is_silent(beat, here.now()):
        yield f"no tick has come since {clock.iso(clock.from_ms(beat.at))}: the clock entry does not fire"


def is_silent(beat: heartbeat.Beat, now: datetime) -> bool:
    """Return whether no tick has come for longer than the clock may take."""
    return clock.to_ms(now) - beat.at > SILENT_TICKS * beat.period


def _task_problems(tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        why = task.error or problem(task)
        if why is not None:
            yield f"{task.name} cannot be evaluated: {why}"


def problem(task: Task) -> str | None:
    """Return why the schedule of a task means nothing any more, as when its zone is gone from the host."""
    try:
        claim.value_of(task)
    except InputError as exc:
        return str(exc)
    return None


# ---- why


def explain(here: OpenHome, key: str | int) -> Explanation:
    """Return why the newest slots of a task ran or did not, and what comes next; raises UnknownTask."""
    case = _case(here, key)
    slots = _slots(case, case.task.created, case.now, NEWEST)
    runs = here.store.runs_between(case.task.id, clock.EPOCH, LAST, NEWEST)
    if slots:  # the newest runs may be younger: what was asked for by hand, attempts of one slot
        runs += here.store.runs_between(case.task.id, slots[0], LAST, MOST)
    case = _with(here, case, list({run.id: run for run in runs}.values()))
    told = why.account(case, slots)[-NEWEST:]
    since = min((each.first_slot for each in told if each.first_slot), default=case.task.created)
    rest = why.outstanding(case)
    return _explanation(case, [*told, *([rest] if rest else [])], since, case.now)


def explain_at(here: OpenHome, key: str | int, at: datetime) -> Explanation:
    """Return why the slot at an instant ran or did not; a second is enough to find a run by."""
    case = _case(here, key)
    # A run that the clock has no slot for, such as one asked for by hand, is shown to the second.
    end = at + (clock.MILLISECOND if at.microsecond else timedelta(seconds=1)) - clock.MILLISECOND
    slots = _slots(case, at - clock.MILLISECOND, at, 1)
    found = here.store.runs_between(case.task.id, at, end, MOST)
    runs = [run for run in found if slots or at <= run.slot <= end]
    if not slots and not runs:
        return _explanation(case, [why.no_slot(case, at)], at, at)
    case = _with(here, case, runs)
    over = [run.started or run.finished or case.now for run in runs]
    following = case.value.next_after(at) if case.value else None
    until = max(over, default=min(following or case.now, max(at, case.now)))
    return _explanation(
        case, why.account(case, slots), min([at, *(r.first_slot for r in runs)]), until
    )


def explain_between(
    here: OpenHome, key: str | int, since: datetime, until: datetime
) -> Explanation:
    """Return why the slots in a time ran or did not, the newest of them when there are very many."""
    case = _case(here, key)
    runs = here.store.runs_between(case.task.id, since, until, MOST + 1)
    slots = _slots(case, since - clock.MILLISECOND, until, MOST + 1)
    if len(runs) > MOST:  # slots before them have rows that were not read
        slots = [slot for slot in slots if slot >= runs[-1].first_slot]
    case = _with(here, case, runs)
    told = why.account(case, slots)
    return _explanation(case, told[-MOST:], since, until, cut=max(len(told), len(runs)) > MOST)


def explain_run(here: OpenHome, run_id: int) -> Explanation:
    """Return what became of a run and of the other attempts of its slot; raises UnknownRun."""
    run = here.store.run(run_id)
    case = _case(here, run.task_id)
    kin = here.store.runs_between(run.task_id, run.slot, run.slot, MOST)
    kin = [each for each in kin if each.slot == run.slot and each.trigger is not Trigger.MANUAL]
    case = _with(here, case, [run] if run.trigger is Trigger.MANUAL else kin[::-1])
    over = run.started or run.finished or case.now
    return _explanation(case, why.each_attempt(case), run.first_slot, over)


def _explanation(
    case: Case, told: list[Explained], since: datetime, until: datetime, *, cut: bool = False
) -> Explanation:
    found = ledger.between(ledger.gaps(case.events, case.silence), since, until)
    described = "" if case.value is None else case.value.describe()
    return Explanation(
        case.task.name,
        case.problem or described,
        case.task.tz,
        told,
        found,
        ledger.changes(case.events, since, until),
        cut,
    )


def _slots(case: Case, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the newest slots that the clock makes in a time."""
    return [] if case.value is None else schedule.newest_slots(case.value, after, until, limit)


def _case(here: OpenHome, key: str | int) -> Case:
    """Return all that is known of a task, also of one that was removed, but for its runs."""
    task, removed = _ever(here, key)
    now, wrong = here.now(), problem(task)
    beat = heartbeat.read(here.path(home.HEARTBEAT))
    decisions = [] if removed else rehearsal.dry_run(here, now, task)
    return Case(
        task,
        value=None if wrong else claim.value_of(task),
        now=now,
        events=here.store.events_about(task.id),
        removed=removed,
        problem=wrong or task.error,
        last_tick=None if beat is None else clock.from_ms(beat.at),
        silence=None if beat is None else _silence(beat, now),
        hold=here.store.held(now),
        coming=[decision for decision in decisions if decision.task_id == task.id],
        pruned=here.store.pruned_until(task.id),
        parent=_parent(here, task),
    )


def _ever(here: OpenHome, key: str | int) -> tuple[Task, bool]:
    """Return a task and whether it was removed; of several of that name the last."""
    try:
        return here.store.task(key), False
    except UnknownTask:
        ids = here.store.ids_ever(key)
        if not ids:
            raise
        return here.store.tasks_by_id(ids)[max(ids)], True


def _silence(beat: heartbeat.Beat, now: datetime) -> Gap | None:
    """Return the time without ticks that is not over yet."""
    since = clock.from_ms(beat.at)
    if (now - since).total_seconds() * 1000 <= SILENT_TICKS * beat.period:
        return None
    return Gap(since, None, ledger.silent(clock.boot_id() != beat.boot_id))


def _parent(here: OpenHome, task: Task) -> Task | None:
    if task.kind is not Kind.AFTER:
        return None
    try:
        return here.store.task(task.schedule.partition(":")[0])
    except UnknownTask:
        return None


def _with(here: OpenHome, case: Case, runs: Sequence[Run]) -> Case:
    """Return a case with its runs, and the others that these had to do with."""

    def by_id(find: Callable[[Run], Run | None]) -> dict[int, Run]:
        found = ((run.id, find(run)) for run in runs)
        return {key: other for key, other in found if other is not None}

    return like(
        case,
        runs=runs,
        before=by_id(here.store.made_room),
        after=by_id(lambda run: _parent_run(here, case, run)),
        instead=by_id(lambda run: _successor(here, run)),
    )


def _parent_run(here: OpenHome, case: Case, run: Run) -> Run | None:
    """Return the run that another came after: the last attempt of the same slot."""
    if case.parent is None or run.trigger is not Trigger.AFTER:
        return None
    found = here.store.runs_between(case.parent.id, run.slot, run.slot, MOST)
    return next((each for each in found if each.slot == run.slot and each.id < run.id), None)


def _successor(here: OpenHome, run: Run) -> Run | None:
    """Return the run that took the place of another."""
    said = TOOK_PLACE.search(run.reason or "")
    if said is None:
        return None
    slot = datetime.fromisoformat(f"{said[1]}+00:00")
    found = here.store.runs_between(run.task_id, slot, slot + timedelta(seconds=1), MOST)
    return next((each for each in found if each.id > run.id), None)
