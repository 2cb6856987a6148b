"""The process that sends what is to be told: it is started beside us, one at a time.

It must not know what is told, nor how.
"""

import os
import sys

from taskrunner.home import lock, paths
from taskrunner.processes import programs
from taskrunner.store.open_home import OpenHome

PACKAGE = os.path.dirname(os.path.dirname(__file__))


def send_off(here: OpenHome) -> None:
    """Let a process of its own send what is due, unless one is at it; whatever fails, the next tick tries again.

    It gets our lock with its input, so that there is no moment in which a second one could be started.
    """
    if not here.goes_on:
        return
    argv = (sys.executable, "-m", "taskrunner", "--home", here.folder, "notify", "--send")
    try:
        with lock.held(here.path(paths.SENDER)) as fd:
            if fd is not None:
                # -m looks into the working directory first, and finds the same program as ours there.
                programs.detach(argv, cwd=os.path.dirname(PACKAGE), stdin=fd)
    except Exception:  # noqa: BLE001  a message that is late is not worth a run
        return
