"""The idle check: one indexed query that tells whether a tick has anything to do.

It runs every minute of every day, so it imports as little as possible (tests/tick/test_idle_check.py has the
list). When in doubt it returns False, and the full tick decides.
"""

import os
import sqlite3
from contextlib import closing

from taskrunner import host, schema
from taskrunner.home import heartbeat, lock, paths

GAP = 2.5  # a gap is this many tick periods without a tick
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


def idle(folder: str, now: int, caller: str) -> bool:
    """Return whether a tick at `now` (milliseconds) has nothing to do; if so, write the heartbeat.

    A home without a database has nothing to do. Raises HomeRefused.
    """
    paths.check(folder)
    store = paths.path(folder, paths.STORE)
    if not os.path.lexists(store):
        return True
    place = paths.path(folder, paths.HEARTBEAT)
    last = heartbeat.read(place)
    boot_id = host.boot_id()
    if last is None or not steady(last, now, boot_id) or _spooled(folder):
        return False
    if _anything(folder, store, now, last, host.boot(daemon=caller == "daemon")):
        return False
    heartbeat.write(place, heartbeat.Beat(now, last.period, boot_id, caller, host.since_boot()))
    return True


def steady(last: heartbeat.Beat, now: int, boot_id: str) -> bool:
    """Return whether ticks came regularly since `last`: no gap, no step back, no new boot."""
    return last.boot_id == boot_id and 0 <= now - last.at <= GAP * last.period


def _spooled(folder: str) -> bool:
    """Return whether the spool holds the end of a run."""
    try:
        names = os.listdir(paths.path(folder, paths.SPOOL))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(name.endswith(".json") for name in names)


def _anything(folder: str, store: str, now: int, last: heartbeat.Beat, boot: str) -> bool:
    """Return whether something is due, pending or left behind, or the database cannot be read."""
    try:
        with closing(sqlite3.connect(store, isolation_level=None)) as connection:
            if schema.version(connection) != len(schema.STEPS):
                return True
            values = {
                "now": now,
                "soon": now + last.period,
                "boot": boot,
                "zone_data": host.zone_stamp(),
            }
            ((found,),) = connection.execute(QUESTION, values).fetchall()
            if found:
                return True
            supervisors = connection.execute("SELECT DISTINCT supervisor FROM processes").fetchall()
    except sqlite3.Error:
        return True
    return not all(
        lock.is_held(paths.path(folder, paths.SUPERVISORS, name)) for (name,) in supervisors
    )
