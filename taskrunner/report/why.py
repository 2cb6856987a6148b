"""The facts for an explanation, read from the store; `explain` puts them into sentences.

It must not write, nor start anything.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from taskrunner import clock, host
from taskrunner.decide import ledger
from taskrunner.errors import UnknownTask
from taskrunner.home import heartbeat, paths
from taskrunner.model.answers import Explained, Explanation
from taskrunner.model.record import like
from taskrunner.model.values import Gap, Kind, Run, Task, Trigger
from taskrunner.report import explain, status
from taskrunner.report.explain import Case
from taskrunner.schedule import counting, of_task
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.tick import dry_run

NEWEST = 5  # slots to explain when no time is given
MOST = 1_000  # slots that are explained at most
LAST = datetime(9999, 12, 31, tzinfo=UTC)
TOOK_PLACE = re.compile(
    r"the slot of (\S+ \S+) UTC (?:replaced it|took its place)"
)  # earlier versions wrote the latter


def explain_task(here: OpenHome, key: str | int) -> Explanation:
    """Return why the newest slots of a task ran or did not, and the next slot; raises UnknownTask."""
    case = _case(here, key)
    slots = _slots(case, case.task.created, case.now, NEWEST)
    runs = here.store.runs.between(case.task.id, clock.EPOCH, LAST, NEWEST)
    if slots:  # the newest runs may be younger: manual runs, attempts of one slot
        runs += here.store.runs.between(case.task.id, slots[0], LAST, MOST)
    case = _with(here.store, case, list({run.id: run for run in runs}.values()))
    slots_explained = explain.account(case, slots)[-NEWEST:]
    since = min(
        (each.first_slot for each in slots_explained if each.first_slot), default=case.task.created
    )
    rest = explain.outstanding(case)
    return _explanation(case, [*slots_explained, *([rest] if rest else [])], since, case.now)


def explain_at(here: OpenHome, key: str | int, at: datetime) -> Explanation:
    """Return why the slot at an instant ran or did not; runs match to the second."""
    case = _case(here, key)
    # The slot of a manual run is shown to the second.
    end = at + (clock.MILLISECOND if at.microsecond else timedelta(seconds=1)) - clock.MILLISECOND
    slots = _slots(case, at - clock.MILLISECOND, at, 1)
    found = here.store.runs.between(case.task.id, at, end, MOST)
    runs = [run for run in found if slots or at <= run.slot <= end]
    if not slots and not runs:
        return _explanation(case, [explain.no_slot(case, at)], at, at)
    case = _with(here.store, case, runs)
    over = [run.started or run.finished or case.now for run in runs]
    following = case.value.next_after(at) if case.value else None
    until = max(over, default=min(following or case.now, max(at, case.now)))
    return _explanation(
        case, explain.account(case, slots), min([at, *(r.first_slot for r in runs)]), until
    )


def explain_between(
    here: OpenHome, key: str | int, since: datetime, until: datetime
) -> Explanation:
    """Return why the slots in a period ran or did not, only the newest ones of very many."""
    case = _case(here, key)
    runs = here.store.runs.between(case.task.id, since, until, MOST + 1)
    slots = _slots(case, since - clock.MILLISECOND, until, MOST + 1)
    if len(runs) > MOST:  # slots before them have rows that were not read
        slots = [slot for slot in slots if slot >= runs[-1].first_slot]
    case = _with(here.store, case, runs)
    slots_explained = explain.account(case, slots)
    return _explanation(
        case, slots_explained[-MOST:], since, until, cut=max(len(slots_explained), len(runs)) > MOST
    )


def explain_run(here: OpenHome, run: Run) -> Explanation:
    """Return the explanation of a run and of the other attempts of its slot."""
    case = _case(here, run.task_id)
    kin = here.store.runs.between(run.task_id, run.slot, run.slot, MOST)
    kin = [each for each in kin if each.slot == run.slot and each.trigger is not Trigger.MANUAL]
    case = _with(here.store, case, [run] if run.trigger is Trigger.MANUAL else kin[::-1])
    over = run.started or run.finished or case.now
    return _explanation(case, explain.each_attempt(case), run.first_slot, over)


def _explanation(
    case: Case,
    slots_explained: list[Explained],
    since: datetime,
    until: datetime,
    *,
    cut: bool = False,
) -> Explanation:
    found = ledger.between(ledger.gaps(case.events, case.silence), since, until)
    described = "" if case.value is None else case.value.describe()
    return Explanation(
        case.task.name,
        case.problem or described,
        case.task.tz,
        slots_explained,
        found,
        ledger.changes(case.events, since, until),
        cut,
    )


def _slots(case: Case, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the newest slots of the schedule in a period."""
    return [] if case.value is None else counting.newest_slots(case.value, after, until, limit)


