"""This host as plain numbers and texts: its clock in milliseconds, its boots, its zone data.

An idle tick imports it, so it imports no `datetime`. With `clock`, which makes instants of its numbers, the only reader
of the time.
"""

import os
import time

ZONEINFO = "/usr/share/zoneinfo"
BOOT_ID = 36  # characters of the kernel's id of a boot
# Inode of the machine's own pid namespace (PROC_PID_INIT_INO of the kernel).
FIRST_NAMESPACE = 0xEFFFFFFC


def now_ms() -> int:
    """Return this instant in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def since_boot() -> int:
    """Return the milliseconds since the boot, including suspend; nobody can set this clock (clock_gettime(2))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id() -> str:
    """Return the kernel's id of this boot (random(4)), or "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot(*, daemon: bool = False) -> str:
    """Return a name for the newest boot as `--boot` counts them; for a `daemon` it may be the start of its container.

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
    """Return whether this boot is later than the known one; the SQL for it is in `schema`."""
    return known is None or name > known or name[:BOOT_ID] != known[:BOOT_ID]


def in_container() -> bool:
    """Return whether we are in another pid namespace than the machine's, as in a container."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino != FIRST_NAMESPACE
    except OSError:
        return False


def zone_stamp() -> str:
    """Return a text that changes when the zone data of this host are replaced."""
    for name in ("tzdata.zi", "tzdata", ""):
        try:
            found = os.stat(os.path.join(ZONEINFO, name))
        except OSError:
            continue
        return f"{name or 'zoneinfo'} {found.st_size} {found.st_mtime_ns}"
    return ""
