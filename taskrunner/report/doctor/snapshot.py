"""A home at one instant, read once for all checks; an unreadable part is None, with a finding about the reason."""

from datetime import datetime

from taskrunner.errors import HomeRefused, InputError, TaskRunnerError
from taskrunner.home import config, heartbeat, paths
from taskrunner.home.config import Config
from taskrunner.model.answers import Finding
from taskrunner.model.record import field, record
from taskrunner.model.values import Event, Hold, Posted, Severity, Task
from taskrunner.store import ahead
from taskrunner.store.health import Health, health
from taskrunner.store.store import open_store
from taskrunner.tasks import options


@record
class Snapshot:
    """The state of one home at an instant; `open` when its tasks could be read."""

    folder: str
    now: datetime
    settings: Config
    problems: list[Finding]
    health: Health | None
    beat: heartbeat.Beat | None
    open: bool = False
    tasks: list[Task] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    hold: Hold | None = None
    zone_stamp: str | None = None
    messages: list[Posted] = field(default_factory=list)
    parked: list[ahead.Moved] = field(default_factory=list)


def ok(what: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Severity.OK, what, None)


def warning(what: str, cure: str) -> Finding:
    """Return a finding that may cause problems later."""
    return Finding(Severity.WARNING, what, cure)


def error(what: str, cure: str) -> Finding:
    """Return a finding that keeps tasks from running."""
    return Finding(Severity.ERROR, what, cure)


def take(folder: str, now: datetime) -> Snapshot:
    """Return a snapshot of a home."""
    problems: list[Finding] = []
    try:
        paths.check(folder)
    except HomeRefused as exc:
        cure = "give it to its user alone (chown, chmod go-w), or use another home (--home)"
        refused = [error(str(exc), cure)]
        return Snapshot(folder, now, Config(), refused, None, None)
    settings = _settings(folder, problems)
    found = health(folder, thorough=True)
    beat = heartbeat.read(paths.path(folder, paths.HEARTBEAT))
    if found is None or found.error or found.faults or found.schema != found.known:
        return Snapshot(folder, now, settings, problems, found, beat)
    return _opened(Snapshot(folder, now, settings, problems, found, beat))


def _settings(folder: str, problems: list[Finding]) -> Config:
    try:
        settings = config.load(folder)
    except InputError as exc:
        problems.append(error(str(exc), f"fix {paths.CONFIG}: no command works until then"))
        return Config()
    try:
        options.usual(settings.defaults)  # nothing else reads them before a task is added
    except InputError as exc:
        problems.append(error(str(exc), f"fix {paths.CONFIG}: no task can be added until then"))
    return settings


def _opened(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with the tasks and events of the database."""
    store = open_store(snapshot.folder, network=True)
    try:
        return Snapshot(
            snapshot.folder,
            snapshot.now,
            snapshot.settings,
            snapshot.problems,
            snapshot.health,
            snapshot.beat,
            open=True,
            tasks=store.tasks.all(),
            events=store.events.all(),
            hold=store.facts.held(snapshot.now),
            zone_stamp=store.facts.get("zone_data"),
            messages=store.outbox.newest(),
            parked=ahead.wrong(store, snapshot.now),
        )
    except TaskRunnerError as exc:
        snapshot.problems.append(
            error(str(exc), "end the program that holds the database, or check its disk")
        )
        return snapshot
    finally:
        store.close()
