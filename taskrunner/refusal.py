"""What is said when the program ends by an error: one sentence on stderr, and an exit code.

It stands apart from `cli` so that a tick, which needs no parser, can have its errors told without one: neither
at its start, nor hours later, when the files of the program may have been replaced. It must not know verbs.
"""

import contextlib
import os
import sys
from typing import TextIO

import taskrunner
from taskrunner import errors


def refuse(message: str, code: int) -> int:
    """Say a message and return the exit code."""
    tell(message)
    return code


def tell(message: str) -> None:
    """Write a message to stderr, if there is one."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"taskrunner: {message}\n")
        sys.stderr.flush()
    except OSError:  # who cannot be told is not told
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let a stream lead nowhere: what waits in it would be an error at the end of the interpreter."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def report() -> int:
    """Keep what is needed to mend the bug that is being handled in a file, and say so in one sentence."""
    error = sys.exc_info()
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
