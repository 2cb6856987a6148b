"""Calls for ticks, pauses, status, metrics and the installation of a clock."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskrunner.api.base import Base, several, utc
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.values import Event, Hold, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from taskrunner.clocks.entry import Fitted
    from taskrunner.model.answers import Checkup, Finding, Piece, Status
    from taskrunner.model.values import Decision
    from taskrunner.store.open_home import OpenHome
    from taskrunner.tick.claim import Visit

LONGEST_REASON = 200  # characters


class Clock(Base):
    """The requests about the clock."""

    def tick(
        self, *, task: str | int | Sequence[str | int] | None = None, caller: str = "library"
    ) -> Visit:
        """Do one visit of the clock; returns when everything it started has ended, or is with systemd.

        The second is so where the setting `carrier` says so, and no `clock` was given. With `task`, a name or id or several, only those tasks are looked at. A home without a store has nothing to do. Raises
        StoreBusy, StoreRefused, HomeRefused, LockHeld, UnknownTask.
        """
        from taskrunner.home import paths
        from taskrunner.notify import metrics
        from taskrunner.supervise.systemd import carrier
        from taskrunner.tick import claim, visit

        here = self._here()
        only = _only(here, task)
        if here.store.missing:
            return claim.Visit(here.now(), idle=True)
        carried, warning = carrier.of(here)
        done = visit.tick(
            here, caller=paths.word(caller), only=only, carrier=carried, publish=metrics.publish
        )
        done.warning = done.warning or warning
        return done

    def dry_run(
        self,
        *,
        at: datetime | None = None,
        task: str | int | Sequence[str | int] | None = None,
    ) -> tuple[datetime, list[Decision]]:
        """Return the instant, and what a tick then would decide, slot by slot; writes nothing."""
        from taskrunner.tick import dry_run

        here = self._here()
        moment = utc(at) or here.now()
        return moment, dry_run.dry_run(here, moment, _only(here, task))

    def hold(self, length: str | timedelta | None = None, *, reason: str | None = None) -> Hold:
        """Let nothing start in the whole store but what is started by hand, and return the hold.

        It lasts for `length`, else until `resume`; slots meanwhile are then handled by catch-up. A hold in force
        is replaced. Raises InputError, or StateError when there is no store.
        """
        from taskrunner.decide import ledger
        from taskrunner.processes import account
        from taskrunner.schedule import durations

        lasting, why = None if length is None else durations.parse(length), _reason(reason)
        here = self._here()
        if here.store.missing:
            raise StateError(
                f"there is no database in {shown(self.home)}, so there is nothing to pause: add a task first"
            )
        until = None if lasting is None else here.now() + lasting
        made = Hold(here.now(), until, account.account(None)[0], why)
        with here.store.transaction():
            here.store.facts.hold(made)
            here.store.events.add(ledger.held(made))
        return made

    def resume(self) -> Hold | None:
        """End the hold of the store and return what it was, None when there was none."""
        from taskrunner.processes import account

        here = self._here()
        with here.store.transaction():
            ended = here.store.facts.held(here.now())
            if ended is not None:
                here.store.facts.resume()
                here.store.events.add(Event(here.now(), "resumed", account.account(None)[0]))
        return ended

    def held(self) -> Hold | None:
        """Return what holds the store, None when nothing does."""
        return self._here().store.facts.held(self.now())

    def status(self) -> Status:
        """Return how things stand."""
        from taskrunner.report import status

        return status.status(self._here())

    def metrics(self) -> str:
        """Return what a monitoring system asks of this home, as OpenMetrics 1.0."""
        from taskrunner.notify import metrics

        return metrics.openmetrics(self._here())

    def write_metrics(self, place: str | os.PathLike[str]) -> None:
        """Write the same to a file for node_exporter's textfile collector, in one step; raises StateError.

        The file can be read by everybody.
        """
        from taskrunner.notify import metrics

        path = os.fspath(place)
        if not path:
            raise InputError("the file '' is empty: give a path")
        metrics.write(self._here(), os.path.abspath(path))

    def check(self) -> Finding:
        """Return the worst that is to be said of the clock, the store and the tasks; for monitoring.

        It works when the home is refused and when the store is locked or broken.
        """
        from taskrunner.report.doctor.monitoring import alive

        return alive(self.home, self._wall())

    def doctor(self) -> Checkup:
        """Return what may keep tasks from running on this host, each with its cure.

        It works when the home is refused and when the store is missing, locked, broken or newer.
        """
        from taskrunner.report.doctor.checkup import examine

        return examine(self.home, self._wall())

    def install_cron(self, *, system: bool = False, dry_run: bool = False) -> Fitted:
        """Let cron call a tick of this home every minute, from the user's crontab or, `system`, /etc/cron.d.

        Only what stands between our markers is touched, and what was there is kept in the home's backups. Raises
        StateError where there is no cron, HomeRefused, InputError.
        """
        from taskrunner.clocks import install_cron

        return install_cron.install_cron(self.home, self._wall(), system=system, dry_run=dry_run)

    def uninstall_cron(self, *, system: bool = False, dry_run: bool = False) -> Fitted:
        """Take away what `install_cron` wrote for this home; raises StateError."""
        from taskrunner.clocks import install_cron

        return install_cron.uninstall_cron(self.home, self._wall(), system=system, dry_run=dry_run)

    def install_systemd(
        self, *, user: bool | None = None, daemon: bool = False, dry_run: bool = False
    ) -> Fitted:
        """Let systemd call a tick of this home every minute, or with `daemon` keep the daemon running.

        `user` is for the user's own systemd; unless it is given, root gets system units and others their own.
        Raises StateError where no systemd answers, HomeRefused, InputError.
        """
        from taskrunner.clocks import install_systemd

        own = os.geteuid() != 0 if user is None else user
        return install_systemd.install_systemd(
            self.home, self._wall(), user=own, daemon=daemon, dry_run=dry_run
        )

    def uninstall_systemd(self, *, user: bool | None = None, dry_run: bool = False) -> Fitted:
        """Stop and remove the units of this home; raises StateError."""
        from taskrunner.clocks import install_systemd

        own = os.geteuid() != 0 if user is None else user
        return install_systemd.uninstall_systemd(self.home, self._wall(), user=own, dry_run=dry_run)

    def daemon(
        self,
        *,
        interval: timedelta,
        grace: timedelta,
        say: Callable[[str], None] = lambda _: None,
        verbose: bool = False,
        wait_for: Sequence[str] = (),
        wait_limit: timedelta = timedelta(minutes=5),
        watch: Callable[[Piece], object] | None = None,
    ) -> None:
        """Tick every `interval` until TERM or INT; then let what runs end within `grace`, and return.

        `say` is called with a sentence when something goes wrong, with `verbose` also when it goes well. Makes
        the store when there is none, but not before all that `wait_for` names is there: `tcp://HOST:PORT` or
        `file:/PATH`. HUP reads the settings anew. As process 1 it reaps whatever ends. Raises StateError when
        something awaited is not there within `wait_limit`. `watch` is called, in a thread of its own, with what all
        runs write, and when each starts and ends.
        """
        from taskrunner.tick import daemon
        from taskrunner.tick.wait_for import parse

        tell = say if verbose else lambda _: None
        wanted = [parse(text) for text in wait_for]
        wishes = daemon.Wishes(interval, grace, say, tell, wanted, wait_limit, watch)
        daemon.daemon(lambda: self._here(create=True), wishes)


def _only(here: OpenHome, given: str | int | Sequence[str | int] | None) -> list[Task] | None:
    """Return the tasks that were given, None for all; raises UnknownTask."""
    names = several(given)
    return None if names is None else [here.store.tasks.get(name) for name in names]


def _reason(text: Any) -> str | None:
    """Return why a person does something, checked; raises InputError."""
    if text is None:
        return None
    short = isinstance(text, str) and text.strip() and len(text) <= LONGEST_REASON
    if short and text.isprintable():
        return str(text)
    raise InputError(
        f"{shown(text)} is not a valid reason: write one line of 1 to {LONGEST_REASON} characters"
    )
