"""Decisions about the slots of tasks."""

from datetime import datetime
from enum import StrEnum

from taskrunner.model.record import record
from taskrunner.model.values import Trigger


class Action(StrEnum):
    """Decisions of a tick about a slot."""

    RUN = "run"  # it starts at once
    WAIT = "wait"  # it starts when there is room for it, or when its delay is over
    QUEUE = "queue"  # it starts when the run before it has ended
    REPLACE = "replace"  # it starts when the runs it replaces are stopped
    SKIP = "skip"  # the task still runs
    MISS = "miss"  # it is too late


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

    `stops` are the runs that end for it; a run that it makes does not start before `ready`.
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
