"""Errors that end the program: one sentence on stderr, an exit code, and a report of a bug kept in a file.

It is separate from `cli` because a tick needs no parser, neither at its start nor to report an error hours later, when
the files of the program may have been replaced. It must not know verbs.
"""

import contextlib
import errno
import os
import stat
import sys
import zlib
from collections.abc import Callable
from typing import TextIO

import taskrunner
from taskrunner import errors
from taskrunner.home import paths

PREFIX = "taskrunner: "
AGAIN = 3_600_000  # milliseconds; ticks come every minute, and one mail of cron an hour is enough
AT = 128  # byte of the lock file; the bytes before it name the holder of the lock
SIZE = 64  # bytes
MEMORY = "/dev/shm"  # noqa: S108  all may write there: only a plain file of our own is opened
# The path may lead to a link, or to a pipe on which an open would wait for ever.
CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# Errors of a defective machine, or one that lacks a resource: not bugs of the program.
OF_THE_MACHINE = {
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EAGAIN, errno.ENOLCK, errno.ESTALE),
}


def refuse(message: str, code: int) -> int:
    """Write a message to stderr and return the exit code."""
    to_stderr(message)
    return code


def to_stderr(message: str) -> None:
    """Write a message to stderr, if there is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{PREFIX}{_visible(message)}\n")
        sys.stderr.flush()
    except OSError:  # nobody reads it
        drop(sys.stderr)


def _visible(message: str) -> str:
    """Return a message whose characters cannot control the terminal, whatever paths and names are in it."""
    if message.isprintable():
        return message
    plain = (sign == "\n" or sign.isprintable() for sign in message)
    signs = zip(message, plain, strict=True)
    return "".join(sign if good else repr(sign)[1:-1] for sign, good in signs)


def drop(stream: TextIO) -> None:
    """Point a stream at /dev/null: unwritten text in it would cause an error when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def of_the_machine(exc: Exception) -> str | None:
    """Return a sentence about the resource that the machine refused; None when the error is a bug of ours."""
    if isinstance(exc, MemoryError):
        return "the machine is out of memory: end other programs, or add memory"
    if not isinstance(exc, OSError) or exc.errno not in OF_THE_MACHINE:
        return None
    where = "" if exc.filename is None else f" {errors.shown(exc.filename)}"
    return f"the operating system refused a resource that taskrunner needs{where}: {exc.strerror}"


def always(_: str) -> bool:
    """Let every message through."""
    return True


def report(due: Callable[[str], bool] = always) -> int:
    """Report the exception being handled in one sentence; a bug also leaves a file with its traceback.

    Both only when the message is `due`: a tick each minute would repeat the same fault each minute.
    """
    error = sys.exc_info()
    refused = of_the_machine(error[1]) if isinstance(error[1], Exception) else None
    if refused is not None:
        if due(refused):
            to_stderr(refused)
        return errors.EXIT_FAILED
    # Not by its text: it may contain the number of a run or of a process.
    if error[1] is not None and not due(f"{type(error[1]).__name__} {errors.origin(error[1])}"):
        return errors.EXIT_BUG
    place = os.path.join("/tmp", f"taskrunner-report-{os.getpid()}-{os.urandom(4).hex()}.txt")  # noqa: S108  opened with O_EXCL
    try:
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
            file.write(f"taskrunner {taskrunner.__version__}, Python {sys.version}\n")
            sys.__excepthook__(*error)  # as the interpreter would print it
        where = f"; a report for the developers is in {place}"
    except OSError:
        where = ""
    kind, value, _ = error
    name = "" if kind is None else kind.__name__
    return refuse(f"this is a bug in taskrunner: {name}: {value}{where}", errors.EXIT_BUG)


# ---- the same message at most once an hour


def is_new(folder: str, text: str, now: int) -> bool:
    """Return whether a message was not written within the last hour before `now` (milliseconds), and remember it.

    The stamp is overwritten in place, in the lock file, so that it works on a full disk. When nothing in the home can
    be written it is in memory, in a file of the same user with a name that nobody can guess.
    """
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
    """Return our file in memory, else the path of a new one with a name that nobody can guess."""
    prefix = f"taskrunner-{os.geteuid()}-{zlib.crc32(os.fsencode(folder)):08x}-"
    with contextlib.suppress(OSError), os.scandir(MEMORY) as entries:
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
    """Return whether it is a regular file of this user, without another hard link."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
