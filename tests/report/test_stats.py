"""What the runs come to: counts, rates, medians, streaks, over any span of time."""

import json
import random
import sqlite3
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from taskrunner import Manual, State, Trigger, UnknownTask
from taskrunner.cli import main
from taskrunner.model.answers import Figures
from taskrunner.render import documents, page, statistics
from taskrunner.report import stats
from taskrunner.store.figures import Count, Scope
from taskrunner.store.store import open_store
from tests.history import SECOND, ran
from tests.samples import MINUTE, NOON

DAY = timedelta(days=1)
S, F = State.SUCCEEDED, State.FAILED
KEYS = [
    *("task", "runs", "succeeded", "failed", "timed_out", "cancelled", "lost", "skipped", "missed"),
    *("success_rate", "duration_median", "duration_p95", "late_median", "streak", "last_success"),
]


@pytest.fixture
def store(runner, home):
    """The store of a home with two tasks, x and y."""
    for name in "xy":
        runner.add(name, ["true"], Manual())
    made = open_store(str(home))
    yield made
    made.close()


def of(runner, name="x", **span):
    (found,) = runner.stats(name, **span).tasks
    return found


# ---- what is counted


def test_each_final_state_is_counted_and_only_what_started_is_a_run(runner, store):
    for number, state in enumerate(State):
        ran(store, state, NOON + number * MINUTE)
    found = of(runner)
    states = [state for state in State if state not in (State.PENDING, State.RUNNING)]
    assert [getattr(found, state) for state in states] == [1] * 7
    assert found.runs == 5


def test_a_run_that_was_cancelled_before_it_started_is_not_a_run(runner, store):
    ran(store, State.CANCELLED, started=False)
    assert (of(runner).cancelled, of(runner).runs) == (1, 0)


def test_the_success_rate_leaves_out_what_was_cancelled_skipped_or_missed(runner, store):
    states = [S, S, S, F, State.CANCELLED, State.SKIPPED, State.MISSED]
    for number, state in enumerate(states):
        ran(store, state, NOON + number * MINUTE)
    assert of(runner).success_rate == 0.75


def test_each_attempt_is_a_run(runner, store):
    ran(store, F, slot=NOON)
    ran(store, S, NOON + MINUTE, slot=NOON, attempt=2, trigger=Trigger.RETRY)
    found = of(runner)
    assert (found.runs, found.failed, found.succeeded, found.success_rate) == (2, 1, 1, 0.5)


def test_a_task_without_runs_has_zeros_and_nothing_that_cannot_be_told(runner, store):
    assert of(runner) == Figures("x", *[0] * 8, *[None] * 4, 0, None)


def test_where_there_is_nothing_there_are_no_figures_and_nothing_is_made(runner, home):
    found = runner.stats()
    assert (found.tasks, found.total.runs, found.total.task) == ([], 0, None)
    assert list(home.iterdir()) == []


# ---- lengths of time


def test_medians_percentile_and_the_last_duration(runner, store):
    for number in range(1, 21):
        late = number * MINUTE
        ran(store, ended=NOON + number * DAY, took=number * SECOND, late=late)
    found = of(runner)
    assert (found.duration_median, found.duration_p95, found.duration_last) == (10.5, 19, 20)
    assert found.late_median == 630


def test_the_run_that_ended_last_gives_the_last_duration_and_success(runner, store):
    ran(store, S, NOON, took=7 * SECOND)
    ran(store, F, NOON + DAY, took=3 * SECOND)
    ran(store, State.MISSED, NOON + 2 * DAY)
    found = of(runner)
    assert (found.duration_last, found.last_success) == (3, NOON)
    ran(store, S, NOON + 3 * DAY, took=5 * SECOND)
    found = of(runner)
    assert (found.duration_last, found.last_success) == (5, NOON + 3 * DAY)


def test_a_run_that_was_lost_has_no_duration(runner, store):
    ran(store, State.LOST, took=9 * DAY)
    ran(store, State.LOST, NOON + SECOND, took=SECOND)
    ran(store, S, NOON + MINUTE, took=2 * SECOND)
    found = of(runner)
    assert (found.runs, found.duration_median, found.duration_p95) == (3, 2, 2)


