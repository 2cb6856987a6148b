"""Notifications about runs: the rules of the task and of the configuration, turned into rows of the outbox.

Everything here runs inside the transaction that records what is told, so that no message is lost and none is made
up. What goes on is told once: a failure again only after the `repeat` of its channel, then the recovery. It must
not know how a message is sent.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from taskrunner.home import channels
from taskrunner.home.channels import OWN, Channel
from taskrunner.model.values import Run, State, Task, Trigger
from taskrunner.store.open_home import OpenHome

FAILURES = (State.FAILED, State.TIMED_OUT, State.LOST)
REPEAT = timedelta(days=1)  # before a task's own command is run again while it keeps failing
SHORTEST = timedelta(seconds=10)  # what takes no longer is not told as long, whatever is usual

Target = tuple[str, str | None]  # a channel, or OWN and the command


def started(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Write what is to be told at the start of a run; most tasks tell nothing, and that costs nothing."""
    if not (task.notify or here.config.notify):
        return
    if run.attempt == 1:
        _tell_each(here, task, run, "start", now)
    if task.late_after is not None and run.attempt == 1 and run.trigger is not Trigger.MANUAL:
        if now - run.slot > task.late_after:
            _tell(here, task, run, "late", now)
        else:
            here.store.outbox.end_notified(task.id, ["late"])
    if task.long_after is not None:
        _watch_length(here, task, run, now)


def ended(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Write what is to be told at the end of a slot: of its last attempt, or that it was not run."""
    if task.long_after is not None:
        _settle_length(here, task, run, now)
    if run.state is State.SUCCEEDED:
        _succeeded(here, task, run, now)
    elif run.state in FAILURES:
        _tell(here, task, run, "lost" if run.state is State.LOST else "failure", now)
    elif run.state is State.MISSED:
        _tell(here, task, run, "missed", now)


def _succeeded(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    _tell_each(here, task, run, "success", now)
    if any(_targets(here, task, "first-success")) and not here.store.figures.succeeded_before(
        task.id, run.id
    ):
        _tell_each(here, task, run, "first-success", now)
    told = here.store.outbox.notified(task.id)
    failed = {channel for channel, event in told if event == "failure"}
    for channel, what in _targets(here, task, "recovery"):
        if channel in failed:
            here.store.outbox.post("recovery", task.id, run.id, channel, what, now)
    if any(event in ("failure", "missed") for _, event in told):
        here.store.outbox.end_notified(task.id, ["failure", "missed"])


def _tell_each(here: OpenHome, task: Task, run: Run, event: str, now: datetime) -> None:
    """Tell of what is told each time."""
    for channel, what in _targets(here, task, event):
        here.store.outbox.post(event, task.id, run.id, channel, what, now)


def _tell(here: OpenHome, task: Task, run: Run, event: str, now: datetime) -> None:
    """Tell of what goes on: those who have not been told, or were told long ago."""
    ongoing = "failure" if event == "lost" else event
    asked = list(dict.fromkeys(_targets(here, task, event)))
    # Who is told of the recovery alone has to be remembered as well.
    others = list(_targets(here, task, "recovery")) if ongoing == "failure" else []
    told = here.store.outbox.notified(task.id) if asked or others else {}
    for channel in dict.fromkeys(channel for channel, _ in (*asked, *others)):
        last = told.get((channel, ongoing))
        if _again(here, channel, last, now):
            for other, what in asked:
                if other == channel:
                    here.store.outbox.post(event, task.id, run.id, channel, what, now)
            here.store.outbox.set_notified(task.id, channel, ongoing, now)


def _again(here: OpenHome, name: str, last: datetime | None, now: datetime) -> bool:
    """Return whether a channel is to be told of what it was told of at `last`."""
    channel = here.config.notify.get(name)
    if last is None or (channel is not None and channel.kind == "ping"):
        return True
    repeat = REPEAT if channel is None else channel.repeat
    return repeat is not None and now - last >= repeat


# ---- how long a run takes


def _watch_length(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Write the message that a run takes long beforehand, due when it will; its end takes it back."""
    asked, told = list(_targets(here, task, "long")), here.store.outbox.notified(task.id)
    due = [
        target for target in asked if _again(here, target[0], told.get((target[0], "long")), now)
    ]
    usual = here.store.figures.usual_time(task.id) if asked else None
    if usual is None or task.long_after is None:
        return
    since = now + max(SHORTEST, timedelta(seconds=usual * task.long_after))
    for channel, what in due:
        here.store.outbox.post("long", task.id, run.id, channel, what, since, due=since)


def _settle_length(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    since, told = here.store.outbox.long_since(run.id)
    if since is None:
        return
    if now < since:
        here.store.outbox.drop_long(run.id)
        here.store.outbox.end_notified(task.id, ["long"])
    for channel in told if now >= since else ():
        here.store.outbox.set_notified(task.id, channel, "long", now)


# ---- whom the rules name


def _targets(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Give whom to tell of an event, each once."""
    seen: set[Target] = set()
    for target in (*_of_task(here, task, event), *_of_all(here, task, event)):
        if target not in seen:
            seen.add(target)
            yield target


def _of_task(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Give whom the task's own rules name; what is lost has failed."""
    events = ("lost", "failure") if event == "lost" else (event,)
    whom = [task.notify[each] for each in events if each in task.notify]
    if "failure" in events and task.on_failure is not None:
        whom.append(task.on_failure)
    for each in whom:
        yield from _who(each)
    for name, own in _who(task.notify["usual"]) if "usual" in task.notify else ():
        channel = here.config.notify.get(name)
        if set(events) & {*(channels.USUAL if channel is None else channel.usual)}:
            yield name, own


def _who(whom: str) -> list[Target]:
    """Return the channels of a rule, and what of it goes past them: its addresses, or the command that it is."""
    names, addresses = channels.recipients(whom)
    if not names and not addresses:
        return [(OWN, whom)]
    return [
        *((name, None) for name in names),
        *([(OWN, ", ".join(addresses))] if addresses else []),
    ]


def _of_all(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Give the channels that the configuration names for all tasks, or for those of some names."""
    for channel in here.config.notify.values():
        if _meant(channel, event) and any(fnmatchcase(task.name, each) for each in channel.tasks):
            yield channel.name, None


def _meant(channel: Channel, event: str) -> bool:
    return event in channel.on or (event == "lost" and "failure" in channel.on)
