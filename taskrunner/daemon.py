"""The same tick in a loop: for containers, and for intervals under a minute.

The first TERM or INT stops the claiming and lets what runs end for a grace period, then stops it; a second
signal hurries, a third one kills.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from taskrunner import clock, doorman, runner, supervise, tick
from taskrunner.errors import StoreBusy, StoreRefused, TaskRunnerError
from taskrunner.opened import OpenHome

Say = Callable[[str], None]


def daemon(
    here: OpenHome, interval: timedelta, grace: timedelta, say: Say, *, verbose: bool = False
) -> None:
    """Tick every `interval` until a signal comes, and return when nothing runs any more.

    What goes wrong is said, once until something else does; with `verbose` also what goes well.
    """
    tell = say if verbose else _say_nothing
    with supervise.supervisor(here) as me, runner.stop_signals(me.children) as signals:
        tell(f"ticking every {interval.total_seconds():g} s in {here.folder}")
        due, trouble = time.monotonic(), None
        while not signals:
            if time.monotonic() >= due:
                before, trouble = trouble, _visit(here, me, interval)
                if trouble not in (None, before):
                    say(trouble)
                due = _next_visit(here, interval)
            trouble = _turn(me, say, trouble)
            me.wait(max(0.0, due - time.monotonic()))
        tell(f"stopping: {len(me.watched)} runs may end within {grace.total_seconds():g} s")
        _wind_down(me, signals, grace)
    here.store.checkpoint()


def _say_nothing(_: str) -> None:
    return


def _visit(here: OpenHome, me: supervise.Supervisor, interval: timedelta) -> str | None:
    """Claim what is due; return what is wrong, None when all is well: the next visit tries again."""
    try:
        if doorman.idle(here.folder, clock.to_ms(here.now()), "daemon"):
            return None
        visit = tick.claims(here, "daemon", period=interval)
        me.stop_others(visit.stops)
        for _ in tick.fill(here, visit.claimed):
            pass
        here.store.checkpoint()
    except TaskRunnerError as exc:
        return str(exc)
    return None


def _turn(me: supervise.Supervisor, say: Say, before: str | None) -> str | None:
    """Record and start; with nothing to lose, a store that takes nothing is no reason to end."""
    store = me.here.store
    try:
        if me.busy or store.startable(1):  # else it would take the write lock for nothing
            me.turn()
            if not me.busy:
                store.checkpoint()
    except (StoreBusy, StoreRefused) as exc:
        if me.watched:
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


def _wind_down(me: supervise.Supervisor, signals: list[int], grace: timedelta) -> None:
    me.closing = True
    end, stopped = time.monotonic() + grace.total_seconds(), False
    while me.busy:
        left = end - time.monotonic()
        if not stopped and (left <= 0 or len(signals) > 1):
            stopped = True
            me.stop_all("the daemon was stopped")
        if len(signals) > 2:
            me.kill_all()
        me.wait(None if stopped else max(0.0, left))
        me.turn()
