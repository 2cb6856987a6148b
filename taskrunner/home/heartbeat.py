"""The last tick, in one small file of fixed size that every tick overwrites in place.

Without it an idle tick would leave no trace. It holds the instant, the tick period, the boot id, the
caller, and the time since the boot, which shows whether the clock was set in between. It is a hint and not a
record: no fsync, and only an idle tick, which leaves nothing else, heeds a failure to write it.
"""

import os

# O_NONBLOCK below: nobody waits for the other end of a pipe that is in its place.
SIZE = 128  # bytes; overwritten in place, so a reader never sees a shorter file


class Beat:
    """One visit of the clock, instants and lengths in milliseconds."""

    # Neither a dataclass nor a NamedTuple: an idle tick would spend a tenth of its time on their imports.
    __slots__ = ("at", "boot_id", "caller", "period", "since_boot")

    def __init__(
        self, at: int, period: int, boot_id: str, caller: str, since_boot: int | None = None
    ) -> None:
        self.at = at
        self.period = period
        self.boot_id = boot_id
        self.caller = caller
        self.since_boot = since_boot  # None in a file that an older program wrote


def read(path: str) -> Beat | None:
    """Return the last beat, or None when there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        at, period, boot_id, caller, *more = os.read(fd, SIZE).decode().split()
        since_boot = int(more[0]) if more else None
        return Beat(int(at), int(period), boot_id.removeprefix("-"), caller, since_boot)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def write(path: str, beat: Beat) -> bool:
    """Overwrite the file with this beat; return whether that was possible."""
    stamp = "" if beat.since_boot is None else beat.since_boot
    text = f"{beat.at} {beat.period} {beat.boot_id or '-'} {beat.caller} {stamp}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError:
        return False
    try:
        return os.pwrite(fd, text.ljust(SIZE - 1).encode() + b"\n", 0) == SIZE
    except OSError:
        return False
    finally:
        os.close(fd)
