"""Notifications of a run: rules of the task and of the configuration become rows of the outbox.

Everything here runs inside the transaction that records the event itself, so that no message is lost or invented. A
task that keeps failing is announced again only after the `repeat` of its channel, and then its recovery. It must not
know how a message is sent.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from taskrunner.home import channels, notify_rules
from taskrunner.home.channels import OWN, Channel
from taskrunner.model.values import FAILING, Run, State, Task, Trigger
from taskrunner.store.open_home import OpenHome

REPEAT = timedelta(days=1)  # before a task's own command is run again while the task keeps failing
SHORTEST = timedelta(seconds=10)  # a shorter run is never announced as long, whatever is usual

Target = tuple[str, str | None]  # a channel, or OWN and the command


def started(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Post the messages for the start of a run; free without any rule."""
    if not (task.notify or here.config.notify):
        return
    if run.attempt == 1:
        _post_each(here, task, run, "start", now)
    if task.late_after is not None and run.attempt == 1 and run.trigger is not Trigger.MANUAL:
        if now - run.slot > task.late_after:
            _post_once(here, task, run, "late", now)
        else:
            here.store.outbox.end_notified(task.id, ["late"])
    if task.long_after is not None:
        _watch_length(here, task, run, now)


def ended(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Post the messages for the end of a slot: its last attempt has ended, or it was not run."""
    if task.long_after is not None:
        _settle_length(here, task, run, now)
    if run.state is State.SUCCEEDED:
        _succeeded(here, task, run, now)
    elif run.state in FAILING:
        _post_once(here, task, run, "lost" if run.state is State.LOST else "failure", now)
    elif run.state is State.MISSED:
        _post_once(here, task, run, "missed", now)


def _succeeded(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    _post_each(here, task, run, "success", now)
    if any(_targets(here, task, "first-success")) and not here.store.figures.succeeded_before(
        task.id, run.id
    ):
        _post_each(here, task, run, "first-success", now)
    announced = here.store.outbox.notified(task.id)
    failed = {channel for channel, event in announced if event == "failure"}
    for channel, what in _targets(here, task, "recovery"):
        if channel in failed:
            here.store.outbox.post("recovery", task.id, run.id, channel, what, now)
    if any(event in ("failure", "missed") for _, event in announced):
        here.store.outbox.end_notified(task.id, ["failure", "missed"])


def _post_each(here: OpenHome, task: Task, run: Run, event: str, now: datetime) -> None:
    """Post an event that is announced every time."""
    for channel, what in _targets(here, task, event):
        here.store.outbox.post(event, task.id, run.id, channel, what, now)


def _post_once(here: OpenHome, task: Task, run: Run, event: str, now: datetime) -> None:
    """Post a lasting event to the targets that have no message about it yet, or only an old one."""
    ongoing = "failure" if event == "lost" else event
    asked = list(dict.fromkeys(_targets(here, task, event)))
    # A target with a rule for recovery only is recorded too, or the recovery would find no failure to end.
    others = list(_targets(here, task, "recovery")) if ongoing == "failure" else []
    announced = here.store.outbox.notified(task.id) if asked or others else {}
    for channel in dict.fromkeys(channel for channel, _ in (*asked, *others)):
        last = announced.get((channel, ongoing))
        if _is_due_again(here, channel, last, now):
            for other, what in asked:
                if other == channel:
                    here.store.outbox.post(event, task.id, run.id, channel, what, now)
            here.store.outbox.set_notified(task.id, channel, ongoing, now)


def _is_due_again(here: OpenHome, name: str, last: datetime | None, now: datetime) -> bool:
    """Return whether an event is announced again to a channel that got it at `last`."""
    channel = here.config.notify.get(name)
    if last is None or (channel is not None and channel.kind == "ping"):
        return True
    repeat = REPEAT if channel is None else channel.repeat
    return repeat is not None and now - last >= repeat


# ---- long runs


def _watch_length(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Post the message about a long run in advance; the end of the run removes it."""
    asked, announced = list(_targets(here, task, "long")), here.store.outbox.notified(task.id)
    due = [
        target
        for target in asked
        if _is_due_again(here, target[0], announced.get((target[0], "long")), now)
    ]
    usual = here.store.figures.usual_time(task.id) if asked else None
    if usual is None or task.long_after is None:
        return
    since = now + max(SHORTEST, timedelta(seconds=usual * task.long_after))
    for channel, what in due:
        here.store.outbox.post("long", task.id, run.id, channel, what, since, due=since)


def _settle_length(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    since, announced = here.store.outbox.long_since(run.id)
    if since is None:
        return
    if now < since:
        here.store.outbox.drop_long(run.id)
        here.store.outbox.end_notified(task.id, ["long"])
    for channel in announced if now >= since else ():
        here.store.outbox.set_notified(task.id, channel, "long", now)


# ---- targets of the rules


def _targets(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Yield the targets of an event, each once."""
    seen: set[Target] = set()
    for target in (*_of_task(here, task, event), *_of_all(here, task, event)):
        if target not in seen:
            seen.add(target)
            yield target


def _of_task(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Yield the targets of the task's own rules; a lost run counts as failed, too."""
    events = ("lost", "failure") if event == "lost" else (event,)
    found = [task.notify[each] for each in events if each in task.notify]
    if "failure" in events and task.on_failure is not None:
        found.append(task.on_failure)
    for each in found:
        yield from _split(each)
    for name, own in _split(task.notify["usual"]) if "usual" in task.notify else ():
        channel = here.config.notify.get(name)
        if set(events) & {*(channels.USUAL if channel is None else channel.usual)}:
            yield name, own


def _split(target: str) -> list[Target]:
    """Return the channels of a target, and with the name OWN its addresses, or its command."""
    names, addresses = notify_rules.recipients(target)
    if not names and not addresses:
        return [(OWN, target)]
    return [
        *((name, None) for name in names),
        *([(OWN, ", ".join(addresses))] if addresses else []),
    ]


def _of_all(here: OpenHome, task: Task, event: str) -> Iterator[Target]:
    """Yield the channels of the configuration's rules for this task."""
    for channel in here.config.notify.values():
        if _meant(channel, event) and any(fnmatchcase(task.name, each) for each in channel.tasks):
            yield channel.name, None


def _meant(channel: Channel, event: str) -> bool:
    return event in channel.on or (event == "lost" and "failure" in channel.on)
