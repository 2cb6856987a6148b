"""The values used everywhere: tasks, runs, commands, outcomes, and their constants.

Frozen records without behaviour of their own. They know neither the store nor the clock.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from taskrunner.model.record import field, record


class Kind(StrEnum):
    """Kinds of schedule."""

    CRON = "cron"  # a five-field expression
    EVERY = "every"  # an interval counted from an anchor
    ON = "on"  # a day of the month, such as the first Monday
    AT = "at"  # one instant
    AFTER = "after"  # the end of a run of another task
    BOOT = "boot"  # the first tick after the start of the machine
    MANUAL = "manual"  # only on request


class State(StrEnum):
    """States of a run; all but the first two are final."""

    PENDING = "pending"  # claimed, not started yet
    RUNNING = "running"  # handed to a supervisor
    SUCCEEDED = "succeeded"  # ended with exit code 0, or another success code of its task
    FAILED = "failed"  # ended with another exit code or by a signal, or could not start
    TIMED_OUT = "timed_out"  # stopped at its timeout, or after too long silence
    CANCELLED = "cancelled"  # stopped, or never started, on request
    LOST = "lost"  # its process is gone, and its result is unknown
    SKIPPED = "skipped"  # not run, by an option of the task such as --overlap
    MISSED = "missed"  # not run, as it was too late


LIVE = (State.PENDING, State.RUNNING)
FAILING = (State.FAILED, State.TIMED_OUT, State.LOST)  # retried, and reported as a failure
NOT_RUN = (State.SKIPPED, State.MISSED)


class Trigger(StrEnum):
    """Reasons to start a run."""

    SCHEDULE = "schedule"  # its slot came due (also at boot)
    CATCH_UP = "catch-up"  # the same, but late, or for several slots
    RETRY = "retry"  # an earlier attempt of the slot failed
    MANUAL = "manual"  # requested by a person or a program
    AFTER = "after"  # a run of another task ended


class CatchUp(StrEnum):
    """Handling of slots that came due while no tick came."""

    LAST = "last"  # the newest slot runs, for all of them
    ALL = "all"  # each slot runs, oldest first, up to a limit
    NONE = "none"  # the newest slot runs if it is not late; the others are missed


class Overlap(StrEnum):
    """Handling of a slot while the task is still running."""

    SKIP = "skip"  # the slot is skipped
    QUEUE = "queue"  # the slot waits; only the newest one does
    REPLACE = "replace"  # the running run is stopped for it
    ALLOW = "allow"  # runs in parallel, up to a limit


class OnLost(StrEnum):
    """Handling of a slot whose run was lost."""

    FAIL = "fail"  # the run stays lost
    RETRY = "retry"  # the slot is retried


class After(StrEnum):
    """Results of a run that start the task after it."""

    SUCCEEDED = "succeeded"  # only a success
    FAILED = "failed"  # failed, timed out or lost
    ANY = "any"  # every run that started


@record
class Task:
    """A task: command, schedule and options as defined, and its current state."""

    id: int
    name: str
    enabled: bool
    kind: Kind
    schedule: str
    tz: str | None
    anchor: datetime | None
    from_finish: bool
    command: tuple[str, ...]
    shell: str | None
    cwd: str | None
    env: Mapping[str, str]
    env_file: str | None
    stdin: str | None
    umask: int | None
    user: str | None
    nice: int | None
    queue: str | None
    timeout: timedelta | None
    kill_after: timedelta
    overlap: Overlap
    catch_up: CatchUp
    catch_up_limit: int | None
    deadline: timedelta | None
    max_instances: int | None
    jitter: timedelta | None
    retries: int
    retry_delay: timedelta
    retry_backoff: float
    retry_codes: tuple[int, ...]
    on_lost: OnLost
    group: str | None
    group_limit: int | None
    priority: int
    ok_codes: tuple[int, ...]
    noop_codes: tuple[int, ...]
    expect: str | None
    reject: str | None
    max_silence: timedelta | None
    max_output: int
    limit: Mapping[str, int]
    on_failure: str | None
    notify: Mapping[str, str]  # by event: channels as @NAME, or a text for the shell
    late_after: timedelta | None
    long_after: float | None  # times the usual duration
    created: datetime
    evaluated: datetime
    python: str | None = None
    args: Any = None  # a list or a table, as of JSON
    code: str | None = None
    code_file: str | None = None
    interpreter: str | None = None
    pass_env: tuple[str, ...] = ()  # names of variables
    django: str | None = None
    description: str | None = None
    source: str | None = None  # the task file or crontab that it was made from
    next: datetime | None = None
    following: datetime | None = None
    requested: datetime | None = None
    boot_id: str | None = None
    error: str | None = None
    last_run: datetime | None = None
    last_state: State | None = None
    last_success: datetime | None = None
    streak: int = 0  # number of runs in a row that succeeded, or, negative, failed

    @property
    def done(self) -> bool:
        """Whether it is a one-off that has ended."""
        return self.kind is Kind.AT and not self.enabled and self.next is None


@record
class Run:
    """The record of one slot, or of one manual start; it handles `coalesced` slots from `first_slot` to `slot`.

    A pending run is not started before `ready` (a retry, or jitter). If the output was too large, `left_out` bytes from
    the byte `cut_at` on are not kept.
    """

    id: int
    task: str
    slot: datetime
    first_slot: datetime
    state: State
    reason: str | None
    attempt: int
    trigger: Trigger
    coalesced: int
    coalesced_at_least: bool
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    output_size: int | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    task_id: int = 0
    ready: datetime | None = None
    priority: int = 0
    cut_at: int | None = None
    left_out: int | None = None

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, None before the end."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()

    @property
    def late(self) -> float | None:
        """Seconds from the slot to the start, None for a manual run or without a start."""
        if self.started is None or self.trigger is Trigger.MANUAL:
            return None
        return max(0.0, (self.started - self.slot).total_seconds())


@record
class Command:
    """A fully resolved command, independent of task and store. Durations are in seconds."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdin: str | None = None
    umask: int = 0o022
    user: str | None = None
    nice: int | None = None
    limit: Mapping[str, int] = field(default_factory=dict)
    timeout: float | None = None
    max_silence: float | None = None
    kill_after: float = 10.0
    missing: tuple[str, ...] = ()  # variables to pass that are set nowhere


