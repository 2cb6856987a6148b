"""The `TaskRunner` of the request being answered.

Each request opens the home anew: a store that was replaced, upgraded, locked or removed meanwhile is seen at the next
one, and the application itself keeps nothing open.
"""

from flask import current_app, g

from taskrunner.api.task_runner import TaskRunner
from taskrunner.home import program

PATIENCE = "2s"  # for a locked database: a page says so rather than keeping a visitor, and a thread, waiting


def runner() -> TaskRunner:
    """Return the taskrunner of this request; nothing is opened before its first call."""
    if "runner" not in g:
        g.runner = TaskRunner(current_app.config["HOME"], patience=PATIENCE)
    made: TaskRunner = g.runner
    return made


def close(_: BaseException | None = None) -> None:
    """Close it at the end of the request."""
    made: TaskRunner | None = g.pop("runner", None)
    if made is not None:
        made.close()


def advised(text: str) -> str:
    """Return a sentence whose advice names the command line as it is called here."""
    return program.named(text, current_app.config["PROGRAM"])


def home() -> str:
    """Return the path of the home."""
    path: str = current_app.config["HOME"]
    return path
