"""Calls for runs by hand: start one, end one, and the environment that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrunner.api.base import author, line, utc
from taskrunner.api.tasks import Tasks
from taskrunner.errors import StateError
from taskrunner.model.values import LIVE, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from taskrunner.model.answers import Environment
    from taskrunner.model.values import Task


class Runs(Tasks):
    """The requests about runs by hand."""

    def run(
        self,
        name: str | int,
        *,
        echo: Callable[[bytes], object] = lambda _: None,
        slot: datetime | None = None,
        force: bool = False,
        detach: bool = False,
        by: str | None = None,
        reason: str | None = None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> Run:
        """Run a task now, also when it is disabled, and return the run.

        It returns when the run has ended, after passing its output to `echo`, which is called in a thread of its own;
        with `detach` at once. `slot` reruns an older slot. Obeys the task's overlap unless `force`. `by`
        and `reason`, a line each, are the author and the reason for the record: `explain` shows them. `tell` is called
        with a sentence for each reason for which the run waits for its queue, and with one when it starts after that.
        Raises TaskBusy or InputError.
        """
        from taskrunner.notify import metrics
        from taskrunner.processes import programs
        from taskrunner.tick import by_hand

        here = self._here()
        wish = by_hand.Asked(utc(slot), force, author(by), line(reason, "reason"))
        task = here.store.tasks.get(name)
        if not detach:
            run = by_hand.run(here, task, echo, wish, tell)
            metrics.publish(here)
            return run
        with here.store.transaction():
            task = here.store.tasks.get(task.name)
            asked, decision = by_hand.request(here, task, wish, here.now())
        by_hand.ask_to_end(here, decision.stops)
        programs.run_beside(here.folder, "tick")  # so that the run need not wait for the clock
        return asked

    def environment(self, name: str | int) -> Environment:
        """Return the environment of the next run of a task, made by the code that starts runs.

        Values are not masked, not even secrets. Raises UnknownTask, or StateError when it could not start.
        """
        from taskrunner.tick import by_hand

        here = self._here()
        return by_hand.surroundings(here, here.store.tasks.get(name))

    def cancel(
        self,
        key: str | int,
        *,
        reason: str | None = None,
        by: str | None = None,
        wait: bool = True,
    ) -> list[Run]:
        """End a run by its id, or all live runs of a task by its name or id, wait, and return them.

        Also cancels a one-off that waits for its time, and a requested run that has not started. The reason of the
        runs is `cancelled by NAME: REASON`, with `by` or the user of this process; a reason without `by` stands alone.
        Without `wait` running runs are returned at once, still running: their supervisor sends TERM within a second and
        KILL after `kill_after`. Raises StateError when there is nothing to cancel.
        """
        from taskrunner.decide import policy
        from taskrunner.tick import by_hand

        here, why = self._here(), _cancelled(author(by), line(reason, "reason", 1000))
        run = here.store.runs.meant(key)
        if run is not None:
            if run.state not in LIVE:
                raise StateError(
                    f"there is nothing to cancel: {policy.named([run])} has ended already"
                )
            return by_hand.cancel(here, [run.id], why, wait=wait)
        task = here.store.tasks.get(key)
        ended = by_hand.call_off(here, task, why)
        live = [each.id for each in here.store.runs.live(task.id)]
        if not live and not ended:
            raise StateError(
                f"there is nothing to cancel: no run of {task.name} is running or pending{_disable(task)}"
            )
        return ended + by_hand.cancel(here, live, why, wait=wait)


def _cancelled(by: str | None, reason: str | None) -> str:
    """Return the reason of a run that is cancelled."""
    from taskrunner.processes import account

    if reason is not None and by is None:
        return reason
    return f"cancelled by {account.author(by)}" + ("" if reason is None else f": {reason}")


def _disable(task: Task) -> str:
    """Return the advice to disable a task, "" when that is not possible."""
    if not task.enabled or task.next is None:
        return ""
    return f"; `taskrunner disable {task.name}` stops scheduling it"
