"""Runs in queues: hand over those that wait, see how the others stand, record their ends.

One process at a time does this, under a lock of its own. So a run that is marked as running but not as handed over was
left so by a process that died, or by a server that did not answer, and is handed over again: its name is the same
every time, so the queue never has it twice. It is lost only when the queue had it for certain and knows it no more, or
may have known it before its server was restarted or emptied.
"""

import os
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import datetime

from taskrunner.errors import in_words
from taskrunner.home import lock, paths, queues
from taskrunner.model.carried import NoAnswer, Refused, Stage, Standing
from taskrunner.model.record import field, like, mutable, record
from taskrunner.model.values import End, Outcome, Process, Run, State, Task
from taskrunner.notify import log_lines
from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import OutputFiles
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, follow_up, outcomes
from taskrunner.supervise.carriers import QueueCarrier
from taskrunner.supervise.outcomes import Ended, Watched
from taskrunner.supervise.starts import NO_FILE, Starts

EVERY = 1.0  # seconds between two looks, ...
QUICK = 0.2  # ... while somebody waits for an end
LOCK_WAIT = 3.0  # seconds for another process that is at it
WAITED = 1.0  # seconds after which a server that did not answer was waited for, ...
REST = 10.0  # ... and seconds until it is asked again, also after a refusal or a fault
PATIENCE = 2.0  # seconds to wait for other writers
WAITS = "waits in {}"  # the reason of a run that has not started


@record
class Held:
    """A running run of a queue, with its standing there."""

    run: Run
    process: Process
    task: Task
    standing: Standing

    @property
    def name(self) -> str:
        """Its name in the queue."""
        return self.process.supervisor


@record
class Answered:
    """A queue that answers, by its server's name for itself, with all runs that it has or should have."""

    settings: queues.Queue
    carrier: QueueCarrier
    server: str
    held: Sequence[Held]

    @property
    def ended(self) -> list[Held]:
        """The runs whose ends are to be recorded."""
        return [each for each in self.held if each.standing.stage is Stage.ENDED]

    @property
    def unheard(self) -> list[Held]:
        """The runs that never arrived there, and that nobody has asked to be stopped: they are handed over again."""
        return [each for each in self.held if self._never_arrived(each)]

    @property
    def gone(self) -> list[Held]:
        """The runs that it does not know any more."""
        away = [each for each in self.held if each.standing.stage is Stage.GONE]
        return [each for each in away if not self._never_arrived(each)]

    def _never_arrived(self, held: Held) -> bool:
        same = held.process.handed is None and held.process.engine == self.server
        return same and held.standing.stage is Stage.GONE and held.process.stop_state is None


