"""The holder of the tick lock writes its pid into the file, and is reported when it holds the lock for too long.

The first half of the file is written by the holder, the second by the last process that complained.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import LockHeld
from taskrunner.home import paths

LOCK_TOO_LONG = 300.0  # seconds; deciding and claiming never takes that long
COMPLAIN_AGAIN = timedelta(hours=1)
HALF = 64  # bytes of the lock file


def sign(fd: int, now: datetime) -> None:
    """Write our pid and the time into the lock file that we hold."""
    with suppress(OSError):  # the disk is full: the claim reports it
        os.pwrite(fd, _half(os.getpid(), clock.to_ms(now)), 0)


def read(place: str) -> int | None:
    """Return the pid that the last holder wrote into a lock file; None when there is none."""
    try:
        with open(place, "rb", buffering=0, opener=paths.without_waiting) as file:
            return int(file.read(HALF).split()[0])
    except (OSError, ValueError, IndexError):
        return None


def check(place: str, now: datetime) -> None:
    """Raise LockHeld, once an hour, when the same tick has held the lock at this path for too long."""
    try:
        with open(place, "r+b", buffering=0) as file:
            pid, since = map(int, file.read(HALF).split())
            seconds = (now - clock.from_ms(since)).total_seconds()
            complaints = [int(part) for part in file.read(HALF).split()]
            if seconds <= LOCK_TOO_LONG or _lately(now, complaints):
                return
            file.seek(HALF)
            file.write(_half(clock.to_ms(now)))
    except (OSError, ValueError):
        return
    raise LockHeld(
        f"the tick with pid {pid} has held the lock for {seconds / 60:.0f} minutes: "
        "find out why, or end it"
    )


def _lately(now: datetime, complaints: Sequence[int]) -> bool:
    return any(abs(now - clock.from_ms(at)) < COMPLAIN_AGAIN for at in complaints)


def _half(*numbers: int) -> bytes:
    return " ".join(map(str, numbers)).ljust(HALF - 1).encode() + b"\n"
