"""What is said when the program ends by an error: one sentence on stderr, and an exit code.

It stands apart from `cli` so that a tick, which needs no parser, can have its errors told without one: neither
at its start, nor hours later, when the files of the program may have been replaced. It must not know verbs.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO

import taskrunner
from taskrunner import errors

PREFIX = "taskrunner: "
# What a machine says that is out of order, or has run out of something: no fault of the program.
OF_THE_MACHINE = {
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EAGAIN, errno.ENOLCK, errno.ESTALE),
}


def refuse(message: str, code: int) -> int:
    """Say a message and return the exit code."""
    tell(message)
    return code


def tell(message: str) -> None:
    """Write a message to stderr, if there is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{PREFIX}{_visible(message)}\n")
        sys.stderr.flush()
    except OSError:  # who cannot be told is not told
        drop(sys.stderr)


def _visible(message: str) -> str:
    """Return a message whose signs cannot steer the terminal, whatever paths and names it is about."""
    if message.isprintable():
        return message
    plain = (sign == "\n" or sign.isprintable() for sign in message)
    signs = zip(message, plain, strict=True)
    return "".join(sign if good else repr(sign)[1:-1] for sign, good in signs)


def drop(stream: TextIO) -> None:
    """Let a stream lead nowhere: what waits in it would be an error at the end of the interpreter."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def of_the_machine(exc: Exception) -> str | None:
    """Return what the machine refused, in a sentence; None when the error is a bug of ours."""
    if isinstance(exc, MemoryError):
        return "the machine has no memory left for taskrunner: end something, or give it more"
    if not isinstance(exc, OSError) or exc.errno not in OF_THE_MACHINE:
        return None
    where = "" if exc.filename is None else f" {errors.shown(exc.filename)}"
    return f"the machine refused what taskrunner needs{where}: {exc.strerror}"


def always(_: str) -> bool:
    """Hold nothing back."""
    return True


def report(due: Callable[[str], bool] = always) -> int:
    """Say in one sentence what is being handled; of a bug, what is needed to mend it is kept in a file.

    Both only when it is `due`: who comes again each minute meets the same fault each minute.
    """
    error = sys.exc_info()
    refused = of_the_machine(error[1]) if isinstance(error[1], Exception) else None
    if refused is not None:
        if due(refused):
            tell(refused)
        return errors.EXIT_FAILED
    # Not by its words: the number of a run or of a process in them is another one each time.
    if error[1] is not None and not due(f"{type(error[1]).__name__} {errors.origin(error[1])}"):
        return errors.EXIT_BUG
    place = os.path.join("/tmp", f"taskrunner-report-{os.getpid()}-{os.urandom(4).hex()}.txt")  # noqa: S108  opened with O_EXCL
    try:
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
            file.write(f"taskrunner {taskrunner.__version__}, Python {sys.version}\n")
            sys.__excepthook__(*error)  # as the interpreter would print it
        where = f"; what is needed to mend it is in {place}"
    except OSError:
        where = ""
    kind, value, _ = error
    name = "" if kind is None else kind.__name__
    return refuse(f"this is a bug of taskrunner: {name}: {value}{where}", errors.EXIT_BUG)