def _case(here: OpenHome, key: str | int) -> Case:
    """Return the data about a task, also a removed one, without its runs."""
    task, removed = _ever(here.store, key)
    now, wrong = here.now(), status.problem(task)
    beat = heartbeat.read(here.path(paths.HEARTBEAT))
    decisions = [] if removed else dry_run.dry_run(here, now, [task])
    return Case(
        task,
        value=None if wrong else of_task.value_of(task),
        now=now,
        events=here.store.events.about(task.id),
        removed=removed,
        problem=wrong or task.error,
        last_tick=None if beat is None else clock.from_ms(beat.at),
        silence=None if beat is None else _silence(beat, now),
        hold=here.store.facts.held(now),
        coming=[decision for decision in decisions if decision.task_id == task.id],
        pruned=here.store.pruning.newest_slot(task.id),
        parent=_parent(here.store, task),
    )


def _ever(store: Store, key: str | int) -> tuple[Task, bool]:
    """Return a task and whether it was removed; of several of that name the last."""
    try:
        return store.tasks.get(key), False
    except UnknownTask:
        ids = store.tasks.ids_ever(key)
        if not ids:
            raise
        return store.tasks.by_id(ids)[max(ids)], True


def _silence(beat: heartbeat.Beat, now: datetime) -> Gap | None:
    """Return the time without ticks that is not over yet."""
    if not status.is_silent(beat, now):
        return None
    cause = ledger.silent(host.boot_id() != beat.boot_id, beat.caller)
    return Gap(clock.from_ms(beat.at), None, cause)


def _parent(store: Store, task: Task) -> Task | None:
    if task.kind is not Kind.AFTER:
        return None
    try:
        return store.tasks.get(task.schedule.partition(":")[0])
    except UnknownTask:
        return None


def _with(store: Store, case: Case, runs: Sequence[Run]) -> Case:
    """Return a case with its runs, and the runs related to them."""

    def by_id(find: Callable[[Run], Run | None]) -> dict[int, Run]:
        found = ((run.id, find(run)) for run in runs)
        return {key: other for key, other in found if other is not None}

    return like(
        case,
        runs=runs,
        before=by_id(store.runs.made_room),
        after=by_id(lambda run: _parent_run(store, case, run)),
        instead=by_id(lambda run: _successor(store, run)),
    )


def _parent_run(store: Store, case: Case, run: Run) -> Run | None:
    """Return the parent's run that a run followed: the last attempt of the same slot."""
    if case.parent is None or run.trigger is not Trigger.AFTER:
        return None
    found = store.runs.between(case.parent.id, run.slot, run.slot, MOST)
    return next((each for each in found if each.slot == run.slot and each.id < run.id), None)


def _successor(store: Store, run: Run) -> Run | None:
    """Return the run that replaced another."""
    said = TOOK_PLACE.search(run.reason or "")
    if said is None:
        return None
    slot = datetime.fromisoformat(f"{said[1]}+00:00")
    found = store.runs.between(run.task_id, slot, slot + timedelta(seconds=1), MOST)
    return next((each for each in found if each.id > run.id), None)
