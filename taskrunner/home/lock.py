"""The kernel's calls on open files: locks that it frees at death, leases, holes.

The only user of `fcntl`. A lock file stays in place and is never unlinked while somebody may wait for it:
unlinking would split the waiters over two inodes.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from taskrunner.errors import HomeRefused, shown

SIGURG = 23  # on Linux; its default action is to do nothing, signal(7)
SHARE_WAIT = 1.0  # seconds; whoever asks whether others hold it has it alone for a moment
POLL = 0.02  # seconds between two tries; flock(2) itself has no timeout
# FS_IOC_UNRESVSP64 of linux/falloc.h, since Linux 5.5: fallocate(2) with PUNCH_HOLE, which Python does not have.
PUNCH_HOLE = 0x4030582B


@contextmanager
def held(path: str, wait: float = 0.0) -> Iterator[int | None]:
    """Hold the lock on `path` for the block and give its descriptor; None when busy after `wait` seconds.

    Raises HomeRefused when the file cannot be opened or made.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise HomeRefused(f"{shown(path)} cannot be written: {exc.strerror}") from exc
    try:
        try:
            taken = _take(fd, wait)
        except OSError as exc:
            raise HomeRefused(f"{shown(path)} cannot be locked: {exc.strerror}") from exc
        yield fd if taken else None
    finally:
        os.close(fd)  # frees the lock


@contextmanager
def held_own(path: str) -> Iterator[None]:
    """Make a file that only we know, hold its lock for the block, and remove it afterwards."""
    while True:
        with held(path, wait=1.0) as fd:
            # Another process may have removed it as a dead file before we had the lock: then nobody sees ours.
            if fd is not None and is_open_as(path, fd):
                try:
                    yield
                finally:
                    # The folder may have been removed; else a later tick removes the file.
                    with suppress(OSError):
                        os.unlink(path)
                return


def keep(lasting: ExitStack, path: str, wait: float = 0.0) -> int | None:
    """Hold the lock on `path` until `lasting` is closed, and return its descriptor; None when busy after `wait` seconds.

    Raises HomeRefused as `held` does. A busy one leaves nothing in `lasting`, so it can be tried again and again.
    """
    with ExitStack() as tried:
        fd = tried.enter_context(held(path, wait))
        if fd is not None:
            lasting.push(tried.pop_all())
        return fd


def share(path: str) -> int:
    """Share the lock on `path` with others, and return the descriptor: the lock goes with it, also to forks.

    Raises HomeRefused when the file cannot be opened or made, or another program has it for itself.
    """
    with ExitStack() as unless_shared:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            unless_shared.callback(os.close, fd)
            shared = _take(fd, SHARE_WAIT, fcntl.LOCK_SH)
        except OSError as exc:
            raise HomeRefused(f"{shown(path)} cannot be locked: {exc.strerror}") from exc
        if not shared:
            raise HomeRefused(f"{shown(path)} cannot be shared: another program holds it alone")
        unless_shared.pop_all()
    return fd


def _take(fd: int, wait: float, kind: int = fcntl.LOCK_EX) -> bool:
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)


def is_held(path: str, *, shared: bool = False) -> bool:
    """Return whether a living process holds the lock on `path`, with `shared` also one that shares it.

    False when there is no such file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe can be locked, too
    except FileNotFoundError:
        return False
    try:
        # If possible as a shared lock, so that two processes asking at once do not see each other.
        fcntl.flock(fd, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def remove_if_free(path: str) -> bool:
    """Remove a lock file unless a living process holds it; False when one does.

    Held while it is removed, so that a process that is just taking it sees that it is gone.
    """
    # A folder of that name is not a lock of ours.
    with suppress(FileNotFoundError, IsADirectoryError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
    return True


def is_open_as(path: str, number: int) -> bool:
    """Return whether a descriptor of ours is open on the file that has this path now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except OSError:
        return False


def nobody_else_has_open(fd: int) -> bool:
    """Return whether this is the only open description of the file, found by a write lease (fcntl(2)).

    False also where leases are not available, so that True is reliable. A process that has
    inherited this very descriptor is not noticed.
    """
    try:
        # If another process opens the file in between, the kernel sends a signal: use an ignored one, not SIGIO.
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True
    except (OSError, AttributeError):
        return False


def punch_hole(fd: int, start: int, length: int) -> None:
    """Give the blocks of a part of a file back, without moving the rest of it; raises OSError.

    Others may append to the file meanwhile.
    """
    place = b"".join(number.to_bytes(8, sys.byteorder) for number in (start, length))
    fcntl.ioctl(fd, PUNCH_HOLE, bytes(8) + place + bytes(24))  # struct space_resv
