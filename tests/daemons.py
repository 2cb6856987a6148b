"""The daemons of a home, as processes of this machine, for tests of what starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from taskrunner.home import lock
from tests.samples import wait_for


def commands():
    """The command lines of all processes, by pid."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(place.parent.name)] = place.read_bytes().decode(errors="replace").split("\0")
    return found


def daemons(home):
    """The pids of the daemons of a home."""
    return [
        pid
        for pid, words in commands().items()
        if str(home) in words and "--while-held" in words and "-u" not in words
    ]


def lives(home):
    return lock.is_held(str(home / "daemon.lock"))


def begun(home):
    """How many daemons have ticked in a home."""
    with contextlib.suppress(FileNotFoundError):
        return (home / "taskrunner.log").read_text().count("daemon: ticking every 1 s")
    return 0


def one(home):
    """Wait until exactly one daemon lives and return its pid."""
    wait_for(lambda: lives(home) and len(daemons(home)) == 1)
    return daemons(home)[0]


def gone(home):
    wait_for(lambda: not daemons(home))
    return not lives(home)


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def end_all(home: Path) -> None:
    """Kill what a failed test has left."""
    for pid in daemons(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
