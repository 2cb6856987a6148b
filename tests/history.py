"""Runs of the past, written into a store as those who claim, start and record would."""

from datetime import datetime, timedelta

from taskrunner import State, Trigger
from taskrunner.clock import from_ms, to_ms
from taskrunner.model.values import LIVE, NOT_RUN, End, Outcome, Process
from tests.samples import NOON

SECOND = timedelta(seconds=1)


def ran(
    store,
    state=State.SUCCEEDED,
    ended: datetime = NOON,
    *,
    task=1,
    took=10 * SECOND,
    late=SECOND,
    started=True,
    slot=None,
    trigger=Trigger.SCHEDULE,
    attempt=1,
    output=b"",
    size=None,
    reason="",
):
    """Write a run of a task that ended so, and then; returns its id."""
    begun = ended - took
    slot = begun - late if slot is None else slot
    with store.transaction():
        run_id = store.runs.add(
            task,
            state if state in NOT_RUN else State.PENDING,
            ended if state in NOT_RUN else begun,
            slot=slot,
            first_slot=slot,
            trigger=trigger,
            attempt=attempt,
            reason="because",
        )
        assert run_id is not None
        if state in NOT_RUN or state is State.PENDING:
            return run_id
        if started:
            process = Process(run_id, "nobody", "boot", "no-slot", 7)
            store.runs.start([process], begun)
        if state not in LIVE:
            size = len(output) if size is None else size
            store.runs.finish(
                [End(store.runs.get(run_id), state, reason, ended, Outcome(), output, size)]
            )
        return run_id


def rounded(moment: datetime) -> datetime:
    """Return an instant as the store keeps it."""
    return from_ms(to_ms(moment))
