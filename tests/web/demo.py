"""A home with a month of history, for tests and pictures of the pages: always the same but for the instant it ends at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from taskrunner import After, Cron, Every, Manual, State, TaskRunner, clock, host
from taskrunner.home import heartbeat, paths
from taskrunner.schedule import of_task
from taskrunner.tasks import columns
from tests.history import SECOND, ran

DAY = timedelta(days=1)
MONTH = 30 * DAY
FEED = b"""fetching https://feed.example.org/eu/prices.csv
Traceback (most recent call last):
  File "/opt/prices/import", line 88, in fetch
ConnectionError: feed.example.org did not answer for 30 s
"""
REASONS = {
    State.SUCCEEDED: "exit code 0",
    State.FAILED: "exit code 1",
    State.TIMED_OUT: "it ran for longer than 1h and was stopped",
    State.LOST: "its process is gone, and nobody saw how it ended",
    State.MISSED: "no tick came until its deadline had passed",
}
TASKS = {
    "backup": (Cron("30 2 * * *"), "pg_dump crm | zstd > /srv/backup/crm.zst", 2_700),
    "certificates": (Cron("15 4 * * 1"), "certbot renew --quiet", 22),
    "check-disk": (Every("1h"), "df --output=pcent /", 0.05),
    "check-mail": (Every("5m"), "/opt/mail/check", 1.2),
    "clean-sessions": (Cron("10 3 * * *"), "/srv/shop/manage.py clearsessions", 3.4),
    "digest": (Cron("0 18 * * 5"), "/opt/digest/send", 8),
    "import-prices": (Cron("45 5 * * *"), "/opt/prices/import --feed eu", 310),
    "report-daily": (Cron("0 6 * * 1-5"), "/opt/reports/daily --mail", 95),
    "sync-stock": (Every("15m"), "/opt/shop/sync --all", 41),
    "thumbnails": (After("sync-stock"), "/opt/shop/thumbnails", 12),
    "vacuum": (Cron("0 3 * * 0"), "vacuumdb --all --analyze", 600),
    "warm-cache": (Manual(), "/opt/shop/warm", 30),
}
GROUPS = {"backup": "db:1", "vacuum": "db:1"}
STATES = {  # by task, counted from the newest slot
    "backup": {8: State.MISSED, 20: State.TIMED_OUT},
    "import-prices": {0: State.FAILED, 1: State.FAILED, 2: State.FAILED, 18: State.LOST},
    "report-daily": {11: State.FAILED},
    "sync-stock": {220: State.FAILED, 221: State.FAILED, 900: State.FAILED},
}


def make(home: Path, now: datetime) -> None:
    """Fill a home with tasks and their history up to an instant."""
    now = now.replace(microsecond=0)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TaskRunner(home, clock=lambda: now - MONTH) as runner:
        for name, (schedule, shell, _) in TASKS.items():
            about = "Copies the customer database" if name == "backup" else None
            runner.add(
                name, schedule=schedule, shell=shell, group=GROUPS.get(name), description=about
            )
        runner.disable("warm-cache")
    with TaskRunner(home, clock=lambda: now) as runner:
        runner._here().store.connection.be_durable("off")
        past = [each for name in TASKS for each in _past(runner, name, now)]
        for ended, name, state, took, slot in sorted(past):
            _write(runner, name, state, ended, took, slot)
        for name in TASKS:
            _count_from(runner, name, now)
    beat = heartbeat.Beat(clock.to_ms(now), 60_000, host.boot_id(), "cron")
    heartbeat.write(paths.path(str(home), paths.HEARTBEAT), beat)


def _past(runner: TaskRunner, name: str, now: datetime) -> Iterator[tuple[Any, ...]]:
    """Give the runs of a task that are over: the end, the task, the state, the duration, the slot."""
    schedule, _, usual = TASKS[name]
    chance = random.Random(name)
    item = "sync-stock" if isinstance(schedule, After) else name
    slots = [each.slot for each in runner.next(item, since=now - MONTH, until=now)]
    place = 0  # among those that are over: one may be running at this hour
    for slot in reversed(slots[-1_000:]):
        took = timedelta(milliseconds=max(10, int(1000 * chance.gauss(usual, usual / 6))))
        ended = slot + took + chance.choice([0, 0, 1, 2]) * SECOND
        if ended < now:
            yield ended, name, STATES.get(name, {}).get(place, State.SUCCEEDED), took, slot
            place += 1


def _write(
    runner: TaskRunner, name: str, state: State, ended: datetime, took: timedelta, slot: datetime
) -> None:
    ran(
        runner._here().store,
        state,
        ended,
        task=runner.task(name).id,
        took=took,
        slot=slot,
        reason=REASONS[state],
        output=FEED if state is State.FAILED else b"ok\n",
    )


def _count_from(runner: TaskRunner, name: str, now: datetime) -> None:
    """Let a task come due from an instant on."""
    here, task = runner._here(), runner.task(name)
    if task.enabled and not isinstance(TASKS[name][0], After):
        with here.store.transaction():
            here.store.tasks.change(
                task.id, **columns.timing(here.store, of_task.value_of(task), now)
            )