def test_only_first_attempts_that_a_slot_waited_for_are_late(runner, store):
    ran(store, late=2 * SECOND)
    ran(store, F, NOON + DAY, late=DAY, attempt=2, trigger=Trigger.RETRY)
    ran(store, S, NOON + DAY, late=DAY, trigger=Trigger.MANUAL)
    assert of(runner).late_median == 2


def test_what_started_before_its_slot_as_the_clock_went_back_is_not_late(runner, store):
    ran(store, late=-5 * SECOND)
    ran(store, ended=NOON + MINUTE, late=SECOND)
    assert of(runner).late_median == 0.5


VALUES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 3)), max_size=60)


@given(VALUES)
def test_values_at_ranks_are_those_of_the_sorted_list(pairs):
    names = {1: "a", 2: "a", 3: "c"}
    lists = {
        key: sorted(v for v, t in pairs if key in (None, names[t])) for key in ("a", "c", None)
    }
    ranks = {key: stats._ranks(len(values)) for key, values in lists.items()}
    rows = sorted((v, t, n) for (v, t), n in Counter(pairs).items())
    found = stats.ranked(rows, names, ranks)
    assert found == {key: [lists[key][rank] for rank in ranks[key]] for key in lists}


# ---- streaks


@pytest.mark.parametrize(
    ("states", "streak"),
    [
        ([], 0),
        ([S], 1),
        ([F, S, S, S], 3),
        ([S, F, State.TIMED_OUT, State.LOST], -3),
        ([F, S, State.CANCELLED, S, State.SKIPPED, State.MISSED], 2),
        ([State.CANCELLED], 0),
    ],
)
def test_a_streak_is_how_many_of_the_newest_ended_alike(runner, store, states, streak):
    for number, state in enumerate(states):
        ran(store, state, NOON + number * MINUTE)
    assert of(runner).streak == streak
    assert of(runner, since=NOON).streak == streak
    assert runner.task("x").streak == streak


def test_each_task_has_its_streak_and_all_together_have_one(runner, store):
    for number, (task, state) in enumerate([(1, S), (2, F), (1, S), (1, S), (2, S)]):
        ran(store, state, NOON + number * MINUTE, task=task)
    found = runner.stats()
    assert [(row.task, row.streak) for row in found.tasks] == [("x", 3), ("y", 1)]
    assert found.total.streak == 3


ENDS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([S, F, State.CANCELLED])), max_size=40)


@given(ENDS)
def test_streaks_are_those_of_walking_all_ends(ends):
    def walk(key):
        signs = [1 if s is S else -1 for t, s in ends if s in stats.JUDGED and key in (None, t)]
        same = 0
        while same < len(signs) and signs[same] == signs[0]:
            same += 1
        return same * signs[0] if signs else 0

    counts = [Count(t, s, n, n, n, NOON) for (t, s), n in Counter(ends).items()]
    found = stats.streaks_of(counts, iter(ends))
    assert {key: found.get(key, 0) for key in (1, 2, 3, None)} == {
        key: walk(key) for key in (1, 2, 3, None)
    }


def test_the_ends_are_walked_no_further_than_it_takes():
    ends = iter([(1, S), (1, F), (1, S), (1, S)])
    counts = [Count(1, S, 3, 3, 3, NOON), Count(1, F, 1, 1, 1, NOON)]
    assert stats.streaks_of(counts, ends)[1] == 1
    assert list(ends) == [(1, S), (1, S)]


# ---- spans of time


def test_a_span_counts_what_ended_in_it_both_ends_included(runner, store):
    for day in range(5):
        ran(store, F if day == 4 else S, NOON + day * DAY)
    span = {"since": NOON + DAY, "until": NOON + 3 * DAY}
    found = of(runner, **span)
    assert (found.runs, found.streak, found.last_success) == (3, 3, NOON + 3 * DAY)
    told = runner.stats(**span)
    assert (told.since, told.until, told.total.runs) == (*span.values(), 3)


