"""Runs that a person asks for: started at once, followed while they write, cancelled.

Like `tick` it drives both the store and the runner, through a supervisor of its own.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from taskrunner import claim, output, policy, runner
from taskrunner.errors import TaskBusy
from taskrunner.model import LIVE, Overlap, Run, State, Task
from taskrunner.opened import OpenHome
from taskrunner.policy import Action, Decision
from taskrunner.supervise import Supervisor, Watched, supervisor

LOOK = 0.1  # seconds between two looks at a run that is quiet, or not ours
NOT_STARTED = "cancelled before it started"


def request(
    here: OpenHome, task: Task, slot: datetime | None, now: datetime, *, force: bool
) -> tuple[Run, Decision]:
    """Write a pending run for a request, in the transaction of the caller; raises TaskBusy.

    It obeys the task's overlap unless `force`; its slot is the moment of the request, or the given one.
    """
    live = [] if force else here.store.live(task.id)
    decision = policy.requested(task, now, live)
    if not decision.claims:
        raise TaskBusy(f"{task.name} is not run: {decision.reason}; --force runs it side by side")
    if slot is not None:
        decision = policy.again(decision, slot)
    run_id = claim.write(here, decision, now, forced=force)
    assert run_id is not None  # a manual run never meets the unique key
    return here.store.run(run_id), decision


def run(
    here: OpenHome,
    task: Task,
    echo: Callable[[bytes], object],
    *,
    slot: datetime | None = None,
    force: bool = False,
) -> Run:
    """Run a task here and now, pass its output to `echo` as it comes, and return the run when it has ended.

    TERM or INT cancels it. Raises TaskBusy, and what `echo` raised once the run has ended.
    """
    with supervisor(here) as me, runner.stop_signals(me.children) as signals:
        me.closing = True  # this one run and no other: the caller waits for it alone
        now = here.now()
        with here.store.transaction():
            asked, decision = request(here, task, slot, now, force=force)
            mine = me.adopt(asked, task, now) if decision.action is Action.RUN else []
        me.spawn(mine, now)
        if decision.action is Action.REPLACE:
            me.stop_others(decision.stops)
        fault: Exception | None = None
        for block in follow(here, asked.id):
            try:
                if fault is None:
                    echo(block)
            except Exception as exc:  # noqa: BLE001  who listened is gone; the run is watched to its end
                fault = exc
            if signals:
                _give_up(here, me, asked.id, signals)
            me.wait(0 if block else LOOK)
            me.turn()
            if not mine:
                mine = _when_free(here, me, task, asked)
    if here.store.startable(1):
        start_tick(here)
    if fault is not None:
        raise fault
    return here.store.run(asked.id)


def _give_up(here: OpenHome, me: Supervisor, run_id: int, signals: Sequence[int]) -> None:
    """Cancel our run: the first signal asks it to end, a second one kills it."""
    if me.watched:
        if len(signals) == 1:
            me.stop_all("cancelled from the terminal")
        else:
            me.kill_all()
    else:
        cancel(here, [run_id], "cancelled from the terminal")


def _when_free(here: OpenHome, me: Supervisor, task: Task, asked: Run) -> list[Watched]:
    """Take the run that waits for its turn, once nothing else of the task runs."""
    now = here.now()
    with here.store.transaction():
        others = [run for run in here.store.live(task.id) if run.state is State.RUNNING]
        mine = [] if others and task.overlap is not Overlap.ALLOW else me.adopt(asked, task, now)
    me.spawn(mine, now)
    return mine


def start_tick(here: OpenHome) -> None:
    """Let a tick of its own carry on what is pending, so that nobody has to wait for the clock."""
    # -m looks into the working directory first, and finds the same program as ours there.
    place = os.path.dirname(os.path.dirname(__file__))
    runner.detach((sys.executable, "-m", "taskrunner", "--home", here.folder, "tick"), cwd=place)


def cancel(here: OpenHome, run_ids: Sequence[int], reason: str) -> list[Run]:
    """End live runs and return them: one that waits is never started, one that runs gets TERM, then KILL.

    The reason is on the row before the signal is sent; runs that have ended are returned as they are.
    """
    now, running = here.now(), []
    with here.store.transaction():
        for run_id in run_ids:
            found = here.store.run(run_id)
            if found.state is State.PENDING:
                claim.finish(here, found, State.CANCELLED, f"{reason} before it started", now)
            elif found.state is State.RUNNING:
                here.store.ask_to_stop(run_id, State.CANCELLED, reason, now)
                running.append(run_id)
    if running:
        with supervisor(here) as me:
            me.closing = True
            me.stop_others(running)
            while me.busy:
                me.wait(None)
                me.turn()
    return [here.store.run(run_id) for run_id in run_ids]


def follow(here: OpenHome, run_id: int) -> Iterator[bytes]:
    """Give the output of a run as it grows, b"" when there is nothing new, until the run has ended."""
    sent = 0
    while here.store.run(run_id).state in LIVE:
        process = here.store.process(run_id)
        block = b"" if process is None else output.part(here.output, process.output, sent)
        # The file is emptied after the end of the run is recorded: what was read before that is good.
        if block and here.store.process(run_id) is None:
            break
        sent += len(block)
        yield block
    yield from read(here, run_id, sent)


def read(here: OpenHome, run_id: int, start: int = 0) -> Iterator[bytes]:
    """Give the output of a run as far as it has come, from an offset in bytes."""
    process = here.store.process(run_id)
    small = here.store.output(run_id)
    if process is not None:
        yield from output.chunks(output.slot(here.output, process.output), start)
    elif small is not None:
        yield small[start:]
    else:
        yield from output.chunks(output.kept(here.output, run_id), start)
