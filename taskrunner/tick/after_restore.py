"""Prepare a backup for its restore: find the runs it would repeat, or count due slots as done.

The backup knows nothing of the time since it was made; the database that it replaces may.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from taskrunner import clock, host
from taskrunner.decide import ledger, slots
from taskrunner.errors import InputError
from taskrunner.model.decisions import Action, Decision, Span
from taskrunner.model.values import End, Kind, State, Task, Trigger
from taskrunner.store import copies
from taskrunner.store.events import STORE_ID
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up
from taskrunner.upkeep.backup import Repeat

RAN = (
    "SELECT runs.id FROM runs JOIN tasks ON tasks.id = task_id "
    "WHERE name = ? AND slot = ? AND started IS NOT NULL ORDER BY runs.id DESC LIMIT 1"
)
DONE = "counts as done: restored from a backup with --skip-missed"


def settle(here: OpenHome, replaced: str, *, skip: bool) -> tuple[list[Repeat], int]:
    """Return the runs that the next tick would repeat, and the number of slots that now count as done.

    `here` is the backup, `replaced` the file that it replaces; a pause of that file continues.
    """
    now, boot = here.now(), host.boot(daemon=False)
    _keep_hold(here.store, replaced, now)
    with here.store.transaction():
        here.store.processes.count_as_handed(now)
        # Numbers of runs are given again, here or in another home: queues must not take these for those.
        here.store.facts.forget(STORE_ID)
    if not skip:
        return list(_repeats(here.store, replaced, now)), 0
    with here.store.transaction():
        passed = list(_count_as_done(here, now, boot))
        here.store.facts.see_boot(boot)
    return [], sum(passed)


def _keep_hold(store: Store, replaced: str, now: datetime) -> None:
    found = copies.rows(replaced, "SELECT name, value FROM facts WHERE name LIKE 'held%'")
    if not found or store.facts.held(now) is not None:
        return
    with store.transaction():
        for name, value in found:
            store.facts.set(name, value)
        hold = store.facts.held(now)
        if hold is None:
            store.facts.resume()
        else:
            store.events.add(ledger.held(hold))


def _repeats(store: Store, replaced: str, now: datetime) -> Iterator[Repeat]:
    """Yield due runs that happen only once and already ran, or may have run if the replaced database cannot be read."""
    tells = bool(copies.rows(replaced, "SELECT 1 FROM facts LIMIT 1"))
    for task, slot in _once(store, now):
        found = copies.rows(replaced, RAN, (task, clock.to_ms(slot)))
        if found or not tells:
            yield Repeat(task, slot, found[0][0] if found else None)


def _once(store: Store, now: datetime) -> Iterator[tuple[str, datetime]]:
    """Yield due one-off tasks, requested tasks and pending runs, with their slots."""
    for task in store.tasks.all():
        if not task.enabled:
            continue
        if task.requested is not None:
            yield task.name, task.requested
        if task.kind is Kind.AT and task.next is not None and task.next <= now:
            yield task.name, task.next
    for run in store.runs.live():
        if run.state is State.PENDING:
            yield run.task, run.slot


def _count_as_done(here: OpenHome, now: datetime, boot: str) -> Iterator[int]:
    """Skip all due slots and pending runs; yield the number of slots of each."""
    for run in here.store.runs.running():
        why = "it ran when the backup was made, and nobody saw how it ended"
        follow_up.finish(here, End(run, State.LOST, why, now), retry=False)
    for run in here.store.runs.live():  # also the runs that follow those
        follow_up.finish(here, End(run, State.SKIPPED, DONE, now), retry=False)
        yield run.coalesced
    for task in here.store.tasks.due(now, boot, -1):
        try:
            with here.store.savepoint():
                yield _pass(here, task, now, boot)
        except InputError as exc:
            follow_up.put_off(here, task, now, str(exc))


def _pass(here: OpenHome, task: Task, now: datetime, boot: str) -> int:
    """Advance a task past its open slots, with one row for them; return their number."""
    changes: dict[str, Any] = {
        "evaluated": max(task.evaluated, now),
        "requested": None,
        "following": None,
    }
    span = None
    if task.kind is Kind.BOOT:
        changes["boot_id"] = boot
    elif task.next is not None and task.next <= now:
        span, _, changes["next"] = slots.open_slots(task, now)
    here.store.tasks.change(task.id, **changes)
    if span is None and task.requested is not None:
        span = Span(task.requested, task.requested)
    if span is None:
        return 0
    row = Decision(task.id, task.name, span, Action.SKIP, DONE, Trigger.CATCH_UP)
    follow_up.write(here, row, now)
    return span.count
