"""The contents of pages as values, without a server."""

from datetime import timedelta

import pytest

from taskrunner import Cron, Every, Manual, State
from tests.history import SECOND, ran
from tests.samples import NOON, run

pytest.importorskip("flask")

from taskrunner.web import plots, shown, spelled


@pytest.fixture
def store(runner):
    runner.add("check", ["true"], Every("5m"))
    return runner._here().store


# ---- now


def test_a_run_of_a_moment_stays_for_fifteen_seconds_after_its_end(runner, clock, store):
    ran(store, ended=clock(), took=SECOND / 10)
    for seconds, stays in ((1, True), (13, True), (3, False)):
        clock.forward(seconds=seconds)
        assert bool(shown.now(runner).active) is stays, seconds


def test_a_slot_that_was_not_run_is_no_run_that_just_ended(runner, clock, store):
    ran(store, State.SKIPPED, clock())
    assert shown.now(runner).active == []


def test_each_task_that_is_due_soon_has_one_line(runner, store):
    runner.add("hourly", ["true"], Every("1h"))
    assert [item.task for item in shown.now(runner).status.coming] == ["check", "hourly"]


def test_successes_of_a_task_are_one_line_and_failures_each_their_own(runner, clock, store):
    for minutes in range(10, 0, -1):
        state = State.FAILED if minutes in (3, 5) else State.SUCCEEDED
        ran(store, state, clock() - timedelta(minutes=minutes))
    found = shown.now(runner).ended
    assert [(each.run.state, each.times) for each in found] == [
        ("succeeded", 8),
        ("failed", 1),
        ("failed", 1),
    ]


def test_a_failing_task_is_told_with_its_newest_failure(runner, clock, store):
    run_id = ran(store, State.FAILED, clock(), output=b"one\ntwo\n")
    found = shown.now(runner)
    ((task, last),) = found.failing
    assert (task.name, last.id, found.failures) == ("check", run_id, 1)
    assert found.traces[run_id].last_line == "two"


# ---- one run, one task


def test_what_is_usual_needs_three_successes():
    def of(*lengths):
        return [
            run(1, State.SUCCEEDED, started=NOON, finished=NOON + timedelta(seconds=each))
            for each in lengths
        ]

    assert shown.usual(of(1, 2)) is None
    assert shown.usual(of(1, 9, 2)) == 2


def test_figures_are_of_the_runs_that_started(runner, clock, store):
    for seconds, state in enumerate(["succeeded"] * 19 + ["failed", "cancelled", "skipped"]):
        ran(store, State(state), clock() - timedelta(minutes=60 - seconds), took=seconds * SECOND)
    found = shown.task(runner, "check").lately
    assert (found.runs, found.success_rate, found.p95) == (21, 0.95, 19)


def test_an_output_that_was_pruned_is_told_so(runner, store):
    run_id = ran(store, size=100_000)
    found = shown.run(runner, run_id)
    assert found.output.end == 0 and "output" in found.output.gone


# ---- the agenda


def test_tasks_that_fail_come_first_among_the_last_days(runner, clock, store):
    runner.add("zebra", ["true"], Cron("0 0 * * *"))
    ran(store, State.FAILED, clock(), task=runner.task("zebra").id)
    found = shown.agenda(runner, "")
    assert [name for name, _ in found.strips] == ["zebra", "check"]
    assert found.strips[0][1].told == "last day: failed" and not (found.rest or found.cut)


def test_of_very_many_tasks_the_agenda_has_the_next_slots_alone(runner, clock, monkeypatch):
    monkeypatch.setattr(shown, "COMPARED", 3)
    monkeypatch.setattr(shown, "SOONEST", 2)
    for hours in range(1, 6):
        runner.add(f"each-{hours}", ["true"], Every(f"{hours}h"))
    found = shown.agenda(runner, "")
    assert found.cut and [entry.task for entry in found.entries] == ["each-1", "each-2"]


# ---- plots


def test_marks_stand_at_the_right_and_a_failure_is_taller():
    found = plots.marks([State.FAILED, State.SUCCEEDED], 30)
    assert found.paths == [("failed", "M145 16v-16h4v16z"), ("succeeded", "M140 16v-8h4v8z")]
    assert found.told == "last 2 runs: 1 succeeded, 1 failed"
    assert plots.marks([], 30).told == "no runs yet"
    assert plots.marks([State.TIMED_OUT], 30).told == "last run: timed out"


def test_bars_are_from_zero_to_the_longest_and_oldest_first():
    def took(number, seconds):
        return run(number, "succeeded", started=NOON, finished=NOON + timedelta(seconds=seconds))

    found = plots.bars([took(3, 0), took(2, 10), run(9, "running", started=NOON), took(1, 5)])
    assert [(each.run.id, each.height) for each in found] == [(1, 32.0), (2, 64.0), (3, 1.0)]
    assert [each.height for each in plots.bars([took(1, 0)])] == [1.0]


# ---- spelling


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        (0, "13:00"),
        (-3, "10:00"),
        (-20, "Thu 17:00"),
        (140, "Thu 09:00"),
        (-24 * 20, "31 Oct 13:00"),
        (-24 * 400, "16 Oct 2025"),
    ],
)
def test_an_instant_is_told_in_few_signs(hours, told):
    at = spelled.Spelled("Europe/Berlin", NOON)
    assert at.short(NOON + timedelta(hours=hours)) == told


def test_distances_are_in_whole_seconds_and_a_day_is_named():
    at = spelled.Spelled("Europe/Berlin", NOON)
    distances = [at.distance(NOON + timedelta(seconds=each)) for each in (0.2, -3.4, 75, 90_000)]
    assert distances == ["now", "3s ago", "in 1m 15s", "in 1d 1h"]
    assert at.day(NOON) == "Today, Friday 20 November"
    assert at.full(NOON) == "Fri 20 Nov 2026, 13:00:00 CET"
    assert at.local("since 2026-11-20 12:00:00 UTC\x1b") == "since 2026-11-20 13:00:00 CET\\x1b"


def test_a_share_is_rounded_down_so_that_all_means_all():
    assert [spelled.share(each) for each in (1.0, 0.9999, None)] == ["100 %", "99.9 %", "–"]
    assert [spelled.streak(each) for each in (3, -2, 0)] == ["3 succeeded", "2 failed", "–"]


def test_a_task_by_hand_has_no_next_slots(runner):
    runner.add("idle", ["true"], Manual())
    found = shown.task(runner, "idle")
    assert found.next == [] and found.bars == [] and found.lately.median is None
