"""The holder of the tick lock, named when it has held it for longer than deciding ever takes."""

from collections.abc import Sequence
from datetime import timedelta

from taskrunner import clock
from taskrunner.errors import LockHeld
from taskrunner.home import paths
from taskrunner.store.open_home import OpenHome

LOCK_TOO_LONG = 300.0  # seconds; deciding and claiming never takes that long
COMPLAIN_AGAIN = timedelta(hours=1)
HALF = 64  # bytes of the lock file


def _name_the_holder(here: OpenHome) -> None:
    """Raise LockHeld, once an hour, when the same tick has held the lock for longer than any should.

    The first half of the lock file is written by its holder, the second by who complained last.
    """
    try:
        with open(here.path(paths.LOCK), "r+b", buffering=0) as file:
            pid, since = map(int, file.read(HALF).split())
            seconds = (here.now() - clock.from_ms(since)).total_seconds()
            told = [int(part) for part in file.read(HALF).split()]
            if seconds <= LOCK_TOO_LONG or _lately(here, told):
                return
            file.seek(HALF)
            file.write(_half(clock.to_ms(here.now())))
    except (OSError, ValueError):
        return
    raise LockHeld(
        f"the tick with pid {pid} has held the lock for {seconds / 60:.0f} minutes: "
        "look what it waits for, or end it"
    )


def _lately(here: OpenHome, told: Sequence[int]) -> bool:
    return any(abs(here.now() - clock.from_ms(at)) < COMPLAIN_AGAIN for at in told)


def _half(*numbers: int) -> bytes:
    return " ".join(map(str, numbers)).ljust(HALF - 1).encode() + b"\n"
