"""Processes and process groups: whether they are alive, since when, and the signals sent to them.

The only caller of kill(2). It must not know which processes are ours.
"""

import os
import signal

from taskrunner import host

ZOMBIE = "Z"
LARGEST = 2**63 - 1  # number in SQLite
UNSEEN = -1  # stands for the start time of a live process that is hidden from us (proc(5), hidepid)


def descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when a process ends (pidfd_open(2)); None where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Linux 5.3, elsewhere, or no descriptors left
        return None


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # some members run as another user; the others have received it
        return True
    return True


def terminate(group: int) -> None:
    """Send TERM to a process group, and CONT, as stopped members would not receive it."""
    signal_group(group, signal.SIGTERM)
    signal_group(group, signal.SIGCONT)


def kill(group: int) -> None:
    """Send KILL to a process group."""
    signal_group(group, signal.SIGKILL)


def group_lives(group: int) -> bool:
    """Return whether a process group has members other than zombies; without a reaper zombies stay for ever.

    Members that are hidden from us count as alive.
    """
    if not signal_group(group, 0):
        return False
    found = [state for name in _numbers() if (state := _state_in(group, int(name)))]
    return not found or any(state != ZOMBIE for state in found)


def _state_in(group: int, pid: int) -> str | None:
    """Return the state of a process, None when it is not in the group; a hidden one does not count as a zombie."""
    try:
        fields = _stat(pid)
        return fields[0] if fields and fields[2] == str(group) else None
    except OSError:
        try:
            return "?" if os.getpgid(pid) == group else None
        except OSError:
            return None


def started_ticks(pid: int) -> int | None:
    """Return the start time of a process, in clock ticks after boot; None when gone or a zombie, UNSEEN when hidden.

    Field 22 of proc_pid_stat(5): with the boot id it tells a process from a later one with the same number.
    """
    try:
        fields = _stat(pid)
    except OSError:
        return UNSEEN
    if fields is None and _hidden(pid):
        return UNSEEN
    return None if fields is None or fields[0] == ZOMBIE else int(fields[19])


def _hidden(pid: int) -> bool:
    """Return whether a process exists that /proc does not show, since it is another user's."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def is_same(pid: int, started: int) -> bool:
    """Return whether the process with this start time is still alive; a hidden one counts as alive."""
    found = started_ticks(pid)
    return found is not None and (found == started or UNSEEN in (found, started))


def age(pid: int) -> float | None:
    """Return the age of a process in seconds, by the time since the boot; None when it is gone or hidden."""
    ticks = started_ticks(pid)
    if ticks is None or ticks == UNSEEN:
        return None
    return host.since_boot() / 1000 - ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; the name before it may contain any character.

    None when there is no such process; raises PermissionError for one that is hidden.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _numbers() -> list[str]:
    """Return the processes visible to us; none where there is no /proc."""
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _seen(pid: int) -> list[str] | None:
    try:
        return _stat(pid)
    except OSError:
        return None


def marked(*marks: bytes) -> int:
    """Count the processes that were started with all these variables; hidden ones are not counted."""
    found = 0
    for name in _numbers():
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                text = file.read()
        except OSError:  # gone meanwhile, or hidden from us
            continue
        found += marks[0] in text and {*marks} <= {*text.split(b"\0")}
    return found


def pid_namespace() -> int | None:
    """Return the inode of our pid namespace (pid_namespaces(7)); None where there is none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def inode(found: os.stat_result) -> int:
    """Return the inode number of a file, in the 63 bits that SQLite keeps."""
    return found.st_ino & LARGEST


def session_that_has_open(
    number: int, device: int, mark: bytes = b"", user: int | None = None
) -> int | None:
    """Return the session of a process that has this file open, None when there is none; reads /proc.

    A task may have passed the file to a stranger: with a `mark` the process, or its session leader, was started
    with that variable, or the session leader belongs to that `user` (not root).
    """
    for name in _numbers():
        try:
            with os.scandir(f"/proc/{name}/fd") as entries:
                found = any(_writes_to(entry.path, number, device) for entry in entries)
        except OSError:  # gone meanwhile, or hidden from us
            continue
        fields = _seen(int(name)) if found else None
        if fields is None or int(name) == os.getpid():
            continue
        if not mark or _began_with(name, mark) or _is_ours(fields[3], mark, user):
            return int(fields[3])
    return None


def _is_ours(leader: str, mark: bytes, user: int | None) -> bool:
    try:
        return _began_with(leader, mark) or user == os.stat(f"/proc/{leader}").st_uid != 0
    except OSError:
        return False


def _began_with(pid: str, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def _writes_to(path: str, number: int, device: int) -> bool:
    """Return whether a /proc/PID/fd/N is this file, open for writing: a mere reader is not a child of ours."""
    try:
        found = os.stat(path)
        if (inode(found), found.st_dev) != (number, device):
            return False
        with open(path.replace("/fd/", "/fdinfo/"), encoding="utf-8") as file:
            flags = next(line for line in file if line.startswith("flags:"))
    except (OSError, StopIteration):
        return False
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY


def process_named(*names: str) -> bool | None:
    """Return whether a process of one of these names runs; None where other users' processes are hidden (proc(5))."""
    if not os.access("/proc/1/stat", os.R_OK):
        return None
    for number in _numbers():
        try:
            with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                found = file.read().strip() in names
            fields = _stat(int(number)) if found else None
            if fields is not None and fields[0] not in (
                "Z",
                "X",
            ):  # a zombie calls no ticks
                return True
        except OSError:  # gone meanwhile
            continue
    return False


def is_first() -> bool:
    """Return whether we are process 1, the parent of all orphans (pid_namespaces(7))."""
    return os.getpid() == 1


def has_terminal() -> bool:
    """Return whether we have a controlling terminal that has not hung up (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