@mutable
class Queues:
    """The queues of one supervisor, in which it hands over runs, of some of them only those that are `wanted`."""

    here: OpenHome
    files: OutputFiles
    wanted: Collection[int] | None = None  # the only runs to hand over
    every: float = EVERY
    finished: list[Run] = field(default_factory=list)  # in the last turn
    marked: list[int] = field(default_factory=list)  # to be stopped as a consequence of them
    _live: bool = False  # there are runs in queues, or for them
    _next: float = 0.0  # time of the next look, monotonic
    _rests: dict[str, float] = field(
        default_factory=dict
    )  # queues not to be asked before, monotonic
    _locks: ExitStack = field(default_factory=ExitStack)  # of runs that somebody waits for
    _known: dict[str, tuple[queues.Queue, QueueCarrier | None]] = field(default_factory=dict)

    def wait_for(self, *run_ids: int) -> None:
        """Hand over no runs but these, and look often, since somebody waits for an end."""
        self.wanted, self.every = run_ids, QUICK
        for run_id in run_ids:
            self._locks.enter_context(lock.held_own(self._awaited(run_id)))

    def _awaited(self, run_id: int) -> str:
        """Return the file whose lock is held while somebody waits for the end of a run and sees its result."""
        return self.here.supervisor(f"run-{run_id}")

    def close(self) -> None:
        """Close the connections."""
        self._locks.close()
        for _, carrier in self._known.values():
            if carrier is not None:
                carrier.close()
        self._known.clear()

    # ---- one turn

    def turn(self, *, closing: bool) -> bool:
        """Do all that is to be done now, unless another process is at it; return whether ends were recorded.

        While we are `closing` no run is handed over but the `wanted` ones.
        """
        self.finished, self.marked = [], []
        takes = not closing or self.wanted is not None
        if not self.here.config.queues:  # the last one may just have been removed
            self._live = False
            self.close()
            return False
        if not self._due(takes=takes):
            return False
        with lock.held(self.here.path(paths.QUEUES), LOCK_WAIT) as fd:
            if fd is not None:
                for settings in self.here.config.queues.values():
                    if time.monotonic() >= self._rests.get(settings.name, 0.0):
                        rest = REST  # after a fault
                        with self.here.log.apart(f"the queue {settings.name}"):
                            rest = self._turn(settings, takes=takes)
                        self._rests[settings.name] = time.monotonic() + rest
        self.put_off()
        return bool(self.finished)

    def put_off(self) -> None:
        """Wait until the next look, also if this one was prevented."""
        self._next = time.monotonic() + self.every

    def _due(self, *, takes: bool) -> bool:
        """Return whether it is time to look, or a run can be handed over at once."""
        store, now = self.here.store, self.here.now()
        held, free = store.processes.queues(), False
        self._live = bool(held)
        for each in self.here.config.queues.values() if takes else ():
            if store.runs.startable_in(each.name, 1, now):
                self._live = True
                rests = time.monotonic() < self._rests.get(each.name, 0.0)
                free = free or not (rests or held.get(each.name, 0) >= each.limit)
        return free or (self._live and time.monotonic() >= self._next)

    def seconds(self) -> float | None:
        """Return how long until the next look; None when there is nothing to look at."""
        return max(0.0, self._next - time.monotonic()) if self._live else None

    def _turn(self, settings: queues.Queue, *, takes: bool) -> float:
        """See to one queue; return how many seconds it rests."""
        begun = time.monotonic()
        carrier = self._carrier(settings)
        server = None if carrier is None else carrier.server()
        held = None if carrier is None or server is None else self._looked(carrier, settings.name)
        if carrier is None or server is None or held is None:
            slow = time.monotonic() - begun > WAITED
            self._explain(settings, carrier)
            return REST if slow else self.every
        answered = Answered(settings, carrier, server, held)
        batch = self._write(answered, takes=takes)
        again = [Watched(each.run, each.task, NO_FILE, each.name) for each in answered.unheard]
        return self._hand_over(answered, again, batch)

    def _carrier(self, settings: queues.Queue) -> QueueCarrier | None:
        """Return the carrier of a queue, with one connection for all turns; None when it cannot be used here."""
        known, carrier = self._known.get(settings.name, (None, None))
        if known != settings:
            if carrier is not None:
                carrier.close()
            self._known[settings.name] = settings, carriers.of_queue(self.here, settings.name)
        return self._known[settings.name][1]

    def _looked(self, carrier: QueueCarrier, queue: str) -> list[Held] | None:
        """Return the runs of a queue with their standings; None without an answer. Some are asked to stop before."""
        store = self.here.store
        rows = store.processes.in_queue(queue)  # under our lock no other process changes them
        tasks = store.tasks.by_id({run.task_id for run, _ in rows})
        for run, process in rows:
            if process.stop_state is not None:
                carrier.stop(process.supervisor, tasks[run.task_id].kill_after)
        found = carrier.look([process.supervisor for _, process in rows]) if rows else {}
        if found is None:
            return None
        return [Held(run, each, tasks[run.task_id], found[each.supervisor]) for run, each in rows]

    def _explain(self, settings: queues.Queue, carrier: QueueCarrier | None) -> None:
        """Give the runs that wait for a queue the reason for which they do.

        Where only we cannot reach it, a reason that another process has found stays.
        """
        store = self.here.store
        why = settings.unusable() if carrier is None else carrier.trouble
        known = f"the queue {settings.name} " if carrier is None else why
        waiting = store.runs.startable_in(settings.name, settings.limit, self.here.now())
        told = [run.id for run in waiting if (known or "") not in (run.reason or "")]
        if told and why is not None:
            with store.transaction(patience=PATIENCE):
                store.runs.explain(told, why)

    # ---- ends and starts

    def _write(self, answered: Answered, *, takes: bool) -> list[Watched]:
        """Record all that was seen and mark the next runs as running, in one transaction; return these."""
        here, store, now = self.here, self.here.store, self.here.now()
        collected = list[tuple[Ended, Watched]]()
        gone = [_gone(each, answered, now) for each in answered.gone]
        room = answered.settings.limit - len(answered.held) + len(answered.ended) + len(gone)
        batch: list[Watched] = []
        starts = Starts(
            *(here, "", self.files, answered.carrier),
            queue=answered.settings.name,
            engine=answered.server,
        )
        mark, full, before = here.log.mark(), output.full(here.output), len(self.finished)
        try:
            for each in answered.ended:
                collected.append(self._collected(each, now, full=full))
            with store.transaction(patience=PATIENCE):
                stopped = store.processes.being_stopped()
                for each in answered.held:
                    self._note(each, answered, now)
                judged = [outcomes.judged(e, w, stopped.get(e.run)) for e, w in collected]
                self._end([*judged, *gone])
                self._take(starts, batch, room if takes else 0, now)
                self.marked += store.processes.being_stopped().keys() - stopped.keys()
        except BaseException:
            here.log.forget(mark)
            del self.finished[before:]
            raise
        finally:
            for ended, watched in collected:
                if not ended.large:  # else the file is now that of the run
                    self.files.put_back(watched.file)
        answered.carrier.forget([each.name for each in (*answered.ended, *answered.gone)])
        return batch

    def _end(self, ends: Sequence[End]) -> None:
        """Record ends with their consequences; a run is not retried while somebody waits for its end."""
        for end in ends:
            if end.run.started is None:  # it was only marked as running
                self.here.store.runs.note_start(end.run.id, None, end.reason)
        seen = {end.run.id for end in ends if lock.is_held(self._awaited(end.run.id))}
        for retry in (True, False):
            some = [end for end in ends if retry is not (end.run.id in seen)]
            self.finished += follow_up.finish(self.here, *some, retry=retry) if some else []

    def _take(self, starts: Starts, batch: list[Watched], free: int, now: datetime) -> None:
        """Mark pending runs as running, up to the limit of the queue."""
        if self.wanted is None:
            starts.take_next(batch, free, now)
            return
        store = self.here.store
        for run_id in [
            each for each in self.wanted if free > 0 and store.runs.may_start(each, now)
        ]:
            run = store.runs.get(run_id)
            task = store.tasks.of_run(run)
            if task.queue == starts.queue:
                batch += starts.adopt(run, task, now)

    def _note(self, held: Held, answered: Answered, now: datetime) -> None:
        """Record that the queue has a run, and since when and where it really runs."""
        if held.standing.stage is Stage.GONE:
            return
        if held.process.handed is None:
            self.here.store.processes.note_handed([held.run.id], now)
            log_lines.started(self.here.log, held.run, now)
        started, reason = held.run.started, WAITS.format(answered.settings.name)
        if held.standing.since is not None:
            started, reason = held.standing.since, f"on {held.standing.host}"
        if (started, reason) != (held.run.started, held.run.reason):
            self.here.store.runs.note_start(held.run.id, started, reason)

    def _collected(self, held: Held, now: datetime, *, full: bool) -> tuple[Ended, Watched]:
        """Take the output of a run that has ended as that of a child of ours."""
        standing = held.standing
        run = like(held.run, started=standing.since or held.run.started)
        cut = bounded_output.noted(standing.cut_at, standing.left_out)
        notes = [standing.note, standing.host and f"on {standing.host}"]
        watched = Watched(run, held.task, self.files.take(os.geteuid()), held.name, cut)
        try:
            output.write(watched.file, standing.output)
        except OSError as exc:  # its end counts more
            watched.cut = None
            os.ftruncate(watched.file.fd, 0)
            notes.insert(0, output.lost(exc))
        ended = outcomes.collect(
            *(watched, standing.outcome or Outcome(), standing.at or now, self.files),
            note="; ".join(filter(None, notes)) or None,
            full=full,
            retry=True,  # it is decided when the end is recorded
            note_cut=lambda *_: None,  # the queue keeps the end until it is recorded
        )
        return ended, watched

    # ---- handing over

    def _hand_over(
        self, answered: Answered, again: Sequence[Watched], fresh: Sequence[Watched]
    ) -> float:
        """Hand over runs that are marked as running, until one gets no answer; return how long the queue rests.

        The `fresh` ones that nobody has tried to hand over are pending again.
        """
        taken, refused = list[Watched](), list[tuple[Watched, Refused]]()
        now, carrier = self.here.now(), answered.carrier
        batch = [*again, *fresh]
        rest, later, why = 0.0, list[Watched](), ""
        for number, each in enumerate(batch):
            try:
                said = carrier.start(each, now)
            except NoAnswer:  # it may have been taken: it is handed over again
                rest, why = REST, carrier.trouble
                later = batch[max(number + 1, len(again)) :]
                break
            except Exception as exc:  # noqa: BLE001  a fault of one run must not affect the others
                said = Refused(in_words(exc))
            if said is None:
                taken.append(each)
            elif said.later:
                rest, why = REST, f"{carrier.engine} does not take it now: {said.why}"
                later = batch[number:]
                break
            else:
                refused.append((each, said))
        if not batch:
            return rest
        store, ids = self.here.store, [each.run.id for each in taken]
        with store.transaction(patience=PATIENCE):
            store.processes.note_handed(ids, now)
            store.runs.explain(ids, WAITS.format(answered.settings.name))
            self._put_back(later, why, now)
            self._end(
                [
                    End(each.run, State.FAILED, f"could not start: {said.why}", now)
                    for each, said in refused
                ]
            )
        for each in taken:
            log_lines.started(self.here.log, each.run, now)
        return rest

    def _put_back(self, refused: Sequence[Watched], why: str, now: datetime) -> None:
        """Make runs pending again; those that somebody wants stopped end, in the transaction of the caller."""
        store = self.here.store
        stopped = store.processes.being_stopped() if refused else {}
        store.runs.put_back([each.run.id for each in refused if each.run.id not in stopped], why)
        for each in refused:
            if each.run.id in stopped:
                self._end([_never_started(each.run, stopped[each.run.id], now)])


def _gone(held: Held, answered: Answered, now: datetime) -> End:
    """Return the end of a run that the queue does not know any more: as it was to be stopped, else as lost."""
    run, process = held.run, held.process
    if process.stop_state is not None:
        if run.reason is None or run.reason == WAITS.format(process.queue):
            return _never_started(run, process, now)
        return End(run, process.stop_state, process.stop_reason or "", now)
    if process.handed is None:
        why = "its server was restarted or emptied before the run was handed over for certain"
    elif process.engine != answered.server:
        why = "its server was restarted or emptied"
    else:
        why = held.standing.note or "its result is unknown"
    return End(run, State.LOST, f"{answered.carrier.lost}: {why}", now)


def _never_started(run: Run, process: Process, now: datetime) -> End:
    """Return the end of a run that was to be stopped before it started."""
    assert process.stop_state is not None
    reason = f"{process.stop_reason or ''} before it started"
    return End(like(run, started=None), process.stop_state, reason, now)
