"""The sender: delivers due messages from the outbox to their channels, one at a time.

A lock lets only one process send at a time, so that hanging senders do not pile up. Each message is put off
before it is tried, so a sender that dies is followed by another, and a message is sent at least once. Ticks and
supervisors do not import this; they start it as a process of its own.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby

from taskrunner.errors import StateError
from taskrunner.home import channels, lock, notify_rules, paths
from taskrunner.home.channels import OWN, Channel
from taskrunner.home.config import Config
from taskrunner.home.syslog import INFO, WARNING
from taskrunner.model.answers import Delivery, Told
from taskrunner.model.record import record
from taskrunner.model.values import Posted
from taskrunner.notify import by_command, by_network, message
from taskrunner.notify.message import Message
from taskrunner.store.open_home import OpenHome

OWN_LIMIT = timedelta(seconds=30)  # for a task's own command
FIRST_DELAY = timedelta(seconds=30)  # before the second attempt; doubled after each failure
LONGEST_DELAY = timedelta(hours=1)
GIVE_UP = timedelta(hours=24)  # after this a message is useless
GIVE_UP_START = timedelta(minutes=5)  # the same for a start

SENDERS: Mapping[str, Callable[[Config, Channel, Message], None]] = {
    "command": by_command.send,
    "mail": by_network.mail,
    "webhook": by_network.send,
    "ping": by_network.send,
}


def send(here: OpenHome) -> list[Delivery]:
    """Send all due messages and return the results; nothing while another process sends."""
    return Sender(here).send()


@record
class Sender:
    """The one process that sends the messages of a home."""

    here: OpenHome

    def send(self) -> list[Delivery]:
        """Send all due messages and return the results; nothing while another process sends."""
        done: list[Delivery] = []
        while True:
            with _alone(self.here.path(paths.SENDER)) as alone:
                if not alone:
                    return done
                done += self._send_due()
            # A process that posted a message meanwhile saw our lock and left the message to us.
            if not self.here.store.outbox.anything_due(self.here.now()):
                return done

    def _send_due(self) -> list[Delivery]:
        found = self.here.store.outbox.due(self.here.now())
        done: list[Delivery] = []
        for name, rows in groupby(found, lambda each: each.channel):
            done += self._to_channel(name, list(rows))
        self.here.log.write()
        return done

    def _to_channel(self, name: str, rows: Sequence[Posted]) -> Iterator[Delivery]:
        """Send the due messages of one channel; when one fails the rest is put off, too."""
        batches = _batches(self.here.config.notify.get(name), rows)
        for number, batch in enumerate(batches):
            delivery = self._one(name, batch)
            yield delivery
            if delivery.error is not None and name != OWN:
                self._put_off([each for rest in batches[number + 1 :] for each in rest], delivery)
                return

    def _one(self, name: str, batch: Sequence[Posted]) -> Delivery:
        """Try to send one message, after postponing it in case this process dies."""
        now, store = self.here.now(), self.here.store
        with store.transaction():
            store.outbox.push_ahead(batch, now + _delay(batch[0].attempts + 1))
        said = message.known(self.here, batch, now)
        delivery = _attempt(self.here.config, name, batch, said)
        with store.transaction():
            if delivery.error is None:
                store.outbox.settle(batch, self.here.now())
        if delivery.error is not None:
            self._put_off(batch, delivery)
        self._log(delivery)
        return delivery

    def _put_off(self, batch: Sequence[Posted], delivery: Delivery) -> None:
        """Write the error of messages that could not be sent, and the time of their next attempt."""
        now = self.here.now()
        with self.here.store.transaction():
            for each in batch:
                patience = GIVE_UP_START if each.event == "start" else GIVE_UP
                due = now + _delay(each.attempts + 1)
                until = due if due - each.created <= patience else None
                self.here.store.outbox.put_off([each], until, delivery.error or "")

    def _log(self, delivery: Delivery) -> None:
        target = f"channel {delivery.channel}" if delivery.channel else "its own command"
        names, what = ", ".join(delivery.tasks), f"the {delivery.event} notification"
        if delivery.error is None:
            self.here.log.say(INFO, self.here.now(), f"{names}: sent {what} to {target}")
        else:
            failed = f"{names}: could not send {what} to {target}: {delivery.error}"
            self.here.log.say(WARNING, self.here.now(), failed)


@contextmanager
def _alone(place: str) -> Iterator[bool]:
    """Hold the lock of the sender for the block; yield False when another process holds it.

    Our parent may have taken it already, and passed it to us as stdin.
    """
    if lock.is_open_as(place, 0):
        try:
            yield True
        finally:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
        return
    with lock.held(place) as fd:
        yield fd is not None


def _batches(channel: Channel | None, rows: Sequence[Posted]) -> list[list[Posted]]:
    """Return the messages in groups to send together: all when there are many, else each alone; pings always alone."""
    if channel is not None and channel.kind != "ping" and len(rows) > channel.digest:
        return [list(rows)]
    return [[each] for each in rows]


def _attempt(
    settings: Config, name: str, batch: Sequence[Posted], said: Sequence[Message]
) -> Delivery:
    start = time.monotonic()
    error = None
    try:
        if said:
            whole = said[0] if len(said) == 1 else message.together(said)
            deliver(settings, name, whole, batch[0].command)
    except StateError as exc:
        error = str(exc)
    event = batch[0].event if len(batch) == 1 else "digest"
    tasks = tuple(dict.fromkeys(each.task for each in batch))
    return Delivery(name, event, len(batch), time.monotonic() - start, error, tasks)


def deliver(settings: Config, name: str, said: Message, own: str | None = None) -> None:
    """Send a message to a channel, or to a task's own command or addresses, within its time; raises StateError."""
    channel = None if name == OWN else settings.notify.get(name)
    if name != OWN and channel is None:
        if name in (wrong := channels.mistakes(settings.notify)):
            raise StateError(wrong[name])
        raise StateError(channels.unknown(name, settings.notify))
    if channel is None and (to := notify_rules.addressed(own or "")):
        channel = channels.mailer(settings.notify, to)
        if channel is None:
            raise StateError(channels.no_mailer(to))
    limit = (OWN_LIMIT if channel is None else channel.time_limit).total_seconds()
    if channel is None:
        by_command.own(settings, ("/bin/sh", "-c", own or ""), said, limit)
    else:
        SENDERS[channel.kind](settings, channel, said)


