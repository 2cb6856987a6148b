"""Calls for ticks, pauses, status, metrics and the installation of a clock."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from taskrunner.api.base import Base, author, line, several, utc
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.values import Event, Hold, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from taskrunner.clocks.entry import Fitted
    from taskrunner.model.answers import Checkup, Finding, Piece, Status
    from taskrunner.model.decisions import Decision
    from taskrunner.store.store import Store
    from taskrunner.tick.visit import Visit


class Clock(Base):
    """The requests about the clock."""

    def tick(
        self, *, task: str | int | Sequence[str | int] | None = None, caller: str = "library"
    ) -> Visit:
        """Run everything that is due; return when all these runs have ended, or systemd carries them.

        systemd carries them with the setting `carrier = "systemd"`, unless a `clock` was given. `task`, a name or id or
        several, limits it to these tasks. A home without a database has nothing to do. Raises StoreBusy, StoreRefused,
        HomeRefused, LockHeld, UnknownTask.
        """
        from taskrunner.home import paths
        from taskrunner.notify import metrics
        from taskrunner.supervise import carriers
        from taskrunner.tick import visit

        here = self._here()
        only = _only(here.store, task)
        if here.store.missing:
            return visit.Visit(here.now(), idle=True)
        carried, warning = carriers.chosen(here)
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
        """Return the instant and the decisions of a tick at it, slot by slot; writes nothing."""
        from taskrunner.tick import dry_run

        here = self._here()
        moment = utc(at) or here.now()
        return moment, dry_run.dry_run(here, moment, _only(here.store, task))

    def hold(
        self,
        length: str | timedelta | None = None,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> Hold:
        """Pause all scheduled runs, and return the pause; manual runs still work.

        It lasts for `length`, else until `resume`; catch-up then handles the slots of the pause. An earlier pause is
        replaced. `by` is its author, unless it is the user of this process. Raises InputError, or StateError when there
        is no database.
        """
        from taskrunner.decide import ledger
        from taskrunner.processes import account
        from taskrunner.schedule import durations

        lasting = None if length is None else durations.parse(length)
        why, who = line(reason, "reason"), account.author(author(by))
        here = self._here()
        if here.store.missing:
            raise StateError(
                f"there is no database in {shown(self.home)}, so there is nothing to pause: add a task first"
            )
        until = None if lasting is None else here.now() + lasting
        made = Hold(here.now(), until, who, why)
        with here.store.transaction():
            here.store.facts.hold(made)
            here.store.events.add(ledger.held(made))
        return made

    def resume(self, *, by: str | None = None) -> Hold | None:
        """Resume scheduled runs; return the ended pause, None when there was none; `by` as with `hold`."""
        from taskrunner.processes import account

        who = account.author(author(by))
        here = self._here()
        with here.store.transaction():
            ended = here.store.facts.held(here.now())
            if ended is not None:
                here.store.facts.resume()
                here.store.events.add(Event(here.now(), "resumed", who))
        return ended

    def held(self) -> Hold | None:
        """Return the pause of scheduled runs, None when there is none."""
        return self._here().store.facts.held(self.now())

    def status(self) -> Status:
        """Return the status: whether ticks arrive, and running, failing and coming runs."""
        from taskrunner.report import status

        return status.status(self._here())

    def metrics(self) -> str:
        """Return the metrics of this home for a monitoring system, as OpenMetrics 1.0.

        A home with more than 1,000 tasks has those of all tasks together, without the label `task`.
        """
        from taskrunner.notify import metrics

        return metrics.openmetrics(self._here())

    def write_metrics(self, place: str | os.PathLike[str]) -> None:
        """Write the metrics to a file for node_exporter's textfile collector, atomically; raises StateError.

        Everybody can read the file.
        """
        from taskrunner.notify import metrics

        path = os.fspath(place)
        if not path:
            raise InputError("the file '' is empty: give a path")
        metrics.write(self._here(), os.path.abspath(path))

    def check(self, *, clock_only: bool = False) -> Finding:
        """Return the most severe finding about the clock, the database and the tasks, for monitoring.

        With `clock_only` tasks and messages do not count: only whether ticks arrive and the database works. It works also when the home is refused, or the database locked or damaged.
        """
        from taskrunner.report.doctor.monitoring import alive

        return alive(self.home, self._wall(), clock_only=clock_only)

    def doctor(self) -> Checkup:
        """Return problems that may keep tasks from running on this host, each with a fix.

        It works also when the home is refused, or the database missing, locked, damaged or newer.
        """
        from taskrunner.report.doctor.checkup import examine

        return examine(self.home, self._wall())

    def install_cron(self, *, system: bool = False, dry_run: bool = False) -> Fitted:
        """Let cron call a tick of this home every minute: from the user's crontab, or with `system` from /etc/cron.d.

        Only the lines between our markers change, and the home's backups keep the old crontab. Raises
        StateError on a host without cron, HomeRefused, InputError.
        """
        from taskrunner.clocks import install_cron

        return install_cron.install_cron(self.home, self._wall(), system=system, dry_run=dry_run)

    def uninstall_cron(self, *, system: bool = False, dry_run: bool = False) -> Fitted:
        """Remove the entry of `install_cron` for this home; raises StateError."""
        from taskrunner.clocks import install_cron

        return install_cron.uninstall_cron(self.home, self._wall(), system=system, dry_run=dry_run)

    def install_systemd(
        self, *, user: bool | None = None, daemon: bool = False, dry_run: bool = False
    ) -> Fitted:
        """Let systemd call a tick of this home every minute, or with `daemon` run the daemon.

        `user` selects the user's own systemd; by default root gets system units, other users their own.
        Raises StateError when systemd does not answer, HomeRefused, InputError.
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

    def install_page(
        self,
        *,
        user: bool | None = None,
        listen: Sequence[str] = (),
        hosts: Sequence[str] = (),
        operate: bool = False,
        define: bool = False,
        dry_run: bool = False,
    ) -> Fitted:
        """Let systemd listen for the page of this home, and start it when somebody asks; it ends when idle.

        `listen` are places as HOST:PORT or unix:PATH, 127.0.0.1:8470 unless given; `hosts`, `operate` and `define` as
        with `taskrunner page`, `user` as with `install_systemd`. Raises InputError where others could use a page without
        users, StateError where no systemd answers, HomeRefused.
        """
        from taskrunner.clocks import install_page

        own = os.geteuid() != 0 if user is None else user
        return install_page.install_page(
            self.home,
            self._wall(),
            user=own,
            places=listen,
            hosts=hosts,
            operate=operate,
            define=define,
            dry_run=dry_run,
        )

    def uninstall_page(self, *, user: bool | None = None, dry_run: bool = False) -> Fitted:
        """Stop and remove the units of the page of this home; raises StateError."""
        from taskrunner.clocks import install_page

        own = os.geteuid() != 0 if user is None else user
        return install_page.uninstall_page(self.home, self._wall(), user=own, dry_run=dry_run)

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
        only_one: bool = False,
        while_held: str | os.PathLike[str] | None = None,
        linger: timedelta | None = timedelta(seconds=15),
    ) -> None:
        """Tick every `interval` until TERM or INT; then let runs end within `grace`, and return.

        `say` is called with a sentence about each problem, with `verbose` also about normal events. Creates
        the database if it is missing, but first waits for all conditions in `wait_for`: `tcp://HOST:PORT` or
        `file:/PATH`. HUP reloads the settings. As process 1 it reaps orphans. Raises StateError when
        a condition does not hold within `wait_limit`. `watch` is called, in a thread of its own, with the output of all
        runs, and at their starts and ends.

        With `only_one` it tells `say` and returns at once when another daemon of this home lives. With `while_held` it
        ends, as on TERM, when nobody has held a lock (flock, shared or not) on that file for `linger`, None for ever: a
        path, relative to the home; a file that does not exist is not held. Raises InputError for one that cannot be opened,
        and for a lock of the daemon itself.
        """
        from taskrunner.tick import daemon
        from taskrunner.tick.daemon_lock import ApplicationLock
        from taskrunner.tick.wait_for import parse

        tell = say if verbose else lambda _: None
        wanted = [parse(text) for text in wait_for]
        held = None
        if while_held is not None:
            if not os.fspath(while_held):
                raise InputError(
                    "the file of while_held is empty: give the one that the application locks"
                )
            held = ApplicationLock(os.path.join(self.home, while_held), linger)
        wishes = daemon.Wishes(
            interval, grace, say, tell, wanted, wait_limit, watch, only_one, held
        )
        daemon.daemon(self.home, lambda: self._here(create=True), wishes)


def _only(store: Store, given: str | int | Sequence[str | int] | None) -> list[Task] | None:
    """Return the given tasks, None for all; raises UnknownTask."""
    names = several(given)
    return None if names is None else [store.tasks.get(name) for name in names]
