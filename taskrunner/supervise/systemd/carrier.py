"""Choose the carrier of runs: the process that starts them, or systemd, each run in its own unit.

    transient    makes a run a unit of systemd
    begin        the program that the unit starts: it becomes the command
    end          the program that the unit runs last: it calls record_end
    record_end   records the end of the run, with all of taskrunner
    journal      writes a line to the journal for each change of a run

It imports none of these when the process itself carries its runs. It must not know how a supervisor works.
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
    """Return whether our systemd, the system's or the user's, accepts units."""
    return os.path.exists(os.path.join(paths.runtime(), "systemd/private"))


def choose(here: OpenHome) -> "tuple[Transient | None, str | None]":
    """Return the carrier of the runs of a home, None for ourselves, and a warning or None.

    It is ourselves when a test controls the clock, or no systemd answers.
    """
    if here.config.carrier != SYSTEMD or not here.goes_on:
        return None, None
    if not answers():
        return None, NO_ANSWER
    from taskrunner.supervise.systemd.transient import Transient

    return Transient(here), None
