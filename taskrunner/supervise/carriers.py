"""The seam to the engines that carry runs in our place: what each must do, and which of them has a run.

    inline       this process, or the supervisor in the row of the run; no engine
    systemd/     systemd on this host, each run in a unit of its own
    rq_carrier   a queue of RQ, whose workers run on other machines

A new engine is one more implementation of `Carrier`, named here. An engine is imported when a run is its own. It must
not know how a supervisor works.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from taskrunner.home import lock, paths
from taskrunner.model.carried import Refused, Standing
from taskrunner.model.values import Process, Run
from taskrunner.processes import programs, systemctl
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise.outcomes import Watched

if TYPE_CHECKING:
    from taskrunner.home.queues import Queue

INLINE = "inline"  # the setting `carrier` without an engine; another one is never guessed
# An engine knows a run at the latest this long after its row was written.
SLOW = timedelta(seconds=60)


class Carrier(Protocol):
    """An engine that carries runs, each under a name of its own, which the row of the run has as its supervisor."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    @property
    def lost(self) -> str:
        """The reason of a run that it does not know any more."""

    def name(self, run_id: int) -> str:
        """Return the name for a run."""

    def start(self, watched: Watched, now: datetime) -> Refused | None:
        """Hand a run over; return a refusal, or None. Raises NoAnswer, and LookupError for an unknown user."""

    def look(self, names: Sequence[str]) -> Mapping[str, Standing] | None:
        """Return how the runs of these names stand; None when it does not answer."""

    def stop(self, name: str, kill_after: timedelta) -> bool:
        """Have a run stopped, with TERM and later KILL; False when there is none of that name, or no answer."""

    def forget(self, names: Sequence[str]) -> None:
        """Drop its records of runs whose ends are recorded."""


class QueueCarrier(Carrier, Protocol):
    """A queue to other machines, which lasts while its server does."""

    @property
    def trouble(self) -> str:
        """The reason for which it does not answer."""

    def close(self) -> None:
        """Close the connection."""

    def server_id(self) -> str | None:
        """Return the identity of its server, a new one when that is started or emptied; None when it does not answer."""


class Resident(Carrier, Protocol):
    """An engine of this host, which also acts for us while no process of ours is there."""

    @property
    def falls_back(self) -> bool:
        """Whether we carry refused runs ourselves."""

    def wake(self, ready: datetime, seconds: float) -> None:
        """Schedule a tick at `ready`, which is `seconds` away."""

    def send_off(self) -> None:
        """Have messages sent."""

    def tell(self, runs: Sequence[Run]) -> None:
        """Write the states of runs to its journal."""


def chosen(here: OpenHome) -> tuple[Resident | None, str | None]:
    """Return the engine that the settings of a home choose, None for ourselves, and a warning or None.

    It is ourselves when a test controls the clock, or the engine does not answer.
    """
    if here.config.carrier == INLINE or not here.goes_on:
        return None, None
    from taskrunner.supervise.systemd import carrier

    return carrier.choose(here)


def carried(process: Process) -> bool:
    """Return whether an engine carries the run, and no child of ours is recorded for it."""
    by_systemd = process.pid is None and process.supervisor.endswith(systemctl.UNIT)
    return by_systemd or process.queue is not None


def of(here: OpenHome, process: Process) -> Carrier | None:
    """Return the engine that carries the run; None when it is none."""
    if not carried(process):
        return None
    if process.queue is not None:
        return of_queue(here, process.queue)
    from taskrunner.supervise.systemd.transient import Transient

    return Transient(here)


def of_queue(here: OpenHome, name: str) -> QueueCarrier | None:
    """Return the carrier of a queue; None when the settings have none of that name, or it cannot be used here."""
    settings = here.config.queues.get(name)
    if settings is None or settings.unusable() is not None:
        return None
    from taskrunner.supervise.rq_carrier import RqCarrier

    return RqCarrier.of(here, settings)


def is_silent(known: Mapping[str, "Queue"], name: str, run: Run) -> bool:
    """Return whether the queue of a run cannot be used here, or did not answer when it was asked last."""
    settings = known.get(name)
    if settings is None or settings.unusable() is not None:
        return True
    return f"the queue {name} does not answer" in (run.reason or "")


def probe(settings: "Queue") -> tuple[str | None, int]:
    """Return why a queue with an address does not answer now, None when it does, and how many workers it has."""
    from taskrunner.supervise.rq_carrier import RqCarrier

    return RqCarrier.probe(settings)


def look(here: OpenHome, processes: Sequence[Process]) -> Mapping[str, Standing]:
    """Return how those of these runs stand that systemd carries, by their names; none when it does not answer."""
    by_systemd = [process for process in processes if carried(process) and process.queue is None]
    if not by_systemd:
        return {}
    carrier = of(here, by_systemd[0])
    assert carrier is not None
    return carrier.look([process.supervisor for process in by_systemd]) or {}


def stop(here: OpenHome, process: Process, kill_after: timedelta) -> bool:
    """Have the carrier of a run stop it; False when it has none, or its carrier does not know it."""
    carrier = of(here, process)
    return carrier is not None and carrier.stop(process.supervisor, kill_after)


def any_lives(names: Sequence[str]) -> bool:
    """Return whether an engine of this host has a run of one of these names."""
    return bool(systemctl.units_there([name for name in names if name.endswith(systemctl.UNIT)]))


def send_off(here: OpenHome, carrier: Resident | None) -> None:
    """Start a process that sends messages, unless one is running; after a failure the next tick tries again.

    It inherits our lock as its stdin, so that no second one can start in between.
    """
    if carrier is not None:
        carrier.send_off()
    elif here.goes_on:
        with suppress(Exception), lock.held(here.path(paths.SENDER)) as fd:
            if fd is not None:
                programs.run_beside(here.folder, "notify", "--send", stdin=fd)
