"""Calls for queues to other machines: their contents, and emptying one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from taskrunner.api.base import Base, author, line
from taskrunner.errors import StateError, advice, shown

if TYPE_CHECKING:
    from taskrunner.home.queues import Queue
    from taskrunner.model.answers import Emptied, QueueState


class Queues(Base):
    """The requests about queues."""

    def queues(self, name: str | None = None) -> list[QueueState]:
        """Return the queues of the configuration, or one of them, with their contents.

        One whose server does not answer within 2 seconds, or that cannot be used here, has an `error` instead. Raises
        StateError for an unknown queue.
        """
        return [self._state_of(each) for each in self._described(name)]

    def empty_queue(
        self, name: str, *, others: bool = False, by: str | None = None, reason: str | None = None
    ) -> Emptied:
        """Cancel our runs that wait in a queue and return them; with `others` also take out everything else.

        Their reason is `cancelled by NAME: the queue QUEUE was emptied`, with `by` or the user of this process, and
        `reason` in place of that sentence. Raises StateError when the server of the queue does not answer.
        """
        from taskrunner.model.answers import Emptied
        from taskrunner.processes import account
        from taskrunner.tick import by_hand

        (queue,) = self._described(name)
        if (fault := queue.unusable()) is not None:
            raise StateError(fault)
        from taskrunner.supervise.rq_carrier import RqCarrier  # it imports RQ, which may be missing

        because = line(reason, "reason", 1000) or f"the queue {name} was emptied"
        why = f"cancelled by {account.author(author(by))}: {because}"
        here = self._here()
        with closing(RqCarrier.of(here, queue)) as carrier:
            contents = carrier.survey()
            if contents is None:
                raise StateError(carrier.trouble)
            ours = self._ours(name)
            waiting = [ours[each] for each in contents.waiting if each in ours]
            runs = by_hand.cancel(here, waiting, why) if waiting else []
            # Runs of ours that were handed over meanwhile stay.
            dropped = carrier.drop_others() if others else 0
            if dropped is None:
                raise StateError(carrier.trouble)
        return Emptied(tuple(runs), dropped)

    def _described(self, name: str | None) -> list[Queue]:
        """Return the queues of the configuration, or the one of that name."""
        known = self._here().config.queues
        if name is not None and name not in known:
            there = f"known are {', '.join(known)}" if known else "taskrunner.toml has none"
            told = advice(name, known, there)
            raise StateError(f"{shown(name)} is not a queue of taskrunner.toml: {told}")
        return [known[each] for each in known if name in (None, each)]

    def _ours(self, name: str) -> dict[str, int]:
        """Return the names that our runs have in a queue, with their ids."""
        store = self._here().store
        if store.missing:
            return {}
        return {process.supervisor: run.id for run, process in store.processes.in_queue(name)}

    def _state_of(self, queue: Queue) -> QueueState:
        from taskrunner.home import queues
        from taskrunner.model.answers import QueueState

        known = (queue.name, queue.engine, queues.masked(queue.url or ""))
        if (fault := queue.unusable()) is not None:
            return QueueState(*known, error=fault)
        from taskrunner.supervise.rq_carrier import RqCarrier

        with closing(RqCarrier.of(self._here(), queue)) as carrier:
            contents = carrier.survey()
            if contents is None:
                return QueueState(*known, error=carrier.trouble)
        return QueueState(
            *known,
            waiting=len(contents.waiting),
            running=len(contents.running),
            others_waiting=contents.others_waiting,
            others_running=contents.others_running,
            workers=contents.workers,
            oldest=contents.oldest,
        )
