"""Sending to a server: each message by a process of its own, which has a time limit.

That process imports the libraries for a server; this one does not. It also composes a mail that a program of this host
then sends.
"""

import json
import os
import sys

from taskrunner.errors import StateError
from taskrunner.home import channels, config
from taskrunner.home.channels import Channel
from taskrunner.home.config import Config
from taskrunner.model.values import Command
from taskrunner.notify import by_command
from taskrunner.notify.message import Message, host
from taskrunner.processes import account

WELL = "ok\n"  # printed by the process before its answer on success
LATER = 2.0  # seconds; the process's own limits come first, as their errors tell more
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def send(_: Config, channel: Channel, said: Message) -> None:
    """Send a message to the server of a channel; raises StateError."""
    carry(channel, said, channel.kind)


def mail(settings: Config, channel: Channel, said: Message) -> None:
    """Send a message as a mail, by a server or by a program of this host; raises StateError."""
    if "smtp" in channel.more:
        carry(channel, said, "mail")
        return
    program = channel.more.get("sendmail") or channels.local_mailer()
    if program is None:
        raise StateError(
            "there is no sendmail program on this host: install one, or give smtp to the channel"
        )
    to = map(channels.bare, channel.more["to"])
    argv = (program, "-i", "-f", channels.bare(_sender(channel)), "--", *to)
    text = carry(channel, said, "letter")
    by_command.run(settings, argv, text, channel.time_limit.total_seconds(), {})


def carry(channel: Channel, said: Message, kind: str) -> str:
    """Send a message by a process of its own, and return the answer; raises StateError."""
    patience = channel.time_limit.total_seconds()
    more = {**channel.more, "from": (_sender(channel),)} if channel.kind == "mail" else channel.more
    given = {"kind": kind, "more": more, "content": said.content(), "patience": patience}
    # -m looks into the working directory first, and finds the same program as ours there.
    argv = (sys.executable, "-m", "taskrunner.notify.network_program")
    wanted = Command(
        argv,
        config.inherited(),
        os.path.dirname(PACKAGE),
        stdin=json.dumps(given),
        timeout=patience + LATER,
        kill_after=1.0,
    )
    try:
        answer = by_command.carried_out(wanted)
    except StateError as exc:
        raise StateError(f"the message was not accepted: {exc}") from exc
    if not f"{answer}\n".startswith(WELL):
        raise StateError(answer or "the message was not accepted, without a reason")
    return f"{answer}\n"[len(WELL) :]


def _sender(channel: Channel) -> str:
    """Return the sender address of mails."""
    given: tuple[str, ...] = channel.more.get("from", ())
    return given[0] if given else f"{account.account(None)[0]}@{host()}"
