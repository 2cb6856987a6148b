"""Decisions about open slots: pure functions, one decision per slot or per row of folded slots.

Values in, values out: it knows no store, no clock and no process. The rules are those of docs/explanation/time.md.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zlib import crc32

from taskrunner import clock
from taskrunner.model.decisions import Action, Decision, Span
from taskrunner.model.record import like
from taskrunner.model.values import FAILING, After, CatchUp, Overlap, Run, State, Task, Trigger
from taskrunner.schedule import durations

GRACE = timedelta(minutes=2)  # a slot this old at its claim is still in time
CATCH_UP_LIMIT = 100  # slots that catch-up all runs, when no limit is given


def wanted(task: Task) -> int:
    """Return how many of the newest open slots `decide` needs individually."""
    match task.catch_up:
        case CatchUp.LAST:
            return 1
        case CatchUp.NONE:
            return 2
        case CatchUp.ALL:
            return limit(task) + 1


def limit(task: Task) -> int:
    """Return how many slots catch-up all runs at most."""
    return task.catch_up_limit or CATCH_UP_LIMIT


def decide(
    task: Task, span: Span, newest: Sequence[datetime], live: Sequence[Run], now: datetime
) -> list[Decision]:
    """Decide about the open slots of a task while its `live` runs are pending or running.

    `span` is all of them, `newest` the newest few one by one, oldest first.
    """
    missed, chosen = _catch_up(task, span, newest, now)
    return [*(_missed(task, span, now) for span in missed), *_overlap(task, chosen, live, now)]


def _catch_up(
    task: Task, whole: Span, newest: Sequence[datetime], now: datetime
) -> tuple[list[Span], list[Span]]:
    """Divide the open slots into missed ones and those to run."""
    keep, oldest = _kept(task)
    if task.catch_up is CatchUp.LAST:
        return _by_age([whole], oldest, now)
    late, chosen = _by_age([Span(slot, slot) for slot in newest[-keep:]], oldest, now)
    left = whole.count - len(chosen)
    if not left:
        return [], chosen
    last = late[-1].slot if late else newest[-keep - 1]
    return [Span(last, whole.first, left, whole.at_least)], chosen


def _kept(task: Task) -> tuple[int, timedelta | None]:
    """Return how many slots may run, and how old each may be."""
    if task.catch_up is CatchUp.NONE:
        return 1, task.deadline or GRACE
    return limit(task), task.deadline


def _by_age(
    spans: list[Span], limit: timedelta | None, now: datetime
) -> tuple[list[Span], list[Span]]:
    late = [span for span in spans if limit is not None and now - span.slot > limit]
    return late, spans[len(late) :]


def _missed(task: Task, span: Span, now: datetime) -> Decision:
    if task.deadline is not None and now - span.slot > task.deadline:
        why = f"later than its deadline of {durations.format(task.deadline)}"
    elif task.catch_up is CatchUp.NONE:
        why = "no tick came in time, and --catch-up is none"
    else:
        why = f"no tick came in time, and --catch-up runs only the newest {limit(task)}"
    return Decision(task.id, task.name, span, Action.MISS, why, _trigger(span, now))


def given_up(task: Task, span: Span, why: str, now: datetime) -> Decision:
    """Return the decision that slots are missed, as no tick had seen them when a person changed the task."""
    return Decision(task.id, task.name, span, Action.MISS, why, _trigger(span, now))


def _overlap(task: Task, chosen: list[Span], live: Sequence[Run], now: datetime) -> list[Decision]:
    """Decide about the chosen slots beside the live runs; the chosen ones do not overlap each other."""

    def made(span: Span, action: Action, reason: str, stops: tuple[int, ...] = ()) -> Decision:
        trigger, ready = _trigger(span, now), _ready(task, span.slot)
        decision = Decision(
            task.id, task.name, span, action, reason, trigger, stops, ready, task.priority
        )
        return _delayed(decision, now)

    if (
        task.overlap is Overlap.ALLOW
        and task.max_instances is not None
        and len(live) >= task.max_instances
    ):
        full = f"{named(live)} hold all {task.max_instances} instances"
        return [made(span, Action.SKIP, full) for span in chosen]
    if not live or task.overlap is Overlap.ALLOW:
        return [made(span, Action.RUN, _due(span, now)) for span in chosen]
    ids = tuple(run.id for run in live)
    match task.overlap:
        case Overlap.QUEUE:
            displaced = _displaced(task, live)
            waits = f"waits for {named(run for run in live if run.id not in displaced)}"
            return [made(span, Action.QUEUE, waits, displaced) for span in chosen]
        case Overlap.REPLACE:
            first = [
                made(span, Action.REPLACE, f"replaces {named(live)}", ids) for span in chosen[:1]
            ]
            return [
                *first,
                *(made(span, Action.RUN, _due(span, now)) for span in chosen[1:]),
            ]
        case _:
            return [made(span, Action.SKIP, f"{named(live)} had not ended") for span in chosen]


def _ready(task: Task, slot: datetime) -> datetime | None:
    """Return when the run of a slot may start: later by a share of the jitter that is fixed for the slot."""
    if task.jitter is None:
        return None
    share = crc32(f"{task.id}/{clock.to_ms(slot)}".encode()) / 2**32
    return clock.from_ms(clock.to_ms(slot + task.jitter * share))


def _delayed(decision: Decision, now: datetime) -> Decision:
    """Turn a start into a wait when its time is not reached yet."""
    if decision.ready is None or decision.ready <= now or decision.action is not Action.RUN:
        return decision
    return like(decision, action=Action.WAIT, reason=f"starts at {words(decision.ready)}")


def words(moment: datetime) -> str:
    """Return an instant as it is written in reasons."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _displaced(task: Task, live: Sequence[Run]) -> tuple[int, ...]:
    """Return the pending runs that a newer one displaces: the queue has one place, unless catch-up is all.

    A pending retry belongs to the run before it, and is not in the queue.
    """
    waiting = [
        run.id for run in live if run.state is State.PENDING and run.trigger is not Trigger.RETRY
    ]
    places = limit(task) if task.catch_up is CatchUp.ALL else 1
    return tuple(waiting[: max(0, len(waiting) - places + 1)])


