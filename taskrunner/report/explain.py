"""Explanations in sentences: the reason for which a task ran or did not, slot by slot.

Pure: a `Case` with all data about a task in, sentences out. `why` reads the case from the store.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from taskrunner import clock
from taskrunner.decide import ledger
from taskrunner.decide.policy import GRACE, named, words
from taskrunner.model.answers import Explained
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.record import field, record
from taskrunner.model.values import Event, Gap, Hold, Kind, Run, State, Task, Trigger
from taskrunner.schedule import counting, durations
from taskrunner.schedule.kinds import At, Schedule

CAUSES = 3  # of a delay that are listed one by one
LOOK_BACK = timedelta(days=40 * 366)  # slots can lie 40 years apart

ENDS = {"succeeded": "succeeds", "failed": "fails", "any": "ends"}


@record
class Case:
    """All data about a task for an explanation; runs by slot, events by time, oldest first."""

    task: Task
    value: Schedule | None  # None when its schedule is not valid any more
    now: datetime
    events: Sequence[Event]  # of the task and of the store as a whole
    runs: Sequence[Run] = ()
    removed: bool = False
    problem: str | None = None  # why it cannot be evaluated
    last_tick: datetime | None = None
    silence: Gap | None = None  # no tick has come for too long
    hold: Hold | None = None
    coming: Sequence[Decision] = ()  # decisions of a tick now about this task
    pruned: datetime | None = None  # rows up to this slot were deleted
    before: Mapping[int, Run] = field(default_factory=dict)  # let a run start by ending, by its id
    after: Mapping[int, Run] = field(default_factory=dict)  # the parent's run of a run, by its id
    instead: Mapping[int, Run] = field(
        default_factory=dict
    )  # the run that replaced a run, by its id
    parent: Task | None = None  # the task it comes after


def account(case: Case, slots: Sequence[datetime]) -> list[Explained]:
    """Return the explanations of the slots, and of all runs of the case, oldest first."""
    found = [_recorded(case, attempts) for attempts in by_slot(case.runs)]
    rows = [run for run in case.runs if run.trigger is not Trigger.MANUAL]
    ones = {run.slot for run in rows}
    spans = [(run.first_slot, run.slot) for run in rows if run.first_slot < run.slot]
    found += [
        Explained(slot, slot, None, unrecorded(case, slot), None)
        for slot in slots
        if slot not in ones and not any(first <= slot <= last for first, last in spans)
    ]
    return sorted(found, key=lambda each: (each.slot or case.now, each.run or 0))


def by_slot(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Yield the attempts of each slot together, oldest first; a manual run is alone."""

    def key(run: Run) -> tuple[datetime, int]:
        return run.slot, run.id if run.trigger is Trigger.MANUAL else 0

    for _, attempts in groupby(sorted(runs, key=lambda run: (*key(run), run.attempt)), key):
        yield list(attempts)


def each_attempt(case: Case) -> list[Explained]:
    """Return the explanation of each attempt of one slot, the runs of the case."""
    return [_recorded(case, case.runs[: number + 1]) for number in range(len(case.runs))]


def _recorded(case: Case, attempts: Sequence[Run]) -> Explained:
    run = attempts[-1]
    return Explained(run.slot, run.first_slot, run.state, "; ".join(_story(case, attempts)), run.id)


def _story(case: Case, attempts: Sequence[Run]) -> Iterator[str]:
    """Yield the sentences about the last attempt of a slot."""
    run = attempts[-1]
    if run.trigger is Trigger.MANUAL and not _called_off(run):
        yield f"started by hand{ledger.asked_by(case.events, run.id)}"
    yield _standing(case, run)
    if run.coalesced > 1:
        count = f"{'at least ' * run.coalesced_at_least}{run.coalesced}"
        yield f"stands for {count} slots from {words(run.first_slot)} on"
    if attempts[:-1]:
        yield f"attempt {run.attempt}, after {named(attempts[:-1])}"
    elif run.attempt > 1:  # those before it were started by hand, or are pruned
        yield f"attempt {run.attempt}"
    parent = case.after.get(run.id)
    if parent is not None and parent.finished is not None:
        yield f"came after run {parent.id} of {parent.task}, which {parent.state} at {words(parent.finished)}"
    note = _odd(case, run)
    if note is not None:
        yield note
    if run.id in case.instead:
        yield f"that is {named([case.instead[run.id]])}"
    if run.trigger is not Trigger.MANUAL:
        yield from _delay(case, run)


