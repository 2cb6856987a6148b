"""Queues to other machines to text, for the verb queue only."""

from collections.abc import Sequence

from taskrunner.model.answers import Emptied, QueueState
from taskrunner.render.documents import document, instant, run_document
from taskrunner.render.page import Column, Page
from taskrunner.render.spelling import many


def queues_table(page: Page, queues: Sequence[QueueState]) -> str:
    """Return queues as a table."""
    return page.columns(
        [
            Column("queue", [each.name for each in queues]),
            Column("where", [each.url for each in queues], rank=1, least=12),
            Column("waiting", [_count(each, each.waiting) for each in queues]),
            Column("running", [_count(each, each.running) for each in queues]),
            Column("others", [_others(each) for each in queues]),
            Column("oldest", [_oldest(page, each) for each in queues]),
            Column("workers", [_count(each, len(each.workers)) for each in queues]),
            Column("why", [_why(each) for each in queues]),
        ]
    )


def _count(queue: QueueState, count: int) -> str:
    return "?" if queue.error else str(count)


def _others(queue: QueueState) -> str:
    if queue.error:
        return "?"
    return f"{queue.others_waiting} waiting, {queue.others_running} running"


def _oldest(page: Page, queue: QueueState) -> str:
    return "-" if queue.oldest is None else page.distance(queue.oldest)


def _why(queue: QueueState) -> str:
    if queue.error:
        return queue.error
    waits = queue.waiting or queue.others_waiting
    return "no worker listens to it" if waits and not queue.workers else ""


def workers_table(page: Page, queue: QueueState) -> str:
    """Return the workers of a queue as a table."""
    return page.columns(
        [
            Column("worker", [each.name for each in queue.workers], least=12),
            Column("host", [each.host for each in queue.workers]),
            Column("state", [each.state for each in queue.workers]),
            Column(
                "seen",
                [page.distance(each.seen) if each.seen else "-" for each in queue.workers],
            ),
        ]
    )


def emptied(name: str, done: Emptied) -> str:
    """Return the result of emptying a queue as a sentence."""
    others = f", {many(done.others, 'other')} taken out" if done.others else ""
    return f"{name}: {many(len(done.runs), 'waiting run')} cancelled{others}"


def emptied_document(done: Emptied) -> str:
    """Return the result of emptying a queue as a document."""
    return document(runs=[run_document(run) for run in done.runs], others=done.others)


def queues_document(queues: Sequence[QueueState]) -> str:
    """Return queues as a document."""
    return document(
        queues=[
            {
                "name": each.name,
                "engine": each.engine,
                "url": each.url,
                "error": each.error,
                "waiting": None if each.error else each.waiting,
                "running": None if each.error else each.running,
                "others_waiting": None if each.error else each.others_waiting,
                "others_running": None if each.error else each.others_running,
                "oldest": instant(each.oldest),
                "workers": [
                    {
                        "name": one.name,
                        "host": one.host,
                        "state": one.state,
                        "seen": instant(one.seen),
                    }
                    for one in each.workers
                ],
            }
            for each in queues
        ]
    )
