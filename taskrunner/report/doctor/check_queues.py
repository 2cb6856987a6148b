"""Checks of the queues to other machines: answers, encryption, passwords."""

from collections.abc import Iterator

from taskrunner.home import queues
from taskrunner.home.queues import Queue
from taskrunner.model.answers import Finding
from taskrunner.render.spelling import many
from taskrunner.report.doctor.snapshot import Snapshot, error, ok, warning
from taskrunner.supervise import carriers


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings about the queues of the settings, and about tasks with a queue that is not there."""
    for each in snapshot.settings.queues.values():
        yield from _one(each)
    for task in snapshot.tasks:
        if task.queue is not None and task.queue not in snapshot.settings.queues:
            what = f"{task.name} has the queue {task.queue}, which is not in taskrunner.toml"
            cure = f"add [queues.{task.queue}], or `taskrunner set {task.name} --queue ''`"
            yield error(what, cure)


def _one(queue: Queue) -> Iterator[Finding]:
    unusable = queue.unusable()
    if queue.mistake is not None:
        yield error(queue.mistake, "correct it in taskrunner.toml: its runs wait until then")
        return
    if unusable is not None:
        cure = "set it where ticks see it, or give url" if queue.url is None else "install it"
        yield error(unusable, cure)
        return
    assert queue.url is not None  # else it would be unusable
    trouble, listeners = carriers.probe(queue)
    if trouble is not None:
        cure = f"start its server, or correct {queues.masked(queue.url)}; runs wait until then"
        yield error(trouble, cure)
    elif not listeners:
        what = f"the queue {queue.name} answers, and no worker listens to it: its runs wait"
        yield warning(what, f"start one: `rq worker --serializer json {queue.queue}`")
    else:
        told = f"the queue {queue.name} answers at {queues.masked(queue.url)}"
        yield ok(f"{told}, and has {many(listeners, 'worker')}")
    lacks = queues.exposed(queue.url)
    if lacks:
        what = (
            f"the queue {queue.name} has no {' and no '.join(lacks)}: whoever reaches {queues.masked(queue.url)} "
            "sees the variables of tasks, and can run commands on the workers"
        )
        yield warning(
            what, "give the server TLS (rediss://) and a password, or a network of its own"
        )