def _called_off(run: Run) -> bool:
    """Return whether a row is a slot that was cancelled before its time."""
    return run.finished is not None and run.finished < run.slot


def _odd(case: Case, run: Run) -> str | None:
    """Return a note on a slot of the current schedule that a clock change has moved or repeated."""
    if case.value is None or run.trigger is Trigger.MANUAL:
        return None
    if case.value.next_after(run.slot - clock.MILLISECOND) != run.slot:
        return None
    return counting.slot_note(case.value, run.slot)


def _standing(case: Case, run: Run) -> str:
    if run.state is State.PENDING:
        return "; ".join(_waits(case, run))
    if run.state is State.RUNNING and run.started is not None:
        where = f", {run.reason}" if run.reason else ""  # on another machine
        return f"it runs since {words(run.started)}{where}"
    if run.state is State.RUNNING:
        return f"it {run.reason or 'is being handed over'}, and no worker has started it yet"
    return run.reason or str(run.state)


def _waits(case: Case, run: Run) -> Iterator[str]:
    """Yield the reasons why a run is pending, and its deadline."""
    decision = next((d for d in case.coming if d.span.slot == run.slot), None)
    if case.hold is not None and run.trigger is not Trigger.MANUAL:
        yield f"it is waiting: {_holding(case.hold)}"
    elif run.ready is not None and run.ready > case.now:
        what = "retry" if run.trigger is Trigger.RETRY else "jitter"
        yield f"it waits for its time by {what}: {words(run.ready)}"
    elif decision is not None and decision.action is Action.WAIT:
        yield (
            f"it {decision.reason}"
            if decision.reason[:6] == "waits "
            else f"it is waiting: {decision.reason}"
        )
    elif case.silence is None and f"the queue {case.task.queue} " in (run.reason or ""):
        yield f"it is waiting: {run.reason}"
    else:
        yield f"it is waiting for the next tick to start it{_no_tick(case)}"
    limit = case.task.deadline
    if limit is not None and run.trigger is not Trigger.MANUAL:
        yield f"it is missed if it has not started by {words(run.slot + limit)}"


def _holding(hold: Hold) -> str:
    why = "" if hold.reason is None else f" ({hold.reason})"
    until = "" if hold.until is None else f", until {words(hold.until)}"
    return f"scheduled runs are paused by {hold.by} since {words(hold.since)}{until}{why}"


def _no_tick(case: Case) -> str:
    """Return a note when ticks do not come, "" when they do."""
    if case.last_tick is None:
        return ": none has ever come, so call `taskrunner tick` every minute"
    if case.silence is None:
        return ""
    return f": none has come since {words(case.last_tick)}; {case.silence.cause}"


def _delay(case: Case, run: Run) -> Iterator[str]:
    """Yield the delay of a run, and its causes; for a slot that was not run, the delay of the decision."""
    over = run.started or run.finished
    if over is None or over - run.slot <= GRACE:
        return
    causes = list(_causes(case, run, over))
    if run.started is not None:
        yield f"started {durations.human((over - run.slot).total_seconds())} late"
    yield from causes[:CAUSES]
    if causes[CAUSES:]:
        yield f"and {len(causes) - CAUSES} more of the kind"


