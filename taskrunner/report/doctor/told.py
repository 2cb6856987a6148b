"""What is found about messages: channels that do not take them, so that nobody hears of a failure."""

import os
import shlex
from collections.abc import Iterator
from datetime import timedelta

from taskrunner.errors import shown
from taskrunner.home import channels, paths
from taskrunner.model.answers import Finding
from taskrunner.render.spelling import many
from taskrunner.report.doctor.seen import Seen, ok, warning
from taskrunner.tasks import obstacles

LATELY = timedelta(days=7)


def findings(seen: Seen) -> Iterator[Finding]:
    """Give the channels that have not taken what was to be told lately."""
    place = paths.path(seen.folder, paths.CONFIG)
    for name, wrong in channels.mistakes(seen.settings.notify).items():
        test = f", then `taskrunner notify --test {shlex.quote(name)}`" if name else ""
        yield warning(f"nobody is told: {wrong}", f"mend it in {place}{test}")
    for each in seen.settings.notify.values():
        for wrong in _unfit(seen, each):
            test = f"mend it in {place}, then `taskrunner notify --test {each.name}`"
            yield warning(f"the channel {each.name} cannot tell anybody: {wrong}", test)
    refused: dict[str, list[str]] = {}
    for message in seen.messages:
        if message.error is not None and seen.now - message.created < LATELY:
            refused.setdefault(message.channel, []).append(message.error)
    for channel, errors in refused.items():
        name = f"the channel {channel}" if channel else "commands of tasks (--on-failure)"
        what = f"{name} did not take {many(len(errors), 'message')}: {errors[0]}"
        test = f", `taskrunner notify --test {channel}` tries it" if channel else ""
        yield warning(what, f"`taskrunner notify` shows them{test}")
    if seen.settings.notify and not refused:
        yield ok(f"messages go to {', '.join(seen.settings.notify)}")


def _unfit(seen: Seen, channel: channels.Channel) -> Iterator[str]:
    """Give what a channel needs on this host and is not there."""
    more = channel.more
    if channel.kind == "command":
        text = more.get("shell") or shlex.join(more["command"])
        yield from obstacles.command_warnings(text, seen.settings)
    if channel.kind == "mail" and "smtp" not in more:
        program = more.get("sendmail")
        if program is not None and not os.access(program, os.X_OK):
            yield f"the program {shown(program)} is not there or cannot be executed"
        elif program is None and channels.local_mailer() is None:
            yield "there is no sendmail program on this host: install one, or give smtp"
