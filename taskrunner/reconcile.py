"""Runs whose supervisor is gone: which of them still live, which are overdue, which are lost.

Who is alive is told by the lock a supervisor holds, then by boot id, pid namespace, pid and start time
together, never by a pid alone. Runs under the tick lock, inside a transaction of the caller.
"""

import os
from contextlib import suppress
from datetime import datetime, timedelta

from taskrunner import claim, clock, home, lock, output, runner, verdict
from taskrunner.model import Process, Run, State, Task
from taskrunner.opened import OpenHome

# Who wrote that a run is being stopped, and died before it sent the signal, has had this long.
UNHEARD = timedelta(seconds=30)
# A child that cannot be seen from here, and has no timeout, is lost after this.
UNSEEN = timedelta(hours=24)


def reconcile(here: OpenHome, now: datetime) -> list[int]:
    """Settle the runs that were left behind and return those that have to be stopped, marked as such."""
    stops = []
    for run, process in here.store.processes():
        if lock.is_held(here.supervisor(process.supervisor)):
            if process.stop_at is not None and now - process.stop_at > UNHEARD:
                stops.append(run.id)
            continue
        task = here.store.task_of(run)
        lost = _why_lost(here, task, run, process, now)
        if lost is not None:
            settle(here, run, process, lost, now)
            continue
        if process.pid is None:
            find_child(here, process)
        if _overdue(here, task, run, process, now) or process.stop_state is not None:
            here.store.ask_to_stop(run.id, State.TIMED_OUT, verdict.overdue(task), now)
            stops.append(run.id)
        else:
            _bound(here, task, process)
    return stops


def _bound(here: OpenHome, task: Task, process: Process) -> None:
    with suppress(OSError):  # the next tick tries again
        output.bound(here.output, process.output, task.max_output)


def left_over(here: OpenHome, now: datetime) -> set[int]:
    """Return the running runs that a tick would settle as gone; changes nothing."""
    return {
        run.id
        for run, process in here.store.processes()
        if not lock.is_held(here.supervisor(process.supervisor))
        and _why_lost(here, here.store.task_of(run), run, process, now) is not None
    }


def _why_lost(here: OpenHome, task: Task, run: Run, process: Process, now: datetime) -> str | None:
    """Return why nothing will be heard of a run any more, None while its process lives."""
    if process.boot_id != clock.boot_id():
        return "the machine was restarted while it ran"
    if not seen_from_here(process):
        limit = UNSEEN if task.timeout is None else task.timeout + task.kill_after
        gone = run.started is not None and now - run.started > limit
        return "its supervisor died, and its process cannot be seen from here" if gone else None
    if process.pid is None:
        lives = _child_of(here, process) is not None
        return None if lives else "its supervisor died as it was about to start"
    if alive(process):
        return None
    return "its supervisor died, and nobody saw how it ended"


def find_child(here: OpenHome, process: Process) -> bool:
    """Note a child whose supervisor died before it could; False when there is none."""
    pid = _child_of(here, process)
    if pid is None:
        return False
    here.store.note_child(process.run_id, pid, runner.started_ticks(pid))
    return True


def _child_of(here: OpenHome, process: Process) -> int | None:
    """Return the child that nobody noted: it is known by the output file it has open."""
    try:
        found = os.stat(os.path.join(here.output, process.output))
    except OSError:
        return None
    return runner.session_that_has_open(process.inode, found.st_dev)


def seen_from_here(process: Process) -> bool:
    """Return whether its pid means the same process here: another pid namespace has numbers of its own."""
    return process.pid_namespace == runner.pid_namespace()


def alive(process: Process) -> bool:
    """Return whether this very process lives here: the pid, and the start time and boot that go with it."""
    if process.pid is None or process.pid_started is None or process.boot_id != clock.boot_id():
        return False
    return seen_from_here(process) and runner.started_ticks(process.pid) == process.pid_started


def _overdue(here: OpenHome, task: Task, run: Run, process: Process, now: datetime) -> bool:
    if task.timeout is None or run.started is None:
        return False
    if here.goes_on and process.pid is not None and alive(process):
        return runner.age(process.pid) > task.timeout.total_seconds()  # nobody can set that clock
    return now - run.started > task.timeout


def settle(here: OpenHome, run: Run, process: Process, lost: str, now: datetime) -> None:
    """Record the end of a run that nobody saw: as what it was stopped for, else as lost; its output is kept."""
    limit = here.store.task_of(run).max_output
    size, small = output.rescue(here.output, process.output, run.id, limit)
    state, reason = State.LOST, lost
    if process.stop_state is not None:
        state, reason = process.stop_state, process.stop_reason or lost
    claim.finish(here, run, state, reason, now, output=small, output_size=size)


def sweep(here: OpenHome) -> None:
    """Remove what supervisors that are dead and have no runs left have left behind."""
    needed = {process.supervisor for _, process in here.store.processes()}
    # A home may have come without its folders, or with something else in their place.
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(here.path(home.SUPERVISORS)):
            if name not in needed:
                lock.remove_if_free(here.supervisor(name))
        for owner, places in output.owners(here.output).items():
            if owner not in needed and not lock.is_held(here.supervisor(owner)):
                for place in places:
                    os.unlink(place)