def test_what_was_pruned_counts_when_the_span_has_no_beginning(runner, store, home):
    ran(store, ended=NOON)
    raw = sqlite3.connect(home / "taskrunner.db")
    end = round((NOON - 100 * DAY).timestamp() * 1000)
    raw.execute("INSERT INTO totals VALUES (1, 'failed', 7, 6, 60000, ?, ?)", (end, end))
    # Written when they ended, and not pruned with them.
    tally = "INSERT INTO tallies VALUES (1, 'failed', 7, 7, 6, 60000, 6, 0, ?, 10000, 0)"
    raw.execute(tally, (end,))
    raw.commit()
    raw.close()
    assert (of(runner).failed, of(runner).runs, of(runner).success_rate) == (7, 7, 1 / 8)
    assert of(runner, since=NOON - 200 * DAY).failed == 0
    assert of(runner, until=NOON - 50 * DAY).failed == 7
    assert of(runner, until=NOON - 150 * DAY).failed == 0
    assert of(runner, "y").failed == 0


def test_a_span_is_found_by_an_index(store):
    scope = Scope(since=NOON, until=NOON + DAY)
    sql = f"EXPLAIN QUERY PLAN SELECT task_id, state FROM runs WHERE {scope.where}"
    ((*_, step),) = store.connection.rows(sql)
    assert "runs_ended" in step


def test_figures_are_of_one_moment_while_others_write(runner, store, home):
    other = open_store(str(home))
    with store.connection.unchanged():
        before = store.figures.counts(Scope())
        ran(other)
        assert store.figures.counts(Scope()) == before == []
    assert len(store.figures.counts(Scope())) == 1
    other.close()


# ---- whose they are


def test_one_task_is_asked_for_by_name_or_id(runner, store):
    ran(store, task=1)
    ran(store, F, task=2)
    for key in ("y", "2", 2):
        found = runner.stats(key)
        assert [row.task for row in found.tasks] == ["y"]
        assert (found.total.failed, found.total.succeeded) == (1, 0)
    with pytest.raises(UnknownTask, match="'z'"):
        runner.stats("z")


def test_a_removed_task_appears_when_it_has_runs_in_the_span(runner, store):
    ran(store, task=1)
    runner.remove("x")
    runner.remove("y")
    (found,) = runner.stats().tasks
    assert (found.task, found.removed, found.runs) == ("x", True, 1)
    assert runner.stats(since=NOON + DAY).tasks == []
    assert runner.stats("x").total.runs == 1


def test_a_task_that_took_the_name_of_a_removed_one_has_its_runs_too(runner, store):
    ran(store, F)
    ran(store, F, NOON + MINUTE)
    runner.remove("x")
    new = runner.add("x", ["true"], Manual())
    assert of(runner).streak == -2
    ran(store, S, NOON + DAY, task=new.id)
    found = of(runner)
    assert (found.runs, found.failed, found.streak, found.removed) == (3, 2, 1, False)


# ---- how they are told


def test_the_document_has_its_keys_in_their_order(runner, store):
    ran(store, ended=NOON + timedelta(milliseconds=500))
    text = documents.stats_document(runner.stats(since=NOON))
    document = json.loads(text)
    assert list(document) == ["version", "since", "until", "tasks", "total", "newest"]
    assert (document["version"], document["since"]) == (1, "2026-11-20T12:00:00Z")
    assert document["until"] is None
    assert [list(task) for task in document["tasks"]] == [KEYS, KEYS]
    assert list(document["total"]) == KEYS[1:]
    assert document["tasks"][0]["last_success"] == "2026-11-20T12:00:00.500Z"
    assert document["tasks"][0]["duration_median"] == 10
    assert document["tasks"][1]["success_rate"] is None


