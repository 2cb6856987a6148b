"""Time on this host: the wall clock, the boot, the local zone and its zone data.

The only reader of wall time. All other modules are given instants; they are aware and in UTC, and in the store
they are integer milliseconds since the epoch.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
ZONEINFO = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"
# The clock went back by more: it was wrong before. cron(8) draws the same line.
STEP_BACK = timedelta(hours=3)
BOOT_ID = 36  # characters of the kernel's id of a boot
FIRST_NAMESPACE = (
    0xEFFFFFFC  # inode of the machine's own pid namespace (PROC_PID_INIT_INO of the kernel)
)


def now() -> datetime:
    """Return this instant, aware, in UTC, cut to the millisecond."""
    return from_ms(now_ms())


def now_ms() -> int:
    """Return this instant in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch."""
    return (moment - EPOCH) // MILLISECOND


def from_ms(value: int) -> datetime:
    """Return milliseconds since the epoch as an aware datetime in UTC."""
    return EPOCH + value * MILLISECOND


@lru_cache(maxsize=256)  # a burst tells the same few instants for each of its runs
def iso(moment: datetime) -> str:
    """Return an instant as ISO 8601 in UTC with `Z`; milliseconds only when there are any."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def boot_id() -> str:
    """Return the kernel's id of this boot (random(4)), or "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot(*, daemon: bool = False) -> str:
    """Return what names the newest boot as `--boot` counts them, which for a `daemon` may be that of its container.

    A container has the boot id of the machine. There the start of the daemon is the boot: the instant at which
    process 1 of its pid namespace was started is part of the name, so that a later one sorts after an earlier one.
    """
    if not daemon or not in_container():
        return boot_id()
    try:
        with open("/proc/1/stat", encoding="utf-8", errors="replace") as file:
            started = int(file.read().rpartition(")")[2].split()[19])  # proc_pid_stat(5), field 22
    except (OSError, ValueError, IndexError):
        return boot_id()
    return f"{boot_id()}/{started:020}"


def is_new_boot(name: str, known: str | None) -> bool:
    """Return whether a name of a boot is that of a later one than is known; SQL for it is in `migrations`."""
    return known is None or name > known or name[:BOOT_ID] != known[:BOOT_ID]


def in_container() -> bool:
    """Return whether we are in a pid namespace of our own, as a container has one."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino != FIRST_NAMESPACE
    except OSError:
        return False


def since_boot() -> int:
    """Return the milliseconds since the boot, those asleep too; nobody can set this clock (clock_gettime(2))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def zone_stamp() -> str:
    """Return a text that changes when the zone data of this host are replaced."""
    for name in ("tzdata.zi", "tzdata", ""):
        try:
            found = os.stat(os.path.join(ZONEINFO, name))
        except OSError:
            continue
        return f"{name or 'zoneinfo'} {found.st_size} {found.st_mtime_ns}"
    return ""


def zone_of_file(place: str) -> str | None:
    """Return the IANA name of the zone whose data lie in a file, None when its path does not tell."""
    target = os.path.realpath(place) if os.path.isabs(place) else ""
    if "/zoneinfo/" not in target:
        return None
    return target.split("/zoneinfo/", 1)[1].removeprefix("posix/").removeprefix("right/")


def local_zone() -> str:
    """Return the IANA name of the host's zone: `/etc/localtime`, else `/etc/timezone`, else UTC."""
    if name := zone_of_file(LOCALTIME):
        return name
    try:
        with open("/etc/timezone", encoding="utf-8") as file:
            return file.read().strip() or "UTC"
    except OSError:
        return "UTC"
