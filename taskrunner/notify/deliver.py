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

from taskrunner.errors import StateError, shown
from taskrunner.home import channels, lock, notify_rules, paths
from taskrunner.home.channels import OWN, Channel
from taskrunner.home.syslog import INFO, WARNING
from taskrunner.model.answers import Delivery, Told
from taskrunner.model.values import Posted
from taskrunner.notify import by_command, by_network, message
from taskrunner.notify.message import Message
from taskrunner.store.open_home import OpenHome

OWN_LIMIT = timedelta(seconds=30)  # for a task's own command
FIRST_DELAY = timedelta(seconds=30)  # before the second attempt; doubled after each failure
LONGEST_DELAY = timedelta(hours=1)
GIVE_UP = timedelta(hours=24)  # after this a message is useless
GIVE_UP_START = timedelta(minutes=5)  # the same for a start

SENDERS: Mapping[str, Callable[[OpenHome, Channel, Message], None]] = {
    "command": by_command.send,
    "mail": by_network.mail,
    "webhook": by_network.send,
    "ping": by_network.send,
}


def send(here: OpenHome) -> list[Delivery]:
    """Send all due messages and return the results; nothing while another process sends."""
    done: list[Delivery] = []
    while True:
        with _alone(here) as alone:
            if not alone:
                return done
            done += _send_due(here)
        # A process that posted a message meanwhile saw our lock and left the message to us.
        if not here.store.outbox.anything_due(here.now()):
            return done


@contextmanager
def _alone(here: OpenHome) -> Iterator[bool]:
    """Hold the lock of the sender for the block; yield False when another process holds it.

    Our parent may have taken it already, and passed it to us as stdin.
    """
    place = here.path(paths.SENDER)
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


def _send_due(here: OpenHome) -> list[Delivery]:
    found = here.store.outbox.due(here.now())
    done: list[Delivery] = []
    for name, rows in groupby(found, lambda each: each.channel):
        done += _to_channel(here, name, list(rows))
    here.log.write()
    return done


def _to_channel(here: OpenHome, name: str, rows: Sequence[Posted]) -> Iterator[Delivery]:
    """Send the due messages of one channel; when one fails the rest is put off, too."""
    batches = _batches(here.config.notify.get(name), rows)
    for number, batch in enumerate(batches):
        delivery = _one(here, name, batch)
        yield delivery
        if delivery.error is not None and name != OWN:
            _put_off(here, [each for rest in batches[number + 1 :] for each in rest], delivery)
            return


def _batches(channel: Channel | None, rows: Sequence[Posted]) -> list[list[Posted]]:
    """Return the messages in groups to send together: all when there are many, else each alone; pings always alone."""
    if channel is not None and channel.kind != "ping" and len(rows) > channel.digest:
        return [list(rows)]
    return [[each] for each in rows]


def _one(here: OpenHome, name: str, batch: Sequence[Posted]) -> Delivery:
    """Try to send one message, after postponing it in case this process dies."""
    now = here.now()
    with here.store.transaction():
        here.store.outbox.push_ahead(batch, now + _delay(batch[0].attempts + 1))
    said = message.known(here, batch, now)
    delivery = _attempt(here, name, batch, said)
    with here.store.transaction():
        if delivery.error is None:
            here.store.outbox.settle(batch, here.now())
    if delivery.error is not None:
        _put_off(here, batch, delivery)
    _log(here, delivery)
    return delivery


def _log(here: OpenHome, delivery: Delivery) -> None:
    target = f"channel {delivery.channel}" if delivery.channel else "its own command"
    names, what = ", ".join(delivery.tasks), f"the {delivery.event} notification"
    if delivery.error is None:
        here.log.say(INFO, here.now(), f"{names}: sent {what} to {target}")
    else:
        failed = f"{names}: could not send {what} to {target}: {delivery.error}"
        here.log.say(WARNING, here.now(), failed)


def _attempt(
    here: OpenHome, name: str, batch: Sequence[Posted], said: Sequence[Message]
) -> Delivery:
    start = time.monotonic()
    error = None
    try:
        if said:
            whole = said[0] if len(said) == 1 else message.together(said)
            deliver(here, name, whole, batch[0].command)
    except StateError as exc:
        error = str(exc)
    event = batch[0].event if len(batch) == 1 else "digest"
    tasks = tuple(dict.fromkeys(each.task for each in batch))
    return Delivery(name, event, len(batch), time.monotonic() - start, error, tasks)


def deliver(here: OpenHome, name: str, said: Message, own: str | None = None) -> None:
    """Send a message to a channel, or to a task's own command or addresses, within its time; raises StateError."""
    channel = None if name == OWN else here.config.notify.get(name)
    if name != OWN and channel is None:
        if name in (wrong := channels.mistakes(here.config.notify)):
            raise StateError(wrong[name])
        known = ", ".join(here.config.notify) or "none"
        raise StateError(f"there is no channel {shown(name)} in {paths.CONFIG}: known are {known}")
    if channel is None and (to := notify_rules.addressed(own or "")):
        channel = channels.mailer(here.config.notify, to)
        if channel is None:
            raise StateError(channels.no_mailer(to))
    limit = (OWN_LIMIT if channel is None else channel.time_limit).total_seconds()
    if channel is None:
        by_command.own(here, ("/bin/sh", "-c", own or ""), said, limit)
    else:
        SENDERS[channel.kind](here, channel, said)


def test(here: OpenHome, name: str) -> Delivery:
    """Send a test message to a channel, past the outbox, and return the result."""
    start, error = time.monotonic(), None
    try:
        deliver(here, name, message.a_test(here, here.now()))
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


def _put_off(here: OpenHome, batch: Sequence[Posted], delivery: Delivery) -> None:
    """Write the error of messages that could not be sent, and the time of their next attempt."""
    now = here.now()
    with here.store.transaction():
        for each in batch:
            patience = GIVE_UP_START if each.event == "start" else GIVE_UP
            due = now + _delay(each.attempts + 1)
            until = due if due - each.created <= patience else None
            here.store.outbox.put_off([each], until, delivery.error or "")


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
