"""Where many tasks are due the first runs start while the others are claimed: the same rows, sooner."""

import os
import signal
import threading

import pytest

from taskrunner import Cron, State, TaskRunner
from taskrunner.errors import StoreBusy
from taskrunner.model.decisions import Action
from taskrunner.processes.children import Children
from taskrunner.store.tasks import Tasks
from taskrunner.tick import claim, visit
from tests.samples import wait_for

EACH_MINUTE = Cron("* * * * *", tz="UTC")


@pytest.fixture
def started():
    """The ids of the runs that were started, in their order."""
    return []


@pytest.fixture
def many(runner, clock, monkeypatch, started):
    """Eight tasks that are due, where six are many; returns the numbers of rows there were at each start."""
    monkeypatch.setattr(visit, "MANY", 6)
    monkeypatch.setattr(visit, "FIRST", 2)
    monkeypatch.setattr(claim, "BATCH", 3)
    for number in range(8):
        runner.add(f"t{number}", ["true"], EACH_MINUTE)
    clock.forward(minutes=1)
    rows, start = [], Children.start

    def noted(self, run_id, *given):
        rows.append(len(runner.history(limit=None)))
        started.append(run_id)
        return start(self, run_id, *given)

    monkeypatch.setattr(Children, "start", noted)
    return rows


def states(runner):
    return [run.state for run in runner.history(limit=None)]


def test_the_first_runs_start_before_all_are_claimed(runner, many):
    found = runner.tick()
    assert many[0] == 2 and len(many) == 8
    assert states(runner) == [State.SUCCEEDED] * 8
    assert [each.action for each in found.decisions] == [Action.RUN] * 8
    assert len(found.runs) == 8 and found.warning is None


def test_none_starts_before_one_of_a_higher_priority_is_claimed(runner, many, started):
    runner.set("t7", priority=5)
    runner.tick()
    assert runner.run_of(started[0]).task == "t7"
    assert many[0] == 8


def test_none_starts_before_one_of_an_older_slot_is_claimed(runner, clock, many):
    clock.forward(minutes=1)
    runner.tick()
    assert many[0] == 8


def test_few_are_claimed_together(runner, many, monkeypatch):
    monkeypatch.setattr(visit, "MANY", 9)
    runner.tick()
    assert many[0] == 8


def test_a_tick_goes_on_where_the_first_ones_claimed_do_not_start(runner, clock, many):
    for number in range(4):
        runner.set(f"t{number}", deadline="1s")
    clock.forward(seconds=30)
    runner.tick()
    assert sorted(states(runner)) == [State.MISSED] * 4 + [State.SUCCEEDED] * 4


def test_a_tick_goes_on_where_nothing_is_left_to_watch_in_between(runner, clock, many):
    for number in range(2, 7):
        runner.set(f"t{number}", deadline="1s")
    clock.forward(seconds=30)
    runner.tick()
    assert sorted(states(runner)) == [State.MISSED] * 5 + [State.SUCCEEDED] * 3


def test_a_signal_ends_the_claiming_and_the_rest_stays_due(runner, many, monkeypatch):
    start = Children.start

    def interrupted(*given):
        monkeypatch.setattr(Children, "start", start)
        os.kill(os.getpid(), signal.SIGTERM)
        return start(*given)

    monkeypatch.setattr(Children, "start", interrupted)
    assert runner.tick().interrupted == signal.SIGTERM
    assert len(states(runner)) < 8
    monkeypatch.setattr(Children, "start", start)
    runner.tick()
    assert len(runner.history(limit=None)) == 8


def test_runs_go_on_while_the_rest_cannot_be_claimed_and_stays_due(runner, many, monkeypatch):
    due, calls = Tasks.due, []

    def refused(*given):
        calls.append(given)
        if len(calls) == 2:
            raise StoreBusy("the database stayed busy")
        return due(*given)

    monkeypatch.setattr(Tasks, "due", refused)
    found = runner.tick()
    assert (found.warning, len(found.runs)) == ("the database stayed busy", 2)
    assert states(runner) == [State.SUCCEEDED] * 2
    runner.tick()
    assert states(runner) == [State.SUCCEEDED] * 8


def test_a_run_that_one_claimed_later_replaces_is_stopped(runner, clock, many, home):
    runner.set(
        "t7",
        overlap="replace",
        shell=f"[ -e {home}/twice ] || {{ touch {home}/twice; exec sleep 100; }}",
    )
    ours = threading.Thread(target=TaskRunner(home, clock=clock).run, args=("t7",))
    ours.start()
    wait_for((home / "twice").exists)
    runner.tick()
    ours.join()
    assert sorted(states(runner)) == [State.CANCELLED] + [State.SUCCEEDED] * 8
