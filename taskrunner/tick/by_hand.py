"""Manual runs: start one at once, follow its output, cancel it.

Like a tick it uses both the store and processes, through a supervisor of its own.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from taskrunner.decide import policy
from taskrunner.errors import StateError, TaskBusy
from taskrunner.home import lock
from taskrunner.model.answers import Environment
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.record import record
from taskrunner.model.values import LIVE, End, Kind, Process, Run, State, Task, Trigger
from taskrunner.processes import account, alive, bounded_output, output, programs, systemctl
from taskrunner.processes.bounded_output import Gap
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import command, follow_up, reconcile, spool, stops
from taskrunner.supervise.supervisor import Supervisor, open_supervisor

LOOK = 0.1  # seconds between two looks at a run that is quiet, or belongs to another supervisor
NOT_STARTED = "cancelled before it started"
UNSEEN = "its supervisor died, and its process is not visible from here"


def request(
    here: OpenHome, task: Task, slot: datetime | None, now: datetime, *, force: bool
) -> tuple[Run, Decision]:
    """Write the pending run of a request, in the transaction of the caller; raises TaskBusy.

    It obeys the task's overlap unless `force`; its slot is the moment of the request, or the given one.
    """
    live = [] if force else here.store.runs.live(task.id)
    decision = policy.requested(task, now, live)
    if not decision.claims:
        raise TaskBusy(
            f"{task.name} is not run: {decision.reason}; --force starts it beside that run"
        )
    if decision.action is Action.RUN and not force:
        _check_group(here.store, task)
    if slot is not None:
        decision = policy.again(decision, slot)
    run_id = follow_up.write(here, decision, now, forced=force)
    assert run_id is not None  # a manual run never meets the unique key
    return here.store.runs.get(run_id), decision


def surroundings(here: OpenHome, task: Task) -> Environment:
    """Return the environment of a manual run of a task, started now; raises StateError when it could not start."""
    now, trigger = here.now(), Trigger.MANUAL
    number = here.store.connection.next_id()
    asked = Run(number, task.name, now, now, State.PENDING, None, 1, trigger, 1, False)
    found = command.resolve(task, asked, here.config, now)
    files = command.places(found.argv[0], found.env["PATH"], found.cwd)
    files = [file for file in files if os.access(file, os.X_OK)]
    return Environment(
        task.name,
        found.argv,
        files[0] if files else None,
        found.cwd,
        account.account(task.user)[0],
        found.umask,
        found.env,
    )


def _check_group(store: Store, task: Task) -> None:
    """Raise TaskBusy when the group of a task has no room for a run of it."""
    if task.group is None:
        return
    limit = store.tasks.group_limits()[task.group]
    ids = {other.id for other in store.tasks.of_group(task.group)}
    running = [run for run in store.runs.running() if run.task_id in ids]
    if len(running) >= limit:
        raise TaskBusy(
            f"{task.name} is not run: its group {task.group} has room for {limit}, and {policy.named(running)} "
            "had not ended; --force starts it anyway"
        )


def run(
    here: OpenHome,
    task: Task,
    echo: Callable[[bytes], object],
    *,
    slot: datetime | None = None,
    force: bool = False,
) -> Run:
    """Run a task now in this process, pass its output to `echo` as it arrives, and return the run when it has ended.

    TERM or INT cancels it. Raises TaskBusy, and exceptions of `echo` after the end of the run. `echo` is called in
    a thread of its own: while it waits for a slow reader, the run is still supervised.
    """
    with open_supervisor(here) as ours:
        ours.closing = True  # start no other run: the caller waits for this one only
        ours.runs.retries = False  # the caller sees the result
        with stop_signals(ours.children) as signals:
            now = here.now()
            with here.store.transaction():
                # Read again, inside the transaction: nobody can change or replace it now.
                task = here.store.tasks.get(task.name)
                asked, decision = request(here, task, slot, now, force=force)
                mine = ours.starts.adopt(asked, task, now) if decision.action is Action.RUN else []
            ours.spawn(mine, now)
            if decision.action is Action.REPLACE:
                ours.stop_some(decision.stops)
            echoing = Echoing(follow(here, asked.id), echo)
            with echoing.unless_given_up():
                for _ in ours.rounds(
                    lambda: here.store.runs.get(asked.id).state in LIVE,
                    lambda: None if ours.watched else LOOK,
                ):
                    if signals:
                        _give_up(ours, asked.id, signals)
                    if not ours.watched:
                        _start_if_free(ours, task, asked)
        # While we are a supervisor, nobody restores another database than the one the output is read from.
        if here.store.runs.startable(1, here.now()):
            programs.run_beside(here.folder, "tick")  # so that the run need not wait for the clock
        echoing.finish()
        return here.store.runs.get(asked.id)


class Echoing(threading.Thread):
    """Passes the output of a run on as it arrives, in a thread of its own."""

    def __init__(self, blocks: Iterator[bytes], echo: Callable[[bytes], object]) -> None:
        """Take the output of the run and who listens."""
        super().__init__(daemon=True)  # a blocked reader must not keep the program from ending
        self._blocks, self._echo = blocks, echo
        self._over = threading.Event()
        self._given_up = False
        self._fault: Exception | None = None

    def run(self) -> None:
        """Pass the output on until the run has ended."""
        try:
            for block in self._blocks:
                if block:
                    self._echo(block)
                elif self._given_up:
                    return
                else:
                    self._over.wait(LOOK)
        except Exception as exc:  # noqa: BLE001  the reader is gone; the run is supervised to its end
            self._fault = exc

    @contextmanager
    def unless_given_up(self) -> Iterator[None]:
        """Pass output on during the block and after it, unless the block raises."""
        self.start()
        try:
            yield
        except BaseException:
            self._given_up = True
            raise
        finally:
            self._over.set()

    def finish(self) -> None:
        """Wait until all output is passed on; raises the exception of `echo`."""
        self.join()
        if self._fault is not None:
            raise self._fault


def _give_up(ours: Supervisor, run_id: int, signals: Sequence[int]) -> None:
    """Cancel our run: TERM at the first signal, KILL at the second."""
    if not ours.watched:
        cancel(ours.here, [run_id], "cancelled from the terminal")
    elif not ours.stopped:
        ours.stop_all("cancelled from the terminal")
    elif len(signals) > 1:
        ours.kill_all()


def _start_if_free(ours: Supervisor, task: Task, asked: Run) -> None:
    """Start the pending run once it may start."""
    now, store = ours.here.now(), ours.here.store
    with store.transaction():
        free = store.runs.may_start(asked.id, now)
        mine = ours.starts.adopt(asked, task, now) if free else []
    ours.spawn(mine, now)


def ask_to_end(here: OpenHome, run_ids: Iterable[int]) -> None:
    """Send TERM to runs that are marked to stop, without waiting; a later tick sends KILL if needed."""
    for run_id in run_ids:
        process = here.store.processes.of(run_id)
        if process is None:
            continue
        if not reconcile.seen_from_here(process):
            stops.ask_owner(here, process)
        elif reconcile.carried(process):
            systemctl.stop_unit(process.supervisor)
        elif process.pid is not None and reconcile.lives(process):
            alive.terminate(process.pid)


def cancel(here: OpenHome, run_ids: Sequence[int], reason: str) -> list[Run]:
    """End live runs and return them: a pending one is never started, a running one gets TERM, then KILL.

    The reason is on the row before the signal is sent; runs that have ended are returned as they are.
    """
    now, running = here.now(), []
    with here.store.transaction():
        for run_id in run_ids:
            found = here.store.runs.get(run_id)
            if found.state is State.PENDING:
                follow_up.finish(
                    here, End(found, State.CANCELLED, f"{reason} before it started", now)
                )
            elif found.state is State.RUNNING:
                here.store.processes.ask_to_stop(run_id, State.CANCELLED, reason, now)
                running.append(run_id)
    if running:
        with open_supervisor(here) as ours:
            ours.closing = True
            ours.stop_some(running)
            for _ in ours.rounds():
                pass
        _end_unseen(here, running)
    here.log.write()
    return [here.store.runs.get(run_id) for run_id in run_ids]


def _end_unseen(here: OpenHome, run_ids: Sequence[int]) -> None:
    """Record the ends of cancelled runs of containers that are gone, as their supervisors cannot."""
    for run_id in run_ids:
        process = here.store.processes.of(run_id)
        if process is None or reconcile.seen_from_here(process) or reconcile.carried(process):
            continue
        if not lock.is_held(here.supervisor(process.supervisor)):
            spool.take_up(here)
            with here.store.transaction():
                found = here.store.runs.get(run_id)
                if found.state is State.RUNNING and not spool.holds(here.folder, run_id):
                    reconcile.settle(here, found, process, UNSEEN, here.now())


def call_off(here: OpenHome, task: Task, reason: str) -> list[Run]:
    """Cancel the one-off slot of a task, or a request for a run that is not claimed yet.

    Its row counts as a manual run, which leaves the slot free: the task can be enabled again.
    """
    now = here.now()
    with here.store.transaction():
        task = here.store.tasks.get(task.name)
        once = task.enabled and task.kind is Kind.AT
        due = task.requested or (task.next if once else None)
        if due is None:
            return []
        values = {"next": None, "following": None} if once else {}
        here.store.tasks.change(task.id, requested=None, **values)
        run_id = here.store.runs.add(
            task.id,
            State.CANCELLED,
            now,
            slot=due,
            first_slot=due,
            trigger=Trigger.MANUAL,
            reason=f"{reason} before its time",
        )
        assert run_id is not None  # a manual run never meets the unique key
        follow_up.conclude(here, here.store.runs.get(run_id), now)
        return [here.store.runs.get(run_id)]


def follow(here: OpenHome, run_id: int) -> Iterator[bytes]:
    """Yield the output of a run as it grows, b"" when there is nothing new, until the run has ended."""
    return RunOutput(here.store, here.output, run_id).follow()


def read(here: OpenHome, run_id: int) -> Iterator[bytes]:
    """Yield the output of a run up to now."""
    return RunOutput(here.store, here.output, run_id).read()


@record
class RunOutput:
    """The output of one run: in the file of its supervisor, in one of its own in a `folder`, or in the store."""

    store: Store
    folder: str
    run_id: int

    def follow(self) -> Iterator[bytes]:
        """Yield it as it grows, b"" when there is nothing new, until the run has ended."""
        sent = 0
        while self.store.runs.get(self.run_id).state in LIVE:
            block, sent = self._part(sent)
            yield block
        yield from self._rest(sent)

    def read(self) -> Iterator[bytes]:
        """Yield it up to now."""
        sent, process = 0, self._process()
        end = 0 if process is None else output.written(self.folder, process.output, _gap(process))
        while sent < end:  # a command that writes faster than its reader would keep us for ever
            block, sent = self._part(sent)
            if not block:
                break
            yield block
        if self._process() is None:
            yield from self._rest(sent)

    def _process(self) -> Process | None:
        return self.store.processes.of(self.run_id)

    def _part(self, sent: int) -> tuple[bytes, int]:
        """Return the output of a live run after the first `sent` bytes, and the new value of `sent`."""
        process = self._process()
        if process is None:
            return b"", sent
        block, end = output.part(self.folder, process.output, _gap(process), sent)
        # The file is emptied only after the end of the run is recorded: a block read before that is valid.
        return (block, end) if block and self._process() is not None else (b"", sent)

    def _rest(self, sent: int) -> Iterator[bytes]:
        """Yield the retained output of an ended run after the first `sent` bytes."""
        small, run = self.store.runs.output(self.run_id), self.store.runs.get(self.run_id)
        total = run.output_size
        if small is not None:
            yield bounded_output.rest_of(small, total, sent, _gap(run))
        elif total and not sent and not os.path.exists(output.kept(self.folder, self.run_id)):
            raise StateError(
                f"the output of run {self.run_id} was pruned: it wrote {total} bytes, and the oldest outputs go "
                "when all together are more than keep_output"
            )
        else:
            yield from output.rest(self.folder, self.run_id, total, sent, _gap(run))


def _gap(noted: Process | Run) -> Gap | None:
    return bounded_output.noted(noted.cut_at, noted.left_out)
