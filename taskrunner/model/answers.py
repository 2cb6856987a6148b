"""Answers of the library: frozen records that no tick needs.

They are separate from `values` since defining a record takes longer than using it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from taskrunner.model.record import record
from taskrunner.model.values import Change, Gap, Run, Severity, State, Task


@record
class Upcoming:
    """A coming slot: the task (None for a schedule without one), the instant, and a note about an unusual time."""

    task: str | None
    slot: datetime
    local: datetime
    note: str | None = None


@record
class Disabled:
    """A disabled task: since when, by whom, and the slot that it would have next if it were enabled now."""

    since: datetime
    by: str | None
    next: datetime | None


@record
class Collision:
    """A possible delay of a slot: `what` is the reason in words; `tasks` are the tasks that cause it.

    `kind` is together (they start at the same time), running (they may still run), itself (its own previous run
    may), group or capacity (that limit is reached).
    """

    kind: str
    what: str
    tasks: tuple[str, ...]


@record
class Entry:
    """A slot in an agenda, or `count` of a task that comes often, from `slot` to `last`; `usual` is in seconds."""

    task: str
    slot: datetime
    last: datetime
    count: int
    at_least: bool
    usual: float | None
    note: str | None
    collisions: tuple[Collision, ...] = ()


@record
class Line:
    """The slots of a task in a graph: by the number of a time span, the worst state and the number of runs."""

    task: str
    marks: dict[int, tuple[State, int]]
    removed: bool = False


@record
class Graph:
    """A line for each task over the same spans of time, which lie between the `edges`."""

    edges: list[datetime]
    lines: list[Line]


@record
class Status:
    """The status of a home: running, pending and failing runs, the next slots, and whether ticks arrive."""

    last_tick: datetime | None
    clock: str | None
    held: str | None
    running: list[Run]
    pending: list[Run]
    failing: list[Task]
    next: list[Upcoming]
    problems: list[str]
    failures: Sequence[Run] = ()  # the newest failed run of each that fails
    coming: Sequence[Upcoming] = ()  # the next slot of each of the tasks that are due soonest


@record
class Finding:
    """One finding about a home or its host, with its fix."""

    severity: Severity
    what: str
    cure: str | None


@record
class Checkup:
    """All findings, the most severe first, and the paths in use by their names."""

    findings: list[Finding]
    paths: Mapping[str, str]

    @property
    def severity(self) -> Severity:
        """The highest severity of the findings."""
        order = [Severity.ERROR, Severity.WARNING]
        found = {finding.severity for finding in self.findings}
        return next((each for each in order if each in found), Severity.OK)


@record
class Explained:
    """The result of a slot and its reason, or of several from `first_slot` to `slot` that were handled as one.

    `state` and `run` (the id of its last attempt) are None when there is no row. `slot` is None when a task
    waits for an event without a known instant.
    """

    slot: datetime | None
    first_slot: datetime | None
    state: State | None
    reason: str
    run: int | None


@record
class Explanation:
    """An explanation of why a task ran or did not: slots, gaps and changes, each oldest first.

    `cut` is true when there are more slots than these; `schedule` is in words, `tz` its zone.
    """

    task: str
    schedule: str
    tz: str | None
    slots: list[Explained]
    gaps: list[Gap]
    changes: list[Change]
    cut: bool = False


@record
class Figures:
    """Statistics of the runs of one task, or of all; `duration_*` and `late_median` are in seconds.

    `runs` started and ended; `skipped` and `missed` never did, nor did some that were `cancelled`. Of those that
    ended by themselves or at their timeout, `success_rate` is the share that succeeded, from 0 to 1. `streak` is
    the number of newest runs in a row that succeeded or, negative, failed. Unknown figures are None.
    """

    task: str | None
    runs: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    lost: int
    skipped: int
    missed: int
    success_rate: float | None
    duration_median: float | None
    duration_p95: float | None
    late_median: float | None
    streak: int
    last_success: datetime | None
    duration_last: float | None = None
    removed: bool = False


@record
class Stats:
    """The figures of some tasks, by name, and of their runs together, over a span of time.

    Medians and percentiles are of the `newest` runs of each task, so many; None when they are of all in the span.
    """

    since: datetime | None
    until: datetime | None
    tasks: list[Figures]
    total: Figures
    newest: int | None = None


@record
class Planned:
    """The change of one task by applying files, and its consequences, one phrase each.

    `action` is add, change, remove or keep.
    """

    task: str
    action: str
    told: tuple[str, ...] = ()


@record
class Plan:
    """The changes by applying files or importing a crontab, or with `dry_run` the planned ones; by name."""

    tasks: list[Planned]
    dry_run: bool = False

    @property
    def changes(self) -> bool:
        """Return whether any task changes."""
        return any(each.action != "keep" for each in self.tasks)


CALLS_US = "it calls taskrunner itself"  # the note of a line that is left alone


@record
class ImportedLine:
    """The result for one line of a crontab: `action` is add, change, keep (already a task), leave or remove.

    Remove is for the task of a deleted line. `differing` counts the slots of the next two years that differ from
    Debian's cron, None without slots; `notes` are remarks, or the reason why a line is left alone.
    """

    line: int
    action: str
    task: str | None
    schedule: str | None
    command: str
    differing: int | None = None
    notes: tuple[str, ...] = ()


@record
class Import:
    """The result of importing a crontab, or with `dry_run` the planned one, line by line; `told` are remarks."""

    source: str
    lines: list[ImportedLine]
    told: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def nothing(self) -> bool:
        """Return whether there are lines and all were left alone; lines that call taskrunner do not count."""
        meant = [each for each in self.lines if each.notes != (CALLS_US,)]
        return bool(meant) and all(each.action == "leave" for each in meant)


@record
class Piece:
    """An event of a followed run: `what` is started or ended, with the sentence `told`, or output, with the `data`."""

    what: str
    run: Run
    data: bytes = b""
    told: str = ""


@record
class Written:
    """A part of the output of a run: its bytes, and the place where they `end`, at which the next part begins.

    `size` is how many bytes were written so far; `complete` says that there will be no more. Places count all bytes
    that were written, also those that were left out since, for which a mark stands in `data`.
    """

    data: bytes
    end: int
    size: int
    complete: bool


@record
class Trace:
    """The last line of an output, None when it is empty, and the number of bytes that were cut."""

    last_line: str | None = None
    left_out: int = 0


@record
class Environment:
    """The environment of a task: command, variables, directory, user, umask.

    `command` is the argv, `program` the file of its first word, None when it is not found.
    """

    task: str
    command: tuple[str, ...]
    program: str | None
    cwd: str
    user: str
    umask: int
    variables: Mapping[str, str]
    passed: tuple[str, ...] = ()  # names of those that a run takes from whoever starts it
    missing: tuple[str, ...] = ()  # names of those that are set nowhere
    queue: str | None = (
        None  # whose workers run it: their account, programs and values of `passed` are others
    )


@record
class Exported:
    """Tasks as the text of a file; `hiding` are the names of those whose secret values are `***` in it."""

    text: str
    hiding: tuple[str, ...] = ()


@record
class Told:
    """A channel: its destination, its rules for all tasks, its pending messages, and the last error."""

    name: str
    kind: str
    where: str
    on: tuple[str, ...]
    tasks: tuple[str, ...]
    waiting: int
    error: str | None


@record
class Worker:
    """One worker of a queue: `state` is busy, idle or suspended, `seen` its last sign of life, by its own clock."""

    name: str
    host: str
    state: str
    seen: datetime | None


@record
class QueueState:
    """A queue to other machines and its contents; with an `error`, a sentence, nothing is known.

    `oldest` is when the first one in it was handed over; the runs of others are not of this home.
    """

    name: str
    engine: str
    url: str  # without a password
    error: str | None = None
    waiting: int = 0
    running: int = 0
    others_waiting: int = 0
    others_running: int = 0
    workers: tuple[Worker, ...] = ()
    oldest: datetime | None = None


@record
class Emptied:
    """The runs of ours that were cancelled in a queue, and the number of others that were taken out of it."""

    runs: tuple[Run, ...]
    others: int


@record
class Delivery:
    """The result of sending one message, or several together: `error` is None when the channel accepted it."""

    channel: str
    event: str
    messages: int
    seconds: float
    error: str | None
    tasks: tuple[str, ...] = ()
