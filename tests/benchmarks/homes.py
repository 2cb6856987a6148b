"""Homes with many tasks or a long history. One row of each kind is written by taskrunner itself, and then copied."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskrunner import Cron, Every, TaskRunner, host
from taskrunner.home import heartbeat, paths
from taskrunner.schedule.kinds import Schedule

MINUTE = 60_000  # milliseconds
HALF_A_DAY = 43_200  # seconds
OFTEN = 20  # every so many-th run of a history is of the task that is asked about
OTHERS = 399  # tasks that the rest of a history is of, in turn
ASKED = "task-1"
TIMES = ("anchor", "next", "following")

COUNTED = "WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
RUNS = """
INSERT INTO runs (task_id, slot, first_slot, trigger, state, reason, claimed, started, finished, exit_code, cpu,
  peak_memory, output_size)
SELECT iif(n % {often} = 0, 1, 2 + n % {others}), {slot}, {slot}, 'schedule', iif(n % 37, 'succeeded', 'failed'),
  iif(n % 37, 'exit code 0', 'exit code 1'), {slot} + 900, {slot} + 950, {slot} + 1950, n % 37 = 0, 12, 4000000, 0
FROM numbers
"""
TALLIES = """
INSERT INTO tallies
SELECT task_id, state, count(*), sum(coalesced), count(started), sum(finished - started), count(started),
       sum(started - slot), max(finished), 1000, 950
  FROM runs GROUP BY task_id, state
