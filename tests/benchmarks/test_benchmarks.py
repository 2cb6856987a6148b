"""The benchmarks: their arithmetic, the page they write of made-up figures, and one quick run of the real thing.

Nothing here asserts how long anything takes.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskrunner import Cron, State, TaskRunner
from taskrunner.tick import idle_check
from tests.benchmarks import (
    aims,
    commands,
    curves,
    figures,
    homes,
    mix,
    places,
    questions,
    reasons,
    report,
    results,
    timing,
)
from tests.benchmarks.__main__ import PARTS
from tests.samples import ROOT

pytestmark = pytest.mark.slow

ROW = aims.ROWS[0]
FASTER = next(row for row in aims.ROWS if row.more)


def made_up(**sides):
    """Results of a run of two rounds."""
    return results.Results(2, machine={"processor": "made of paper"}, sides=sides)


# ---- numbers


def test_the_median_stands_between_its_quartiles_and_these_within_the_whole():
    found = figures.spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.lowest, found.first, found.median, found.third, found.highest) == (1, 2, 3, 4, 5)
    assert set(dataclasses.astuple(figures.spread([7.0]))) == {1, 7.0}


def test_each_round_gives_one_ratio():
    assert figures.ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="argument 2"):
        figures.ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power):
    points = [(size, 3 * size**power) for size in (10.0, 100.0, 1_000.0)]
    assert figures.exponent(points) == pytest.approx(power)


def test_a_start_that_each_size_pays_hides_no_growth():
    costs = {str(size): [100.0 + 2 * size] for size in (1, 10, 100, 1_000)}
    due = next(curve for curve in curves.CURVES if curve.should == curves.LINEAR)
    grown = curves.grown(due, costs)
    assert grown == pytest.approx(1)
    assert curves.verdict(due, grown) == "linear"
    assert curves.verdict(due, 1.5) == "**more than linear**"


def test_a_curve_that_grows_is_not_flat():
    tasks = next(curve for curve in curves.CURVES if curve.should == curves.FLAT)
    flat, steep = {"10": [1.0], "1000": [1.01]}, {"10": [1.0], "1000": [3.0]}
    assert curves.verdict(tasks, curves.grown(tasks, flat)) == "flat"
    assert curves.verdict(tasks, curves.grown(tasks, steep)) == "**not flat**"
    assert curves.grown(tasks, {"10": [1.0]}) is None


def test_numbers_are_reported_with_three_digits():
    assert [figures.short(each) for each in (0, 0.01234, 1.234, 123.4, 12345.6)] == [
        *("0", "0.0123", "1.23", "123", "12,346")
    ]


def test_sides_take_turns_and_the_round_that_warms_up_is_not_counted():
    taken = []
    sides = {name: lambda name=name: float(taken.append(name) or len(taken)) for name in "ab"}
    found = timing.contest(sides, 2)
    assert "".join(taken) == "ababba"
    assert found == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_a_command_is_run_as_cron_would_and_one_that_fails_is_not_a_figure(tmp_path):
    timing.run("/usr/bin/env", home=tmp_path, stdout=tmp_path / "said")
    said = (tmp_path / "said").read_text().splitlines()
    assert f"TASKRUNNER_HOME={tmp_path}" in said
    assert not any(line.startswith(("PYTHON", "VIRTUAL_ENV")) for line in said)
    with pytest.raises(subprocess.CalledProcessError):
        timing.run("/bin/false")


# ---- verdicts and words


@pytest.mark.parametrize(
    ("row", "median", "verdict"),
    [
        (ROW, 0.754, aims.MET),  # shown as 0.75
        (ROW, 0.76, aims.WITHIN),
        (ROW, 1.0, aims.WITHIN),
        (ROW, 1.01, aims.MISSED),
        (FASTER, 10.0, aims.MET),
        (FASTER, 5.0, aims.WITHIN),
        (FASTER, 4.9, aims.MISSED),
    ],
)
def test_a_figure_is_held_against_aim_and_limit(row, median, verdict):
    assert aims.verdict(row, median) == verdict


def test_every_aim_stands_in_the_page_measured_or_not():
    page = report.page(results.Results(1, skipped={"celery": "there is no celery"}))
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    for row in aims.ROWS:
        assert any(line.startswith(f"| {row.what} | {row.against} |") for line in lines), row.key
    assert "not measured: there is no celery" in page
    assert "| CPU per day" in page


def test_a_missed_aim_says_by_how_much_why_and_what_would_be_needed():
    page = report.page(made_up(idle={"tick": [1.5, 1.5], "sqlite3": [1.0, 1.0]}))
    assert "1.50 instead of 0.75 (100% more); **missed**." in page
    assert reasons.REASONS["idle"].why in page
    assert reasons.REASONS["idle"].needed in page
    faster = report.page(made_up(others={"tick": [1.0, 1.0], "django": [4.0, 4.0]}))
    assert "4.00 instead of 10 times (60% less); **missed**." in faster


def test_the_page_begins_with_what_was_measured_in_plain_words():
    page = report.page(
        made_up(
            idle={"tick": [0.012, 0.012], "sqlite3": [0.02, 0.02]},
            written={"idle": [20480.0, 20480.0], "due": [350e3, 350e3]},
            first={"500 due": [0.08, 0.08]},
        )
    )
    start = page.partition("## How it is measured")[0]
    assert "takes 12.0 ms and writes 20 kB to the disk" in start
    assert "one task due writes 350 kB" in start
    assert "With 500 tasks due, the first command starts 80.0 ms after the tick" in start
    assert "With 10 tasks" not in start and "## In plain words" not in report.page(made_up())


def test_an_aim_that_is_met_is_not_explained():
    page = report.page(made_up(idle={"tick": [0.7, 0.7], "sqlite3": [1.0, 1.0]}))
    assert "| **0.70** | 0.70 to 0.70 | 0.70 to 0.70 | 2 | aim met |" in page
    assert reasons.REASONS["idle"].why not in page


def test_every_reason_is_of_a_row_or_a_curve():
    assert set(reasons.REASONS) <= {row.key for row in aims.ROWS}
    assert set(reasons.GROWTH) <= {curve.key for curve in curves.CURVES}


def test_a_curve_that_runs_otherwise_is_explained(monkeypatch):
    found = results.Results(1)
    found.curves = {"tasks": {"idle tick": {"10": [1.0], "100": [5.0]}}}
    assert "Why is not understood yet." in report.page(found)
    reason = reasons.Reason("It looks at each.", "An index.")
    monkeypatch.setitem(reasons.GROWTH, "tasks", reason)
    assert "Why: It looks at each.\n\nWhat would be needed: An index." in report.page(found)
    found.curves["tasks"]["idle tick"]["100"] = [1.0]
    assert "Why" not in report.page(found).partition("## Growth")[2]


def test_a_day_is_added_up_minute_by_minute():
    assert sum(mix.MIX.values()) == 50
    many = [mix.due_at(minute) for minute in range(mix.MINUTES)]
    ticks = dict.fromkeys(many, 0.5)
    assert mix.day_of(ticks) == 720
    values = {str(each): [0.5, 0.5] for each in {0, *many}}
    assert "| taskrunner, the 50 tasks | 720.0 | none |" in report.page(made_up(day=values))


def test_figures_are_kept_and_read_again_as_they_were(tmp_path):
    found = made_up(idle={"tick": [0.0234567, 12.0]})
    found.curves = {"tasks": {"idle tick": {"10": [1.0], "100": [1.0]}}}
    report.write(found, tmp_path / "page.md", plots=True)
    again = results.read(tmp_path / "page/figures.json")
    assert again.sides == {"idle": {"tick": [0.02346, 12.0]}}
    assert again.curves == found.curves
    page = (tmp_path / "page.md").read_text()
    assert "![costs by tasks, none of which is due](page/tasks.svg)" in page
    assert page == report.page(again, "page")


def test_the_committed_page_is_that_of_the_committed_figures():
    page = ROOT / "docs/benchmarks.md"
    kept = page.with_suffix("") / report.FIGURES
    assert page.read_text() == report.page(results.read(kept), page.stem)


# ---- homes


def test_an_idle_home_is_idle_however_many_tasks_it_has(tmp_path):
    folder = homes.idle(tmp_path / "home", 300)
    now = int(time.time() * 1000)
    assert idle_check.idle(str(folder), now, "cron")
    with TaskRunner(folder) as runner:
        assert len(runner.tasks()) == 300
        with homes.untouched(folder):
            assert runner.tick().idle


def test_a_home_that_was_not_idle_is_noticed(tmp_path):
    folder = homes.idle(tmp_path / "home", 3)
    homes.let_one_come_due(folder)
    noticed = pytest.raises(RuntimeError, match="was not idle")
    with TaskRunner(folder) as runner, noticed, homes.untouched(folder):
        runner.tick()


@pytest.mark.parametrize("alike", [True, False])
def test_all_tasks_of_a_due_home_are_due_once_and_by_the_slots_that_it_says(tmp_path, alike):
    template = homes.to_be_due(tmp_path / "template", ["/bin/true"], 12)
    folder = homes.due(template, tmp_path / "home", alike=alike)
    with TaskRunner(folder) as runner:
        tasks = runner.tasks()
        assert len({task.schedule for task in tasks}) == (1 if alike else 12)
        for task in tasks:
            schedule = Cron(task.schedule, tz=task.tz)
            assert schedule.next_after(task.evaluated) == task.next
            assert schedule.next_after(task.next) == task.following
        runner.tick()
    assert homes.ended_well(folder) == 12


def test_a_made_history_is_one_that_taskrunner_reads_and_goes_on_with(tmp_path):
    folder = homes.with_history(tmp_path / "home", 500, step=200)
    with TaskRunner(folder) as runner:
        assert len(runner.history(homes.ASKED)) == 20
        assert len(runner.history(limit=1_000)) == 500
        assert runner.tick().idle
        homes.let_one_come_due(folder)
        runner.tick()
        (newest,) = runner.history(limit=1)
        assert (newest.state, newest.trigger) == (State.SUCCEEDED, "schedule")
        assert len(runner.history(limit=1_000)) == 501
        assert runner.stats(homes.ASKED).total.runs == 25


def test_expressions_are_all_read_by_taskrunner():
    assert {Cron(text).text for text in commands.expressions(200)} == {*commands.expressions(200)}


# ---- the real thing


def measuring(place, *words):
    """The command line that tests/benchmarks/run ends with, by this Python."""
    code = [sys.executable, "-P", "-m", "tests.benchmarks", "--place", str(place)]
    return [*code, "--page", str(place / "page.md"), *words]


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}


def test_a_quick_run_measures_and_prints(tmp_path, environment):
    if not Path(sys.executable).with_name("taskrunner").exists():
        pytest.skip("taskrunner is not installed beside this Python")
    parts = ("idle", "burst", "output", "apply", "next", "history")
    words = measuring(tmp_path, "--quick", "--no-rivals", "--only", *parts)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = [line for line in done.stdout.splitlines() if "not measured: left out" not in line]
    for key in ("idle", "many", "burst", "output", "history", "apply", "next"):
        row = next(row for row in aims.ROWS if row.key == key)
        assert any(line.startswith(f"| {row.what} | {row.against} |") for line in measured), key
    assert "Quick: few rounds" in done.stdout
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize(("command", "code"), [("/bin/true", 0), ("/bin/false", 1)])
def test_the_barest_loop_keeps_each_run_and_fails_unless_all_succeeded(tmp_path, command, code):
    store = tmp_path / "store"
    program = places.PROGRAMS / "bare_ledger.py"
    done = subprocess.run([sys.executable, program, store, "10", "4", command], check=False)
    assert done.returncode == code
    with contextlib.closing(sqlite3.connect(store)) as opened:
        kept = opened.execute("SELECT state, status, count(*) FROM runs GROUP BY 1, 2").fetchall()
    assert kept == [("ended", code << 8, 10)]


def test_every_part_has_a_name_that_can_be_asked_for(tmp_path, environment):
    words = measuring(tmp_path, "--help")
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in PARTS)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, environment):
    """The whole script: its environment is in a folder that is there for as long as it runs."""
    run = subprocess.Popen(
        [ROOT / "tests/benchmarks/run", "--quick", "--no-rivals"],
        env={**environment, "PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.glob("taskrunner-bench.*")):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    assert run.wait(100) == 143
    assert not list(tmp_path.glob("taskrunner-bench.*"))


def test_every_question_is_answered_by_a_home_of_any_size(tmp_path):
    place = homes.with_history(tmp_path / "home", 2_000, tasks=60)
    with TaskRunner(place) as door:
        assert set(questions.measured([door], 1)) == set(questions.QUESTIONS)
    kept = json.loads(questions.FILE.read_text())
    assert list(kept["ms"]) == list(questions.QUESTIONS)
