"""The same tick in a loop: for containers, and for intervals under a minute.

The first TERM or INT ends claiming and lets runs end within a grace period, then stops them; a second
signal stops them at once, a third one kills them. HUP reloads the settings.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import HomeRefused, StoreFull, StoreNewer, TaskRunnerError, shown
from taskrunner.home import config, lock, paths
from taskrunner.home.syslog import INFO, WARNING
from taskrunner.model.answers import Piece
from taskrunner.model.record import field, like, mutable, record
from taskrunner.notify import metrics
from taskrunner.processes import alive, children
from taskrunner.processes.signals import stop_signals
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import carriers
from taskrunner.supervise.carriers import Resident
from taskrunner.supervise.supervisor import Supervisor, open_supervisor
from taskrunner.tick import daemon_lock, idle_check, live_output, visit, wait_for
from taskrunner.tick.daemon_lock import ApplicationLock, DaemonLock
from taskrunner.tick.sd_notify import Readiness
from taskrunner.tick.wait_for import Awaited
from taskrunner.upkeep import disk_reserve

Say = Callable[[str], None]


@record
class Wishes:
    """The settings of a daemon: interval, grace, services to wait for, and functions to report to."""

    interval: timedelta  # between two visits
    grace: timedelta  # for runs to end at a stop
    say: Say  # reports problems
    tell: Say  # reports normal events
    wanted: Sequence[Awaited] = ()  # must be ready before the first visit
    limit: timedelta = timedelta(minutes=5)  # of that wait
    watch: Callable[[Piece], object] | None = None  # receives all runs, in a thread of its own
    only_one: bool = False  # end at once when another daemon of the home lives
    application: ApplicationLock | None = None  # end when nobody holds it any more


def daemon(home: str, open_here: Callable[[], OpenHome], wishes: Wishes) -> None:
    """Tick until a signal comes, and return when no run is left.

    A problem is reported once, until another one occurs. As process 1 it reaps orphans.
    """
    hangups: list[int] = []
    first = alive.is_first()
    alone = DaemonLock(paths.path(home, paths.DAEMON_LOCK))
    with suppress(OSError):  # a fault of the home is reported when it is opened
        if wishes.only_one and lock.is_held(alone.place):  # before it waits for anything
            wishes.say(alone.taken())
            return
    if wishes.application is not None:
        wishes.application.check(home)
        _heed_interrupts()
    notice = Readiness(config.notify_socket(), config.watchdog())
    gate = children.Children()  # without children: only to wait for signals before the home is open
    with (
        closing(notice),
        closing(gate.selector),
        # From the start, as signals without a handler do not end process 1.
        stop_signals(gate, hangups, first=first) as early,
    ):
        if not wait_for.wait_for(wishes.wanted, wishes.limit, _pause(gate, early, notice)):
            return
        here = open_here()
        if wishes.only_one and not alone.take(here.now(), daemon_lock.WAIT):
            wishes.say(alone.taken())
            return
        with (
            alone,
            open_supervisor(here) as ours,
            stop_signals(ours.children, hangups, first=first) as signals,
        ):
            signals.extend(early)
            wishes = _logged(ours, wishes)
            ours.use(_carrier(here, wishes.say))
            with _watched(here, wishes):
                Loop(ours, wishes, alone, notice, signals, hangups, first).run()
        here.store.checkpoint()


def _heed_interrupts() -> None:
    """Heed INT and QUIT, which a shell's & has ignored for a daemon of an application, also in its tasks."""
    with suppress(ValueError):  # not the main thread
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _watched(here: OpenHome, wishes: Wishes) -> Iterator[None]:
    """Report all runs to the watcher during the block, and their ends after it."""
    if wishes.watch is None:
        yield
        return
    watcher = live_output.Watcher(here, wishes.watch)
    watcher.start()
    try:
        yield
    finally:
        watcher.finish()


def _carrier(here: OpenHome, say: Say) -> Resident | None:
    """Return the carrier of the runs of a home, None for ourselves; reports a wrong one."""
    found, warning = carriers.chosen(here)
    if warning is not None:
        say(warning)
    return found


def _logged(ours: Supervisor, wishes: Wishes) -> Wishes:
    """Return the same settings with functions that also write to the log."""

    def both(level: int, say: Say) -> Say:
        def tell(text: str) -> None:
            ours.here.log.say(level, ours.here.now(), f"daemon: {text}")
            ours.here.log.write()
            say(text)

        return tell

    return like(wishes, say=both(WARNING, wishes.say), tell=both(INFO, wishes.tell))


def _pause(
    gate: children.Children, signals: list[int], notice: Readiness
) -> Callable[[str, float], bool]:
    """Return a function that waits for some seconds: False when a signal came."""

    def pause(text: str, seconds: float) -> bool:
        gate.wait(min(seconds, notice.go_on(f"waiting for {text}")))
        return not signals

    return pause


