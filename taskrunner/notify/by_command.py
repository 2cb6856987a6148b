"""Sending by a program of this host: the command of a channel, or of a task."""

import os

from taskrunner.errors import StateError
from taskrunner.home import config
from taskrunner.home.channels import Channel
from taskrunner.home.config import Config
from taskrunner.model.values import Command, Outcome
from taskrunner.notify.message import Message
from taskrunner.processes import account, bounded_output
from taskrunner.processes.children import Child, Children, in_words

KEPT = 100_000  # bytes of a program's output


def run(
    settings: Config, argv: tuple[str, ...], stdin: str, limit: float, more: dict[str, str]
) -> str:
    """Run a program within `limit` seconds, in the environment of tasks and `more`, and return its output.

    Raises StateError when it fails.
    """
    user, folder = account.account(None)
    env = {**config.base_environment(settings, user, folder), **more}
    where = folder if os.path.isdir(folder) else "/"
    return carried_out(Command(argv, env, where, stdin=stdin, timeout=limit, kill_after=1.0))


def carried_out(wanted: Command) -> str:
    """Run a command and all its processes to the end, and return the output; raises StateError."""
    children = Children()
    fd = os.memfd_create("said", os.MFD_CLOEXEC)
    try:
        children.on_output = lambda _: _bound(fd)
        outcome = _outcome(children, wanted, fd)
        said = os.pread(fd, KEPT, 0).decode(errors="replace").strip()
    finally:
        os.close(fd)
        children.close()
    if outcome.timed_out:
        raise StateError(f"it did not end within {wanted.timeout:g} s")
    if outcome.error or outcome.exit_code != 0:
        last = said.rpartition("\n")[2]
        raise StateError(f"{in_words(outcome)}{f': {last}' if last else ''}")
    return said


def _outcome(children: Children, wanted: Command, fd: int) -> Outcome:
    child = children.start(0, wanted, fd)
    if not isinstance(child, Child):
        return child
    while True:
        for _, outcome in children.wait(None):
            return outcome


def _bound(fd: int) -> None:
    bounded_output.bound(fd, KEPT)


def send(settings: Config, channel: Channel, message: Message) -> None:
    """Give a message to the command of a channel; raises StateError."""
    shell = channel.more.get("shell")
    argv = tuple(channel.more.get("command", ())) or ("/bin/sh", "-c", str(shell))
    own(settings, argv, message, channel.time_limit.total_seconds(), channel.name)


def own(
    settings: Config, argv: tuple[str, ...], message: Message, limit: float, channel: str = ""
) -> None:
    """Run a command for a message: the last lines of output on stdin, all other parts in variables."""
    more = {f"TASKRUNNER_{name.upper()}": text for name, text in message.variables.items()}
    more["TASKRUNNER_CHANNEL"] = channel
    run(settings, argv, message.output, limit, more)
