"""How a command becomes a process: its limits, its user, its descriptors, and why it could not start."""

import os
import pwd
import resource
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, Any

from taskrunner.model import Command, Outcome
from taskrunner.runner import quick
from taskrunner.runner.programs import NOT_EXECUTABLE, NOT_FOUND, find

# Our words for limits: the option of prlimit(1), and the resource of setrlimit(2).
LIMITS = {
    "memory": ("as", resource.RLIMIT_AS),
    "cpu": ("cpu", resource.RLIMIT_CPU),
    "files": ("nofile", resource.RLIMIT_NOFILE),
    "processes": ("nproc", resource.RLIMIT_NPROC),
}


def spawn(command: Command, output: int) -> int:
    """Start a command with its output going to a descriptor and return its process id, to be waited for by the caller.

    Raises OSError, LookupError, ValueError or subprocess.SubprocessError, for `not_started` to tell of.
    """
    with _opened_again(output) as own, _stdin(command.stdin) as stdin:
        # But for another user nothing here may leave CPython's vfork path (no preexec_fn): forking a large
        # parent costs milliseconds.
        process = subprocess.Popen(
            arguments(command),
            stdin=stdin,
            stdout=own,
            stderr=own,
            cwd=command.cwd,
            env=command.env,
            umask=command.umask,
            start_new_session=True,  # so that the whole group can be stopped, and a terminal's ^C does not reach it
            **as_user(command.user),
            **_inside(command),
        )
    process.returncode = 0  # Popen is to forget it: the end is the caller's to take
    return process.pid


def quickly(command: Command, umask: int | None, output: int) -> quick.Plan | None:
    """Return how `quick` can start a command just so; None when it is to be left to `spawn`."""
    if not quick.AVAILABLE or command.umask != umask or command.stdin is not None:
        return None
    if command.user is not None or _limits_inside(command.limit):
        return None
    return quick.plan(command, arguments(command), output)


def arguments(command: Command) -> tuple[str, ...]:
    """Return what is executed for a command: its argv behind the programs that set its limits."""
    return (*_niced(command.nice), *_limited(command.limit), *command.argv)


def as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that make a command run as `user`, with all its groups.

    Not setpriv(1) as a prefix, though that is faster: root would execute it with the task's environment, and
    the loader obeys LD_PRELOAD.
    """
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return {}
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def _niced(nice: int | None) -> tuple[str, ...]:
    return () if nice is None else (find("nice") or "nice", "-n", str(nice), "--")


def _limited(limit: Mapping[str, int]) -> tuple[str, ...]:
    """Return prlimit(1) as a prefix; with a user it runs as that user already, and limits may be lowered by all."""
    tool = find("prlimit") if limit else None
    if tool is None:
        return ()
    pairs = ((LIMITS[name][0], *bounds(name, value)) for name, value in limit.items())
    return (tool, *(f"--{option}={soft}:{hard}" for option, soft, hard in pairs), "--")


def bounds(name: str, value: int) -> tuple[int, int]:
    """Return the soft and the hard limit; past the soft one of CPU time a second is left to end by SIGXCPU."""
    return value, value + (name == "cpu")


def _limits_inside(limit: Mapping[str, int]) -> bool:
    """Return whether limits are set in the new process: where there is no prlimit(1), which is faster."""
    return bool(limit) and find("prlimit") is None


def _inside(command: Command) -> dict[str, Any]:
    """Return the argument of Popen for what is done in the new process, as its user, before anything is executed."""
    limit = command.limit if _limits_inside(command.limit) else {}
    become = as_user(command.user)
    if not limit and not become:
        return {}

    def inside() -> None:
        for name, value in limit.items():
            resource.setrlimit(LIMITS[name][1], bounds(name, value))
        if become:
            _check_dropped(become["user"], become["group"], become["extra_groups"])

    return {"preexec_fn": inside}


def _check_dropped(uid: int, gid: int, groups: list[int]) -> None:
    """Raise PermissionError unless this process has become a user for good, and keeps no capability of ours."""
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PermissionError
    if {*os.getgroups()} != {*groups} or (uid != 0 and _root_again()) or _capable():
        raise PermissionError


def _root_again() -> bool:
    """Return whether the way back is open."""
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def _capable() -> bool:
    """Return whether this process has capabilities (proc_pid_status(5)); they are lost with the user 0 otherwise."""
    try:
        with open("/proc/self/status", "rb") as file:
            told = [line.split() for line in file if line.startswith((b"CapPrm", b"CapAmb"))]
    except FileNotFoundError:  # no /proc
        return False
    return any(int(number, 16) for _, number in told)


@lru_cache(maxsize=1)
def _null() -> int:
    """Return a descriptor of /dev/null, opened once: Popen would open it for every child."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


@contextmanager
def _opened_again(output: int) -> Iterator[int]:
    """Open the file of a descriptor a second time, for the child alone.

    So the kernel can tell whether somebody else still has the file open (the lease of `lock`): it counts how
    often a file was opened, not who has inherited that.
    """
    try:
        fd = os.open(f"/proc/self/fd/{output}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # no /proc
        yield output
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _stdin(text: str | None) -> Iterator[int | IO[bytes]]:
    if text is None:
        yield _null()
        return
    # A file in memory and not a pipe: nobody has to feed it while the child runs.
    with open(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b") as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def not_started(command: Command, exc: Exception) -> Outcome:
    """Say why a command could not be started, with the exit code a shell would give."""
    if isinstance(exc, LookupError):
        return Outcome(error=f"could not start: there is no user {command.user!r}")
    if isinstance(
        exc, subprocess.SubprocessError
    ):  # from inside the new process; Popen tells no more
        what = f"its limits or its user {command.user!r}" if command.user else "its limits"
        return Outcome(error=f"could not start: {what} could not be set as they should be")
    if isinstance(exc, OSError) and exc.filename == command.cwd and command.cwd != command.argv[0]:
        return Outcome(error=f"could not start: the directory {command.cwd!r}: {exc.strerror}")
    if isinstance(exc, FileNotFoundError):
        return Outcome(
            NOT_FOUND,
            error=f"could not start: no program {command.argv[0]!r} on PATH={_path(command)}",
        )
    if isinstance(exc, OSError) and exc.strerror:
        return Outcome(
            NOT_EXECUTABLE, error=f"could not start: {command.argv[0]!r}: {exc.strerror}"
        )
    return Outcome(error=f"could not start: {exc}")


def _path(command: Command) -> str:
    return command.env.get("PATH", "")
