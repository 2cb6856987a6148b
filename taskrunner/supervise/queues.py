"""Runs in queues: hand over those that wait, see how the others stand, record their ends.

One process at a time does this, under a lock of its own. So a run that is marked as running but not as handed over was
left so by a process that died, or by a server that did not answer, and is handed over again: its name is the same
every time, so the queue never has it twice. It is lost only when the queue had it for certain and knows it no more, or
may have known it before its server was restarted or emptied.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

from taskrunner.errors import in_words
from taskrunner.home import lock, paths, queues
from taskrunner.home.syslog import WARNING
from taskrunner.model.carried import NoAnswer, Refused, Stage
from taskrunner.model.record import field, like, mutable
from taskrunner.model.values import End, Outcome, Run, State
from taskrunner.notify import announce, log_lines
from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import OutputFiles
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers, follow_up, outcomes, queue_reasons
from taskrunner.supervise.carriers import QueueCarrier
from taskrunner.supervise.outcomes import Ended, Watched
from taskrunner.supervise.queue_answers import Answered, Held, never_started
from taskrunner.supervise.starts import NO_FILE, Starts

EVERY = 1.0  # seconds between two looks, ...
QUICK = 0.2  # ... while somebody waits for an end
LOCK_WAIT = 3.0  # seconds for another process that is at it
WAITED = 1.0  # seconds after which a server that did not answer was waited for, ...
REST = 10.0  # ... and seconds until it is asked again, also after a refusal or a fault


@mutable
class Queues:
    """All queues of the settings, as one supervisor sees to them, turn by turn."""

    here: OpenHome
    files: OutputFiles
    wanted: Collection[int] | None = None  # the only runs to hand over; None: all
    every: float = EVERY
    finished: list[Run] = field(default_factory=list)  # in the last turn
    marked: list[int] = field(default_factory=list)  # to be stopped as a consequence of them
    _live: bool = False  # there are runs in queues, or for them
    _look_at: float = 0.0  # the next look, monotonic
    _rest_until: dict[str, float] = field(default_factory=dict)  # by queue, monotonic
    _locks: ExitStack = field(default_factory=ExitStack)  # of runs that somebody waits for
    # By the names of queues: the settings of each, and its carrier, None where it cannot be used.
    _carriers: dict[str, tuple[queues.Queue, QueueCarrier | None]] = field(default_factory=dict)

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
        for _, carrier in self._carriers.values():
            if carrier is not None:
                carrier.close()
        self._carriers.clear()

    # ---- one turn

    def turn(self, *, closing: bool) -> bool:
        """Do all that is to be done now, unless another process is at it; return whether ends were recorded.

        While we are `closing` no run is handed over but the `wanted` ones.
        """
        self.finished, self.marked = [], []
        hands_over = not closing or self.wanted is not None
        if not self.here.config.queues:  # the last one may just have been removed
            self._live = False
            self.close()
            return False
        held = self.here.store.processes.queues()
        waiting = self._with_waiting() if hands_over else []
        self._live = bool(held or waiting)
        free = any(self._is_free(each, held) for each in waiting)
        if not free and not (self._live and time.monotonic() >= self._look_at):
            return False
        with lock.held(self.here.path(paths.QUEUES), LOCK_WAIT) as fd:
            if fd is not None:
                for settings in self.here.config.queues.values():
                    if not self._rests(settings):
                        rest = REST  # after a fault
                        with self.here.log.apart(f"the queue {settings.name}"):
                            rest = self._see_to(settings, hands_over=hands_over)
                        self._rest_until[settings.name] = time.monotonic() + rest
        self.put_off()
        return bool(self.finished)

    def put_off(self) -> None:
        """Wait until the next look, also if this one was prevented."""
        self._look_at = time.monotonic() + self.every

    def _with_waiting(self) -> list[queues.Queue]:
        """Return the queues with a run that may be handed over now."""
        runs, now = self.here.store.runs, self.here.now()
        known = self.here.config.queues.values()
        return [each for each in known if runs.startable_in(each.name, 1, now)]

    def _is_free(self, queue: queues.Queue, held: Mapping[str, int]) -> bool:
        """Return whether a queue can take a run at once; `held` are the numbers of runs in each."""
        return not self._rests(queue) and held.get(queue.name, 0) < queue.limit

    def _rests(self, queue: queues.Queue) -> bool:
        return time.monotonic() < self._rest_until.get(queue.name, 0.0)

    def seconds(self) -> float | None:
        """Return how long until the next look; None when there is nothing to look at."""
        return max(0.0, self._look_at - time.monotonic()) if self._live else None

    # ---- one queue

    def _see_to(self, settings: queues.Queue, *, hands_over: bool) -> float:
        """See to one queue; return how many seconds it rests."""
        begun = time.monotonic()
        carrier = self._carrier(settings)
        answered = None if carrier is None else self._asked(settings, carrier)
        if answered is None:
            slow = time.monotonic() - begun > WAITED
            self._explain(settings, carrier)
            return REST if slow else self.every
        fresh = self._record(answered, hands_over=hands_over)
        again = [
            Watched(each.run, each.task, NO_FILE, each.name) for each in answered.never_arrived
        ]
        return self._hand_over(answered, again, fresh)

    def _carrier(self, settings: queues.Queue) -> QueueCarrier | None:
        """Return the carrier of a queue, with one connection for all turns; None when it cannot be used here."""
        known, carrier = self._carriers.get(settings.name, (None, None))
        if known != settings:
            if carrier is not None:
                carrier.close()
            self._carriers[settings.name] = settings, carriers.of_queue(self.here, settings.name)
        return self._carriers[settings.name][1]

    def _asked(self, settings: queues.Queue, carrier: QueueCarrier) -> Answered | None:
        """Return the answer of a queue about its runs, or None; before, it is asked to stop those that are marked so."""
        store, server_id = self.here.store, carrier.server_id()
        if server_id is None:
            return None
        # Under our lock no other process changes them.
        rows = store.processes.in_queue(settings.name)
        tasks = store.tasks.by_id({run.task_id for run, _ in rows})
        for run, process in rows:
            if process.stop_state is not None:
                carrier.stop(process.supervisor, tasks[run.task_id].kill_after)
        standings = carrier.look([process.supervisor for _, process in rows]) if rows else {}
        if standings is None:
            return None
        held = [
            Held(run, process, tasks[run.task_id], standings[process.supervisor])
            for run, process in rows
        ]
        return Answered(settings, carrier, server_id, held)

    def _explain(self, settings: queues.Queue, carrier: QueueCarrier | None) -> None:
        """Give the runs of a queue the reason for which it does not answer."""
        store, now, unusable = self.here.store, self.here.now(), settings.unusable()
        if carrier is not None:
            new = queue_reasons.explain_silence(store, settings, carrier.trouble, now)
            if new is not None:
                self.here.log.say(WARNING, now, new)
        elif unusable is not None:
            queue_reasons.explain_unusable(store, settings, unusable, now)

    # ---- ends and starts

    def _record(self, answered: Answered, *, hands_over: bool) -> list[Watched]:
        """Record all that was seen and mark the next runs as running, in one transaction; return these."""
        here, store, now = self.here, self.here.store, self.here.now()
        collected = list[tuple[Ended, Watched]]()
        gone = [answered.end_of_gone(each, now) for each in answered.gone]
        room = answered.settings.limit - len(answered.held) + len(answered.ended) + len(gone)
        fresh: list[Watched] = []
        starts = Starts(
            here,
            "",
            self.files,
            answered.carrier,
            queue=answered.settings.name,
            server_id=answered.server_id,
        )
        mark, full, before = here.log.mark(), output.full(here.output), len(self.finished)
        try:
            for each in answered.ended:
                collected.append(self._collected(each, now, full=full))
            with store.transaction(patience=queue_reasons.PATIENCE):
                stopped = store.processes.being_stopped()
                for each in answered.held:
                    self._note(each, now)
                judged = [
                    outcomes.judged(ended, watched, stopped.get(ended.run))
                    for ended, watched in collected
                ]
                self._end([*judged, *gone])
                self._take(starts, fresh, room if hands_over else 0, now)
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
        return fresh

    def _end(self, ends: Sequence[End]) -> None:
        """Record ends with their consequences; a run is not retried while somebody waits for its end."""
        for end in ends:
            self.here.store.runs.note_start(end.run.id, end.run.started, end.reason)
        seen = {end.run.id for end in ends if lock.is_held(self._awaited(end.run.id))}
        for retry in (True, False):
            some = [end for end in ends if retry is not (end.run.id in seen)]
            self.finished += follow_up.finish(self.here, *some, retry=retry) if some else []

    def _take(self, starts: Starts, taken: list[Watched], free: int, now: datetime) -> None:
        """Take pending runs for a queue, at most `free` of them, and mark them as running."""
        if self.wanted is None:
            starts.take_next(taken, free, now)
            return
        store = self.here.store
        for run_id in [
            each for each in self.wanted if free > 0 and store.runs.may_start(each, now)
        ]:
            run = store.runs.get(run_id)
            task = store.tasks.of_run(run)
            if task.queue == starts.queue:
                taken += starts.adopt(run, task, now)

    def _note(self, held: Held, now: datetime) -> None:
        """Record that the queue has a run, and since when and where it really runs."""
        run, log = held.run, self.here.log
        if held.standing.stage is Stage.GONE:
            return
        if held.process.handed is None:
            self.here.store.processes.note_handed([run.id], now)
            log_lines.handed(log, run, held.process.queue, now)
        begun, reason = like(run, started=held.standing.since or run.started), held.why(now)
        if run.started is None and begun.started is not None:
            log_lines.started(log, begun, begun.started, held.standing.host)
            announce.started(self.here, held.task, begun, now)
        known = run.started, run.reason
        if held.standing.stage is not Stage.ENDED and known != (begun.started, reason):
            self.here.store.runs.note_start(run.id, begun.started, reason)

    def _collected(self, held: Held, now: datetime, *, full: bool) -> tuple[Ended, Watched]:
        """Take the output of a run that has ended as that of a child of ours."""
        standing = held.standing
        run = held.begun(now)
        cut = bounded_output.noted(standing.cut_at, standing.left_out)
        notes = [standing.note, held.place()]
        watched = Watched(run, held.task, self.files.take(os.geteuid()), held.name, cut)
        try:
            output.write(watched.file, standing.output)
        except OSError as exc:  # its end counts more
            watched.cut = None
            os.ftruncate(watched.file.fd, 0)
            notes.insert(0, output.lost(exc))
        ended = outcomes.collect(
            watched,
            standing.outcome or Outcome(),
            standing.at or now,
            self.files,
            note="; ".join(filter(None, notes)) or None,
            full=full,
            retry=True,  # it is decided when the end is recorded
            note_cut=lambda *_: None,  # the queue keeps the end until it is recorded
            on_this_machine=False,
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
                rest, why = REST, f"{carrier.title} does not take it now: {said.why}"
                later = batch[number:]
                break
            else:
                refused.append((each, said))
        if not batch:
            return rest
        store, ids = self.here.store, [each.run.id for each in taken]
        with store.transaction(patience=queue_reasons.PATIENCE):
            store.processes.note_handed(ids, now)
            store.runs.explain(ids, queue_reasons.waits(answered.settings.name, now))
            self._put_back(later, why, now)
            self._end(
                [
                    End(
                        like(each.run, started=now),
                        State.FAILED,
                        f"could not start: {said.why}",
                        now,
                    )
                    for each, said in refused
                ]
            )
        for each in taken:
            log_lines.handed(self.here.log, each.run, answered.settings.name, now)
        return rest

    def _put_back(self, refused: Sequence[Watched], why: str, now: datetime) -> None:
        """Make runs pending again; those that somebody wants stopped end, in the transaction of the caller."""
        store = self.here.store
        stopped = store.processes.being_stopped() if refused else {}
        store.runs.put_back([each.run.id for each in refused if each.run.id not in stopped], why)
        for each in refused:
            if each.run.id in stopped:
                self._end([never_started(each.run, stopped[each.run.id], now)])
