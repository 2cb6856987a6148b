"""The daemons of a home, as processes of this machine, for tests of what starts them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
from collections.abc import Iterator
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
    (pid,) = wait_for(lambda: lives(home) and len(found := daemons(home)) == 1 and found)
    return pid


@contextlib.contextmanager
def application_lives(home: Path) -> Iterator[None]:
    """Be one more process of an application with a clock during the block.

    While its servers are reloaded none may be there for a while, which on a busy machine is longer than daemons linger.
    """
    with open(home / "application.lock", "rb") as place:
        fcntl.flock(place, fcntl.LOCK_SH)
        yield


def applications(home: Path) -> set[int]:
    """The pids of the processes of an application that keep a clock alive, or will in a moment."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(home / "application.lock"):
                found.add(int(link.parts[2]))
    return found


def gone(home):
    """Wait until no daemon is there; a process that ends has no words a moment before it leaves its lock."""
    return wait_for(lambda: not daemons(home) and not lives(home))


def free_port():
    """A port for a server that cannot choose one itself.

    It is below those that the kernel gives away (ip_local_port_range), so nobody gets it before the server listens.
    """
    while True:
        with contextlib.suppress(OSError), socket.socket() as made:
            made.bind(("127.0.0.1", 12_000 + secrets.randbelow(20_000)))
            return made.getsockname()[1]


def end_all(home: Path) -> None:
    """Kill what a failed test has left."""
    for pid in daemons(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
