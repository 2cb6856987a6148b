"""The query of the idle check: whether anything is due, and until when nothing is.

It is used when no valid earlier answer exists. Each part uses only an index, with any number of tasks and runs.
"""

import sqlite3
from contextlib import closing

from taskrunner import host, schema
from taskrunner.home import lock, paths

NEVER = 2**63 - 1
# A run that is due before the next tick is started by this one.
QUESTION = f"""
SELECT iif(EXISTS (SELECT 1 FROM facts WHERE name = 'held_until' AND CAST(value AS INTEGER) > :now),
    EXISTS (SELECT 1 FROM runs WHERE state = 'pending' AND trigger = 'manual')
    OR EXISTS (SELECT 1 FROM facts WHERE name = 'held_since' AND CAST(value AS INTEGER) > :soon),
    EXISTS (SELECT 1 FROM tasks WHERE enabled AND removed IS NULL AND next <= :now)
    OR EXISTS (SELECT 1 FROM tasks WHERE requested IS NOT NULL AND enabled AND removed IS NULL)
    OR EXISTS (SELECT 1 FROM tasks
        WHERE kind = 'boot' AND removed IS NULL AND {schema.NEW_BOOT} AND enabled)
    OR EXISTS (SELECT 1 FROM runs WHERE state = 'pending' AND ready IS NULL)
    OR EXISTS (SELECT 1 FROM runs WHERE state = 'pending' AND ready IS NOT NULL AND ready <= :soon))
    OR EXISTS (SELECT 1 FROM processes WHERE stop_at IS NOT NULL)
    OR EXISTS (SELECT 1 FROM outbox WHERE due <= :now)
    OR (SELECT value FROM facts WHERE name = 'zone_data') IS NOT :zone_data
"""  # noqa: S608  the clause is ours
# The instants at which one of these comes true; the last one is whether all tasks are paused.
COMING = """
SELECT (SELECT min(next) FROM tasks WHERE enabled AND removed IS NULL AND next IS NOT NULL),
    (SELECT min(ready) - :period FROM runs WHERE state = 'pending' AND ready IS NOT NULL),
    (SELECT min(due) FROM outbox WHERE due IS NOT NULL),
    EXISTS (SELECT 1 FROM facts WHERE name = 'held_until' AND CAST(value AS INTEGER) > :now)
"""


def idle_until(folder: str, store: str, now: int, period: int, boot: str) -> int | None:
    """Return the time until which nothing is due, in milliseconds; None when a tick has something to do.

    The result `now` means: nothing is due now, and the future is unknown. None also when the database cannot be read.
    """
    values = {"now": now, "soon": now + period, "period": period, "boot": boot}
    try:
        with closing(sqlite3.connect(store, isolation_level=None)) as connection:
            if schema.version(connection) != len(schema.STEPS):
                return None
            asked = {**values, "zone_data": host.zone_stamp()}
            ((found,),) = connection.execute(QUESTION, asked).fetchall()
            if found:
                return None
            supervisors = connection.execute("SELECT DISTINCT supervisor FROM processes").fetchall()
            ((*coming, paused),) = connection.execute(COMING, values).fetchall()
    except sqlite3.Error:
        return None
    for (name,) in supervisors:
        if not lock.is_held(paths.path(folder, paths.SUPERVISORS, name)):
            return None
    if supervisors or paused or paths.network_file_system(folder) is not None:
        return now
    return min((each for each in coming if each is not None), default=NEVER)