@mutable
class Loop:
    """One running daemon: the signals it received, and the result of its last visit."""

    ours: Supervisor
    wishes: Wishes
    alone: DaemonLock
    notice: Readiness
    signals: list[int]
    hangups: list[int]
    first: bool  # we are process 1
    trouble: str | None = None
    unread: str | None = None  # why the settings file could not be reloaded
    visited: datetime | None = None
    due: float = 0.0  # time of the next visit, monotonic
    terminal: bool = field(default_factory=alive.has_terminal)
    changed: bool = False  # since metrics were last written
    busy: bool = False  # in the last round

    def run(self) -> None:
        """Visit and supervise until a signal comes; then stop."""
        seconds = self.wishes.interval.total_seconds()
        self.wishes.tell(f"ticking every {seconds:g} s in {self.ours.here.folder}")
        self.ours.patient = self._say_once
        self._visit()
        self.notice.ready()
        for _ in self.ours.rounds(lambda: not self.signals, self._until_visit):
            if self.first:
                self.ours.children.reap_strangers()
            if self.hangups:
                self._heed_hangup()
            self._look_for_home()
            self._look_for_application()
            self.ours.closing = bool(self.signals)  # the next round starts nothing either
            if time.monotonic() >= self.due and not self.signals:
                self._visit()
            self.ours.finished.clear()
            self.changed = self.changed or bool(self.ours.watched)
        self._stop()
        metrics.publish(self.ours.here)

    def _visit(self) -> None:
        """Do one visit; the next is due at a whole multiple of the interval, as with cron."""
        here, interval = self.ours.here, self.wishes.interval
        first, self.visited = self.visited is None, here.now()
        with suppress(HomeRefused):  # the visit reports a home that cannot be written
            self.alone.take(self.visited)
        idle, trouble = _visit(here, self.ours, interval, first=first)
        self.changed = self.changed or not idle
        if self.changed and trouble is None:
            self.changed = False
            trouble = metrics.publish(here)
        if trouble is None:
            self.trouble = None
        else:
            self._say_once(trouble)
        seconds = interval.total_seconds()
        self.due = time.monotonic() + seconds - here.now().timestamp() % seconds

    def _look_for_home(self) -> None:
        """End as on TERM when the home was deleted, and perhaps made again for another daemon."""
        if not self.signals and self.alone.replaced():
            folder = shown(self.ours.here.folder)
            self.wishes.say(f"the home {folder} was deleted or made again, so this daemon ends")
            self.signals.append(signal.SIGTERM)

    def _look_for_application(self) -> None:
        """End as on TERM when nobody has held the application's lock for the linger."""
        application = self.wishes.application
        if (
            application is not None
            and not self.signals
            and application.is_abandoned(time.monotonic())
        ):
            self.wishes.tell(f"nobody holds {shown(application.place)} any more")
            self.signals.append(signal.SIGTERM)

    def _say_once(self, trouble: str) -> None:
        """Report a problem, unless it is the last one reported."""
        if trouble != self.trouble:
            self.wishes.say(trouble)
        self.trouble = trouble

    def _until_visit(self) -> float:
        """Return how long to wait for our runs or the next visit; do a checkpoint when there is no run left."""
        if self.busy and not self.ours.busy:
            self.ours.here.store.checkpoint()
        self.busy = self.ours.busy
        now, application = time.monotonic(), self.wishes.application
        look = math.inf if application is None else application.until_look(now)
        return self._pause(min(look, self.due - now))

    def _pause(self, seconds: float) -> float:
        """Return the longest wait: the service manager expects signs of life in between."""
        following = self.notice.go_on(self._status())
        return max(0.0, min(seconds, following, children.FOREVER))

    def _status(self) -> str:
        does = "stopping, " if self.ours.closing else ""
        visited = "" if self.visited is None else f", last tick {clock.iso(self.visited)}"
        troubles = [f", problem: {each}" for each in (self.trouble, self.unread) if each]
        return f"{does}{len(self.ours.watched)} running{visited}{''.join(troubles)}"

    def _heed_hangup(self) -> None:
        """Reload the settings, unless the signal means that our terminal is gone."""
        self.hangups.clear()
        if self.terminal and not alive.has_terminal():
            self.signals.append(signal.SIGHUP)
            return
        self.notice.reloading()
        try:
            self.ours.here.reload()
            self.ours.use(_carrier(self.ours.here, self.wishes.say))
        except TaskRunnerError as exc:
            self.unread = f"the settings stay unchanged: {exc}"
            self.wishes.say(self.unread)
        else:
            self.unread = None
            self.wishes.tell("the settings were reloaded")
        self.notice.ready()

    def _stop(self) -> None:
        """Let runs end within the grace period, then stop them; a second signal stops at once, a third one kills."""
        grace = self.wishes.grace.total_seconds()
        self.notice.stopping()
        self.alone.release()  # the next daemon need not wait until our last run has ended
        self.wishes.tell(
            f"stopping: {len(self.ours.watched)} runs have time to end within {grace:g} s"
        )
        self.ours.closing, self.ours.patient = True, None
        end = time.monotonic() + grace
        for _ in self.ours.rounds(pause=lambda: self._pause(self._left(end))):
            if self.first:
                self.ours.children.reap_strangers()
            if not self.ours.stopped and (time.monotonic() >= end or len(self.signals) > 1):
                self.ours.stop_all("the daemon was stopped")
            if len(self.signals) > 2:
                self.ours.kill_all()

    def _left(self, end: float) -> float:
        return math.inf if self.ours.stopped else end - time.monotonic()


def _visit(
    here: OpenHome, ours: Supervisor, interval: timedelta, *, first: bool
) -> tuple[bool, str | None]:
    """Claim due slots; return whether there were none, and a problem or None: the next visit tries again."""
    try:
        # The first visit may be the first of a boot, which is recorded for tasks that are added later.
        if not first and idle_check.idle(here.folder, clock.to_ms(here.now()), "daemon"):
            return True, None
        made = visit.Tick(here, "daemon", carrier=ours.carrier, period=interval)
        made.claim_under_lock()
        ours.stop_some(made.claims.stops)
        made.announce()
        for _ in made.claims.fill():
            pass
        made.clean_up()
        here.store.checkpoint()
    except TaskRunnerError as exc:
        if isinstance(exc, StoreFull):  # so that the next visit has free space
            disk_reserve.release(here.folder)
        if isinstance(exc, StoreNewer) and not ours.watched:  # the new program must continue
            raise
        return False, str(exc)
    return False, None
