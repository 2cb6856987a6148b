"""Decide about due tasks and claim their slots, under the lock and in batches: rows in, next slot forward."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner.decide import slots
from taskrunner.errors import InputError, StoreBusy, StoreRefused
from taskrunner.model.record import field, mutable, record
from taskrunner.model.values import Action, Decision, Run, Task
from taskrunner.schedule import of_task
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up

BATCH = 200  # tasks in one transaction, or ...
BATCH_TIME = 0.05  # ... seconds, whichever comes first: the longest wait of other writers
FILL = 100  # tasks in one step of computing following slots, while children run
MS = timedelta(milliseconds=1)


@record
class Evaluated:
    """The decisions about a task while its `live` runs went on, and the changes of its row."""

    task: Task
    live: Sequence[Run]
    decisions: list[Decision]
    changes: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether its decisions make runs and stop none, and its next slot does not depend on their ends."""
        if self.task.from_finish:
            return False
        return all(each.claims and not each.stops for each in self.decisions)


@mutable
class Visit:
    """The decisions of one tick, and their results."""

    at: datetime
    idle: bool = False
    busy: bool = False  # another tick held the lock
    decisions: list[Decision] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    interrupted: int | None = None  # the signal that ended it early
    warning: str | None = None  # a problem to report, though the work is done
    stops: list[int] = field(default_factory=list)  # runs to be stopped
    claimed: list[tuple[Task, datetime]] = field(default_factory=list)  # with their next slots
    clock_agrees: bool = False  # it advanced as far as the time since the boot


def claim_due(
    here: OpenHome, visit: Visit, boot: str, only: Sequence[Task] | None
) -> dict[int, Task]:
    """Decide about all due tasks and claim their slots; return these tasks by their ids."""
    ids, due = None if only is None else [task.id for task in only], True
    known: dict[int, Task] = {}
    while due:
        with here.store.transaction():
            # Read inside the transaction, so that no change of a person is overwritten.
            tasks = here.store.tasks.due(visit.at, boot, BATCH, ids)
            live = slots.by_task(here.store.runs.live_of(tasks))
            found = _evaluate(here, visit.at, tasks, live, boot)
            visit.decisions += _write(here, visit, found)
        known.update((task.id, task) for task in tasks)
        due = bool(tasks)
    return known


def _evaluate(
    here: OpenHome,
    now: datetime,
    tasks: Sequence[Task],
    live: Mapping[int, Sequence[Run]],
    boot: str,
) -> list[Evaluated]:
    """Decide about tasks, as many as the time allows; a task that cannot be evaluated is postponed."""
    found, end = [], time.monotonic() + BATCH_TIME
    for task in tasks:
        others = live.get(task.id, ())
        try:
            found.append(Evaluated(task, others, *slots.evaluate(task, others, now, boot)))
        except Exception as exc:  # noqa: BLE001  a fault of one task must not affect the others
            follow_up.put_off(here, task, now, f"{exc}")
        if time.monotonic() > end:
            break
    return found


def _write(here: OpenHome, visit: Visit, found: Sequence[Evaluated]) -> list[Decision]:
    """Write the decisions about tasks; after a failure each is written alone, and one that fails again is postponed."""
    now = visit.at
    try:
        with here.store.savepoint():
            here.store.tasks.change_all([(each.task.id, each.changes) for each in found])
            plain = [each for each in found if each.is_plain]
            rows = [decision for each in plain for decision in each.decisions]
            follow_up.write_plain(here.store, rows, now)
            others = [each for each in found if not each.is_plain]
            stops = [run_id for each in others for run_id in _claimed(here, each, now)]
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  as above
        if len(found) > 1:
            return [decision for each in found for decision in _write(here, visit, [each])]
        follow_up.put_off(here, found[0].task, now, f"{exc}")
        return []
    visit.stops += stops
    moved = ((each.task, each.changes.get("next")) for each in found)
    visit.claimed += [(task, slot) for task, slot in moved if slot is not None]
    return [decision for each in found for decision in each.decisions]


def _claimed(here: OpenHome, each: Evaluated, now: datetime) -> Iterator[int]:
    """Write the rows of a task and yield the runs that must stop for them."""
    for decision in each.decisions:
        run_id = follow_up.write(here, decision, now)
        if decision.action is Action.REPLACE and run_id is not None:
            yield from (run.id for run in each.live if run.id in decision.stops)


def fill(store: Store, claimed: Sequence[tuple[Task, datetime]]) -> Iterator[int]:
    """Compute the slots after the next ones, a few at each step, so that the next claim needs no croniter."""
    for start in range(0, len(claimed), FILL):
        batch = claimed[start : start + FILL]
        found = list(_following(batch))
        with store.transaction(durable=False):
            store.tasks.fill_following(found)
        yield len(batch)


def _following(
    batch: Sequence[tuple[Task, datetime]],
) -> Iterator[tuple[Task, datetime, datetime | None]]:
    for task, slot in batch:
        with contextlib.suppress(InputError):  # its zone may be gone: its next claim reports it
            yield task, slot, of_task.slot_after(of_task.value_of(task), slot)
