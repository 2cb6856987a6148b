"""Dry run of a tick: the same decisions at an instant, but nothing is written."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from taskrunner import host
from taskrunner.decide import capacity, policy, slots, verdict
from taskrunner.errors import InputError
from taskrunner.home import heartbeat, paths
from taskrunner.model.decisions import Decision
from taskrunner.model.record import like
from taskrunner.model.values import Run, State, Task, Trigger
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise.reconcile import Survey


def dry_run(here: OpenHome, at: datetime, only: Sequence[Task] | None = None) -> list[Decision]:
    """Return exactly what a tick at this instant would decide, slot by slot; writes nothing."""
    live = list(_live_then(here, at))
    decisions = [policy.waiting(run, at) for run in live if run.state is State.PENDING]
    boot, due = _boot(here.folder), list[Task]()
    if here.store.facts.held(at) is None:
        ids = None if only is None else [task.id for task in only]
        due = here.store.tasks.due(at, boot, -1, ids)
    decisions += _would_claim(due, live, at, boot)
    known = {task.id: task for task in due}
    tasks = here.store.tasks.by_id(capacity.task_ids(decisions, live), known)
    limits = here.config.max_parallel, here.store.tasks.group_limits(), here.config.queue_limits
    return capacity.with_room(decisions, live, tasks, *limits)


def _live_then(here: OpenHome, at: datetime) -> Iterator[Run]:
    """Yield the runs that are live after a tick has settled those left behind."""
    gone = Survey(here, at).gone()
    for run in here.store.runs.live():
        if run.id not in gone:
            yield run
        elif ready := verdict.retry_at(here.store.tasks.of_run(run), run, State.LOST, None, at):
            yield like(run, state=State.PENDING, trigger=Trigger.RETRY, ready=ready)


def _boot(home: str) -> str:
    """Return the boot of the next tick, assuming the same caller as for the last one."""
    last = heartbeat.read(paths.path(home, paths.HEARTBEAT))
    return host.boot(daemon=last is not None and last.caller == "daemon")


def _would_claim(
    due: Sequence[Task], live: Sequence[Run], at: datetime, boot: str
) -> list[Decision]:
    mine, found = slots.by_task(live), list[Decision]()
    for task in due:
        with suppress(InputError):  # the tick would postpone it and give the reason
            found += slots.evaluate(task, mine.get(task.id, []), at, boot)[0]
    return found
