"""Channels, messages and deliveries to text, for the verb notify only."""

from collections.abc import Sequence

from taskrunner.home.notify_rules import addressed
from taskrunner.model.answers import Delivery, Told
from taskrunner.model.values import Posted
from taskrunner.render.documents import document, instant
from taskrunner.render.page import Column, Page
from taskrunner.render.spelling import many

OWN = "(its own)"  # a command or addresses that no channel has


def channels_table(page: Page, channels: Sequence[Told]) -> str:
    """Return channels as a table."""
    return page.columns(
        [
            Column("channel", [each.name for each in channels]),
            Column("kind", [each.kind for each in channels], rank=1),
            Column("where", [each.where for each in channels], least=12),
            Column("for all tasks", [_rules(each) for each in channels], least=12),
            Column("waiting", [str(each.waiting) for each in channels]),
            Column("why", [each.error or "" for each in channels]),
        ]
    )


def _rules(channel: Told) -> str:
    tasks = "" if channel.tasks == ("*",) else f" of {', '.join(channel.tasks)}"
    return f"{', '.join(channel.on)}{tasks}" if channel.on else "-"


def messages_table(page: Page, messages: Sequence[Posted]) -> str:
    """Return messages as a table."""
    return page.columns(
        [
            Column(
                f"at ({page.tz})",
                [page.time(each.created) for each in messages],
                rank=3,
                short=[page.shortly(each.created) for each in messages],
            ),
            Column("task", [each.task for each in messages], least=12),
            Column("event", [each.event for each in messages]),
            Column("run", [str(each.run_id) for each in messages], rank=2),
            Column("channel", [_channel(each) for each in messages]),
            Column("state", [each.state for each in messages]),
            Column("tried", [str(each.attempts) for each in messages], rank=1),
            Column("why", [_note(page, each) for each in messages]),
        ]
    )


def _channel(message: Posted) -> str:
    """Return the name of the channel; of a message without one its addresses, or that it has a command."""
    addresses = addressed(message.command or "")
    return message.channel or ", ".join(addresses) or "(its command)"


def _note(page: Page, message: Posted) -> str:
    again = f", again {page.distance(message.due)}" if message.due and message.attempts else ""
    return f"{message.error or ''}{again}".removeprefix(", ")


def deliveries(done: Sequence[Delivery]) -> list[str]:
    """Return the results of deliveries, a sentence each."""
    return [sentence(each) for each in done]


def sentence(done: Delivery) -> str:
    """Return the result of a delivery as a sentence."""
    what = f"{many(done.messages, 'message')} ({done.event})"
    about = f" about {', '.join(done.tasks)}" if done.tasks else ""
    if done.error is None:
        return f"{done.channel or OWN}: {what}{about} sent in {done.seconds:.1f} s"
    return f"{done.channel or OWN}: {what}{about} not sent: {done.error}"


def notices_document(channels: Sequence[Told], messages: Sequence[Posted]) -> str:
    """Return channels and messages as a document."""
    return document(
        channels=[
            {
                "name": each.name,
                "kind": each.kind,
                "where": each.where,
                "on": list(each.on),
                "tasks": list(each.tasks),
                "waiting": each.waiting,
                "error": each.error,
            }
            for each in channels
        ],
        outbox=[_message(each) for each in messages],
    )


def _message(message: Posted) -> dict[str, object]:
    return {
        "id": message.id,
        "task": message.task,
        "event": message.event,
        "run": message.run_id,
        "channel": message.channel or None,
        "command": message.command,
        "state": message.state,
        "created": instant(message.created),
        "due": instant(message.due),
        "attempts": message.attempts,
        "sent": instant(message.sent),
        "error": message.error,
    }


def deliveries_document(done: Sequence[Delivery]) -> str:
    """Return the results of deliveries as a document."""
    return document(
        deliveries=[
            {
                "channel": each.channel or None,
                "event": each.event,
                "tasks": list(each.tasks),
                "messages": each.messages,
                "seconds": round(each.seconds, 3),
                "error": each.error,
            }
            for each in done
        ]
    )
