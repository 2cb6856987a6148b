"""Notifications of a run: rules of the task and of the configuration become rows of the outbox.

Everything here runs inside the transaction that records the event itself, so that no message is lost or invented. A
task that keeps failing is announced again only after the `repeat` of its channel, and then its recovery. It must not
know how a message is sent.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from taskrunner.home import channels, notify_rules
from taskrunner.home.channels import OWN, Channel
from taskrunner.model.record import record
from taskrunner.model.values import FAILING, Run, State, Task, Trigger
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store

REPEAT = timedelta(days=1)  # before a task's own command is run again while the task keeps failing
SHORTEST = timedelta(seconds=10)  # a shorter run is never announced as long, whatever is usual

Target = tuple[str, str | None]  # a channel, or OWN and the command


def started(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Post the messages for the start of a run; free without any rule."""
    if task.notify or here.config.notify:
        Announcement(here.store, here.config.notify, task, run, now).started()


def ended(here: OpenHome, task: Task, run: Run, now: datetime) -> None:
    """Post the messages for the end of a slot: its last attempt has ended, or it was not run."""
    Announcement(here.store, here.config.notify, task, run, now).ended()


@record
class Announcement:
    """The messages about one start or end of a run, by the rules of its task and of the channels."""

    store: Store
    channels: Mapping[str, Channel]
    task: Task
    run: Run
    now: datetime

    def started(self) -> None:
        """Post the messages for the start of the run."""
        task, run = self.task, self.run
        if run.attempt == 1:
            self._post_each("start")
        if task.late_after is not None and run.attempt == 1 and run.trigger is not Trigger.MANUAL:
            if (run.started or self.now) - run.slot > task.late_after:
                self._post_once("late")
            else:
                self.store.outbox.end_notified(task.id, ["late"])
        if task.long_after is not None:
            self._watch_length(task.long_after)

    def ended(self) -> None:
        """Post the messages for the end of the slot."""
        if self.task.long_after is not None:
            self._settle_length()
        if self.run.state is State.SUCCEEDED:
            self._succeeded()
        elif self.run.state in FAILING:
            self._post_once("lost" if self.run.state is State.LOST else "failure")
        elif self.run.state is State.MISSED:
            self._post_once("missed")

    def _succeeded(self) -> None:
        self._post_each("success")
        if any(self._targets("first-success")) and not self.store.figures.succeeded_before(
            self.task.id, self.run.id
        ):
            self._post_each("first-success")
        announced = self.store.outbox.notified(self.task.id)
        failed = {channel for channel, event in announced if event == "failure"}
        for target in self._targets("recovery"):
            if target[0] in failed:
                self._post("recovery", target)
        if any(event in ("failure", "missed") for _, event in announced):
            self.store.outbox.end_notified(self.task.id, ["failure", "missed"])

    def _post_each(self, event: str) -> None:
        """Post an event that is announced every time."""
        for target in self._targets(event):
            self._post(event, target)

    def _post_once(self, event: str) -> None:
        """Post a lasting event to the targets that have no message about it yet, or only an old one."""
        ongoing = "failure" if event == "lost" else event
        asked = list(dict.fromkeys(self._targets(event)))
        # A target with a rule for recovery only is recorded too, or the recovery would find no failure to end.
        others = list(self._targets("recovery")) if ongoing == "failure" else []
        announced = self.store.outbox.notified(self.task.id) if asked or others else {}
        for channel in dict.fromkeys(channel for channel, _ in (*asked, *others)):
            if self._is_due_again(channel, announced.get((channel, ongoing))):
                for target in asked:
                    if target[0] == channel:
                        self._post(event, target)
                self._note(channel, ongoing)

    def _is_due_again(self, name: str, last: datetime | None) -> bool:
        """Return whether an event is announced again to a channel that got it at `last`."""
        channel = self.channels.get(name)
        if last is None or (channel is not None and channel.kind == "ping"):
            return True
        repeat = REPEAT if channel is None else channel.repeat
        return repeat is not None and self.now - last >= repeat

    def _post(self, event: str, target: Target, due: datetime | None = None) -> None:
        channel, what = target
        at = due or self.now
        self.store.outbox.post(event, self.task.id, self.run.id, channel, what, at, due=due)

    def _note(self, channel: str, event: str) -> None:
        self.store.outbox.set_notified(self.task.id, channel, event, self.now)

    # ---- long runs

    def _watch_length(self, long_after: float) -> None:
        """Post the message about a long run in advance; the end of the run removes it."""
        asked, announced = list(self._targets("long")), self.store.outbox.notified(self.task.id)
        targets = [
            target
            for target in asked
            if self._is_due_again(target[0], announced.get((target[0], "long")))
        ]
        usual = self.store.figures.usual_time(self.task.id) if asked else None
        if usual is None:
            return
        begun = self.run.started or self.now  # another machine has begun it before we saw that
        since = begun + max(SHORTEST, timedelta(seconds=usual * long_after))
        for target in targets:
            self._post("long", target, since)

    def _settle_length(self) -> None:
        since, announced = self.store.outbox.long_since(self.run.id)
        if since is None:
            return
        if self.now < since:
            self.store.outbox.drop_long(self.run.id)
            self.store.outbox.end_notified(self.task.id, ["long"])
        for channel in announced if self.now >= since else ():
            self._note(channel, "long")

    # ---- targets of the rules

    def _targets(self, event: str) -> Iterator[Target]:
        """Yield the targets of an event, each once."""
        yield from dict.fromkeys((*self._of_task(event), *self._of_all(event)))

    def _of_task(self, event: str) -> Iterator[Target]:
        """Yield the targets of the task's own rules; a lost run counts as failed, too."""
        task, events = self.task, ("lost", "failure") if event == "lost" else (event,)
        found = [task.notify[each] for each in events if each in task.notify]
        if "failure" in events and task.on_failure is not None:
            found.append(task.on_failure)
        for each in found:
            yield from _split(each)
        for name, own in _split(task.notify["usual"]) if "usual" in task.notify else ():
            channel = self.channels.get(name)
            if set(events) & {*(channels.USUAL if channel is None else channel.usual)}:
                yield name, own

    def _of_all(self, event: str) -> Iterator[Target]:
        """Yield the channels of the configuration's rules for this task."""
        for channel in self.channels.values():
            if _meant(channel, event) and _names(channel, self.task):
                yield channel.name, None


def _split(target: str) -> list[Target]:
    """Return the channels of a target, and with the name OWN its addresses, or its command."""
    names, addresses = notify_rules.recipients(target)
    if not names and not addresses:
        return [(OWN, target)]
    return [
        *((name, None) for name in names),
        *([(OWN, ", ".join(addresses))] if addresses else []),
    ]


def _meant(channel: Channel, event: str) -> bool:
    return event in channel.on or (event == "lost" and "failure" in channel.on)


def _names(channel: Channel, task: Task) -> bool:
    return any(fnmatchcase(task.name, each) for each in channel.tasks)
