"""Calls for the past: history, figures, output, explanations; and a cheap look for changes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import clock
from taskrunner.api.base import Base, at_most, several, utc
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.values import FAILING, State
from taskrunner.store.keys import LARGEST_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from taskrunner.model.answers import Explanation, Graph, Piece, Stats, Trace, Written
    from taskrunner.model.values import Run, Task
    from taskrunner.store.store import Store

GRAPH_SINCE = timedelta(days=30)
LARGEST_PART = 256 * 1024  # bytes
BAD = "bad"  # stands for all states of a run that went wrong


class History(Base):
    """The requests about runs of the past and what they wrote."""

    def history(
        self,
        name: str | int | Sequence[str | int] | None = None,
        *,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int | None = 20,
    ) -> list[Run]:
        """Return runs, newest first, also those of a task that was removed.

        `name` and `state` may be several each; the id of a run is that run alone, and the state `bad` stands for
        failed, timed_out and lost. `before` is the id of a run: only older ones are returned, so that the id of the
        last run of a page gives the next page. A page costs the same however long the history is. Raises
        UnknownTask, UnknownRun or InputError.
        """
        here = self._here()
        tasks, runs = _tasks_and_runs(here.store, name)
        return here.store.runs.history(
            tasks,
            run_ids=runs,
            states=_states(state),
            since=utc(since),
            until=utc(until),
            before=_before(before),
            limit=at_most(limit, "runs"),
        )

    def last_states(self, names: Sequence[str], *, limit: int = 30) -> dict[str, list[State]]:
        """Return the states of the newest runs of each of some tasks by its name, newest first.

        It reads no more than that, for a list of many tasks. Raises UnknownTask.
        """
        here, most = self._here(), at_most(limit, "runs")
        tasks = [here.store.tasks.get(name) for name in names]
        return {task.name: here.store.runs.last_states(task.id, most) for task in tasks}

    def ended(self, since: datetime, *, limit: int | None = 20) -> list[Run]:
        """Return the runs that ended since an instant, the last end first."""
        here, moment = self._here(), utc(since)
        assert moment is not None
        return here.store.runs.ended_since(moment, at_most(limit, "runs"))

    def changes(self) -> int:
        """Return a number that changes when other processes have written to the database; the query is cheap.

        It belongs to the connection of this thread: compare it only with earlier numbers of the same thread. `tag`
        is the same for all.
        """
        return self._here().store.connection.changes()

    def tag(self) -> str:
        """Return a text that is another one after anybody has written to the store; all processes see the same.

        It is made of inode, size and time of change of `taskrunner.db` and its write-ahead log, and opens nothing.
        For a moment after a change each look gives another tag, as the times of files are too coarse to
        tell two changes in a row apart. Output that grows and a tick that had nothing to do change no tag.
        """
        from taskrunner.store import tag

        return tag.tag(self.home)

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

        Without a period all runs count, also pruned ones; medians and percentiles are then those of the newest 100
        runs of each task, of fewer when there are more than 1,000 tasks. Each attempt is a run: a slot whose
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
        from taskrunner.tick import read_output

        found = read_output.of(self._here(), run.id)
        return found.follow() if follow else found.read()

    def follow(self, name: str | int | Sequence[str | int] | None = None) -> Iterator[Piece | None]:
        """Yield the output of the runs of a task, of several, or of all as it arrives, and their starts and ends.

        Running runs come first, from their beginning, then all future ones, without end; None when there is nothing
        new yet. Raises UnknownTask.
        """
        from taskrunner.tick import live_output

        return live_output.follow(self._here, _ever(self._here().store, name))

    def output(self, run: Run, *, start: int = 0, most: int | None = None) -> bytes:
        """Return the output of a run as far as it has come, or at most `most` bytes of it from `start` on.

        A negative `start` counts from the end. Of more than a part, or of an output that grows, use `written`.
        """
        if start == 0 and most is None:
            return b"".join(self.log(run))
        found = self.written(run, start=start, most=LARGEST_PART if most is None else most)
        blocks, left = [found.data], most
        while found.data and found.end < found.size:
            left = None if left is None else left - len(found.data)
            if left is not None and left <= 0:
                break
            found = self.written(run, start=found.end, most=left or LARGEST_PART)
            blocks.append(found.data)
        return b"".join(blocks)

    def written(self, run: Run | int, *, start: int = 0, most: int = LARGEST_PART) -> Written:
        """Return the part of the output of a run, or of the run of an id, that begins at `start`.

        It has at most `most` bytes, or fewer, beside a mark for bytes that were left out; `end` is the `start` of the
        next part, and `size` grows while the run goes on. A negative `start` counts from the end; one beyond the end
        is the beginning, as the command has emptied its output then. Raises InputError, UnknownRun, or StateError
        when the output was pruned.
        """
        from taskrunner.tick import read_output

        if most < 1:
            raise InputError(f"{shown(most)} is not a valid number of bytes: give 1 or more")
        key = run if isinstance(run, int) else run.id
        return read_output.of(self._here(), key).part(start, most)

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
    names = [given] if isinstance(given, str) else given
    return [state for each in names for state in (FAILING if each == BAD else [_state(each)])]


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as exc:
        raise InputError(
            f"{shown(text)} is not a state of a run: use one of {', '.join((*State, BAD))}"
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


def _before(before: Any) -> int | None:
    """Return the id that the runs asked for are below; one that is greater than any is no bound."""
    if before is None:
        return None
    if not isinstance(before, int) or isinstance(before, bool) or before < 1:
        raise InputError(f"{shown(before)} is not the id of a run: give a whole number from 1 on")
    return min(before, LARGEST_ID)
