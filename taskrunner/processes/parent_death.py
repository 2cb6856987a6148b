"""The death of a parent (prctl(2), PR_SET_PDEATHSIG): its child is killed with it.

It must not know commands.
"""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def dying_with_us() -> Callable[[], None]:
    """Return a function for a child of ours to call before it executes anything: then the kernel kills it when we die.

    The child also heeds INT again, which we may ignore. Its own children are not covered: the kernel forgets the request for
    each new process.
    """
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # here, as a fork must not load a library

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a process of RQ's worker ignores it
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died just before
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare
