"""Checks of the tasks: missing requirements, slots that new zone data move, and channels that refuse messages."""

import os
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta

from taskrunner import clock, host
from taskrunner.errors import ZoneError, shown
from taskrunner.home import channels, config, paths
from taskrunner.model.answers import Finding
from taskrunner.model.values import Task
from taskrunner.render.spelling import many
from taskrunner.report import status
from taskrunner.report.doctor.snapshot import Snapshot, error, ok, warning
from taskrunner.schedule import of_task, zones
from taskrunner.tasks import obstacles
from taskrunner.tick import clock_changes

MOVED = "moved"
LATELY = timedelta(days=7)


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings about tasks, their time zones, and their messages."""
    yield from _zones(snapshot)
    yield from _path(snapshot)
    for task in snapshot.tasks:
        yield from _one(snapshot, task)
    yield from _to_move(snapshot)
    yield from _moved(snapshot)
    yield from _parked(snapshot)
    yield from messages(snapshot)


def _zones(snapshot: Snapshot) -> Iterator[Finding]:
    try:
        zones.zone(clock.local_zone())
    except ZoneError as exc:
        cure = "set it (`timedatectl list-timezones` shows the names), or set tz in taskrunner.toml"
        yield warning(f"the zone of this host is not known: {exc}", cure)
    try:
        name = config.default_zone(snapshot.settings)
    except ZoneError as exc:
        yield error(str(exc), "set tz to a name such as 'Europe/Berlin', or install tzdata")
    else:
        yield ok(f"default time zone: {zones.told(name)}")


def _path(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield findings about missing or relative folders on the PATH of tasks."""
    path = snapshot.settings.env.get("PATH") or snapshot.settings.path
    for folder in path.split(":"):
        if not os.path.isabs(folder):
            what = f"PATH of tasks has {folder!r}, which depends on the working directory"
            yield warning(what, "write whole paths in path of taskrunner.toml")
    if not any(map(os.path.isdir, path.split(":"))):
        yield error(
            f"PATH of tasks has no folder that exists: {path}", "fix path in taskrunner.toml"
        )


def _one(snapshot: Snapshot, task: Task) -> Iterator[Finding]:
    problem = status.problem(task)
    cure = f"repair it or change the task (`taskrunner set {task.name}`), or `taskrunner disable {task.name}`"
    if problem is not None or task.error is not None:
        yield error(f"{task.name} cannot be evaluated: {problem or task.error}", cure)
    if task.enabled:
        for text in obstacles.obstacles(task, snapshot.settings):
            yield warning(f"{task.name} cannot start: {text}", cure)
        for text in obstacles.untold(task, snapshot.settings):
            quiet = f"repair it, or `taskrunner set {task.name} --on-failure '' --notify ''`"
            yield warning(f"{task.name} starts, but {text}", quiet)


def _to_move(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the slots that the next tick will move, if zone data have changed since the last one."""
    if not snapshot.open or snapshot.zone_stamp in (None, host.zone_stamp()):
        return
    of_task.forget()
    moves = [
        f"{task.name} {text}" for task in snapshot.tasks if (text := clock_changes.movement(task))
    ]
    what = (
        f"the zone data have changed since the last tick, and move {'; '.join(moves) or 'no slot'}"
    )
    yield (
        warning(what, "the next tick uses the new data; `taskrunner next` shows the next times")
        if moves
        else ok(what)
    )


def _parked(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield waiting times that are too long, as they were set while the clock was ahead."""
    names = {task.id: task.name for task in snapshot.tasks}
    for each in snapshot.parked:
        about = "" if each.task_id is None else f"{names.get(each.task_id, each.task_id)}: "
        what = (
            f"{about}{each.what} waits until {clock.iso(each.until)}, set by a clock that was ahead"
        )
        yield warning(what, "the next tick moves it: `taskrunner tick`")
    for task in snapshot.tasks:
        late = task.enabled and task.next is not None and task.next > snapshot.now + clock.STEP_BACK
        if late and (text := _never_was(task, snapshot.now)):
            what = f"{task.name} waits until {clock.iso(task.next or snapshot.now)}: {text}"
            name = shlex.quote(task.name)
            cure = f"`taskrunner show {name}` shows it; set it again with the intended time"
            yield warning(what, cure)


def _never_was(task: Task, now: datetime) -> str | None:
    """Return why the next slot of a task is too far away, None when it is not."""
    if task.created > now + clock.STEP_BACK:
        return f"it was added by a clock that was ahead, at {clock.iso(task.created)}"
    if task.evaluated > now + clock.STEP_BACK:
        return f"a clock that was ahead looked at it, at {clock.iso(task.evaluated)}"
    return None


def _moved(snapshot: Snapshot) -> Iterator[Finding]:
    for event in snapshot.events:
        if event.what == MOVED and snapshot.now - event.at < LATELY:
            about = "" if event.task is None else f"{event.task}: "
            shows = "status" if event.task is None else f"next {event.task}"
            what = f"{about}{event.text}, at {clock.iso(event.at)}"
            yield warning(what, f"check whether that is intended: `taskrunner {shows}`")


# ---- messages


def messages(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield channels with mistakes, those that cannot work on this host, and those that refused messages lately."""
    place = paths.path(snapshot.folder, paths.CONFIG)
    for name, wrong in channels.mistakes(snapshot.settings.notify).items():
        test = f", then `taskrunner notify --test {shlex.quote(name)}`" if name else ""
        yield warning(f"no message is sent: {wrong}", f"fix it in {place}{test}")
    for each in snapshot.settings.notify.values():
        for wrong in _unfit(snapshot, each):
            test = f"fix it in {place}, then `taskrunner notify --test {each.name}`"
            yield warning(f"the channel {each.name} cannot send: {wrong}", test)
    refused: dict[str, list[str]] = {}
    for message in snapshot.messages:
        if message.error is not None and snapshot.now - message.created < LATELY:
            refused.setdefault(message.channel, []).append(message.error)
    for channel, errors in refused.items():
        name = f"the channel {channel}" if channel else "commands of tasks (--on-failure)"
        what = f"{name} did not accept {many(len(errors), 'message')}: {errors[0]}"
        test = f", `taskrunner notify --test {channel}` tries it" if channel else ""
        yield warning(what, f"`taskrunner notify` shows them{test}")
    if snapshot.settings.notify and not refused:
        yield ok(f"messages go to {', '.join(snapshot.settings.notify)}")


def _unfit(snapshot: Snapshot, channel: channels.Channel) -> Iterator[str]:
    """Yield the programs that a channel needs and this host lacks."""
    more = channel.more
    if channel.kind == "command":
        text = more.get("shell") or shlex.join(more["command"])
        yield from obstacles.command_warnings(text, snapshot.settings)
    if channel.kind == "mail" and "smtp" not in more:
        program = more.get("sendmail")
        if program is not None and not os.access(program, os.X_OK):
            yield f"the program {shown(program)} is not there or cannot be executed"
        elif program is None and channels.local_mailer() is None:
            yield "there is no sendmail program on this host: install one, or give smtp"
