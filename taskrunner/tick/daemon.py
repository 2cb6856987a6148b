"""The same tick in a loop: for containers, and for intervals under a minute.

The first TERM or INT stops the claiming and lets what runs end for a grace period, then stops it; a second
signal hurries, a third one kills. HUP reads the settings anew.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import StoreFull, StoreNewer, TaskRunnerError
from taskrunner.home import config
from taskrunner.home.syslog import INFO, WARNING
from taskrunner.model.answers import Piece
from taskrunner.model.record import field, like, mutable, record
from taskrunner.notify import metrics
from taskrunner.processes import alive, children
from taskrunner.processes.signals import stop_signals
from taskrunner.store import open_home
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise.start import Carrier
from taskrunner.supervise.supervisor import Supervisor, open_supervisor
from taskrunner.supervise.systemd import carrier
from taskrunner.tick import claim, idle_check, live_output, visit, wait_for
from taskrunner.tick.sd_notify import Readiness
from taskrunner.tick.wait_for import Awaited
from taskrunner.upkeep import disk_reserve

Say = Callable[[str], None]


@record
class Wishes:
    """The settings of a daemon: interval, grace, services to wait for, and functions to report to."""

    interval: timedelta  # between two visits
    grace: timedelta  # for runs to end at a stop
    say: Say  # what goes wrong
    tell: Say  # what goes well
    wanted: Sequence[Awaited] = ()  # to be there before the first visit
    limit: timedelta = timedelta(minutes=5)  # of that wait
    watch: Callable[[Piece], object] | None = None  # is told of all runs, in a thread of its own


def daemon(open_here: Callable[[], OpenHome], wishes: Wishes) -> None:
    """Tick until a signal comes, and return when nothing runs any more.

    What goes wrong is said, once until something else does. As process 1 it reaps whatever is left to it.
    """
    hangups: list[int] = []
    first = alive.is_first()
    notice = Readiness(config.notify_socket(), config.watchdog())
    gate = children.Children()  # nobody's: what is waited at while there is no store
    with (
        closing(notice),
        closing(gate.selector),
        # From the start, as process 1 does not even die of a signal that it does not heed.
        stop_signals(gate, hangups, first=first) as early,
    ):
        if not wait_for.wait_for(wishes.wanted, wishes.limit, _pause(gate, early, notice)):
            return
        here = open_here()
        with (
            open_supervisor(here) as ours,
            stop_signals(ours.children, hangups, first=first) as signals,
        ):
            signals.extend(early)
            wishes = _logged(ours, wishes)
            ours.starts.carrier = _carrier(here, wishes.say)
            with _watched(here, wishes):
                Loop(ours, wishes, notice, signals, hangups, first).run()
        here.store.checkpoint()


@contextmanager
def _watched(here: OpenHome, wishes: Wishes) -> Iterator[None]:
    """Let somebody be told of all runs during the block, and of their ends after it."""
    if wishes.watch is None:
        yield
        return
    watcher = live_output.Watcher(here, wishes.watch)
    watcher.start()
    try:
        yield
    finally:
        watcher.finish()


def _carrier(here: OpenHome, say: Say) -> Carrier | None:
    """Return who carries the runs of a home, None for ourselves; it is said when that is not as it should be."""
    found, warning = carrier.of(here)
    if warning is not None:
        say(warning)
    return found


def _logged(ours: Supervisor, wishes: Wishes) -> Wishes:
    """Return wishes to be told things that are logged, too, where the settings of that moment say."""

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
    """Return how to wait for what is awaited: False when a signal says to end."""

    def pause(text: str, seconds: float) -> bool:
        gate.wait(min(seconds, notice.go_on(f"waiting for {text}")))
        return not signals

    return pause


@mutable
class Loop:
    """One daemon at work: the signals that reached it, and how its last visit went."""

    ours: Supervisor
    wishes: Wishes
    notice: Readiness
    signals: list[int]
    hangups: list[int]
    first: bool  # of all processes
    trouble: str | None = None
    unread: str | None = None  # why the settings are not those of the file
    visited: datetime | None = None
    due: float = 0.0  # when the next visit is, monotonic
    terminal: bool = field(default_factory=alive.has_terminal)
    changed: bool = False  # since the metrics were written
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
            if time.monotonic() >= self.due:
                self._visit()
            self.ours.finished.clear()
            self.changed = self.changed or bool(self.ours.watched)
        self._stop()
        metrics.publish(self.ours.here)

    def _visit(self) -> None:
        """Do one visit; the next one is due at a whole multiple of the interval, as with cron."""
        here, interval = self.ours.here, self.wishes.interval
        first, self.visited = self.visited is None, here.now()
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

    def _say_once(self, trouble: str) -> None:
        """Say what is wrong, unless it was said last."""
        if trouble != self.trouble:
            self.wishes.say(trouble)
        self.trouble = trouble

    def _until_visit(self) -> float:
        """Return how long to wait for our runs or the next visit; with nothing left to do the store is tidy."""
        if self.busy and not self.ours.busy:
            self.ours.here.store.checkpoint()
        self.busy = self.ours.busy
        return self._pause(self.due - time.monotonic())

    def _pause(self, seconds: float) -> float:
        """Return how long to wait at most: no longer than the program that keeps us running does."""
        following = self.notice.go_on(self._status())
        return max(0.0, min(seconds, following, children.FOREVER))

    def _status(self) -> str:
        does = "stopping, " if self.ours.closing else ""
        visited = "" if self.visited is None else f", last tick {clock.iso(self.visited)}"
        troubles = [f", problem: {each}" for each in (self.trouble, self.unread) if each]
        return f"{does}{len(self.ours.watched)} running{visited}{''.join(troubles)}"

    def _heed_hangup(self) -> None:
        """Read the settings anew, unless the signal means that our terminal is gone."""
        self.hangups.clear()
        if self.terminal and not alive.has_terminal():
            self.signals.append(signal.SIGHUP)
            return
        self.notice.reloading()
        try:
            self.ours.here = open_home.read_again(self.ours.here)
            self.ours.starts.carrier = _carrier(self.ours.here, self.wishes.say)
        except TaskRunnerError as exc:
            self.unread = f"the settings stay unchanged: {exc}"
            self.wishes.say(self.unread)
        else:
            self.unread = None
            self.wishes.tell("the settings were reloaded")
        self.notice.ready()

    def _stop(self) -> None:
        """Let our runs end within the grace, then stop them; a second signal stops at once, a third one kills."""
        grace = self.wishes.grace.total_seconds()
        self.notice.stopping()
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
    """Claim due slots; return whether there were none, and what is wrong: then the next visit tries again."""
    try:
        # The first visit may be the first of a boot, which is kept for tasks that are added later.
        if not first and idle_check.idle(here.folder, clock.to_ms(here.now()), "daemon"):
            return True, None
        made = visit.claim_under_lock(here, "daemon", period=interval)
        ours.stop_some(made.stops)
        visit.announce(here, ours.carrier)
        for _ in claim.fill(here, made.claimed):
            pass
        visit.clean_up(here, made)
        here.store.checkpoint()
    except TaskRunnerError as exc:
        if isinstance(exc, StoreFull):  # so that the next visit has room
            disk_reserve.release(here.folder)
        if isinstance(exc, StoreNewer) and not ours.watched:  # the new program has to go on
            raise
        return False, str(exc)
    return False, None
