"""Choice of the carrier: runs are carried by the process that starts them, or by systemd, each in its own unit.

    transient    a run becomes a unit of systemd
    begin        the first thing that the unit executes: it becomes the command
    end          the last thing: it has the end of the run recorded
    record_end   records the end, called by `end`, with all of taskrunner at hand
    journal      a line for each change of a run in the journal of systemd

It imports nothing of these where the process itself carries its runs. It must not know how a supervisor works.
"""

import os
from typing import TYPE_CHECKING

from taskrunner.home import paths
from taskrunner.store.open_home import OpenHome

if TYPE_CHECKING:
    from taskrunner.supervise.systemd.transient import Transient

SYSTEMD = "systemd"  # the value of the setting `carrier`; it is never guessed
NO_ANSWER = 'the setting is carrier = "systemd", but systemd does not answer here: this process runs the tasks instead'


def answers() -> bool:
    """Return whether a systemd that is ours, the system's or the user's, takes units."""
    return os.path.exists(os.path.join(paths.runtime(), "systemd/private"))


def of(here: OpenHome) -> "tuple[Transient | None, str | None]":
    """Return who carries the runs of a home, None for ourselves, and what a person should know about that.

    Where a clock is in a test's hand, or no systemd answers, it is ourselves.
    """
    if here.config.carrier != SYSTEMD or not here.goes_on:
        return None, None
    if not answers():
        return None, NO_ANSWER
    from taskrunner.supervise.systemd.transient import Transient

    return Transient(here), None
