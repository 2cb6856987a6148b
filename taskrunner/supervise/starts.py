"""Mark pending runs as running: each gets an output file and the name of its supervisor in its row.

This happens in a transaction of the caller, who starts the processes after it. It must not know processes.
"""

from collections.abc import Sequence
from datetime import datetime

from taskrunner import host
from taskrunner.decide import policy
from taskrunner.errors import StoreBusy, StoreRefused, in_words
from taskrunner.model.record import field, like, mutable
from taskrunner.model.values import End, Process, Run, State, Task
from taskrunner.notify import announce
from taskrunner.processes import account, alive
from taskrunner.processes.output import OutputFile, OutputFiles
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import follow_up
from taskrunner.supervise.carriers import Carrier
from taskrunner.supervise.outcomes import Watched

NO_FILE = OutputFile("", -1, 0)  # of a run whose output is on another machine


@mutable
class Starts:
    """Marks runs as running, for the supervisor `name` or for a `carrier`, by its names.

    It takes the runs of this host, or those of a `queue` on the server of that id.
    """

    here: OpenHome
    name: str  # "" when all runs are for a carrier
    files: OutputFiles
    carrier: Carrier | None = None  # None is ourselves
    queue: str | None = None
    server_id: str | None = None
    boot_id: str = field(default_factory=host.boot_id)
    namespace: int | None = field(default_factory=alive.pid_namespace)

    def take_next(self, taken: list[Watched], free: int, now: datetime) -> None:
        """Take the next pending runs, at most `free` of them."""
        store = self.here.store
        while free > 0 and (runs := store.runs.startable_in(self.queue, free, now)):
            before = len(taken)
            self._take_first(taken, runs, now)
            free -= len(taken) - before

    def _take_first(self, taken: list[Watched], runs: Sequence[Run], now: datetime) -> None:
        """Take the first of the runs, and those that may start beside it."""
        tasks = self.here.store.tasks.by_id({run.task_id for run in runs})
        seen, before = set[object](), len(taken)
        for run in runs:
            # Each was found startable on its own, not together with others of its task or group.
            task = tasks[run.task_id]
            kin = {task.id, task.group} - {None}
            if not seen & kin:
                taken += self._prepare_or_end(run, task, now)
            seen |= kin
        prepared = taken[before:]
        del taken[before:]
        taken += self._make_running_or_end(prepared, now)

    def _prepare_or_end(self, run: Run, task: Task, now: datetime) -> list[Watched]:
        """Prepare a run, unless it is too late; a run that cannot be prepared ends."""
        try:
            late = policy.too_late(task, run, now)
            if late is None:
                return [self._prepare(run, task, now)]
            end = End(run, State.MISSED, late, now)
        except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
            what = "its output file: " if isinstance(exc, OSError) else ""
            end = _unstarted(run, f"{what}{in_words(exc)}", now)
        follow_up.finish(self.here, end)
        return []

    def _prepare(self, run: Run, task: Task, now: datetime) -> Watched:
        name, files = self.name, self.files
        if self.carrier is not None:
            name = self.carrier.name(run.id)
            files = OutputFiles(self.here.output, name)  # a file named after the run, not after us
        begun = now if self.queue is None else None
        started = like(run, state=State.RUNNING, started=begun, reason=None)
        file = NO_FILE if self.queue is not None else files.take(account.owner(task.user))
        return Watched(started, task, file, name)

    def _make_running_or_end(self, prepared: Sequence[Watched], now: datetime) -> Sequence[Watched]:
        """Mark runs as running and return them; a run whose row cannot be written ends, and is not returned."""
        mark = self.here.log.mark()
        try:
            with self.here.store.savepoint():
                self._make_running(prepared, now)
            return prepared
        except (StoreBusy, StoreRefused):
            raise
        except Exception as exc:  # noqa: BLE001  as above
            self.here.log.forget(mark)
            if len(prepared) > 1:
                return [each for one in prepared for each in self._make_running_or_end([one], now)]
            (each,) = prepared
            self._drop(each.file)
            follow_up.finish(self.here, _unstarted(each.run, in_words(exc), now))
            return []

    def _make_running(self, prepared: Sequence[Watched], now: datetime) -> None:
        processes = [
            Process(
                each.run.id,
                each.name,
                self.boot_id,
                each.file.name,
                each.file.inode,
                self.namespace,
                queue=self.queue,
                engine=self.server_id,
            )
            for each in prepared
        ]
        self.here.store.runs.start(processes, now)
        for each in prepared if self.queue is None else ():  # else it starts later, elsewhere
            announce.started(self.here, each.task, each.run, now)

    def adopt(self, run: Run, task: Task, now: datetime) -> list[Watched]:
        """Mark one run as running, if it is still pending, regardless of other runs."""
        if not self.here.store.runs.still([run.id], State.PENDING):
            return []
        prepared = [self._prepare(run, task, now)]
        self._make_running(prepared, now)
        return prepared

    def give_back(self, taken: Sequence[Watched]) -> None:
        """Return the output files of runs whose transaction failed; one of a carrier is removed."""
        for each in taken:
            if self.carrier is None:
                self.files.put_back(each.file)
            else:
                self._drop(each.file)

    def _drop(self, file: OutputFile) -> None:
        if file is not NO_FILE:
            self.files.drop(file)


def _unstarted(run: Run, why: str, now: datetime) -> End:
    """Return the end of a run that could not be started."""
    return End(run, State.FAILED, f"could not start: {why}", now)


def anything_to_start(here: OpenHome) -> bool:
    """Return whether a run may start here now, or anywhere before the next tick."""
    now = here.now()
    return bool(here.store.runs.startable_in(None, 1, now)) or until_ready(here, now) is not None


def anything_for_queues(here: OpenHome) -> bool:
    """Return whether a run may be handed to a queue of the settings now."""
    now, runs = here.now(), here.store.runs
    return any(runs.startable_in(name, 1, now) for name in here.config.queues)


def until_ready(here: OpenHome, now: datetime) -> float | None:
    """Return the seconds until the next delayed run is ready; None when a tick comes before."""
    ready = here.store.runs.soonest(now) if here.goes_on else None
    if ready is None or ready - now >= here.config.tick_period:
        return None
    return (ready - now).total_seconds()
