"""Start a command as a process: its limits, its user, its descriptors, and the reason of a failed start."""

import errno
import os
import pwd
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import IO, Any

from taskrunner.model.values import Command, Outcome
from taskrunner.processes import rights
from taskrunner.processes.executable import chosen, fault, is_line, is_script
from taskrunner.processes.programs import NOT_EXECUTABLE, NOT_FOUND, find

# Our words for limits: the option of prlimit(1), and the resource of setrlimit(2).
LIMITS = {
    "memory": ("as", resource.RLIMIT_AS),
    "cpu": ("cpu", resource.RLIMIT_CPU),
    "files": ("nofile", resource.RLIMIT_NOFILE),
    "processes": ("nproc", resource.RLIMIT_NPROC),
}
ULIMITS = {  # the same in sh(1); shells differ in the option for processes
    "memory": "ulimit {0}-v {1}",
    "cpu": "ulimit {0}-t {1}",
    "files": "ulimit {0}-n {1}",
    "processes": "{{ ulimit {0}-p {1} 2>/dev/null || ulimit {0}-u {1}; }}",
}
KIB = 1024  # bytes
KEEPING = 1 << 2 | 1 << 4  # SECBIT_NO_SETUID_FIXUP and SECBIT_KEEP_CAPS (linux/securebits.h)


class PrivilegesStay(Exception):
    """A child would keep our capabilities after changing to another user."""


def encoded(text: str) -> bytes:
    """Return the bytes of a word, a variable or a path for a command: UTF-8, whatever our locale is."""
    return text.encode("utf-8", "surrogateescape")


def spawn(command: Command, output: int, prepare: Callable[[], None] | None = None) -> int:
    """Start a command with its output going to a descriptor and return its process id; the caller waits for it.

    `prepare` is called in the child; only a process without threads may give one. Raises the errors that `not_started`
    explains: OSError, LookupError, ValueError or PrivilegesStay.
    """
    hopeless = _hopeless(command)
    if hopeless is not None:
        raise hopeless
    with _opened_again(output) as own, _stdin(command.stdin) as stdin:
        # No preexec_fn of ours: Python code in the fork of a process with threads can wait for ever for a lock
        # that one of them held. But for another user CPython takes vfork(2): forking a large parent costs
        # milliseconds.
        become = dropping(command.user)
        # A child enters its directory before it changes its user: it begins with the user's rights to files, so
        # that a link of the user leads to nothing that only we may see.
        with rights_of(become):
            process = subprocess.Popen(
                [*map(encoded, arguments(command))],
                stdin=stdin,
                stdout=own,
                stderr=own,
                cwd=encoded(command.cwd),
                env={encoded(name): encoded(value) for name, value in command.env.items()},
                umask=command.umask,
                start_new_session=True,  # so that the whole group can be stopped, and a terminal's ^C does not reach it
                preexec_fn=prepare,  # noqa: PLW1509  given only where there are no threads
                **become,
            )
    process.returncode = 0  # Popen must not wait for it: the caller does
    return process.pid


def arguments(command: Command) -> tuple[str, ...]:
    """Return the words to execute: the programs that set its limits, then its argv."""
    return (*_niced(command.nice), *_limited(command.limit), *command.argv)


def as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that make a command run as `user`, with all its groups.

    Not setpriv(1) as a prefix, though that is faster: root would execute it with the task's environment, and
    the loader would obey LD_PRELOAD.
    """
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return {}
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def rights_of(become: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return a context with the rights to files of a child started with the arguments of `as_user`."""
    if not become:
        return nullcontext()
    return rights.of(become["user"], become["group"], become["extra_groups"])


def _niced(nice: int | None) -> tuple[str, ...]:
    return () if nice is None else (find("nice") or "nice", "-n", str(nice), "--")


def _limited(limit: Mapping[str, int]) -> tuple[str, ...]:
    """Return a prefix that sets limits; it already runs as the command's user, as anybody may lower limits."""
    if not limit:
        return ()
    tool = find("prlimit")
    if tool is None:
        return _limited_by_shell(limit)
    pairs = ((LIMITS[name][0], *bounds(name, value)) for name, value in limit.items())
    return (tool, *(f"--{option}={soft}:{hard}" for option, soft, hard in pairs), "--")


