"""Keys as people give them: the name or the id of a task, or the id of a run."""

from taskrunner.errors import StateError
from taskrunner.store.connection import Connection

LARGEST_ID = 2**63 - 1  # of a row in SQLite


def id_of(key: str | int) -> int | None:
    """Return the id that a key of a task or a run is, None when it is a name.

    18 digits are always within LARGEST_ID; a name never has digits alone.
    """
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and len(key) <= 18 else None
    return key


def can_be_stored(key: str | int) -> bool:
    """Return whether a key could be that of a row; bytes of a terminal need not be valid text."""
    if isinstance(key, int):
        return key <= LARGEST_ID
    return key.isascii()


def name_of_run(db: Connection, number: int) -> str | None:
    """Return the name of the task of a run, None when no run has that id."""
    sql = "SELECT name FROM runs JOIN tasks ON tasks.id = task_id WHERE runs.id = ?"
    rows = db.rows(sql, (number,)) if number <= LARGEST_ID else []
    return str(rows[0][0]) if rows else None


def check_one_meaning(db: Connection, name: str, number: int) -> None:
    """Raise StateError when the id of a task is that of a run, too."""
    run_of = name_of_run(db, number)
    if run_of is not None:
        raise StateError(
            f"{number} is the task {name} and a run of {run_of}, as this store is older than the rule that a "
            f"number is one thing: write {name} for the task, run:{number} for the run"
        )