def named(runs: Iterable[Run]) -> str:
    """Return the runs as words: `run 7 (running)`, `runs 7 (running) and 9 (pending)`."""
    words = [f"{run.id} ({run.state})" for run in runs]
    if len(words) > 4:
        words[3:] = [f"{len(words) - 3} more"]
    head = ", ".join(words[:-1])
    return f"runs {head} and {words[-1]}" if head else f"run {words[-1]}" if words else "no run"


def _trigger(span: Span, now: datetime) -> Trigger:
    late = span.count > 1 or now - span.slot > GRACE
    return Trigger.CATCH_UP if late else Trigger.SCHEDULE


def _due(span: Span, now: datetime) -> str:
    late = now - span.slot
    words = "due" if late <= GRACE else f"due, {durations.human(late.total_seconds())} late"
    if span.count == 1:
        return words
    return f"{words}, stands for {'at least ' * span.at_least}{span.count} slots"


def requested(task: Task, at: datetime, live: Sequence[Run]) -> Decision:
    """Decide about a manual run; the caller refuses it when the decision is a skip."""
    decision = _overlap(like(task, jitter=None), [Span(at, at)], live, at)[0]
    reason = "asked for" if decision.action is Action.RUN else decision.reason
    return like(decision, trigger=Trigger.MANUAL, reason=reason)


def again(decision: Decision, slot: datetime) -> Decision:
    """Return the decision for a manual run of an older slot."""
    return like(
        decision,
        span=Span(slot, slot),
        reason=f"requested by hand for the slot of {words(slot)}",
    )


def follows(
    task: Task, on: After, parent: Run, live: Sequence[Run], now: datetime
) -> list[Decision]:
    """Return the decisions for a task that follows the ended run of a parent; [] when there are none."""
    span = Span(parent.slot, parent.first_slot, parent.coalesced, parent.coalesced_at_least)
    if parent.state in (State.SKIPPED, State.MISSED):
        if on is After.FAILED:
            return []
        why = f"run {parent.id} of {parent.task} was {parent.state}: {parent.reason}"
        return [Decision(task.id, task.name, span, Action.SKIP, why, Trigger.AFTER)]
    failed = parent.state in FAILING
    met = {After.SUCCEEDED: parent.state is State.SUCCEEDED, After.FAILED: failed}.get(
        on, parent.started is not None
    )
    if not met:
        return []
    why = f"run {parent.id} of {parent.task} {parent.state}"
    return [
        like(
            decision,
            trigger=Trigger.AFTER,
            reason=why if decision.action is Action.RUN else decision.reason,
        )
        for decision in _overlap(task, [span], live, now)
    ]


def waiting(run: Run, now: datetime) -> Decision:
    """Return the decision for a run that an earlier tick has claimed: it starts as soon as it may."""
    span = Span(run.slot, run.first_slot, run.coalesced, run.coalesced_at_least)
    why = f"run {run.id} waits: {run.reason}"
    decision = Decision(
        run.task_id,
        run.task,
        span,
        Action.RUN,
        why,
        run.trigger,
        (),
        run.ready,
        run.priority,
    )
    return _delayed(decision, now)


def too_late(task: Task, run: Run, now: datetime) -> str | None:
    """Return why it is too late to start a pending run, None when it is not; a manual run always starts."""
    if task.deadline is None or run.trigger is Trigger.MANUAL or now - run.slot <= task.deadline:
        return None
    return f"it waited past its deadline of {durations.format(task.deadline)}"
