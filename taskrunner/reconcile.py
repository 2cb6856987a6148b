"""Runs whose supervisor is gone: which of them still live, which are overdue, which are lost.

Who is alive is told by the lock a supervisor holds, then by boot id, pid namespace, pid and start time
together, never by a pid alone. Runs under the tick lock, inside a transaction of the caller.
"""

import os
from contextlib import suppress
from datetime import datetime, timedelta

from taskrunner import claim, clock, home, lock, output, policy, runner
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
        elif _overdue(task, run, now) or process.stop_state is not None:
            here.store.ask_to_stop(run.id, State.TIMED_OUT, policy.overdue(task), now)
            stops.append(run.id)
    return stops


def _why_lost(here: OpenHome, task: Task, run: Run, process: Process, now: datetime) -> str | None:
    """Return why nothing will be heard of a run any more, None while its process lives."""
    if process.boot_id != clock.boot_id():
        return "the machine was restarted while it ran"
    if not seen_from_here(process):
        limit = UNSEEN if task.timeout is None else task.timeout + task.kill_after
        gone = run.started is not None and now - run.started > limit
        return "its supervisor died, and its process cannot be seen from here" if gone else None
    if process.pid is None:
        return None if find_child(here, process) else "its supervisor died as it was about to start"
    if alive(process):
        return None
    return "its supervisor died, and nobody saw how it ended"


def find_child(here: OpenHome, process: Process) -> bool:
    """Look for a child whose supervisor died before it could note it: by the output file it has open."""
    try:
        found = os.stat(os.path.join(here.output, process.output))
    except OSError:
        return False
    pid = runner.session_that_has_open(process.inode, found.st_dev)
    if pid is None:
        return False
    here.store.note_child(process.run_id, pid, runner.started_ticks(pid))
    return True


def seen_from_here(process: Process) -> bool:
    """Return whether its pid means the same process here: another pid namespace has numbers of its own."""
    return process.pid_namespace == runner.pid_namespace()


def alive(process: Process) -> bool:
    """Return whether this very process lives here: the pid, and the start time and boot that go with it."""
    if process.pid is None or process.pid_started is None or process.boot_id != clock.boot_id():
        return False
    return seen_from_here(process) and runner.started_ticks(process.pid) == process.pid_started


def _overdue(task: Task, run: Run, now: datetime) -> bool:
    return task.timeout is not None and run.started is not None and now - run.started > task.timeout


def settle(here: OpenHome, run: Run, process: Process, lost: str, now: datetime) -> None:
    """Record the end of a run that nobody saw: as what it was stopped for, else as lost; its output is kept."""
    size, small = output.rescue(here.output, process.output, run.id)
    state, reason = State.LOST, lost
    if process.stop_state is not None:
        state, reason = process.stop_state, process.stop_reason or lost
    claim.finish(here, run, state, reason, now, output=small, output_size=size)


def sweep(here: OpenHome) -> None:
    """Remove what supervisors that are dead and have no runs left have left behind."""
    needed = {process.supervisor for _, process in here.store.processes()}
    with suppress(FileNotFoundError):  # a home may have come without its folders
        for name in os.listdir(here.path(home.SUPERVISORS)):
            if name not in needed:
                lock.remove_if_free(here.supervisor(name))
        for owner, places in output.owners(here.output).items():
            if owner not in needed and not lock.is_held(here.supervisor(owner)):
                for place in places:
                    os.unlink(place)
