"""An application as the clock: a daemon lives while a process of the application does.

Each process that serves shares a lock, which forked children inherit, and sees to it that a daemon lives; the daemon
ends when nobody holds the lock. So nobody counts processes, and the kernel lets go for whoever is killed. It must not
know what kind of application it is.
"""

import logging
import os
import threading
import time
from datetime import timedelta
from typing import ClassVar

from taskrunner.errors import HomeRefused
from taskrunner.home import config, lock, paths, program
from taskrunner.model.record import mutable
from taskrunner.processes import programs
from taskrunner.schedule import durations
from taskrunner.schedule.durations import FOREVER

LOOK = 5.0  # seconds between two looks whether a daemon lives
LONGEST_PAUSE = 300.0  # seconds between two starts of a daemon that does not stay
# Variables that mean the application itself: its service manager, its sockets, and a name of its clock.
NOT_OURS = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
    "INVOCATION_ID", "JOURNAL_STREAM", "TASKRUNNER_CLOCK",
)  # fmt: skip
LOG = logging.getLogger("taskrunner")


def keep_clock(
    home: str | os.PathLike[str] | None = None,
    *,
    interval: str | timedelta = "10s",
    linger: str | timedelta | None = "15s",
) -> None:
    """Let a daemon tick in a home as long as this process, another one that called this, or a fork of them lives.

    Call it in each process that serves an application, or in the one that forks them; a second call changes
    nothing. It returns at once: a thread looks every 5 s whether a daemon lives, and starts one, detached, if not;
    a fork has a thread of its own. The daemon ticks every `interval`, and ends, as on TERM, when none of these
    processes has lived for `linger`; with None or `forever` it stays. It gets the environment of the process that
    starts it. Inside a run of a task nothing happens, so that a task may import the application. Creates the home
    if it is missing. Raises HomeRefused, and InputError for a length.
    """
    if config.inside_run():
        return
    folder = paths.find(None if home is None else os.fspath(home))
    paths.check(folder)
    words = ["daemon", "--only-one", "--while-held", paths.APPLICATION_LOCK]
    words += ["--interval", _length(interval)]
    words += ["--linger", FOREVER if linger is None or linger == FOREVER else _length(linger)]
    with _Ours.changing:
        if folder not in _Ours.keepers:
            paths.create(folder)
            keeper = Keeper(folder, program.words(program.own(), folder, *words))
            keeper.look()
            _Ours.keepers[folder] = keeper
            keeper.begin()


def _length(given: str | timedelta) -> str:
    """Return a length as the command line takes it, which knows no fractions of a second."""
    text = durations.format(durations.parse(given))
    durations.parse(text)
    return text


@mutable
class Keeper:
    """The clock of one home in this process: its share of the lock, and the daemon that it starts."""

    folder: str
    argv: tuple[str, ...]
    shared: int | None = None  # descriptor of the application's lock
    failed: int = 0  # starts, one after another, after which no daemon lived
    start_at: float = 0.0  # the next start, at the earliest (monotonic)

    def begin(self) -> None:
        """Look every 5 s, in a thread that does not keep the process from ending."""
        threading.Thread(target=self._go_on, name="taskrunner clock", daemon=True).start()

    def _go_on(self) -> None:
        while True:
            time.sleep(LOOK)
            try:
                self.look()
            except (HomeRefused, OSError) as exc:
                LOG.warning("the clock of %s: %s", self.folder, exc)

    def look(self) -> None:
        """Share the lock unless we do, and start a daemon unless one lives; raises HomeRefused and OSError."""
        if not os.path.isdir(self.folder):  # it was removed: a daemon would make it again
            return
        self._share()
        if lock.is_held(paths.path(self.folder, paths.DAEMON_LOCK)):
            self.failed, self.start_at = 0, 0.0
        elif time.monotonic() >= self.start_at:
            self._start()

    def _share(self) -> None:
        place = paths.path(self.folder, paths.APPLICATION_LOCK)
        if self.shared is not None and lock.is_open_as(place, self.shared):
            return
        # The descriptor of a file that somebody has removed is left alone: a program that closes all of them as it
        # goes to the background may have given its number to another file.
        self.shared = lock.share(place)

    def _start(self) -> None:
        """Start a daemon; the more often none has stayed, the later the next start."""
        if self.failed > 1:
            LOG.warning(
                "no daemon stays in %s: see %s, or why `%s` ends",
                self.folder,
                paths.path(self.folder, paths.LOG),
                " ".join(self.argv),
            )
        pause = min(LOOK * 2**self.failed, LONGEST_PAUSE)
        self.failed, self.start_at = self.failed + 1, time.monotonic() + pause
        without = (word for name in NOT_OURS for word in ("-u", name))
        programs.detach(("/usr/bin/env", *without, *self.argv), cwd="/")


class _Ours:
    """The keepers of this process, by their homes."""

    keepers: ClassVar[dict[str, Keeper]] = {}
    changing = threading.Lock()


def _after_fork() -> None:
    """Begin the threads again, which a fork does not have; a child that is short-lived does not look even once."""
    _Ours.changing = threading.Lock()  # another thread may have held it
    for keeper in _Ours.keepers.values():
        keeper.begin()


os.register_at_fork(after_in_child=_after_fork)
