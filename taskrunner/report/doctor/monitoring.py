"""One line for a monitoring plugin: whether ticks come, the store can be used, and tasks succeed."""

from collections.abc import Iterator
from datetime import datetime

from taskrunner import clock
from taskrunner.errors import TaskRunnerError
from taskrunner.home import config, heartbeat, paths
from taskrunner.model.answers import Finding, Status
from taskrunner.model.values import Severity
from taskrunner.report import status
from taskrunner.schedule import durations
from taskrunner.store.health import health
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import open_store

NAMED = 5  # tasks


def alive(folder: str, now: datetime, *, clock_only: bool = False) -> Finding:
    """Return the worst that is to be said of a home, or that all is well; waits for nobody."""
    try:
        return _judged(folder, now, clock_only=clock_only)
    except TaskRunnerError as exc:
        return Finding(Severity.ERROR, str(exc), None)


def _judged(folder: str, now: datetime, *, clock_only: bool) -> Finding:
    paths.check(folder)
    settings = config.load(folder)
    found = health(folder, thorough=False)
    if found is None:
        return Finding(Severity.WARNING, f"there is no database in {folder} yet", None)
    beat = heartbeat.read(paths.path(folder, paths.HEARTBEAT))
    late = _late(beat, now)
    if found.busy or found.error:
        why = "is locked" if found.busy else f"cannot be read: {found.disk or found.error}"
        return Finding(Severity.ERROR, "; ".join([f"the database {why}", *late]), None)
    if late:
        return Finding(Severity.ERROR, late[0], None)
    if clock_only:
        return Finding(Severity.OK, _last_tick(beat, now), None)
    store = open_store(folder, network=settings.allow_network_home)
    try:
        standing = status.status(OpenHome(folder, store, settings, lambda: now))
    finally:
        store.close()
    troubles = list(_troubles(standing))
    if troubles:
        return Finding(Severity.WARNING, "; ".join(troubles), None)
    return Finding(Severity.OK, _well(standing, beat, now), None)


def _late(beat: heartbeat.Beat | None, now: datetime) -> list[str]:
    if beat is None:
        return ["no tick has come yet"]
    if not status.is_silent(beat, now):
        return []
    since = clock.from_ms(beat.at)
    return [
        f"no tick for {durations.human((now - since).total_seconds())} (since {clock.iso(since)})"
    ]


def _troubles(standing: Status) -> Iterator[str]:
    names = [task.name for task in standing.failing]
    if names:
        more = "" if len(names) <= NAMED else " ..."
        verb = "task fails" if len(names) == 1 else "tasks fail"
        yield f"{len(names)} {verb}: {', '.join(names[:NAMED])}{more}"
    yield from standing.problems


def _well(standing: Status, beat: heartbeat.Beat | None, now: datetime) -> str:
    runs = f"{len(standing.running)} running, {len(standing.pending)} pending"
    return f"{_last_tick(beat, now)}; {runs}, none failing"


def _last_tick(beat: heartbeat.Beat | None, now: datetime) -> str:
    assert beat is not None  # else it is late
    ago = max(0.0, (now - clock.from_ms(beat.at)).total_seconds())
    return f"last tick {durations.human(ago)} ago by {beat.caller}"