def _causes(case: Case, run: Run, over: datetime) -> Iterator[str]:
    for each in ledger.gaps(case.events):
        if each.until is not None and each.since < over and each.until > run.first_slot:
            yield f"no tick came from {words(each.since)} to {words(each.until)}: {each.cause}"
    for hold in ledger.holds(case.events):
        if hold.meets(run.first_slot, over):
            until = words(min(hold.until or over, over))
            why = f" ({hold.why})" if hold.why else ""
            yield f"scheduled runs were paused by {hold.by} from {words(hold.since)} to {until}{why}"
    for event in case.events:
        if event.what == "error" and run.first_slot <= event.at <= over:
            yield f"it could not be evaluated at {words(event.at)}: {event.text}"
    if run.ready is not None and run.ready > run.slot:
        what = "the retry" if run.trigger is Trigger.RETRY else "with its jitter it"
        yield f"{what} was to start at {words(run.ready)}"
    other = case.before.get(run.id)
    if other is not None and other.finished is not None:
        yield f"it waited for run {other.id} of {other.task} to end, at {words(other.finished)}"


def unrecorded(case: Case, slot: datetime) -> str:
    """Return why a slot has no row."""
    for why in REASONS:
        text = why(case, slot)
        if text is not None:
            return text
    return "a tick passed it without recording a result"


def _before_it_was_added(case: Case, slot: datetime) -> str | None:
    if slot > case.task.created:
        return None
    added = [event for event in case.events if event.what == "added"]
    by = f" by {added[0].by}" if added else ""
    return f"the task was added only later: at {words(case.task.created)}{by}"


def _after_it_was_removed(case: Case, slot: datetime) -> str | None:
    gone = [event for event in case.events if event.what == "removed" and event.at <= slot]
    return f"the task was removed by {gone[0].by} at {words(gone[0].at)}" if gone else None


def _while_disabled(case: Case, slot: datetime) -> str | None:
    for each in ledger.disabled(case.events):
        if each.covers(slot):
            until = "" if each.until is None else f", until {words(each.until)}"
            return f"the task was disabled by {each.by} at {words(each.since)}{until}"
    if not case.task.enabled and slot > case.now:
        return "the task is disabled"
    return None


def _under_another_schedule(case: Case, slot: datetime) -> str | None:
    for event in case.events:
        found = re.match(ledger.OTHER_SCHEDULE, event.text or "")
        if event.what == "changed" and found and slot <= event.at:
            if found[1] == found[2]:
                return f"its schedule was set again by {event.by} at {words(event.at)}, and counts from then on"
            return f"its schedule was another, {found[1]}, until {event.by} changed it at {words(event.at)}"
    return None


def _pruned(case: Case, slot: datetime) -> str | None:
    if case.pruned is None or slot > case.pruned:
        return None
    return "it was deleted from the history by the retention settings"


def _overtaken(case: Case, slot: datetime) -> str | None:
    """Return the reason of a slot that no tick had handled when the task was disabled or removed."""
    for event in case.events:
        if event.what in ("disabled", "removed") and event.at > slot:
            gap = next((g for g in ledger.gaps(case.events, case.silence) if _spans(g, slot)), None)
            why = "" if gap is None else f"; {gap.cause}"
            return f"no tick came between it and {words(event.at)}, when {event.by} {event.what} the task{why}"
    return None


def _spans(gap: Gap, slot: datetime) -> bool:
    return gap.since <= slot and (gap.until is None or slot <= gap.until)


def _to_come(case: Case, slot: datetime) -> str | None:
    if slot <= case.now:
        return None
    if case.hold is not None and (case.hold.until is None or case.hold.until > slot):
        return f"is due then, but will wait: {_holding(case.hold)}"
    if case.problem is not None:
        return f"is due then, but the task cannot be evaluated: {case.problem}"
    missing = _no_tick(case)
    return f"is due then, if ticks come{missing}" if missing else "is due then"