def _limited_by_shell(limit: Mapping[str, int]) -> tuple[str, ...]:
    """Return that prefix with sh(1), where there is no prlimit(1); its unit of memory is 1024 bytes."""
    steps = []
    for name, value in limit.items():
        soft, hard = (each // KIB if name == "memory" else each for each in bounds(name, value))
        steps.append(ULIMITS[name].format("", hard))
        if soft != hard:
            steps.append(ULIMITS[name].format("-S ", soft))
    return ("/bin/sh", "-c", " && ".join((*steps, 'exec "$@"')), "sh")


def bounds(name: str, value: int) -> tuple[int, int]:
    """Return the soft and the hard limit; for CPU time there is one second between SIGXCPU and SIGKILL."""
    return value, value + (name == "cpu")


def dropping(user: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that make a command run as `user`; raises PrivilegesStay if it would keep ours."""
    become = as_user(user)
    if become and not _privileges_go():
        raise PrivilegesStay
    return become


def _privileges_go() -> bool:
    """Return whether the kernel takes all capabilities from a child that stops being user 0 (capabilities(7)).

    It does when one of its three user ids was 0 and no securebit of our process prevents it.
    """
    return 0 in os.getresuid() and not rights.securebits() & KEEPING


@lru_cache(maxsize=1)
def _null() -> int:
    """Return a descriptor of /dev/null, opened once: Popen would open it for every child."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


@contextmanager
def _opened_again(output: int) -> Iterator[int]:
    """Open the file of a descriptor a second time, for the child alone.

    So the kernel can tell whether another process still has the file open (the lease of `lock`): it counts
    openings of a file, not inherited descriptors.
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
    if isinstance(exc, PrivilegesStay):
        return Outcome(
            error=f"could not start: as the user {command.user!r} it would keep privileges of ours"
        )
    if isinstance(exc, OSError) and _is_about(exc, command.cwd) and command.cwd != command.argv[0]:
        return Outcome(error=f"could not start: the directory {command.cwd!r}: {exc.strerror}")
    if isinstance(exc, OSError) and _is_about(exc, os.devnull):  # a broken chroot or container
        return Outcome(error=f"could not start: {os.devnull}: {exc.strerror}")
    name = command.argv[0]
    why = _why_not(command) if isinstance(exc, OSError) else None
    if isinstance(exc, FileNotFoundError):
        if why is not None:
            return Outcome(NOT_FOUND, error=f"could not start: {name!r}: {why}")
        where = "" if "/" in name else f" on PATH={_path(command)}"
        line = "; is this a shell command? use --shell" if is_line(command.argv) else ""
        return Outcome(NOT_FOUND, error=f"could not start: no program {name!r}{where}{line}")
    if isinstance(exc, OSError) and exc.strerror:
        more = "" if why is None else f": {why}"
        return Outcome(NOT_EXECUTABLE, error=f"could not start: {name!r}: {exc.strerror}{more}")
    return Outcome(error=f"could not start: {exc}")


def _hopeless(command: Command) -> OSError | None:
    """Return the error of execve(2) in advance, when limits are set by a prefix: the prefix would hide the reason."""
    if arguments(command) == command.argv:
        return None
    with suppress(Exception), rights_of(as_user(command.user)):
        place = chosen(command.argv[0], _path(command), command.cwd)
        if place is None or (is_script(place) and fault(place) is not None):
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return None


def _why_not(command: Command) -> str | None:
    """Return the fault of a command's program, as far as its user can see it."""
    with suppress(Exception), rights_of(as_user(command.user)):
        place = chosen(command.argv[0], _path(command), command.cwd)
        return None if place is None else fault(place)
    return None


def _is_about(exc: OSError, place: str) -> bool:
    return exc.filename is not None and os.fsencode(exc.filename) == encoded(place)


def _path(command: Command) -> str:
    return command.env.get("PATH", "")
