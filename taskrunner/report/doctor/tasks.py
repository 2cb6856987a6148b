"""What is found about tasks: what they need and is not there, and zone data that moved their slots."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import ZoneError
from taskrunner.home import config
from taskrunner.model.answers import Finding
from taskrunner.model.values import Task
from taskrunner.report import status
from taskrunner.report.doctor.seen import Seen, error, ok, warning
from taskrunner.schedule import of_task, zones
from taskrunner.tasks import obstacles
from taskrunner.tick import clock_changes

MOVED = "moved"
LATELY = timedelta(days=7)


def findings(seen: Seen) -> Iterator[Finding]:
    """Give what is found about the tasks and the zones they count in."""
    yield from _zones(seen)
    yield from _path(seen)
    for task in seen.tasks:
        yield from _one(seen, task)
    yield from _to_move(seen)
    yield from _moved(seen)
    yield from _parked(seen)


def _zones(seen: Seen) -> Iterator[Finding]:
    try:
        zones.zone(clock.local_zone())
    except ZoneError as exc:
        cure = "set it (`timedatectl list-timezones` shows the names), or set tz in taskrunner.toml"
        yield warning(f"the zone of this host is not known: {exc}", cure)
    try:
        name = config.default_zone(seen.settings)
    except ZoneError as exc:
        yield error(str(exc), "set tz to a name such as 'Europe/Berlin', or install tzdata")
    else:
        yield ok(f"tasks without a zone count in {zones.told(name)}")


def _path(seen: Seen) -> Iterator[Finding]:
    """Give the folders on the PATH of tasks that are none."""
    path = seen.settings.env.get("PATH") or seen.settings.path
    for folder in path.split(":"):
        if not os.path.isabs(folder):
            what = f"PATH of tasks has {folder!r}, which is another place in each directory"
            yield warning(what, "write whole paths in path of taskrunner.toml")
    if not any(map(os.path.isdir, path.split(":"))):
        yield error(
            f"PATH of tasks has no folder that exists: {path}", "mend path in taskrunner.toml"
        )


def _one(seen: Seen, task: Task) -> Iterator[Finding]:
    problem = status.problem(task)
    cure = f"mend that, or `taskrunner disable {task.name}`"
    if problem is not None or task.error is not None:
        yield error(f"{task.name} cannot be evaluated: {problem or task.error}", cure)
    if task.enabled:
        for told in obstacles.obstacles(task, seen.settings):
            yield warning(f"{task.name} cannot start as it stands: {told}", cure)
        for told in obstacles.untold(task, seen.settings):
            quiet = f"mend that, or `taskrunner set {task.name} --on-failure '' --notify ''`"
            yield warning(f"{task.name} starts, but {told}", quiet)


def _to_move(seen: Seen) -> Iterator[Finding]:
    """Give the slots that the next tick will move, when the zone data are not those of the last one."""
    if not seen.open or seen.zone_stamp in (None, clock.zone_stamp()):
        return
    of_task.forget()
    told = [f"{task.name} {text}" for task in seen.tasks if (text := clock_changes.movement(task))]
    what = (
        f"the zone data have changed since the last tick, and move {'; '.join(told) or 'no slot'}"
    )
    yield (
        warning(what, "the next tick counts with the new data; `taskrunner next` shows what comes")
        if told
        else ok(what)
    )


def _parked(seen: Seen) -> Iterator[Finding]:
    """Give what waits for an instant that a clock which was ahead has set, longer than its setting allows."""
    names = {task.id: task.name for task in seen.tasks}
    for each in seen.parked:
        about = "" if each.task_id is None else f"{names.get(each.task_id, each.task_id)}: "
        what = (
            f"{about}{each.what} waits until {clock.iso(each.until)}, set by a clock that was ahead"
        )
        yield warning(what, "the next tick moves it: `taskrunner tick`")
    for task in seen.tasks:
        late = task.enabled and task.next is not None and task.next > seen.now + clock.STEP_BACK
        if late and (told := _never_was(task, seen.now)):
            what = f"{task.name} waits until {clock.iso(task.next or seen.now)}: {told}"
            yield warning(what, f"`taskrunner set {task.name} --{task.kind} ...` says it anew")


def _never_was(task: Task, now: datetime) -> str | None:
    """Return why the next slot of a task is further away than it should be, None when it is not."""
    if task.created > now + clock.STEP_BACK:
        return f"it was added by a clock that was ahead, at {clock.iso(task.created)}"
    if task.evaluated > now + clock.STEP_BACK:
        return f"a clock that was ahead looked at it, at {clock.iso(task.evaluated)}"
    return None


def _moved(seen: Seen) -> Iterator[Finding]:
    for event in seen.events:
        if event.what == MOVED and seen.now - event.at < LATELY:
            about = "" if event.task is None else f"{event.task}: "
            shows = "status" if event.task is None else f"next {event.task}"
            what = f"{about}{event.text}, at {clock.iso(event.at)}"
            yield warning(what, f"look whether that is meant: `taskrunner {shows}`")
