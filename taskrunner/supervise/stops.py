"""Stop runs that another supervisor watches, or whose supervisor is dead."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from taskrunner.errors import StoreBusy, StoreRefused
from taskrunner.home import lock
from taskrunner.model.record import field, mutable
from taskrunner.model.values import Process, State
from taskrunner.processes import alive
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, reconcile, spool

OWNER_SLOW = 60.0  # seconds to wait for the supervisor of a stopped run to record its end
SILENCE = 5.0  # the same where its queue does not answer
ELSEWHERE = 5.0  # the same in another pid namespace, where the program may be older
PATIENCE = 2.0  # seconds to wait for other writers, as runs must be watched meanwhile


@mutable
class Stop:
    """The progress of stopping one run; `kill_at` is monotonic seconds."""

    kill_after: timedelta
    kill_at: float
    told: bool = False  # TERM was sent
    carried: bool = False  # its carrier was asked to stop it


@mutable
class Stops:
    """The runs being stopped, by their ids: TERM at first, KILL after their kill-after."""

    here: OpenHome
    going: dict[int, Stop] = field(default_factory=dict)

    def begin(self, run_ids: Sequence[int]) -> None:
        """Begin to stop runs that are marked so in their rows."""
        for run_id in run_ids:
            with self.here.log.apart(f"run {run_id} could not be stopped"):
                if run_id not in self.going:
                    task = self.here.store.tasks.of_run(self.here.store.runs.get(run_id))
                    kill_at = time.monotonic() + task.kill_after.total_seconds()
                    self.going[run_id] = Stop(task.kill_after, kill_at)
        self.look()

    def look(self) -> None:
        """Look at each of them, and take its next step."""
        for run_id, stop in list(self.going.items()):
            try:
                self._look(run_id, stop)
            except (StoreBusy, StoreRefused):
                raise
            except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
                self.going.pop(run_id, None)  # the next tick starts again
                self.here.log.fault(f"run {run_id} could not be stopped", exc)

    def _look(self, run_id: int, stop: Stop) -> None:
        process = self.here.store.processes.of(run_id)
        over = time.monotonic() - stop.kill_at
        # Its end is recorded, or its supervisor does not record it.
        if process is None or over > OWNER_SLOW:
            del self.going[run_id]
        elif process.queue is not None:
            # Its queue is told, and tells its end; one that does not answer is told as soon as it does.
            waited, run = over + stop.kill_after.total_seconds(), self.here.store.runs.get(run_id)
            known = self.here.config.queues
            if waited > SILENCE and carriers.is_silent(known, process.queue, run):
                del self.going[run_id]
        elif not reconcile.seen_from_here(process):
            if over > ELSEWHERE or not (stop.told or ask_owner(self.here, process)):
                del self.going[run_id]
            stop.told = True
        elif carriers.carried(process) and _left_to_carrier(self.here, run_id, stop, process):
            return
        elif process.pid is not None and reconcile.lives(process):
            _press(stop, process.pid, over)
        elif not lock.is_held(self.here.supervisor(process.supervisor)):
            with suppress(StoreBusy, StoreRefused):  # the next look tries again
                self._settle(run_id, process)

    def hand_on(self) -> None:
        """Forget the runs that their carriers were asked to stop."""
        self.going = {run_id: stop for run_id, stop in self.going.items() if not stop.carried}

    def give_up(self) -> None:
        """Forget all of them: others will stop them."""
        self.going.clear()

    def _settle(self, run_id: int, process: Process) -> None:
        """Record the end of a run that we stopped and whose own supervisor is dead."""
        if process.pid is None and reconcile.find_child(self.here, process):
            return  # it is alive after all; the next look finds it
        spool.take_up(self.here)
        with self.here.store.transaction(patience=PATIENCE):
            run = self.here.store.runs.get(run_id)
            # Its supervisor may have recorded the end, or put it into the spool, while we waited to write.
            if run.state is State.RUNNING and not spool.holds(self.here.folder, run_id):
                reconcile.settle(self.here, run, process, "its result is unknown", self.here.now())
                del self.going[run_id]


def ask_owner(here: OpenHome, process: Process) -> bool:
    """Ask the supervisor of a run to stop it, which it does within a second; False when there is none."""
    if carriers.carried(process) or not lock.is_held(here.supervisor(process.supervisor)):
        return False
    with here.store.transaction(patience=PATIENCE):
        here.store.processes.leave_stop_to_owner(process.run_id)
    return True


def _left_to_carrier(here: OpenHome, run_id: int, stop: Stop, process: Process) -> bool:
    """Have the carrier of a run stop it; False when it does not know the run, and cannot any more."""
    stop.carried = stop.carried or carriers.stop(here, process, stop.kill_after)
    started = here.store.runs.get(run_id).started or here.now()
    return stop.carried or here.now() - started < carriers.SLOW


def _press(stop: Stop, group: int, over: float) -> None:
    if over >= 0:
        alive.kill(group)
    elif not stop.told:
        stop.told = True
        alive.terminate(group)
