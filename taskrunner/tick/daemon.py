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
from taskrunner.errors import StoreBusy, StoreFull, StoreNewer, StoreRefused, TaskRunnerError
from taskrunner.home import config
from taskrunner.home.syslog import INFO, WARNING
from taskrunner.model.answers import Piece
from taskrunner.model.record import field, like, mutable, record
from taskrunner.notify import metrics
from taskrunner.processes import alive, children
from taskrunner.processes.signals import stop_signals
from taskrunner.store import open_home
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import supervisor
from taskrunner.supervise.systemd import carrier
from taskrunner.tick import claim, idle_check, live_output, visit, wait_for
from taskrunner.tick.sd_notify import Readiness
from taskrunner.tick.wait_for import Awaited
from taskrunner.upkeep import disk_reserve, retention

Say = Callable[[str], None]


@record
class Wishes:
    """What a daemon is asked to do: how often, for how long, after what, and whom to tell."""

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
            supervisor.supervisor(here) as me,
            stop_signals(me.children, hangups, first=first) as signals,
        ):
            signals.extend(early)
            wishes = _logged(me, wishes)
            me.carrier = _carrier(here, wishes.say)
            with _watched(here, wishes):
                Loop(me, wishes, notice, signals, hangups, first).run()
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


def _carrier(here: OpenHome, say: Say) -> supervisor.Carrier | None:
    """Return who carries the runs of a home, None for ourselves; it is said when that is not as it should be."""
    found, warning = carrier.of(here)
    if warning is not None:
        say(warning)
    return found


def _logged(me: supervisor.Supervisor, wishes: Wishes) -> Wishes:
    """Return wishes to be told things that are logged, too, where the settings of that moment say."""

    def both(level: int, say: Say) -> Say:
        def tell(text: str) -> None:
            me.here.log.say(level, me.here.now(), f"daemon: {text}")
            me.here.log.write()
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
    """One daemon at work: what reached it, and how its last visit went."""

    me: supervisor.Supervisor
    wishes: Wishes
    notice: Readiness
    signals: list[int]
    hangups: list[int]
    first: bool  # of all processes
    trouble: str | None = None
    unread: str | None = None  # why the settings are not those of the file
    visited: datetime | None = None
    terminal: bool = field(default_factory=alive.has_terminal)
    changed: bool = False  # since the metrics were written

    def run(self) -> None:
        """Visit and supervise until a signal comes; then stop."""
        seconds = self.wishes.interval.total_seconds()
        self.wishes.tell(f"ticking every {seconds:g} s in {self.me.here.folder}")
        due = self._visit()
        self.notice.ready()
        while not self.signals:
            if self.hangups:
                self._heed_hangup()
            if time.monotonic() >= due:
                due = self._visit()
            self.changed = self.changed or bool(self.me.watched)
            self.trouble = _turn(self.me, self.wishes.say, self.trouble)
            self._wait(due - time.monotonic())
        self._stop()
        metrics.publish(self.me.here)

    def _visit(self) -> float:
        """Do one visit; return when the next one is due, monotonic."""
        first, before = self.visited is None, self.trouble
        self.visited = self.me.here.now()
        idle, self.trouble = _visit(self.me.here, self.me, self.wishes.interval, first=first)
        self.changed = self.changed or not idle
        self._publish()
        if self.trouble not in (None, before):
            self.wishes.say(str(self.trouble))
        return _next_visit(self.me.here, self.wishes.interval)

    def _publish(self) -> None:
        """Write the metrics when there is anything new in them."""
        if self.changed and self.trouble is None:
            self.changed = False
            self.trouble = metrics.publish(self.me.here)

    def _wait(self, seconds: float) -> None:
        """Wait until something happens, but no longer than those who watch us do."""
        following = self.notice.go_on(self._status())
        self.me.wait(max(0.0, min(seconds, following, children.FOREVER)))
        if self.first:
            self.me.children.reap_strangers()

    def _status(self) -> str:
        does = "stopping, " if self.me.closing else ""
        visited = "" if self.visited is None else f", last visit {clock.iso(self.visited)}"
        troubles = [f", trouble: {each}" for each in (self.trouble, self.unread) if each]
        return f"{does}{len(self.me.watched)} running{visited}{''.join(troubles)}"

    def _heed_hangup(self) -> None:
        """Read the settings anew, unless the signal means that our terminal is gone."""
        self.hangups.clear()
        if self.terminal and not alive.has_terminal():
            self.signals.append(signal.SIGHUP)
            return
        self.notice.reloading()
        try:
            self.me.here = open_home.read_again(self.me.here)
            self.me.carrier = _carrier(self.me.here, self.wishes.say)
        except TaskRunnerError as exc:
            self.unread = f"the settings stay as they were: {exc}"
            self.wishes.say(self.unread)
        else:
            self.unread = None
            self.wishes.tell("the settings are read anew")
        self.notice.ready()

    def _stop(self) -> None:
        """Let what runs end for the grace, then stop it; a second signal hurries, a third one kills."""
        grace = self.wishes.grace.total_seconds()
        self.notice.stopping()
        self.wishes.tell(f"stopping: {len(self.me.watched)} runs may end within {grace:g} s")
        self.me.closing = True
        end, stopped = time.monotonic() + grace, False
        while self.me.busy:
            left = end - time.monotonic()
            if not stopped and (left <= 0 or len(self.signals) > 1):
                stopped = True
                self.me.stop_all("the daemon was stopped")
            if len(self.signals) > 2:
                self.me.kill_all()
            self._wait(math.inf if stopped else left)
            self.me.turn()


def _visit(
    here: OpenHome, me: supervisor.Supervisor, interval: timedelta, *, first: bool
) -> tuple[bool, str | None]:
    """Claim what is due; return whether nothing was, and what is wrong, None when all is well: the next visit tries again."""
    try:
        # The first visit may be the first of a boot, which is kept for tasks that are added later.
        if not first and idle_check.idle(here.folder, clock.to_ms(here.now()), "daemon"):
            return True, None
        made = visit.claims(here, "daemon", period=interval)
        me.stop_some(made.stops)
        me.known = made.known
        if here.store.outbox.take_new() or here.store.outbox.anything_due(here.now()):
            supervisor.send_off(here, me.carrier)
        for _ in claim.fill(here, made.claimed):
            pass
        retention.step(here, made.visit.at, by_age=made.agrees)
        disk_reserve.keep(here.folder)
        here.store.checkpoint()
    except TaskRunnerError as exc:
        if isinstance(exc, StoreFull):  # so that the next visit has room
            disk_reserve.give_up(here.folder)
        if isinstance(exc, StoreNewer) and not me.watched:  # the new program has to go on
            raise
        return False, str(exc)
    return False, None


def _turn(me: supervisor.Supervisor, say: Say, before: str | None) -> str | None:
    """Record and start; with nothing to lose, a store that takes nothing is no reason to end."""
    store = me.here.store
    try:
        if me.busy or supervisor.anything_to_start(
            me.here
        ):  # else it would take the write lock for nothing
            me.turn()
            if not me.busy:
                store.checkpoint()
    except (StoreBusy, StoreRefused) as exc:
        if me.watched or isinstance(exc, StoreNewer):
            raise
        if str(exc) != before:
            say(str(exc))
        return str(exc)
    finally:
        me.finished.clear()
    return before


def _next_visit(here: OpenHome, interval: timedelta) -> float:
    """Return when the next visit is due, monotonic: at a whole multiple of the interval, as cron does."""
    seconds = interval.total_seconds()
    return time.monotonic() + seconds - here.now().timestamp() % seconds
