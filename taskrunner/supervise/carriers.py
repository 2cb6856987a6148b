"""The seam to the engines that carry runs in our place: what each must do, and which of them has a run.

    inline       this process, or the supervisor in the row of the run; no engine
    systemd/     systemd on this host, each run in a unit of its own

A new engine is one more implementation of `Carrier`, named here. An engine is imported when a run is its own. It must
not know how a supervisor works.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from taskrunner.model.carried import Refused, Standing
from taskrunner.model.values import Command, Process, Run
from taskrunner.processes import systemctl
from taskrunner.processes.output import OutputFile
from taskrunner.store.open_home import OpenHome

INLINE = (
    "inline"  # the value of the setting `carrier` without an engine; another one is never guessed
)
# An engine knows a run at the latest this long after its row was written.
SLOW = timedelta(seconds=60)


class Carrier(Protocol):
    """An engine that carries runs, each under a name of its own, which the row of the run has as its supervisor."""

    @property
    def engine(self) -> str:
        """Its name in messages."""

    @property
    def lost(self) -> str:
        """The reason of a run that it does not know any more."""

    @property
    def falls_back(self) -> bool:
        """Whether we carry refused runs ourselves."""

    def name(self, run_id: int) -> str:
        """Return the name for a run."""

    def start(self, name: str, run: Run, command: Command, file: OutputFile) -> Refused | None:
        """Hand a run over; return a refusal, or None. Raises LookupError for an unknown user."""

    def look(self, names: Sequence[str]) -> Mapping[str, Standing] | None:
        """Return how the runs of these names stand; None when it does not answer."""

    def stop(self, name: str, kill_after: timedelta) -> bool:
        """Have a run stopped, with TERM and later KILL; False when there is none of that name."""

    def forget(self, name: str) -> None:
        """Drop what it keeps of a run whose end is recorded."""

    def wake(self, ready: datetime, seconds: float) -> None:
        """Schedule a tick at `ready`, which is `seconds` away."""

    def send_off(self) -> None:
        """Have messages sent."""

    def tell(self, runs: Sequence[Run]) -> None:
        """Write the states of runs to its journal."""


def chosen(here: OpenHome) -> tuple[Carrier | None, str | None]:
    """Return the engine that the settings of a home choose, None for ourselves, and a warning or None.

    It is ourselves when a test controls the clock, or the engine does not answer.
    """
    if here.config.carrier == INLINE or not here.goes_on:
        return None, None
    from taskrunner.supervise.systemd import carrier

    return carrier.choose(here)


def carried(process: Process) -> bool:
    """Return whether an engine carries the run, and no child of ours is recorded for it."""
    return process.pid is None and process.supervisor.endswith(systemctl.UNIT)


def of(here: OpenHome, process: Process) -> Carrier | None:
    """Return the engine that carries the run; None when it is none."""
    if not carried(process):
        return None
    from taskrunner.supervise.systemd.transient import Transient

    return Transient(here)


def look(here: OpenHome, processes: Sequence[Process]) -> Mapping[str, Standing]:
    """Return how the carried ones of these runs stand, by their names; without those whose engine does not answer."""
    found = [process for process in processes if carried(process)]
    if not found:
        return {}
    carrier = of(here, found[0])
    assert carrier is not None
    return carrier.look([process.supervisor for process in found]) or {}


def stop(here: OpenHome, process: Process, kill_after: timedelta) -> bool:
    """Have the carrier of a run stop it; False when it has none, or its carrier does not know it."""
    carrier = of(here, process)
    return carrier is not None and carrier.stop(process.supervisor, kill_after)


def any_lives(names: Sequence[str]) -> bool:
    """Return whether an engine of this host has a run of one of these names."""
    return bool(systemctl.units_there([name for name in names if name.endswith(systemctl.UNIT)]))
