"""When a person was last told that ticks cannot work: once an hour is enough, where one comes every minute.

The stamp is overwritten in place, in the lock file, so that a full disk takes it. Where nothing in the home can
be written it is in memory, in a file of the same user whose name nobody can know beforehand. It must not know what
the trouble is.
"""

import os
import stat
import zlib
from contextlib import suppress

from taskrunner.home import paths

AGAIN = 3_600_000  # milliseconds
AT = 128  # byte of the lock file; what stands before it is said by `tick`
SIZE = 64  # bytes
MEMORY = "/dev/shm"  # noqa: S108  all may write there: only a plain file of our own is opened
# What stands at a place may be a link, or a pipe that would keep us waiting for ever.
CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def due(folder: str, text: str, now: int) -> bool:
    """Return whether to say so at an instant (milliseconds): not when the same was said within the hour."""
    stamp = zlib.crc32(text.encode(errors="replace"))
    places = _places(folder)
    for place, at in places:
        last, what = _read(place, at)
        if what == stamp and 0 <= now - last < AGAIN:
            return False
    for place, at in places:
        if _write(place, at, f"{now} {stamp}"):
            break
    return True


def _places(folder: str) -> list[tuple[str, int]]:
    return [(paths.path(folder, paths.LOCK), AT), (_in_memory(folder), 0)]


def _in_memory(folder: str) -> str:
    """Return the file in memory that is ours, else the place of a new one, which nobody can have taken."""
    prefix = f"taskrunner-{os.geteuid()}-{zlib.crc32(os.fsencode(folder)):08x}-"
    with suppress(OSError), os.scandir(MEMORY) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _ours(entry.stat(follow_symlinks=False)):
                return entry.path
    return os.path.join(MEMORY, f"{prefix}{os.urandom(8).hex()}")


def _read(place: str, at: int) -> tuple[int, int | None]:
    try:
        fd = os.open(place, os.O_RDONLY | CAREFUL)
    except OSError:
        return 0, None
    try:
        if not _ours(os.fstat(fd)):
            return 0, None
        last, what = map(int, os.pread(fd, SIZE, at).split())
        return last, what
    except (OSError, ValueError):
        return 0, None
    finally:
        os.close(fd)


def _write(place: str, at: int, text: str) -> bool:
    try:
        fd = os.open(place, os.O_RDWR | CAREFUL | (0 if at else os.O_CREAT), 0o600)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if not _ours(found):
            return False
        if found.st_size < at:
            os.pwrite(fd, b" " * (at - found.st_size), found.st_size)
        os.pwrite(fd, text.ljust(SIZE - 1).encode() + b"\n", at)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _ours(found: os.stat_result) -> bool:
    """Return whether it is a plain file of our own, known by no other name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
