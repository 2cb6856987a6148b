"""A file that takes room on the disk of a home, to be given up when there is no other.

SQLite needs room even to delete a row. The file must not know what the room is for.
"""

import os
from contextlib import suppress

from taskrunner.home import paths

SIZE = 240 * 1024  # bytes
AMPLE = 16 * SIZE  # that have to be free before it is made


def keep(folder: str) -> None:
    """Make the ballast of a home, unless it is there or the disk is short of room."""
    place = paths.path(folder, paths.BALLAST)
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
        # Written, as a file system that copies on writing keeps no promise of room.
        os.write(fd, os.urandom(SIZE))
    finally:
        os.close(fd)


def needed(folder: str) -> bool:
    """Return whether the disk has less room than the ballast takes."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < SIZE


def give_up(folder: str) -> bool:
    """Remove the ballast of a home; whether there was one."""
    try:
        os.unlink(paths.path(folder, paths.BALLAST))
    except OSError:
        return False
    return True
