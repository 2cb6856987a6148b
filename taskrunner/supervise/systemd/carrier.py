"""systemd as the carrier of runs, each in its own unit, by these modules.

    transient    makes a run a unit of systemd
    begin        the program that the unit starts: it becomes the command
    end          the program that the unit runs last: it calls record_end
    record_end   records the end of the run, with all of taskrunner
    journal      writes a line to the journal for each change of a run

Nothing of this is imported when the process itself carries its runs. It must not know how a supervisor works.
"""

import os
from typing import TYPE_CHECKING

from taskrunner.home import paths
from taskrunner.store.open_home import OpenHome

if TYPE_CHECKING:
    from taskrunner.supervise.systemd.transient import Transient

SYSTEMD = "systemd"  # the value of the setting `carrier`
NO_ANSWER = 'the setting is carrier = "systemd", but systemd does not answer here: this process runs the tasks instead'


def answers() -> bool:
    """Return whether our systemd, the system's or the user's, accepts units."""
    return os.path.exists(os.path.join(paths.runtime(), "systemd/private"))


def choose(here: OpenHome) -> "tuple[Transient | None, str | None]":
    """Return systemd as the carrier of the runs of a home; None and a warning when it does not answer."""
    if not answers():
        return None, NO_ANSWER
    from taskrunner.supervise.systemd.transient import Transient

    return Transient(here), None
