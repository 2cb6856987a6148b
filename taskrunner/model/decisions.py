"""Decisions about the slots of tasks."""

from datetime import datetime
from enum import StrEnum

from taskrunner.model.record import record
from taskrunner.model.values import Trigger


class Action(StrEnum):
    """Decisions of a tick about a slot."""

    RUN = "run"  # the run starts at once
    WAIT = "wait"  # it starts when there is capacity, or when its delay is over
    QUEUE = "queue"  # it starts when the previous run has ended
    REPLACE = "replace"  # it starts when the replaced runs are stopped
    SKIP = "skip"  # no run, as the task is still running
    MISS = "miss"  # no run, as it is too late


@record
class Span:
    """One slot, or several that are handled as one; `slot` is the newest of `count`."""

    slot: datetime
    first: datetime
    count: int = 1
    at_least: bool = False


@record
class Decision:
    """The decision about a span of slots of one task, and its reason.

    `stops` are the runs that are stopped for it; its own run does not start before `ready`.
    """

    task_id: int
    task: str
    span: Span
    action: Action
    reason: str
    trigger: Trigger
    stops: tuple[int, ...] = ()
    ready: datetime | None = None
    priority: int = 0

    @property
    def claims(self) -> bool:
        """Whether it makes a run that will start."""
        return self.action not in (Action.SKIP, Action.MISS)
