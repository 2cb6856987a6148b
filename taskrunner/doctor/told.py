"""What is found about messages: channels that do not take them, so that nobody hears of a failure."""

from collections.abc import Iterator
from datetime import timedelta

from taskrunner.answers import Finding
from taskrunner.doctor.seen import Seen, ok, warning
from taskrunner.render.words import many

LATELY = timedelta(days=7)


def findings(seen: Seen) -> Iterator[Finding]:
    """Give the channels that have not taken what was to be told lately."""
    refused: dict[str, list[str]] = {}
    for each in seen.messages:
        if each.error is not None and seen.now - each.created < LATELY:
            refused.setdefault(each.channel, []).append(each.error)
    for channel, errors in refused.items():
        name = f"the channel {channel}" if channel else "commands of tasks (--on-failure)"
        what = f"{name} did not take {many(len(errors), 'message')}: {errors[0]}"
        test = f", `taskrunner notify --test {channel}` tries it" if channel else ""
        yield warning(what, f"`taskrunner notify` shows them{test}")
    if seen.settings.notify and not refused:
        yield ok(f"messages go to {', '.join(seen.settings.notify)}")
