"""A line for each change of a run, with fields to search by, in the journal of systemd.

    journalctl TASKRUNNER_TASK=backup TASKRUNNER_STATE=failed

Where nobody listens, nothing is said. It must not know the store.
"""

from taskrunner.journal import ERROR, INFO, NOTICE, WARNING, send
from taskrunner.model import Run, State
from taskrunner.opened import OpenHome

__all__ = ["ERROR", "PRIORITIES", "send", "tell"]

LONGEST = 4000  # characters of a reason
PRIORITIES = {
    **dict.fromkeys((State.FAILED, State.TIMED_OUT, State.LOST), WARNING),
    **dict.fromkeys((State.CANCELLED, State.MISSED), NOTICE),
}


def tell(here: OpenHome, run: Run) -> None:
    """Say what state a run is in, unless our log goes there and has said so."""
    if here.config.log_to == "journal":
        return
    why = f": {run.reason}" if run.reason else ""
    send(
        MESSAGE=f"{run.task}: run {run.id} {run.state}{why}"[:LONGEST],
        PRIORITY=PRIORITIES.get(run.state, INFO),
        TASKRUNNER_TASK=run.task,
        TASKRUNNER_RUN=run.id,
        TASKRUNNER_STATE=run.state,
        TASKRUNNER_HOME=here.folder,
    )
