"""The lock that says that a daemon lives in a home, and the lock of an application that a daemon lives for.

It must not know what a daemon does.
"""

import os
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta

from taskrunner.errors import InputError, shown
from taskrunner.home import lock, paths
from taskrunner.model.record import mutable
from taskrunner.tick import lock_holder

LOOK = 2.0  # seconds between two looks at the lock of an application
# Whoever only looks holds the lock for a moment, which must not pass for a daemon.
WAIT = 0.2  # seconds
# A daemon holds each of these at times.
OWN = (paths.DAEMON_LOCK, paths.LOCK, paths.SENDER, paths.QUEUES)


class DaemonLock:
    """The lock of the daemon of one home, held until the block ends or the daemon stops."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._lasting = ExitStack()
        self._held = False
        self._known: int | None = None  # descriptor of the file as we first met it

    def __enter__(self) -> "DaemonLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, now: datetime, wait: float = 0.0) -> bool:
        """Take the lock, unless it is ours; return whether it is. Raises HomeRefused.

        Of daemons side by side one holds it, and when that one ends another one takes it at its next visit.
        """
        if not self._held:
            fd = lock.keep(self._lasting, self.place, wait)
            self._held = fd is not None
            if fd is not None:
                lock_holder.sign(fd, now)
        if self._known is None:
            with suppress(OSError):  # it was just removed
                self._known = os.open(self.place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                self._lasting.callback(os.close, self._known)
        return self._held

    def replaced(self) -> bool:
        """Return whether the file is another one than before, or gone: its home was deleted, or made again."""
        return self._known is not None and not lock.is_open_as(self.place, self._known)

    def release(self) -> None:
        """Let another daemon live here; ours starts nothing any more."""
        self._held, self._known = False, None
        self._lasting.close()

    def taken(self) -> str:
        """Return the sentence for whoever finds the lock taken."""
        pid = lock_holder.read(self.place)
        process = "" if pid is None else f" (process {pid})"
        return f"another daemon{process} ticks here already, so this one ends"


@mutable
class ApplicationLock:
    """A file that an application holds a shared lock on, and since when nobody does (monotonic seconds)."""

    place: str
    linger: timedelta | None  # how long nobody may hold it; None for ever
    free_since: float | None = None
    look_at: float = 0.0

    def check(self, home: str) -> None:
        """Raise InputError for a lock that the daemon of this home takes, and for a file that cannot be opened."""
        real = os.path.realpath(self.place)
        if real in (os.path.realpath(paths.path(home, name)) for name in OWN):
            raise InputError(
                f"--while-held {shown(self.place)} is a lock of the daemon, which would wait for itself: "
                f"give a file that the application locks, such as {paths.APPLICATION_LOCK}"
            )
        try:
            lock.is_held(self.place)
        except OSError as exc:
            sentence = f"--while-held {shown(self.place)} cannot be opened: {exc.strerror}"
            raise InputError(sentence) from exc

    def is_abandoned(self, now: float) -> bool:
        """Look, every two seconds; return whether nobody has held the file for the linger."""
        if now >= self.look_at:
            self.look_at = now + LOOK
            if self._is_held():
                self.free_since = None
            elif self.free_since is None:
                self.free_since = now
        if self.linger is None or self.free_since is None:
            return False
        return now - self.free_since >= self.linger.total_seconds()

    def _is_held(self) -> bool:
        try:
            return lock.is_held(self.place, shared=True)
        except OSError:  # its folder was taken from us: the application cannot hold it there either
            return False

    def until_look(self, now: float) -> float:
        """Return the seconds until the next look."""
        return self.look_at - now
