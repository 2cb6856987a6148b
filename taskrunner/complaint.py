"""When a person was last told that ticks cannot work: once an hour is enough, where one comes every minute.

The stamp is overwritten in place, in the lock file, so that a full disk takes it. Where nothing in the home can
be written it is in memory, in a file of the same user. It must not know what the trouble is.
"""

import os
import stat
import zlib

from taskrunner import home

AGAIN = 3_600_000  # milliseconds
AT = 128  # byte of the lock file; what stands before it is said by `tick`
SIZE = 64  # bytes
MEMORY = "/dev/shm"  # noqa: S108  nobody else's file is taken, and no link followed


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
    name = f"taskrunner-{os.geteuid()}-{zlib.crc32(os.fsencode(folder)):08x}"
    return [(home.path(folder, home.LOCK), AT), (os.path.join(MEMORY, name), 0)]


def _read(place: str, at: int) -> tuple[int, int | None]:
    try:
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0, None
    try:
        last, what = map(int, os.pread(fd, SIZE, at).split())
        return (last, what) if _ours(fd) else (0, None)
    except (OSError, ValueError):
        return 0, None
    finally:
        os.close(fd)


def _write(place: str, at: int, text: str) -> bool:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if at else os.O_CREAT)
    try:
        fd = os.open(place, flags, 0o600)
    except OSError:
        return False
    try:
        if not _ours(fd):
            return False
        size = os.fstat(fd).st_size
        if size < at:
            os.pwrite(fd, b" " * (at - size), size)
        os.pwrite(fd, text.ljust(SIZE - 1).encode() + b"\n", at)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _ours(fd: int) -> bool:
    found = os.fstat(fd)
    return found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode)
