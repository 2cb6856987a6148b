"""The answers of an engine that carries runs: its refusal of a run, or the state of one."""

from datetime import datetime
from enum import StrEnum

from taskrunner.model.record import record
from taskrunner.model.values import Outcome


class Stage(StrEnum):
    """The progress of a run, as reported by the engine that carries it."""

    WAITING = "waiting"  # taken, not started yet
    RUNNING = "running"  # its command has started
    ENDED = "ended"  # its command has ended, and the engine keeps the outcome for us
    GONE = "gone"  # the engine does not know it, or has lost it


class NoAnswer(Exception):
    """An engine did not answer in time: it may have done as it was asked."""


@record
class Refused:
    """The reason for which an engine did not take a run; `later` leaves the run pending, as the engine may take it then."""

    why: str
    later: bool = False


@record
class Standing:
    """The state of a run at its engine: `since` is its start or None, the other fields tell of its end.

    If the output was too large, `left_out` bytes from the byte `cut_at` on are not kept.
    """

    stage: Stage
    since: datetime | None = None
    host: str | None = None  # where it runs or ran, if not here
    at: datetime | None = None  # when it ended
    outcome: Outcome | None = None
    output: bytes = b""
    cut_at: int | None = None
    left_out: int | None = None
    written: int = 0  # bytes of output, with those left out
    note: str | None = None  # a remark on the end, or the reason for which it is gone
