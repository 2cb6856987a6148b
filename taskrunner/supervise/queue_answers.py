"""The meaning of a queue's answer: which runs have ended, never arrived or are lost, and the ends of the lost ones.

Nothing is asked or written here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from taskrunner.home import queues
from taskrunner.model.carried import Stage, Standing
from taskrunner.model.record import like, record
from taskrunner.model.values import End, Process, Run, State, Task
from taskrunner.schedule import durations
from taskrunner.supervise import queue_reasons
from taskrunner.supervise.carriers import QueueCarrier

LONG = timedelta(minutes=1)  # a shorter wait in a queue is not told at the end


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

    def begun(self, now: datetime) -> Run:
        """Return the run with its start; where that is not known, it is taken to be that of its hand-over."""
        known = self.standing.since or self.run.started
        return like(self.run, started=known or self.process.handed or now)

    def why(self, now: datetime) -> str:
        """Return the reason of a run that the queue has: since when it waits, or where it runs."""
        if self.standing.since is not None:
            return f"on {self.standing.host}"
        return queue_reasons.waits(self.process.queue or "", self.process.handed or now)

    def place(self) -> str | None:
        """Return where it ran, and how long it had waited in the queue when that was long."""
        started, handed = self.standing.since, self.process.handed
        if started is None or handed is None or started - handed < LONG:
            return self.standing.host and f"on {self.standing.host}"
        waited = durations.human((started - handed).total_seconds())
        return f"on {self.standing.host} after {waited} in {self.process.queue}"


@record
class Answered:
    """A queue that answers, the id of its server, and all runs that it has or should have."""

    settings: queues.Queue
    carrier: QueueCarrier
    server_id: str
    held: Sequence[Held]

    @property
    def ended(self) -> list[Held]:
        """The runs whose ends are to be recorded."""
        return [each for each in self.held if each.standing.stage is Stage.ENDED]

    @property
    def never_arrived(self) -> list[Held]:
        """The runs that are not there yet, and that nobody has asked to be stopped: they are handed over again."""
        return [each for each in self.held if self._never_arrived(each)]

    @property
    def gone(self) -> list[Held]:
        """The runs that it does not know any more."""
        unknown = [each for each in self.held if each.standing.stage is Stage.GONE]
        return [each for each in unknown if not self._never_arrived(each)]

    def _never_arrived(self, held: Held) -> bool:
        if held.standing.stage is not Stage.GONE or held.process.stop_state is not None:
            return False
        return held.process.handed is None and held.process.engine == self.server_id

    def end_of_gone(self, held: Held, now: datetime) -> End:
        """Return the end of a run that it does not know any more: as it was to be stopped, else as lost."""
        run, process = held.run, held.process
        if process.stop_state is not None:
            if run.started is None:
                return never_started(run, process, now)
            return End(run, process.stop_state, process.stop_reason or "", now)
        why = f"{self.carrier.lost}: {self._why_lost(held)}"
        return End(held.begun(now), State.LOST, why, now)

    def _why_lost(self, held: Held) -> str:
        if held.process.handed is None:
            return "its server was restarted or emptied before the run was handed over for certain"
        if held.process.engine != self.server_id:
            return "its server was restarted or emptied"
        return held.standing.note or "its result is unknown"


def never_started(run: Run, process: Process, now: datetime) -> End:
    """Return the end of a run that was to be stopped before it started."""
    assert process.stop_state is not None
    reason = f"{process.stop_reason or ''} before it started"
    return End(like(run, started=None), process.stop_state, reason, now)
