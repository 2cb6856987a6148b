"""Manual runs: start one at once, follow its output, cancel it.

Like a tick it uses both the store and processes, through a supervisor of its own.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from taskrunner.decide import ledger, policy
from taskrunner.errors import TaskBusy
from taskrunner.home import lock
from taskrunner.model.answers import Environment
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.record import field, mutable, record
from taskrunner.model.values import LIVE, End, Kind, Run, State, Task, Trigger
from taskrunner.processes import account, alive, programs
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import carriers, command, follow_up, reconcile, spool, starts, stops
from taskrunner.supervise.supervisor import Supervisor, open_supervisor
from taskrunner.tick import read_output

PATIENT = 2.0  # seconds in which a worker usually starts a run
LOOK = 0.1  # seconds between two looks at a run that is quiet, or belongs to another supervisor
UNSEEN = "its supervisor died, and its process is not visible from here"


@record
class Asked:
    """A request for a run: an older slot to run again, whether it may start beside others, by whom, and why."""

    slot: datetime | None = None
    force: bool = False
    by: str | None = None
    why: str | None = None


def request(here: OpenHome, task: Task, asked: Asked, now: datetime) -> tuple[Run, Decision]:
    """Write the pending run of a request, in the transaction of the caller; raises TaskBusy.

    It obeys the task's overlap unless `force`; its slot is the moment of the request, or the given one.
    """
    live = [] if asked.force else here.store.runs.live(task.id)
    decision = policy.requested(task, now, live)
    if not decision.claims:
        raise TaskBusy(
            f"{task.name} is not run: {decision.reason}", force="starts it beside that run"
        )
    if decision.action is Action.RUN and not asked.force:
        _check_group(here.store, task)
    if asked.slot is not None:
        decision = policy.again(decision, asked.slot)
    run_id = follow_up.write(here, decision, now, forced=asked.force)
    assert run_id is not None  # a manual run never meets the unique key
    if asked.by is not None or asked.why is not None:
        event = ledger.asked(run_id, now, account.author(asked.by), asked.why)
        here.store.events.add(event, task.id)
    return here.store.runs.get(run_id), decision


JUST_NOW = Asked()


def surroundings(here: OpenHome, task: Task) -> Environment:
    """Return the environment of a manual run of a task, started now; raises StateError when it could not start."""
    now, trigger = here.now(), Trigger.MANUAL
    number = here.store.connection.next_id()
    asked = Run(number, task.name, now, now, State.PENDING, None, 1, trigger, 1, False)
    resolved = command.resolve(task, asked, here.config, now)
    files = command.places(resolved.argv[0], resolved.env["PATH"], resolved.cwd)
    files = [file for file in files if os.access(file, os.X_OK)]
    return Environment(
        task.name,
        resolved.argv,
        files[0] if files else None,
        resolved.cwd,
        account.account(task.user)[0],
        resolved.umask,
        resolved.env,
        passed=command.to_pass(task, here.config),
        missing=resolved.missing,
        queue=task.queue,
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
            "had not ended",
            force="starts it anyway",
        )


def run(
    here: OpenHome,
    task: Task,
    echo: Callable[[bytes], object],
    wish: Asked = JUST_NOW,
    tell: Callable[[str], object] = lambda _: None,
) -> Run:
    """Run a task now in this process, pass its output to `echo` as it arrives, and return the run when it has ended.

    TERM or INT cancels it; after a second one a run in a queue is returned as it is, marked to be stopped. Raises
    TaskBusy, and exceptions of `echo` after the end of the run. `echo` is called in a thread of its own: while it waits
    for a slow reader, the run is still supervised. `tell` gets a sentence for each reason for which a run waits for its
    queue, and one when it starts after that.
    """
    with open_supervisor(here) as ours:
        ours.closing = True  # start no other run: the caller waits for this one only
        ours.runs.retries = False  # the caller sees the result
        with stop_signals(ours.children) as signals:
            now = here.now()
            with here.store.transaction():
                # Read again, inside the transaction: nobody can change or replace it now.
                task = here.store.tasks.get(task.name)
                asked, decision = request(here, task, wish, now)
                at_once = decision.action is Action.RUN and task.queue is None
                mine = ours.starts.adopt(asked, task, now) if at_once else []
                if ours.queues is not None:  # before another process can see the run
                    ours.queues.wait_for(asked.id)
            ours.spawn(mine, now)
            if decision.action is Action.REPLACE:
                ours.stop_some(decision.stops)
            echoing = Echoing(read_output.of(here, asked.id).follow(), echo)
            progress = Progress(here.store, asked, tell)
            with echoing.unless_given_up():
                for _ in ours.rounds(
                    lambda: here.store.runs.get(asked.id).state in LIVE,
                    lambda: None if ours.watched else LOOK,
                ):
                    if signals and _give_up(ours, task, asked.id, signals):
                        echoing.give_up()
                        break
                    if not ours.watched and task.queue is None:
                        _start_if_free(ours, task, asked)
                    if task.queue is not None:
                        progress.look()
        # While we are a supervisor, nobody restores another database than the one the output is read from.
        local = here.store.runs.startable_in(None, 1, here.now())
        if here.goes_on and (local or starts.anything_for_queues(here)):
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
            self.give_up()
            raise
        finally:
            self._over.set()

    def give_up(self) -> None:
        """Do not wait for the end of the run."""
        self._given_up = True

    def finish(self) -> None:
        """Wait until all output is passed on; raises the exception of `echo`."""
        self.join()
        if self._fault is not None:
            raise self._fault


def _give_up(ours: Supervisor, task: Task, run_id: int, signals: Sequence[int]) -> bool:
    """Cancel our run: TERM at the first signal, KILL at the second; return whether it is left to its queue then."""
    if task.queue is not None:
        if not ours.stopped:
            ours.stopped = True
            cancel(ours.here, [run_id], "cancelled from the terminal", wait=False)
        return len(signals) > 1  # the queue may not answer for hours
    if not ours.watched:
        cancel(ours.here, [run_id], "cancelled from the terminal")
    elif not ours.stopped:
        ours.stop_all("cancelled from the terminal")
    elif len(signals) > 1:
        ours.kill_all()
    return False


@mutable
class Progress:
    """Tells why a run in a queue does not start, each reason once, and then that it has started."""

    store: Store
    asked: Run
    tell: Callable[[str], object]
    patient_until: float = field(default_factory=lambda: time.monotonic() + PATIENT)
    told: str | None = None
    started: bool = False

    def look(self) -> None:
        """Tell the reason if it is a new one."""
        run = self.store.runs.get(self.asked.id)
        if run.reason in (None, self.asked.reason, self.told):
            return
        if run.state is State.PENDING:
            said = f"the run waits: {run.reason}"
        elif run.state is not State.RUNNING:
            return
        elif run.started is None and time.monotonic() > self.patient_until:
            said = f"the run {run.reason}"
        elif run.started is not None and self.told is not None and not self.started:
            where = (run.reason or "").partition(";")[0]
            said, self.started = f"the run started {where} at {policy.words(run.started)}", True
        else:
            return
        self.told = run.reason
        self.tell(said)


def _start_if_free(ours: Supervisor, task: Task, asked: Run) -> None:
    """Start the pending run once it may start."""
    now, store = ours.here.now(), ours.here.store
    with store.transaction():
        free = store.runs.may_start(asked.id, now)
        mine = ours.starts.adopt(asked, task, now) if free else []
    ours.spawn(mine, now)


def ask_to_end(here: OpenHome, run_ids: Iterable[int]) -> None:
    """Have runs that are marked to stop stopped, without waiting: by their supervisors, which also send KILL in time.

    A run whose supervisor is dead gets TERM; a later tick sends KILL if needed.
    """
    for run_id in run_ids:
        process = here.store.processes.of(run_id)
        if process is None or stops.ask_owner(here, process):
            continue
        if process.queue is None and not reconcile.seen_from_here(process):
            continue
        if carriers.carried(process):
            task = here.store.tasks.of_run(here.store.runs.get(run_id))
            carriers.stop(here, process, task.kill_after)
        elif process.pid is not None and reconcile.lives(process):
            alive.terminate(process.pid)


def cancel(here: OpenHome, run_ids: Sequence[int], reason: str, *, wait: bool = True) -> list[Run]:
    """End live runs and return them: a pending one is never started, a running one gets TERM, then KILL.

    The reason is on the row before the signal is sent; runs that have ended are returned as they are. Without `wait`
    the supervisor of a run, or where it is dead a later tick, kills a command that does not heed TERM.
    """
    now, running = here.now(), []
    with here.store.transaction():
        for run_id in run_ids:
            run = here.store.runs.get(run_id)
            if run.state is State.PENDING:
                follow_up.finish(
                    here, End(run, State.CANCELLED, f"{reason} before it started", now)
                )
            elif run.state is State.RUNNING:
                here.store.processes.ask_to_stop(run_id, State.CANCELLED, reason, now)
                running.append(run_id)
    if not wait:
        ask_to_end(here, running)
    elif running:
        with open_supervisor(here) as ours:
            ours.closing = True
            if ours.queues is not None:
                ours.queues.wait_for()  # no run: only ends are of interest
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
        if process is None or reconcile.seen_from_here(process) or carriers.carried(process):
            continue
        if not lock.is_held(here.supervisor(process.supervisor)):
            spool.take_up(here)
            with here.store.transaction():
                run = here.store.runs.get(run_id)
                if run.state is State.RUNNING and not spool.holds(here.folder, run_id):
                    reconcile.settle(here, run, process, UNSEEN, here.now())


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