def test(here: OpenHome, name: str) -> Delivery:
    """Send a test message to a channel, past the outbox, and return the result."""
    start, error = time.monotonic(), None
    try:
        deliver(here.config, name, message.a_test(here.folder, here.now()))
    except StateError as exc:
        error = str(exc)
    return Delivery(name, message.TEST, 1, time.monotonic() - start, error)


def channels_of(here: OpenHome) -> list[Told]:
    """Return the channels, each with its pending messages."""
    waiting = here.store.outbox.pending() if not here.store.missing else {}
    return [
        Told(name, each.kind, destination(each), each.on, each.tasks, *waiting.get(name, (0, None)))
        for name, each in here.config.notify.items()
    ]


def _delay(attempts: int) -> timedelta:
    return min(LONGEST_DELAY, FIRST_DELAY * int(2 ** min(attempts - 1, 20)))


def destination(channel: Channel) -> str:
    """Return the destination of a channel for people, without secrets."""
    more = channel.more
    if channel.kind == "command":
        return str(more.get("shell") or " ".join(more["command"]))
    if channel.kind == "mail":
        by = more.get("smtp") or more.get("sendmail") or "sendmail"
        return f"{', '.join(more['to'])} by {by}"
    if "url" in more:
        return channels.masked(more["url"])
    return f"the address in {more.get('url_file') or '$' + more['url_env']}"
