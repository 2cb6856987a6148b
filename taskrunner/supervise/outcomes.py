"""Outcomes: read the result and the output of an ended command, and store them."""

from collections.abc import Callable
from datetime import datetime

from taskrunner import clock
from taskrunner.decide import verdict
from taskrunner.errors import in_words
from taskrunner.home import lock
from taskrunner.model.record import mutable, record
from taskrunner.model.values import End, Outcome, Process, Run, State, Task
from taskrunner.processes import alive, bounded_output, children, signals
from taskrunner.processes.bounded_output import Gap
from taskrunner.processes.output import SMALL, Slot, Slots, gather, lost

SEARCHED = 20_000_000  # bytes of an output, the newest, that are searched for what its task expects of it, ...
SEARCH = 5.0  # ... and for how many seconds
TOLD = 4000  # bytes at the end of the output of a Python task that are read for what came of it


@mutable
class Watched:
    """A run that goes on, or is about to start; `name` is its supervisor by its row, `gap` the cut in its output."""

    run: Run
    task: Task
    slot: Slot
    name: str
    gap: Gap | None = None


@record
class Ended:
    """How the command of a run ended, as its supervisor saw it; `size` counts the bytes of output that were written.

    All of it but the `small` output goes into the spool, where that is needed.
    """

    run: int
    supervisor: str
    at: datetime
    outcome: Outcome
    size: int
    large: bool  # its output has a file of its own; else it is in the file it was written to
    fault: str | None  # what is wrong with the output by the rules of the task
    note: str | None  # anything else for the row
    retry: bool  # it may be followed by another attempt
    cut_at: int | None = None  # the byte of the retained output where a mark stands, ...
    left_out: int | None = None  # ... and how many bytes it stands for
    small: bytes = b""

    @property
    def name(self) -> str:
        """The name of its file in the spool: two supervisors never write the same."""
        return f"{self.run}.{self.supervisor}.json"


def collect(
    watched: Watched,
    outcome: Outcome,
    at: datetime,
    slots: Slots,
    *,
    note: str | None,
    full: bool,
    retry: bool,
    note_gap: Callable[[Watched, Gap | None], None],
) -> Ended:
    """Put the output of a run that has ended where it belongs; what is large keeps a file, that is no slot any more.

    `note` is what is to be said before anything else, `full` that the disk of the output is; `note_gap` is told of
    what will be cut out of it, should we not live to record it.
    """
    left = None
    try:
        left = _left_running(watched, outcome)
        kept, small = gather(watched.slot.fd, watched.task.max_output, watched.gap)
        fault = _fault(watched, outcome, kept)
        told = _told(watched, outcome, kept)
        large = kept.size > SMALL
        if large:
            note_gap(watched, kept.gap)
            slots.keep(watched.slot, watched.run.id, kept)  # from here on it is not ours to read
    except Exception as exc:  # noqa: BLE001  whatever is wrong with one output, it ends no other run
        kept, small, fault, told, large = bounded_output.NONE, b"", None, None, False
        note = lost(exc)
    note = note or watched.slot.fault or told
    if note is None and full:
        note = "the disk of its output was full"
    note = "; ".join(filter(None, (note, left))) or None
    cut_at, left_out = bounded_output.place_of(kept.gap)
    return Ended(
        watched.run.id,
        watched.name,
        at,
        outcome,
        kept.written,
        large,
        fault,
        note,
        retry,
        cut_at,
        left_out,
        small,
    )


def _left_running(watched: Watched, outcome: Outcome) -> str | None:
    """Return how many processes a run has left behind, by the variables that they have from it; None when none are seen.

    Each look goes through all processes: it is taken only where there may be some.
    """
    run = watched.run
    stopped = outcome.timed_out or outcome.silent or outcome.stopped or outcome.signal is not None
    hint = stopped or not lock.nobody_else_has_open(watched.slot.fd)
    if outcome.error or run.started is None or not hint:
        return None
    started = f"TASKRUNNER_STARTED={clock.iso(run.started)}"
    count = alive.marked(f"TASKRUNNER_RUN={run.id}".encode(), started.encode())
    return f"left {count} process{'es' if count > 1 else ''} running" if count else None


def judged(each: Ended, watched: Watched, stopped: Process | None) -> End:
    """Return the end as it is recorded; `stopped` is the row of a run that somebody is stopping."""
    state, reason = judged_by(watched.task, each.outcome, stopped, each.fault)
    why = verdict.with_note(reason, each.note)
    size = (each.size, each.cut_at, each.left_out)
    return End(watched.run, state, why, each.at, each.outcome, each.small, *size)


def judged_by(
    task: Task, outcome: Outcome, stopped: Process | None, fault: str | None
) -> tuple[State, str]:
    """Return state and reason of a run that ended so; a failure when that cannot be told, as the run has ended all the same."""
    try:
        return verdict.of(task, outcome, children.in_words(outcome), stopped, fault)
    except Exception as exc:  # noqa: BLE001  whatever is wrong with one run, the others have ended too
        return State.FAILED, f"its result could not be determined: {in_words(exc)}"


def _fault(watched: Watched, outcome: Outcome, kept: bounded_output.Excerpt) -> str | None:
    """Return what the task says is wrong with an output, None when nothing is or nobody asks."""
    if not verdict.reads_output(watched.task, outcome):
        return None
    text = bounded_output.newest(watched.slot.fd, kept, SEARCHED).decode(errors="replace")
    try:
        with signals.time_limit(SEARCH):
            return verdict.fault_in(watched.task, text)
    except TimeoutError:
        return f"its output could not be searched in {SEARCH:g} s"


def _told(watched: Watched, outcome: Outcome, kept: bounded_output.Excerpt) -> str | None:
    """Return what the output says came of a run, None when nobody asks."""
    if not verdict.tells(watched.task, outcome):
        return None
    text = bounded_output.newest(watched.slot.fd, kept, TOLD).decode(errors="replace")
    return verdict.told(text, outcome.exit_code)
