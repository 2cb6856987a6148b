"""One opened home: its folder, its store, its settings and its clock, handed to those who do the work."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskrunner import home
from taskrunner.config import Config
from taskrunner.errors import MomentError, shown
from taskrunner.store import Store

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class OpenHome:
    """What one taskrunner consists of; `clock` returns an aware datetime."""

    folder: str
    store: Store
    config: Config
    clock: Callable[[], datetime]

    def now(self) -> datetime:
        """Return this instant by our clock, cut to the millisecond as the store keeps it."""
        moment = self.clock()
        if moment.utcoffset() is None:
            raise MomentError(
                f"the clock gave {shown(moment)}, which has no zone: it must be an aware datetime"
            )
        return moment - timedelta(microseconds=moment.microsecond % 1000)

    def path(self, *parts: str) -> str:
        """Return the path of something in this home."""
        return home.path(self.folder, *parts)

    @property
    def output(self) -> str:
        """The folder of outputs."""
        return self.path(home.OUTPUT)

    def supervisor(self, name: str) -> str:
        """Return the file that a supervisor keeps locked while it lives."""
        return self.path(home.SUPERVISORS, name)
