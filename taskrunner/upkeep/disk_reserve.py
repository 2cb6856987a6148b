"""A reserve on the disk of a home: a file that is removed when the disk is full.

SQLite needs free space even to delete a row.
"""

import os
from contextlib import suppress

from taskrunner.home import paths

SIZE = 240 * 1024  # bytes
AMPLE = 16 * SIZE  # bytes that must be free before the reserve is made


def keep(folder: str) -> None:
    """Make the reserve of a home, unless it exists or the disk has little free space."""
    place = paths.path(folder, paths.DISK_RESERVE)
    if os.path.lexists(place):
        return
    with suppress(OSError):
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize >= AMPLE:
            _make(place)


def _make(place: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(place, flags, 0o600)
    try:
        # Written rather than allocated: a file system that copies on write does not keep allocated space free.
        os.write(fd, os.urandom(SIZE))
    finally:
        os.close(fd)


def needed(folder: str) -> bool:
    """Return whether the disk has less free space than the reserve takes."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < SIZE


def release(folder: str) -> bool:
    """Remove the reserve of a home; return whether there was one."""
    try:
        os.unlink(paths.path(folder, paths.DISK_RESERVE))
    except OSError:
        return False
    return True
