"""A command that somebody else starts and sees the end of: handed over as plain values, its end read from words.

The words are those that systemd gives to what runs after a unit's main process (systemd.exec(5), EXIT_CODE).
"""

import marshal
import os
import signal
from typing import Any

from taskrunner.model.values import Command, Outcome
from taskrunner.processes.programs import NOT_EXECUTABLE
from taskrunner.processes.spawn import LIMITS, as_user, bounds, not_started

TIMEOUT = "timeout"  # what systemd calls a unit whose time is up


def plain(command: Command) -> bytes:
    """Return a command as bytes that `carrier/begin.py` becomes it from; raises LookupError for an unknown user."""
    become = as_user(command.user)
    limits = [(LIMITS[name][1], *bounds(name, value)) for name, value in command.limit.items()]
    values: dict[str, Any] = {
        "argv": (*command.argv,),
        "env": {name: str(value) for name, value in command.env.items()},
        "cwd": command.cwd,
        "stdin": None if command.stdin is None else command.stdin.encode(),
        "umask": command.umask,
        "become": (become["user"], become["group"], tuple(become["extra_groups"]))
        if become
        else None,
        "user": command.user,
        "limits": tuple(limits),
    }
    return marshal.dumps(values)


def begun(data: bytes) -> Outcome | None:
    """Return why a command that was handed over did not start, by what is left of it; None when it did."""
    if not data:
        return None
    try:
        left = marshal.loads(data)  # noqa: S302  a private file that we have written
        if "error" not in left:
            return Outcome(error="could not start: systemd could not execute it")
        given = Command(left["argv"], {"PATH": left["path"]}, left["cwd"], user=left["user"])
        number, place = left["error"]
    except (EOFError, ValueError, TypeError, KeyError):
        return Outcome(error="could not start: the data handed to systemd is damaged")
    if number is None:
        sentence = f"could not start: its limits or its user {given.user!r} could not be set as they should be"
        return Outcome(NOT_EXECUTABLE, error=sentence)
    return not_started(given, OSError(number, os.strerror(number), place))


def ended(result: str, code: str, status: str) -> Outcome:
    """Return how a command ended by SERVICE_RESULT, EXIT_CODE and EXIT_STATUS."""
    timed_out = result == TIMEOUT
    if code == "exited" and status.isdigit():
        return Outcome(exit_code=int(status), timed_out=timed_out)
    if code in ("killed", "dumped"):
        return Outcome(signal=_called(status), timed_out=timed_out)
    return Outcome(error=f"systemd did not report its result ({result or 'no result'})")


def _called(name: str) -> int | None:
    """Return the number of a signal by its name without SIG, also of the real-time ones (kill(1))."""
    base, _, more = name.partition("+")
    try:
        return int(base) if base.isdigit() else signal.Signals[f"SIG{base}"] + int(more or 0)
    except (KeyError, ValueError):
        return None
