"""The death of a parent: its child is killed with it (prctl(2), PR_SET_PDEATHSIG), and the group of that child.

It must not know commands.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Its input ends when we do, as nobody else can write to it.
KEEPER = ("/bin/sh", "-c", 'read -r _; kill -s KILL -- "-$1"', "sh")


def dying_with_us() -> Callable[[], None]:
    """Return a function for a child of ours to call before it executes anything: then the kernel kills it when we die.

    The child also heeds INT again, which we may ignore. Its own children are not covered: the kernel forgets the request for
    each new process. See `group_dying_with_us`.
    """
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # here, as a fork must not load a library

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a process of RQ's worker ignores it
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died just before
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


@contextmanager
def group_dying_with_us(pgid: int) -> Iterator[None]:
    """Have a process group killed if we die during the block; without a shell or another process it goes on.

    The keeper is in a session of its own, so that whoever kills our group does not end it.
    """
    keeper = None
    with suppress(OSError):
        keeper = subprocess.Popen(
            [*KEEPER, str(pgid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
    try:
        yield
    finally:
        if keeper is not None:
            keeper.kill()  # before its input ends
            keeper.communicate()
