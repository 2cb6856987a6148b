"""Verdicts on outcomes: the final state of a run, and whether its slot is retried; pure functions.

It must not know the store, nor other runs.
"""

import re
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import shown
from taskrunner.model.values import OnLost, Outcome, Process, Run, State, Task
from taskrunner.schedule import durations

XCPU = 24  # the signal past the limit of CPU time, setrlimit(2); its number on Linux
KILL = 9
RETURNED = "returned "  # prefix of the last line of a function's output (see `launcher`)
LONGEST_TOLD = 300  # characters
LONGEST_DELAY = timedelta(days=30)  # until a retry, however often the delay is multiplied


def retry_at(
    task: Task, run: Run, state: State, exit_code: int | None, now: datetime
) -> datetime | None:
    """Return when the slot of a run that ends now is tried again; None when it is not.

    `state` is one of FAILING. An attempt that could start only past the deadline is not made.
    """
    if not task.enabled or run.attempt > _retries(task, state, exit_code):
        return None
    delay = task.retry_delay
    for _ in range(1, run.attempt):
        delay = min(delay * task.retry_backoff, max(LONGEST_DELAY, task.retry_delay))
    ready = clock.from_ms(clock.to_ms(now + delay))
    late = task.deadline is not None and ready - run.slot > task.deadline
    return None if late else ready


def _retries(task: Task, state: State, exit_code: int | None) -> int:
    if state is State.LOST:
        return max(1, task.retries) if task.on_lost is OnLost.RETRY else 0
    return task.retries if not task.retry_codes or exit_code in task.retry_codes else 0


def judge(
    task: Task, outcome: Outcome, how: str, process: Process | None, fault: str | None = None
) -> tuple[State, str]:
    """Return state and reason of a run with this outcome (`how` in words); `process` has both of a stopped one.

    A `fault` in its output turns a success into a failure.
    """
    how += _over_limit(task, outcome)
    if process is not None and process.stop_state is not None:
        return process.stop_state, f"{process.stop_reason} ({how})"
    if outcome.silent:
        return State.TIMED_OUT, f"{silent(task)} ({how})"
    if outcome.timed_out and task.timeout is not None:
        return State.TIMED_OUT, f"{overdue(task)} ({how})"
    if outcome.stopped:
        return State.CANCELLED, f"its unit of systemd was stopped ({how})"
    if outcome.error:
        return State.FAILED, how
    if outcome.exit_code in task.noop_codes:
        return State.SUCCEEDED, f"nothing to do ({how})"
    if fault is not None:
        return State.FAILED, f"{how}, but {fault}"
    return (State.SUCCEEDED if outcome.exit_code in task.ok_codes else State.FAILED), how


def with_note(reason: str, note: str | None) -> str:
    """Return the reason of a state with a note added."""
    return reason if note is None else f"{reason}; {note}"


def _over_limit(task: Task, outcome: Outcome) -> str:
    """Return the note for a run that the kernel ended for its CPU time, "" for others.

    The other limits need no note: the kernel refuses the request, and the program reports that.
    """
    limit = task.limit.get("cpu")
    if limit is None:
        return ""
    past = outcome.signal == XCPU or outcome.exit_code == 128 + XCPU  # from a shell
    # A program that ignores SIGXCPU is killed one second later, and nobody else stopped it.
    ours = outcome.timed_out or outcome.silent or outcome.stopped
    killed = outcome.signal == KILL and not ours and (outcome.cpu_seconds or 0) >= limit
    if not past and not killed:
        return ""
    return f", over its limit of {durations.format(timedelta(seconds=limit))} of CPU time"


def reads_output(task: Task, outcome: Outcome) -> bool:
    """Return whether the success of a run with this outcome depends on its output."""
    asks = task.expect is not None or task.reject is not None
    ended = outcome.error is None and not (outcome.timed_out or outcome.stopped)
    return asks and ended and outcome.exit_code in set(task.ok_codes) - set(task.noop_codes)


def fault_in(task: Task, text: str) -> str | None:
    """Return the fault in the output of a run by its task's patterns expect and reject, None when there is none."""
    try:
        if task.expect is not None and not re.search(task.expect, text, re.MULTILINE):
            return f"its output does not match {shown(task.expect)}"
        if task.reject is not None and re.search(task.reject, text, re.MULTILINE):
            return f"its output matches {shown(task.reject)}"
    except (re.error, OverflowError, RecursionError) as exc:  # not valid in this Python
        return f"its output cannot be searched: {exc}"
    return None


def tells(task: Task, outcome: Outcome) -> bool:
    """Return whether the last line of an output is the result: it is for Python tasks."""
    by_itself = outcome.exit_code is not None and not outcome.timed_out and outcome.error is None
    return by_itself and not task.command and task.shell is None


def told(text: str, exit_code: int | None) -> str | None:
    """Return the result or exception of a function, from the end of its output; None when there is neither."""
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    if exit_code == 0 and not last.startswith(RETURNED):
        return None
    return (last if len(last) <= LONGEST_TOLD else f"{last[:LONGEST_TOLD]}…") or None


def silent(task: Task) -> str:
    """Return why a run that writes nothing is stopped."""
    length = "" if task.max_silence is None else f"{durations.format(task.max_silence)} of "
    return f"stopped after {length}silence"


def overdue(task: Task) -> str:
    """Return why a run that takes too long is stopped."""
    return (
        f"stopped at its timeout of {durations.format(task.timeout)}" if task.timeout else "stopped"
    )
