"""The reasons of live runs in queues: since when one waits there, and why a queue does not answer.

It must not know how they are handed over.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from taskrunner.decide import policy
from taskrunner.home import queues
from taskrunner.model.values import State
from taskrunner.store.store import Store

PATIENCE = 2.0  # seconds to wait for other writers


def waits(queue: str, since: datetime) -> str:
    """Return the reason of a run that has been handed over and has not started."""
    return f"waits in {queue} since {policy.words(since)}"


def explain_silence(
    store: Store, settings: queues.Queue, trouble: str, now: datetime
) -> str | None:
    """Give the live runs of a queue that does not answer the reason, and since when; return it if it is new."""
    silent = f"the queue {settings.name} does not answer"
    runs = [
        *store.runs.startable_in(settings.name, settings.limit, now),
        *(run for run, _ in store.processes.in_queue(settings.name)),
    ]
    told = re.compile(rf"{re.escape(silent)} since (\S+ \S+ UTC)")
    known = [found[1] for run in runs if (found := told.search(run.reason or ""))]
    why = trouble.replace(silent, f"{silent} since {min(known, default=policy.words(now))}", 1)
    reasons: dict[str, list[int]] = {}
    for run in runs:
        before = "" if run.state is State.PENDING else (run.reason or "").partition(silent)[0]
        before = before.removesuffix("; ")
        reason = f"{before}; {why}" if before else why
        if reason != run.reason:
            reasons.setdefault(reason, []).append(run.id)
    _explain(store, reasons)
    return why if reasons and not known else None


def explain_unusable(store: Store, settings: queues.Queue, why: str, now: datetime) -> None:
    """Give the pending runs of a queue that cannot be used here the reason.

    A reason that another process has found stays, as only we may be unable to use it.
    """
    waiting = store.runs.startable_in(settings.name, settings.limit, now)
    told = [run.id for run in waiting if f"the queue {settings.name} " not in (run.reason or "")]
    _explain(store, {why: told} if told else {})


def _explain(store: Store, reasons: Mapping[str, Sequence[int]]) -> None:
    if reasons:
        with store.transaction(patience=PATIENCE):
            for reason, ids in reasons.items():
                store.runs.explain(ids, reason)
