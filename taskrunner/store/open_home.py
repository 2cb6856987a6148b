"""One opened home: its folder, store, settings and clock, which most functions get as `here`."""

from collections.abc import Callable
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import MomentError, TaskRunnerError, shown
from taskrunner.home import config, paths
from taskrunner.home.config import Config
from taskrunner.home.log_file import Log
from taskrunner.model.record import field, mutable
from taskrunner.store.store import Store, open_store

MILLISECOND = timedelta(milliseconds=1)


@mutable
class OpenHome:
    """An opened home; `clock` returns an aware datetime.

    The clock `goes_on` by itself, unless a test moves it: then no code may wait for an instant to come.
    """

    folder: str
    store: Store
    config: Config
    clock: Callable[[], datetime]
    goes_on: bool = True
    log: Log = field(default_factory=Log)

    def now(self) -> datetime:
        """Return the time of the clock, cut to the milliseconds that the store keeps."""
        moment = self.clock()
        if moment.utcoffset() is None:
            raise MomentError(
                f"the clock gave {shown(moment)}, which has no zone: it must be an aware datetime"
            )
        return moment - timedelta(microseconds=moment.microsecond % 1000)

    def path(self, *parts: str) -> str:
        """Return the path of something in this home."""
        return paths.path(self.folder, *parts)

    @property
    def output(self) -> str:
        """The folder of outputs."""
        return self.path(paths.OUTPUT)

    def reload(self) -> None:
        """Read the settings anew; raises InputError or HomeRefused, and changes nothing then."""
        paths.check(self.folder)
        settings = config.load(self.folder)
        if settings.tz:
            config.default_zone(settings)
        self.store.connection.be_durable(settings.synchronous)
        self.config, self.log = settings, _log(self.folder, settings, self.clock)

    def supervisor(self, name: str) -> str:
        """Return the path of the file that a supervisor keeps locked while it lives."""
        return self.path(paths.SUPERVISORS, name)


def open_home(
    folder: str, own_clock: Callable[[], datetime] | None = None, *, create: bool = False
) -> OpenHome:
    """Return an opened home; a missing store is created when `create`, else it reads as empty.

    `own_clock` stands in for the wall clock. Raises InputError, HomeRefused, StoreRefused or StoreBusy.
    """
    paths.check(folder)
    settings = config.load(folder)
    store = open_store(
        folder,
        create=create,
        synchronous=settings.synchronous,
        network=settings.allow_network_home,
    )
    return OpenHome(
        folder,
        store,
        settings,
        own_clock or clock.now,
        goes_on=own_clock is None,
        log=_log(folder, settings, own_clock or clock.now),
    )


def task_names(given: str | None) -> list[str]:
    """Return the names of the tasks of the home given, or of the default one; none where it cannot be opened.

    For a shell that completes words: it asks at each key, so it must be quick, and no message may come in between.
    """
    try:
        here = open_home(paths.find(given))
        try:
            return here.store.tasks.names()
        finally:
            here.store.close()
    except TaskRunnerError:
        return []


def _log(folder: str, settings: Config, now: Callable[[], datetime]) -> Log:
    return Log(folder, settings.log_to, settings.log_level, now)
