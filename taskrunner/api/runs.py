"""Calls for runs: history, output, statistics, explanations; and runs by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import clock
from taskrunner.api.base import several, utc
from taskrunner.api.tasks import Tasks
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.values import LIVE, Run, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from taskrunner.model.answers import (
        Environment,
        Explanation,
        Graph,
        Piece,
        Stats,
        Trace,
    )
    from taskrunner.model.values import Task
    from taskrunner.store.store import Store

GRAPH_SINCE = timedelta(days=30)


class Runs(Tasks):
    """The requests about runs."""

    def history(
        self,
        name: str | int | Sequence[str | int] | None = None,
        *,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 20,
    ) -> list[Run]:
        """Return runs, newest first, also those of a task that was removed.

        `name` and `state` may be several each; the id of a run is that run alone. Raises UnknownTask, UnknownRun or
        InputError.
        """
        here = self._here()
        tasks, runs = _tasks_and_runs(here.store, name)
        return here.store.runs.history(
            tasks,
            run_ids=runs,
            states=_states(state),
            since=utc(since),
            until=utc(until),
            limit=_limit(limit),
        )

    def ended(self, since: datetime, *, limit: int | None = 20) -> list[Run]:
        """Return the runs that ended since an instant, the last end first."""
        here, moment = self._here(), utc(since)
        assert moment is not None
        return here.store.runs.ended_since(moment, _limit(limit))

    def changes(self) -> int:
        """Return a number that changes when other processes have written to the database; the query is cheap."""
        return self._here().store.connection.changes()

    def graph(
        self,
        name: str | int | Sequence[str | int] | None = None,
        *,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = 60,
        tz: str | None = None,
    ) -> Graph:
        """Return the results of the slots of a task, of several, or of all, as a line of at most `most` marks for each.

        The default period is the last 30 days; days are those of a time zone. Raises UnknownTask or
        InputError.
        """
        from taskrunner.report import graph

        here = self._here()
        end = utc(until) or here.now()
        return graph.graph(
            here.store,
            _ever(here.store, name),
            utc(since) or end - GRAPH_SINCE,
            end,
            states=_states(state),
            most=most,
            tz=tz or self.default_zone(),
        )

    def stats(
        self,
        name: str | int | Sequence[str | int] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Stats:
        """Return statistics of the runs of a task, of several, or of all, that ended in a period.

        Without `since` all runs count, also pruned ones. Each attempt is a run: a slot whose
        second attempt succeeded has failed once and succeeded once. Cancelled runs do not count in the
        success rate. Raises UnknownTask, or MomentError for a datetime without a zone.
        """
        from taskrunner.report import stats

        here = self._here()
        return stats.stats(here.store, _ever(here.store, name), utc(since), utc(until))

    def either(self, key: str | int) -> Task | Run:
        """Return the task of a name or an id, or the run of an id; `run:ID` is a run in any case.

        Tasks and runs share one sequence of ids. In an older database an id may be both: it is refused. Raises
        UnknownTask, UnknownRun or StateError.
        """
        here = self._here()
        return here.store.runs.meant(key) or here.store.tasks.get(key)

    def run_of(self, key: str | int) -> Run:
        """Return a run by its id, or the newest of a task by its name or id; raises UnknownRun or UnknownTask."""
        meant = self._here().store.runs.meant(key)
        if meant is not None:
            return meant
        for run in self.history(key, limit=1):
            return run
        raise StateError(f"{key} has no runs yet: `taskrunner next {key}` shows when it is due")

    def log(self, run: Run, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the output of a run in pieces; with `follow` as it grows, b"" when there is nothing new yet."""
        from taskrunner.tick import by_hand

        return (
            by_hand.follow(self._here(), run.id) if follow else by_hand.read(self._here(), run.id)
        )

    def follow(self, name: str | int | Sequence[str | int] | None = None) -> Iterator[Piece | None]:
        """Yield the output of the runs of a task, of several, or of all as it arrives, and their starts and ends.

        Running runs come first, from their beginning, then all future ones, without end; None when there is nothing
        new yet. Raises UnknownTask.
        """
        from taskrunner.tick import live_output

        return live_output.follow(self._here, _ever(self._here().store, name))

    def output(self, run: Run) -> bytes:
        """Return the output of a run up to now."""
        return b"".join(self.log(run))

    def traces(self, runs: Iterable[Run | int]) -> dict[int, Trace]:
        """Return traces of the outputs of runs, by the ids of the runs that have one.

        A trace is the last line of a failed run, and the number of bytes left out of a large output. A run may be given
        by its id.
        """
        here = self._here()
        asked = (here.store.runs.get(each) if isinstance(each, int) else each for each in runs)
        written = [run for run in asked if run.output_size]
        if not written:
            return {}
        from taskrunner.report import trace

        found = {run.id: trace.trace(here, run) for run in written}
        return {key: each for key, each in found.items() if each != trace.NOTHING}

    def run(
        self,
        name: str | int,
        *,
        echo: Callable[[bytes], object] = lambda _: None,
        slot: datetime | None = None,
        force: bool = False,
        detach: bool = False,
    ) -> Run:
        """Run a task now, also when it is disabled, and return the run.

        It returns when the run has ended, after passing its output to `echo`, which is called in a thread of its own;
        with `detach` at once. `slot` reruns an older slot. Obeys the task's overlap unless `force`. Raises TaskBusy.
        """
        from taskrunner.notify import metrics
        from taskrunner.processes import programs
        from taskrunner.tick import by_hand

        here = self._here()
        task, slot = here.store.tasks.get(name), utc(slot)
        if not detach:
            run = by_hand.run(here, task, echo, slot=slot, force=force)
            metrics.publish(here)
            return run
        with here.store.transaction():
            task = here.store.tasks.get(task.name)
            asked, decision = by_hand.request(here, task, slot, here.now(), force=force)
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

    def cancel(self, key: str | int, *, reason: str | None = None) -> list[Run]:
        """End a run by its id, or all live runs of a task by its name or id, wait, and return them.

        Also cancels a one-off that waits for its time, and a requested run that has not started. Raises StateError when
        there is nothing to cancel.
        """
        from taskrunner.decide import policy
        from taskrunner.processes import account
        from taskrunner.tick import by_hand

        here = self._here()
        why = reason or f"cancelled by {account.account(None)[0]}"
        run = here.store.runs.meant(key)
        if run is not None:
            if run.state not in LIVE:
                raise StateError(
                    f"there is nothing to cancel: {policy.named([run])} has ended already"
                )
            return by_hand.cancel(here, [run.id], why)
        task = here.store.tasks.get(key)
        ended = by_hand.call_off(here, task, why)
        live = [each.id for each in here.store.runs.live(task.id)]
        if not live and not ended:
            raise StateError(
                f"there is nothing to cancel: no run of {task.name} is running or pending{_disable(task)}"
            )
        return ended + by_hand.cancel(here, live, why)

    def explain(
        self,
        name: str | int,
        *,
        at: datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Explanation:
        """Explain why a task ran or did not run, slot by slot, or the run of an id.

        `at` selects one slot, `since` and `until` (default: now) a period; the default is the newest slots and the next
        one. Raises UnknownTask, also for a name that no task ever had, UnknownRun or InputError.
        """
        from taskrunner.report import why

        here, at, since, until = self._here(), utc(at), utc(since), utc(until)
        run = here.store.runs.meant(name)
        _check_question(run, at, since, until)
        if run is not None:
            return why.explain_run(here, run)
        if at is not None:
            return why.explain_at(here, name, at)
        if since is not None:
            return why.explain_between(here, name, since, until or self.now())
        return why.explain_task(here, name)


def _ever(store: Store, given: str | int | Sequence[str | int] | None) -> list[int] | None:
    """Return the ids of all tasks that ever had one of these names, None for all; raises UnknownTask."""
    names, found = several(given), list[int]()
    for name in names or ():
        ids = store.tasks.ids_ever(name)
        found += ids or [store.tasks.get(name).id]  # raises UnknownTask
    return None if names is None else found


def _tasks_and_runs(
    store: Store, given: str | int | Sequence[str | int] | None
) -> tuple[list[int] | None, list[int]]:
    """Return the ids of tasks as `_ever` does, and the ids of runs."""
    tasks, runs = list[int](), list[int]()
    names = several(given)
    for name in names or ():
        # An int, which only a program can give, is the id of a task.
        ids = store.tasks.ids_ever(name) if isinstance(name, int) else []
        run = None if ids else store.runs.meant(name)
        if run is None:
            tasks += ids or _ever(store, name) or []
        else:
            runs.append(run.id)
    return (None if names is None else tasks), runs


def _states(given: str | Sequence[str] | None) -> list[State] | None:
    """Return the given states, None for all; raises InputError."""
    if given is None:
        return None
    return [_state(each) for each in ([given] if isinstance(given, str) else given)]


def _disable(task: Task) -> str:
    """Return the advice to disable a task, "" when that is not possible."""
    if not task.enabled or task.next is None:
        return ""
    return f"; `taskrunner disable {task.name}` stops scheduling it"


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as exc:
        raise InputError(
            f"{shown(text)} is not a state of a run: use one of {', '.join(State)}"
        ) from exc


def _check_question(
    run: Run | None, at: datetime | None, since: datetime | None, until: datetime | None
) -> None:
    """Refuse a contradictory period, and a period together with one run."""
    if run is not None and (at or since or until):
        raise InputError(
            f"{run.id} is the id of one run: leave out the time, or name the task {run.task}"
        )
    if at is not None and (since is not None or until is not None):
        raise InputError(f"{clock.iso(at)} is one slot: leave out since and until, or it")
    if until is not None and since is None:
        raise InputError(f"until {clock.iso(until)} needs a start: also give since")
    if since is not None and until is not None and since > until:
        raise InputError(f"{clock.iso(since)} is after {clock.iso(until)}: swap since and until")


def _limit(limit: Any) -> int:
    """Return the limit of rows for SQLite: -1 for none."""
    if limit is None:
        return -1
    if not isinstance(limit, int) or limit < 1:
        raise InputError(
            f"{shown(limit)} is not a valid number of runs: give 1 or more, or None for all"
        )
    return limit