"""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """Have the store of a home open; what the block writes is one transaction, and moved out of the log."""
    with contextlib.closing(sqlite3.connect(folder / paths.STORE)) as store:
        with store:
            yield store
        store.execute("PRAGMA wal_checkpoint(truncate)")


def made(folder: Path, command: Sequence[str], schedule: Schedule, tasks: int) -> Path:
    """Make a home with tasks that are alike but for their names and times; a first tick has been there."""
    with TaskRunner(folder) as runner:
        runner.add(ASKED, list(command), schedule)
        runner.tick()
    with opened(folder) as store:
        _copy_task(store, tasks)
    return folder


def idle(folder: Path, tasks: int) -> Path:
    """Make a home none of whose tasks is due for half a day."""
    later = datetime.now(UTC) + timedelta(hours=12)
    return made(folder, ["/bin/true"], Every("1d", anchor=later), tasks)


def _copy_task(store: sqlite3.Connection, tasks: int) -> None:
    """Copy the one task, each copy due at another second of half a day."""
    columns = [name for _, name, *_ in store.execute("PRAGMA table_info(tasks)")]
    kept = [name for name in columns if name not in ("id", "name", *TIMES)]
    later = ", ".join(f"{name} + n * 7919 % {HALF_A_DAY} * 1000" for name in TIMES)
    store.execute(
        f"{COUNTED.format(first=2, last=tasks)} "
        f"INSERT INTO tasks (name, {', '.join((*TIMES, *kept))}) "
        f"SELECT 'task-' || n, {later}, {', '.join(kept)} FROM numbers, tasks WHERE id = 1 AND n <= {tasks}"
    )


# ---- homes with tasks that are due


def minutes(number: int, now: int) -> list[int]:
    """Return minutes of an hour with `now` among them, others for each number below 16384."""
    return sorted({now} | {(now + 1 + 4 * bit) % 60 for bit in range(14) if number >> bit & 1})


def due(template: Path, folder: Path, *, alike: bool) -> Path:
    """Make a copy of a home with all its tasks due in this minute, by one expression or each by its own."""
    shutil.copytree(template, folder)
    second = time.time() % 60
    if second > 55:  # else the minute would be over before the tick comes
        time.sleep(61 - second)
    slot = int(time.time()) * 1000 // MINUTE * MINUTE
    minute = slot // MINUTE % 60
    with opened(folder) as store:
        (tasks,) = store.execute("SELECT count(*) FROM tasks").fetchone()
        rows = []
        for number in range(tasks):
            at = range(60) if alike else minutes(number, minute)
            following = min((each - minute - 1) % 60 + 1 for each in at)
            text = "* * * * *" if alike else f"{','.join(map(str, at))} * * * *"
            rows.append((text, slot, slot + following * MINUTE, slot - MINUTE // 2, number + 1))
        store.executemany(
            "UPDATE tasks SET schedule = ?, next = ?, following = ?, evaluated = ? WHERE id = ?",
            rows,
        )
    beat = heartbeat.Beat(slot - MINUTE // 2, MINUTE, host.boot_id(), "cron", None)
    heartbeat.write(str(folder / paths.HEARTBEAT), beat)
    return folder


def to_be_due(folder: Path, command: Sequence[str], tasks: int) -> Path:
    """Make a home that `due` can copy."""
    return made(folder, command, Cron("0 0 1 1 *", tz="UTC"), tasks)


# ---- homes with a history


def with_history(folder: Path, runs: int, step: int = 500_000, tasks: int = OTHERS + 1) -> Path:
    """Make an idle home with some tasks and a history, a run each half second up to now.

    So the oldest of ten million is younger than what a tick would prune.
    """
    idle(folder, tasks)
    with opened(folder) as store:
        triggers = store.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'runs'"
        ).fetchall()
        for name, _ in triggers:
            store.execute(f"DROP TRIGGER {name}")
    for first in range(1, runs + 1, step):
        with opened(folder) as store:
            slot = f"{int(time.time()) * 1000} - ({runs} - n) * 500"
            numbers = COUNTED.format(first=first, last=min(runs, first + step - 1))
            store.execute(numbers + RUNS.format(often=OFTEN, others=tasks - 1, slot=slot))
    with opened(folder) as store:
        store.execute(TALLIES)
        store.execute(
            "UPDATE tasks SET last_state = 'succeeded', last_run = created, last_success = created"
        )
        for _, sql in triggers:
            store.execute(sql)
    return folder


def let_one_come_due(folder: Path) -> None:
    """Let one task of an idle home be due now, and not again today."""
    with opened(folder) as store:
        now = int(time.time()) * 1000
        store.execute(
            "UPDATE tasks SET anchor = :now, next = :now, following = :now + 86400000, evaluated = :now - 1 "
            "WHERE id = 2",
            {"now": now},
        )


# ---- what is looked at afterwards


def ended_well(folder: Path) -> int:
    """Return how many runs the history of a home has as succeeded."""
    with opened(folder) as store:
        (count,) = store.execute("SELECT count(*) FROM runs WHERE state = 'succeeded'").fetchone()
        return int(count)


def outputs(folder: Path) -> int:
    """Return how many outputs a home has kept."""
    with opened(folder) as store:
        return int(store.execute("SELECT count(*) FROM outputs").fetchone()[0])


def running(folder: Path) -> int:
    """Return how many runs of a home are running, with a process that is known."""
    with contextlib.closing(sqlite3.connect(folder / paths.STORE)) as store:
        rows = store.execute("SELECT count(*) FROM processes WHERE pid IS NOT NULL")
        return int(rows.fetchone()[0])


@contextlib.contextmanager
def untouched(*folders: Path) -> Iterator[None]:
    """Raise after the block when a tick in it was not idle: it would have written a run or a note."""
    before = [_newest(folder) for folder in folders]
    yield
    for folder, newest in zip(folders, before, strict=True):
        if _newest(folder) != newest:
            raise RuntimeError(f"a tick in {folder} was not idle")


def _newest(folder: Path) -> tuple[int | None, ...]:
    with contextlib.closing(sqlite3.connect(folder / paths.STORE)) as store:
        rows = store.execute("SELECT (SELECT max(id) FROM runs), (SELECT max(id) FROM events)")
        return tuple(rows.fetchone())