def _open(case: Case, slot: datetime) -> str | None:
    """Return the reason of a due slot that the next tick will handle."""
    if slot <= case.task.evaluated:
        return None
    if case.hold is not None:
        return f"waiting: {_holding(case.hold)}"
    if case.problem is not None:
        return f"waiting: the task cannot be evaluated: {case.problem}"
    decision = next((d for d in case.coming if d.span.first <= slot <= d.span.slot), None)
    missing = _no_tick(case)
    if decision is None:
        return f"waiting for the next tick{missing}"
    why = "" if decision.reason == "due" else f": {decision.reason}"
    if missing:
        return f"waiting for the next tick{missing}; a tick now would {decision.action} it{why}"
    return f"waiting for the next tick, which will {decision.action} it{why}"


REASONS: tuple[Callable[[Case, datetime], str | None], ...] = (
    _before_it_was_added,
    _after_it_was_removed,
    _while_disabled,
    _under_another_schedule,
    _pruned,
    _overtaken,
    _to_come,
    _open,
)


# ---- coming slots, and instants that are not slots


def outstanding(case: Case) -> Explained | None:
    """Return the explanation of the next slot, or of the awaited event; None when a run has it already."""
    slot = _next_slot(case)
    if slot is not None:
        return Explained(slot, slot, None, unrecorded(case, slot), None)
    text = _waits_for(case)
    return None if text is None else Explained(None, None, None, text, None)


def _next_slot(case: Case) -> datetime | None:
    if not case.task.enabled or case.task.requested is not None or case.value is None:
        return None
    if case.task.from_finish:
        return case.task.next
    return case.value.next_after(max(case.now, case.task.evaluated))


def _waits_for(case: Case) -> str | None:
    task = case.task
    if case.removed:
        return _after_it_was_removed(case, case.now) or "the task was removed"
    if case.problem is not None:
        return f"the task cannot be evaluated: {case.problem}"
    if not task.enabled:
        why = _while_disabled(case, case.now) or "the task is disabled"
        if task.done:
            why = "it is done"
        if isinstance(case.value, At) and (task.done or case.value.instant <= case.now):
            return f"{why}: `taskrunner set {task.name} --at WHEN` gives it another time"
        return f"{why}: nothing is due until `taskrunner enable {task.name}`"
    if task.requested is not None:
        return f"a run was requested at {words(task.requested)}: the next tick starts it{_no_tick(case)}"
    if any(run.state in (State.PENDING, State.RUNNING) for run in case.runs):
        return None
    return _untimed(case)


def _untimed(case: Case) -> str | None:
    task = case.task
    match task.kind:
        case Kind.AFTER:
            return _after_parent(case)
        case Kind.BOOT:
            if case.coming:
                return f"the machine has started again: the next tick starts it{_no_tick(case)}"
            return "it is due at the first tick after the next boot"
        case Kind.MANUAL:
            return f"it runs only by hand: `taskrunner run {task.name}`"
    return None if task.from_finish else "it has no further slot"


def _after_parent(case: Case) -> str:
    name, _, on = case.task.schedule.partition(":")
    parent = case.parent
    if parent is None:
        return f"it runs after {name}, but that task was removed"
    last = "has not run yet"
    if parent.last_run is not None:
        last = f"ran last at {words(parent.last_run)} and {parent.last_state}"
    due = "" if parent.next is None else f", and is due next at {words(parent.next)}"
    if not parent.enabled:
        due = ", and is disabled"
    return f"it waits for a run of {name} that {ENDS[on or 'succeeded']}: {name} {last}{due}"


def no_slot(case: Case, moment: datetime) -> Explained:
    """Return the explanation of an instant that is not a slot, with the nearest slots."""
    value, near = case.value, []
    if value is not None:
        start = max(clock.EPOCH, moment - LOOK_BACK)
        before, after = counting.newest(value, start, moment), value.next_after(moment)
        near += [] if before is None else [f"the slot before is {words(before)}"]
        near += [] if after is None else [f"the slot after is {words(after)}"]
    older = _under_another_schedule(case, moment)
    nearest = ", ".join(near) or "it has no scheduled times"
    text = f"this is not a slot of {case.task.name} ({ledger.when(vars(case.task))}): {nearest}"
    return Explained(moment, moment, None, f"{text}; {older}" if older else text, None)
