"""A line for each change of a run in the journal of systemd, with fields to search by.

    journalctl TASKRUNNER_TASK=backup TASKRUNNER_STATE=failed

They are written whenever systemd carries runs, also when the log of taskrunner goes elsewhere.
"""

from taskrunner.home.syslog import ERROR, INFO, NOTICE, WARNING, send
from taskrunner.model.values import FAILING, Run, State
from taskrunner.store.open_home import OpenHome

LONGEST = 4000  # characters of a line
LEVELS = {
    **dict.fromkeys(FAILING, WARNING),
    **dict.fromkeys((State.CANCELLED, State.MISSED), NOTICE),
}


def tell(here: OpenHome, run: Run) -> None:
    """Write the state of a run, unless our log goes to the journal already."""
    if here.config.log_to == "journal":
        return
    why = f": {run.reason}" if run.reason else ""
    send(
        MESSAGE=f"{run.task}: run {run.id} {run.state}{why}"[:LONGEST],
        PRIORITY=LEVELS.get(run.state, INFO),
        TASKRUNNER_TASK=run.task,
        TASKRUNNER_RUN=run.id,
        TASKRUNNER_STATE=run.state,
        TASKRUNNER_TRIGGER=run.trigger,
        TASKRUNNER_HOME=here.folder,
    )


def complain(text: str, run_id: int) -> None:
    """Report a problem with the end of a run."""
    send(MESSAGE=text[:LONGEST], PRIORITY=ERROR, TASKRUNNER_RUN=run_id)
