"""Statistics of runs over a span of time: counts, rates, medians and streaks.

`stats` asks the store and the rest is pure: counts and ordered lengths in, figures out. It must not write.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime

from taskrunner.clock import from_ms
from taskrunner.model.answers import Figures, Stats
from taskrunner.model.record import field, like, mutable, record
from taskrunner.model.values import FAILING, State
from taskrunner.store.figures import Count, Known, Measured, Scope
from taskrunner.store.store import Store

JUDGED = (State.SUCCEEDED, *FAILING)  # a cancelled run says nothing about its task
END = 2**63  # a rank that is never reached
# Medians without a span of time are of the newest runs of each task, of fewer when there are very many tasks.
NEWEST_OF_EACH, LEAST_OF_EACH, SAMPLE = 100, 10, 100_000
ALL = None  # the key of all tasks together


@mutable
class Sum:
    """Running totals of one task name, or of all."""

    states: Counter[State] = field(default_factory=Counter)
    runs: int = 0
    measured: int = 0  # runs with a known duration, not pruned
    punctual: int = 0
    last_success: datetime | None = None
    last: datetime | None = None  # end of the newest run
    took: int | None = None  # milliseconds that it took

    def add(self, count: Count, *, kept: bool) -> None:
        """Add the runs of one state, which are `kept` in the store or pruned."""
        self.states[count.state] += count.runs
        self.runs += count.started
        if count.state is State.SUCCEEDED:
            self.last_success = max(self.last_success or count.last, count.last)
        if kept:
            self.punctual += count.punctual
            self.measured += count.started if count.state is not State.LOST else 0
            if count.duration is not None and (self.last is None or count.last >= self.last):
                self.last, self.took = count.last, count.duration


def stats(
    store: Store,
    ids: Sequence[int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Stats:
    """Return the figures of the tasks with these ids, or of all, over the runs that ended in a span of time.

    Without a span it is everything ever, including pruned runs, by the tallies. Then medians, percentiles and the
    streak of all tasks together are of the newest runs of each task, so that a long history costs no more.
    """
    newest = None
    with store.connection.unchanged():
        known = store.figures.known(ids)
        names = {task.id: task.name for task in known}
        if since is None and until is None:
            newest = sample(len(known))
            of = _of_newest(store, ids, newest)
        else:
            of = _of_span(store, Scope(None if ids is None else tuple(ids), since, until))
        sums = summed(names, of.counts, of.pruned)
        took, late = _lengths(of, names, sums)
        streaks = streaks_of(of.counts, of.ends)
        if newest is not None:
            ever = store.figures.ever(ids)
            streaks = remembered(known, ever, streaks)
            sums = of_all_time(sums, summed(names, (), ever))
    here_still = {task.name for task in known if not task.removed}
    streak = by_name(known, streaks)
    found = {
        key: figures(key, each, took[key], late[key], streak[key]) for key, each in sums.items()
    }
    total = found.pop(ALL)
    shown = [
        like(found[key], removed=key not in here_still)
        for key in sorted(set(names.values()))
        if key in here_still or sums[key].states
    ]
    return Stats(since, until, shown, total, newest)


@record
class Material:
    """The figures of some runs: counts, those of pruned runs, and, in order, durations, latenesses and ends."""

    counts: Sequence[Count]
    pruned: Sequence[Count]
    durations: Iterable[Sequence[int]]
    latenesses: Iterable[Sequence[int]]
    ends: Iterable[tuple[int, State]]


def _of_span(store: Store, scope: Scope) -> Material:
    """Return the figures of all runs in a span; the long ones are read as they are used."""
    found = store.figures
    return Material(
        found.counts(scope),
        found.totals(scope),
        found.durations(scope),
        found.latenesses(scope),
        found.ends(scope),
    )


def _of_newest(store: Store, ids: Sequence[int] | None, count: int) -> Material:
    """Return the figures of the newest runs of each task."""
    runs = store.figures.newest(ids, count)
    by_state: dict[tuple[int, State], list[Measured]] = {}
    for run in runs:
        by_state.setdefault(run[:2], []).append(run)
    counts = [
        Count(
            *(*key, len(some), sum(run[3] is not None for run in some)),
            *(sum(run[4] is not None for run in some), from_ms(some[0][2]), some[0][3]),
        )
        for key, some in by_state.items()
    ]
    known = [run for run in runs if run[3] is not None and run[1] is not State.LOST]
    return Material(
        counts,
        (),
        sorted((run[3] or 0, run[0], 1) for run in known),
        sorted((run[4], run[0], 1) for run in runs if run[4] is not None),
        [run[:2] for run in runs],
    )


def _lengths(
    of: Material, names: Mapping[int, str], sums: Mapping[str | None, Sum]
) -> tuple[dict[str | None, list[int]], dict[str | None, list[int]]]:
    """Return durations and latenesses at the ranks that are told, by the name of their task and of all."""
    took = {key: _ranks(each.measured) for key, each in sums.items()}
    late = {key: _ranks(each.punctual)[:2] for key, each in sums.items()}
    return ranked(of.durations, names, took), ranked(of.latenesses, names, late)


def sample(tasks: int) -> int:
    """Return how many of the newest runs of each of so many tasks medians are of."""
    return max(LEAST_OF_EACH, min(NEWEST_OF_EACH, SAMPLE // max(1, tasks)))


def of_all_time(
    measured: Mapping[str | None, Sum], ever: Mapping[str | None, Sum]
) -> dict[str | None, Sum]:
    """Return the sums of everything ever with the last duration, which only the newest runs have."""
    for key, each in ever.items():
        each.last, each.took = measured[key].last, measured[key].took
    return dict(ever)


def summed(
    names: Mapping[int, str], kept: Iterable[Count], pruned: Iterable[Count]
) -> dict[str | None, Sum]:
    """Return the totals of the runs, by the name of their task and for all together."""
    sums: dict[str | None, Sum] = {key: Sum() for key in (*names.values(), ALL)}
    for counts, in_store in ((kept, True), (pruned, False)):
        for count in counts:
            for key in (names[count.task_id], ALL):
                sums[key].add(count, kept=in_store)
    return sums


def _ranks(count: int) -> list[int]:
    """Return the ranks of the median (one or two) and of the 95th percentile among `count` values, from 0 on."""
    return [(count - 1) // 2, count // 2, -(-95 * count // 100) - 1] if count else []


def ranked(
    values: Iterable[Sequence[int]],
    names: Mapping[int, str],
    ranks: Mapping[str | None, Sequence[int]],
) -> dict[str | None, list[int]]:
    """Return the values at these ranks, from (value, task id, count) in order of value."""
    found: dict[str | None, list[int]] = {key: [] for key in ranks}
    seen = dict.fromkeys(ranks, 0)
    following = {key: wanted[0] if wanted else END for key, wanted in ranks.items()}
    for value, task_id, count in values:
        for key in (names[task_id], ALL):
            seen[key] += count
            while following[key] < seen[key]:
                found[key].append(value)
                left = ranks[key][len(found[key]) :]
                following[key] = left[0] if left else END
    return found


def streaks_of(counts: Sequence[Count], ends: Iterable[tuple[int, State]]) -> dict[Hashable, int]:
    """Return how many of the newest runs succeeded (+) or failed (-) in a row, by task id and for all together.

    With only successes, or only failures, the streak is their count; otherwise the ends are read, newest first, only
    as far as needed.
    """
    good, bad = Counter[Hashable](), Counter[Hashable]()
    for count in counts:
        for key in (count.task_id, ALL) if count.state in JUDGED else ():
            (good if count.state is State.SUCCEEDED else bad)[key] += count.runs
    found: dict[Hashable, int] = {key: good[key] - bad[key] for key in good.keys() ^ bad.keys()}
    walked = Counter[Hashable]()
    open_still = good.keys() & bad.keys()
    for task_id, state in ends if open_still else ():
        for key in {task_id, ALL} & open_still if state in JUDGED else ():
            sign = 1 if state is State.SUCCEEDED else -1
            if walked[key] * sign >= 0:
                walked[key] += sign
            else:
                open_still.discard(key)
        if not open_still:
            break
    return found | walked


def remembered(
    known: Iterable[Known], ever: Sequence[Count], streaks: Mapping[Hashable, int]
) -> dict[Hashable, int]:
    """Return streaks that reach beyond the newest runs: each task remembers its own, also of pruned runs.

    Its number may be too low, as it counts from when a database was upgraded. That of all together is known beyond them only when all runs ever ended alike.
    """
    found = dict(streaks)
    for task in known:
        seen = found.get(task.id, 0)
        alike = seen * task.streak >= 0  # else the runs that ended it are pruned
        found[task.id] = max(seen, task.streak, key=abs) if alike else task.streak
    pure = streaks_of(ever, ())
    return found if ALL not in pure else {**found, ALL: pure[ALL]}


def by_name(known: Iterable[Known], streaks: Mapping[Hashable, int]) -> dict[str | None, int]:
    """Return the streak of each name, from the last task with that name that ran, and of all together."""
    found: dict[str | None, int] = {ALL: streaks.get(ALL, 0)}
    for task in known:
        found[task.name] = streaks.get(task.id, 0) or found.get(task.name, 0)
    return found


def figures(
    name: str | None, found: Sum, took: Sequence[int], late: Sequence[int], streak: int
) -> Figures:
    """Return the figures of one name, or of all; `took` and `late` are values at ranks, in milliseconds."""
    judged = sum(found.states[state] for state in JUDGED)
    return Figures(
        task=name,
        runs=found.runs,
        succeeded=found.states[State.SUCCEEDED],
        failed=found.states[State.FAILED],
        timed_out=found.states[State.TIMED_OUT],
        cancelled=found.states[State.CANCELLED],
        lost=found.states[State.LOST],
        skipped=found.states[State.SKIPPED],
        missed=found.states[State.MISSED],
        success_rate=found.states[State.SUCCEEDED] / judged if judged else None,
        duration_median=(took[0] + took[1]) / 2000 if took else None,
        duration_p95=took[2] / 1000 if took else None,
        late_median=(max(0, late[0]) + max(0, late[1])) / 2000 if late else None,
        streak=streak,
        last_success=found.last_success,
        duration_last=None if found.took is None else found.took / 1000,
    )
