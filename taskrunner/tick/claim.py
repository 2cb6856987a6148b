"""Decide about due tasks and claim their slots, under the lock and in batches: rows in, next slot forward."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner.decide import slots
from taskrunner.errors import InputError, StoreBusy, StoreRefused
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.record import field, mutable, record
from taskrunner.model.values import Run, Task
from taskrunner.schedule import of_task
from taskrunner.store.open_home import OpenHome
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
class Claims:
    """Claims of due slots at an instant: the decisions about them, and what these bring about."""

    here: OpenHome
    now: datetime
    decisions: list[Decision] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)  # runs to be stopped
    claimed: list[tuple[Task, datetime]] = field(default_factory=list)  # with their next slots

    def claim_due(
        self, boot: str, only: Sequence[Task] | None, first: int = BATCH
    ) -> Iterator[Sequence[Task]]:
        """Decide about all due tasks and claim their slots; yield the tasks of each batch, at most `first` at first."""
        ids, size = None if only is None else [task.id for task in only], first
        store = self.here.store
        while True:
            with store.transaction():
                # Read inside the transaction, so that no change of a person is overwritten.
                tasks = store.tasks.due(self.now, boot, size, ids)
                live = slots.by_task(store.runs.live_of(tasks))
                self._write(self._evaluate(tasks, live, boot))
            if not tasks:
                return
            yield tasks
            size = BATCH

    def _evaluate(
        self, tasks: Sequence[Task], live: Mapping[int, Sequence[Run]], boot: str
    ) -> list[Evaluated]:
        """Decide about tasks, as many as the time allows; a task that cannot be evaluated is postponed."""
        found, end = [], time.monotonic() + BATCH_TIME
        for task in tasks:
            others = live.get(task.id, ())
            try:
                found.append(Evaluated(task, others, *slots.evaluate(task, others, self.now, boot)))
            except Exception as exc:  # noqa: BLE001  a fault of one task must not affect the others
                follow_up.put_off(self.here, task, self.now, f"{exc}")
            if time.monotonic() > end:
                break
        return found

    def _write(self, found: Sequence[Evaluated]) -> None:
        """Write the decisions about tasks; after a failure each is written alone, and one that fails again is postponed."""
        try:
            with self.here.store.savepoint():
                stops = self._rows(found)
        except (StoreBusy, StoreRefused):
            raise
        except Exception as exc:  # noqa: BLE001  as above
            if len(found) == 1:
                follow_up.put_off(self.here, found[0].task, self.now, f"{exc}")
                return
            for each in found:
                self._write([each])
            return
        self.stops += stops
        moved = ((each.task, each.changes.get("next")) for each in found)
        self.claimed += [(task, slot) for task, slot in moved if slot is not None]
        self.decisions += [decision for each in found for decision in each.decisions]

    def _rows(self, found: Sequence[Evaluated]) -> list[int]:
        """Write the rows of tasks and return the runs that have to stop for them."""
        store, stops = self.here.store, list[int]()
        store.tasks.change_all([(each.task.id, each.changes) for each in found])
        plain = [decision for each in found if each.is_plain for decision in each.decisions]
        follow_up.write_plain(store, plain, self.now)
        for each in found:
            for decision in () if each.is_plain else each.decisions:
                run_id = follow_up.write(self.here, decision, self.now)
                if decision.action is Action.REPLACE and run_id is not None:
                    stops += [run.id for run in each.live if run.id in decision.stops]
        return stops

    def fill(self) -> Iterator[int]:
        """Compute the slots after the next ones, a few at each step, so that the next claim needs no croniter."""
        for start in range(0, len(self.claimed), FILL):
            batch = self.claimed[start : start + FILL]
            found = list(_following(batch))
            with self.here.store.transaction(durable=False):
                self.here.store.tasks.fill_following(found)
            yield len(batch)


def _following(
    batch: Sequence[tuple[Task, datetime]],
) -> Iterator[tuple[Task, datetime, datetime | None]]:
    for task, slot in batch:
        with contextlib.suppress(InputError):  # its zone may be gone: its next claim reports it
            yield task, slot, of_task.slot_after(of_task.value_of(task), slot)