def test_the_command_line_prints_a_table_and_a_document(runner, store, home, capsys):
    ran(store, ended=NOON - DAY)
    assert main.main(["--home", str(home), "stats", "x"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["task", "runs", "ok", "streak"]
    assert row.split()[:5] == ["x", "1", "100%", "+1", "10s"]
    words = ["stats", "--since", "2026-11-18", "--until", "2026-11-19T11:00Z", "--json"]
    assert main.main(["--home", str(home), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["until"] == "2026-11-19T11:00:00Z"
    assert document["total"]["runs"] == 0


def test_without_tasks_the_command_line_says_so(home, capsys):
    assert main.main(["--home", str(home), "stats"]) == 0
    told = capsys.readouterr()
    assert (told.out, "there are no tasks yet" in told.err) == ("", True)


def figures(**more):
    values = {"task": "x", **dict.fromkeys(KEYS[1:9], 0), **dict.fromkeys(KEYS[9:13], None)}
    return Figures(**{**values, "streak": 0, "last_success": None, **more})


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100%"), (0.99999, "99.9%"), (0.5, "50%"), (0.0, "0%"), (None, "-")]
)
def test_only_when_all_succeeded_it_is_100_percent(share, shown):
    table = statistics.stats_table(
        page.Page("UTC", NOON), stats.Stats(None, None, [figures(success_rate=share)], figures())
    )
    assert table.splitlines()[1].split()[2] == shown


def test_the_table_fits_a_terminal_of_80_columns():
    busy = figures(
        task="backup", runs=1440, failed=12, timed_out=6, lost=7, skipped=8, streak=-345,
        success_rate=0.875, duration_median=71.0, duration_p95=85.0, duration_last=1.5,
        late_median=1.5, last_success=NOON - DAY,
    )  # fmt: skip
    told = stats.Stats(None, None, [busy], busy)
    table = statistics.stats_table(page.Page("UTC", NOON, width=80), told)
    assert max(map(len, table.splitlines())) <= 80
    assert "12 failed, 6 timed out, 7 lost, 8 skipped" in statistics.stats_table(
        page.Page("UTC", NOON), told
    )


def test_figures_do_not_depend_on_the_order_in_which_tasks_were_added(runner, store):
    order = random.Random(7)
    for number in range(30):
        ran(store, order.choice([S, F]), NOON + number * MINUTE, task=order.choice([1, 2]))
    both, single = runner.stats(), [of(runner, "x"), of(runner, "y")]
    assert both.tasks == single
    assert both.total.runs == sum(row.runs for row in single)


# ---- a long history


def test_without_a_span_medians_are_of_the_newest_runs_and_counts_of_all(
    runner, store, monkeypatch
):
    monkeypatch.setattr(stats, "NEWEST_OF_EACH", 4)
    monkeypatch.setattr(stats, "LEAST_OF_EACH", 2)
    for number, took in enumerate((90, 90, 90, 1, 2, 3, 4)):
        ran(store, ended=NOON + number * DAY, took=took * SECOND, late=took * MINUTE)
    ran(store, F, NOON + 7 * DAY, task=2, took=50 * SECOND)
    found = of(runner)
    assert (found.runs, found.succeeded, found.streak) == (7, 7, 7)
    assert (found.duration_median, found.duration_p95, found.late_median) == (2.5, 4, 150)
    assert found.duration_last == 4
    assert runner.stats("x").newest == 4
    exact = runner.stats("x", since=NOON - DAY)
    assert (exact.tasks[0].duration_median, exact.newest) == (4, None)
    both = runner.stats()
    assert (both.total.runs, both.total.duration_median, both.total.duration_p95) == (8, 3, 50)


def test_of_very_many_tasks_fewer_runs_of_each_are_looked_at():
    assert [stats.sample(tasks) for tasks in (0, 1, 1000, 2000, 10_000, 10**6)] == [
        *(100, 100, 100, 50, 10, 10)
    ]


def test_the_table_and_the_document_say_of_how_many_runs_medians_are(
    runner, store, home, capsys, monkeypatch
):
    monkeypatch.setattr(stats, "NEWEST_OF_EACH", 4)
    monkeypatch.setattr(stats, "LEAST_OF_EACH", 2)

    def told(*words):
        assert main.main(["--home", str(home), "stats", *words]) == 0
        return capsys.readouterr().out

    for number in range(4):
        ran(store, ended=NOON + number * DAY)
    foot = "median, p95 and late are of the newest 4 runs of each task"
    assert foot not in told()
    assert json.loads(told("--json"))["newest"] == 4
    ran(store, ended=NOON + 5 * DAY)
    assert foot in told()
    assert foot not in told("--since", "2020-01-01")
    assert json.loads(told("--json", "--since", "2020-01-01"))["newest"] is None