@record
class Outcome:
    """The outcome of a command: an exit code or a signal, or the `error` that prevented its start.

    `cpu_seconds` is user and system time together; `peak_memory` is in bytes, None when not to be told.
    """

    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    timed_out: bool = False
    silent: bool = False  # timed out because it wrote nothing for too long
    stopped: bool = False  # somebody had systemd stop its unit
    cpu_seconds: float | None = None
    peak_memory: int | None = None


NOTHING = Outcome()  # of a run that has no process to tell of


@record
class End:
    """The end of a run to record: `size` counts the bytes of output, `output` holds a small one.

    If the output was too large, `left_out` bytes from the byte `cut_at` on are not kept.
    """

    run: Run
    state: State
    reason: str
    at: datetime
    outcome: Outcome = NOTHING
    output: bytes = b""
    size: int | None = None
    cut_at: int | None = None
    left_out: int | None = None


@record
class Event:
    """An event that is not a run: a change of a task, a gap in the ticks."""

    at: datetime
    what: str
    by: str | None = None
    task: str | None = None
    text: str | None = None


@record
class Hold:
    """A pause of all scheduled runs until `until`; manual runs still start.

    Without `until` it lasts until it is resumed.
    """

    since: datetime
    until: datetime | None
    by: str
    reason: str | None = None


@record
class Process:
    """The identity of a running run's process, for other supervisors, and the gap in its output.

    The file of the output may have a mark at `cut_at`, in place of `left_out` bytes. A run in a `queue` was claimed for its
    server `engine`, and taken by it when it was `handed`.
    """

    run_id: int
    supervisor: str
    boot_id: str
    output: str
    inode: int
    pid_namespace: int | None = None
    pid: int | None = None
    pid_started: int | None = None
    stop_state: State | None = None
    stop_reason: str | None = None
    stop_at: datetime | None = None
    cut_at: int | None = None
    left_out: int | None = None
    queue: str | None = None
    engine: str | None = None
    handed: datetime | None = None


class Severity(StrEnum):
    """Severity of a finding."""

    OK = "ok"  # as it should be
    WARNING = "warning"  # tasks run, but something is not right
    ERROR = "error"  # something keeps tasks from running


@record
class Gap:
    """A time without ticks and its cause; `until` is None if it is not over, and before `since` if the clock went back."""

    since: datetime
    until: datetime | None
    cause: str


@record
class Change:
    """A change of a task, or of the database as a whole, and its author."""

    at: datetime
    what: str
    by: str | None


# Called with the progress of long work: a description, the number done, and the total if known.
Progress = Callable[[str, int, int | None], object]


def untold(what: str, done: int, total: int | None) -> None:
    """Ignore progress."""


@record
class Pruned:
    """The history deleted by the retention settings, or with `dry_run` the amount that would be deleted.

    `bytes` is the size of the outputs, `freed` the freed space on disk. `refused` is the reason why nothing was deleted
    for its age, None when the clock is reliable.
    """

    runs: int = 0
    outputs: int = 0
    bytes: int = 0
    events: int = 0
    freed: int = 0
    refused: str | None = None
    dry_run: bool = False


@record
class Posted:
    """One message to one channel; `channel` is empty for a task's own `command`."""

    id: int
    event: str
    task: str
    task_id: int
    run_id: int
    channel: str
    command: str | None
    created: datetime
    due: datetime | None
    attempts: int
    sent: datetime | None
    error: str | None

    @property
    def state(self) -> str:
        """The state of the message: waiting, sent or given up."""
        if self.sent is not None:
            return "sent"
        return "given up" if self.due is None else "waiting"


def not_passed(missing: Sequence[str]) -> str | None:
    """Return a note about the variables of `pass_env` that are not set where a run starts; None when there are none."""
    return f"not set where it was started: {', '.join(missing)}" if missing else None
