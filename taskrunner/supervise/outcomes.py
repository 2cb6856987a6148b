"""Outcomes: read the result and the output of an ended command, and store them."""

from collections.abc import Callable
from datetime import datetime

from taskrunner.decide import verdict
from taskrunner.errors import in_words
from taskrunner.model.record import mutable, record
from taskrunner.model.values import End, Outcome, Process, Run, State, Task, not_passed
from taskrunner.processes import bounded_output, children, signals
from taskrunner.processes.bounded_output import Cut
from taskrunner.processes.left_running import left_running
from taskrunner.processes.output import SMALL, OutputFile, OutputFiles, gather, lost

SEARCHED = 20_000_000  # bytes of an output, the newest, that are searched for the patterns of its task, ...
SEARCH = 5.0  # ... and for how many seconds
TOLD = 4000  # bytes at the end of the output of a Python task that are read for its result


@mutable
class Watched:
    """A run that is running or about to start; `name` is the supervisor in its row, `cut` the cut in its output."""

    run: Run
    task: Task
    file: OutputFile
    name: str
    cut: Cut | None = None
    missing: tuple[str, ...] = ()  # variables to pass that are set nowhere


@record
class Ended:
    """The end of a run's command as its supervisor saw it; `size` counts the bytes of output written.

    If needed, all fields but the `small` output go into the spool.
    """

    run: int
    supervisor: str
    at: datetime
    outcome: Outcome
    size: int
    large: bool  # its output has a file of its own; else it is still in the output file
    fault: str | None  # the fault in the output by the patterns of the task
    note: str | None  # a remark for the reason in the row
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
    files: OutputFiles,
    *,
    note: str | None,
    full: bool,
    retry: bool,
    note_cut: Callable[[Watched, Cut | None], None],
    on_this_machine: bool = True,
) -> Ended:
    """Store the output of an ended run: a large one keeps its file, under a name of its own.

    `note` is the most important remark, `full` tells whether the disk is full; `note_cut` is called with
    the coming cut, in case we end before it is recorded.
    """
    left = None
    try:
        if on_this_machine and watched.run.started is not None:
            left = left_running(watched.run.id, watched.run.started, outcome, watched.file.fd)
        kept, small = gather(watched.file.fd, watched.task.max_output, watched.cut)
        fault = _fault(watched, outcome, kept)
        told = _told(watched, outcome, kept)
        large = kept.size > SMALL
        if large:
            note_cut(watched, kept.cut)
            files.keep(watched.file, watched.run.id, kept)  # from here on we do not read it
    except Exception as exc:  # noqa: BLE001  a fault of one output must not affect other runs
        kept, small, fault, told, large = bounded_output.NONE, b"", None, None, False
        note = lost(exc)
    note = note or watched.file.fault or told
    if note is None and full:
        note = "the disk of its output was full"
    note = "; ".join(filter(None, (note, left, not_passed(watched.missing)))) or None
    cut_at, left_out = bounded_output.place_of(kept.cut)
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


def judged(each: Ended, watched: Watched, stopped: Process | None) -> End:
    """Return the end to record; `stopped` is the row of a run that is being stopped."""
    state, reason = judged_by(watched.task, each.outcome, stopped, each.fault)
    why = verdict.with_note(reason, each.note)
    size = (each.size, each.cut_at, each.left_out)
    return End(watched.run, state, why, each.at, each.outcome, each.small, *size)


def judged_by(
    task: Task, outcome: Outcome, stopped: Process | None, fault: str | None
) -> tuple[State, str]:
    """Return state and reason of a run with this outcome; a failure when they cannot be determined."""
    try:
        return verdict.judge(task, outcome, children.in_words(outcome), stopped, fault)
    except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
        return State.FAILED, f"its result could not be determined: {in_words(exc)}"


def _fault(watched: Watched, outcome: Outcome, kept: bounded_output.Excerpt) -> str | None:
    """Return the fault in an output by the patterns of its task, None without one."""
    if not verdict.reads_output(watched.task, outcome):
        return None
    text = bounded_output.newest(watched.file.fd, kept, SEARCHED).decode(errors="replace")
    try:
        with signals.time_limit(SEARCH):
            return verdict.fault_in(watched.task, text)
    except TimeoutError:
        return f"its output could not be searched in {SEARCH:g} s"


def _told(watched: Watched, outcome: Outcome, kept: bounded_output.Excerpt) -> str | None:
    """Return the result that the output of a Python task ends with, None for other tasks."""
    if not verdict.tells(watched.task, outcome):
        return None
    text = bounded_output.newest(watched.file.fd, kept, TOLD).decode(errors="replace")
    return verdict.told(text, outcome.exit_code)
