"""The names of the tasks, for a shell that completes them: quick, and silent about whatever is wrong.

A shell asks at each press of a key, so nothing is imported that opening the store does not need.
"""

from taskrunner.errors import TaskRunnerError
from taskrunner.home import paths
from taskrunner.store import open_home


def names(given: str | None) -> list[str]:
    """Return the names of the tasks of a home; none where it cannot be opened."""
    try:
        here = open_home.open_home(paths.find(given))
        try:
            return here.store.tasks.names()
        finally:
            here.store.close()
    except TaskRunnerError:
        return []
