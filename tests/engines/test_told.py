"""The words for a run in a queue, from its hand-over to its end: where it is, since when, and why it does not start."""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta

import pytest

from taskrunner import Manual
from taskrunner.supervise import queue_answers
from tests.engines.redis_box import PATIENCE, until, until_there
from tests.engines.test_queues import due, ended, newest, process

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow, pytest.mark.one_python]
HOST = os.uname().nodename
SILENT = r"the queue heavy does not answer since (\S+ \S+ UTC): "


def told(runner, task: str) -> str:
    """The explanation of the newest run of a task."""
    return runner.explain(newest(runner, task).id).slots[-1].reason


def lines(home, text: str) -> list[str]:
    return [line for line in (home / "taskrunner.log").read_text().splitlines() if text in line]


def test_a_pending_run_waits_for_its_queue_and_not_for_a_tick(own, make, home):
    runner = make(own)
    own.stop()
    due(runner, "report", "true")
    runner.tick()
    run = newest(runner, "report")
    since = re.match(SILENT, run.reason)[1]
    assert f"it is waiting: {run.reason}" in told(runner, "report")
    assert runner.status().problems[-1] == f"{run.reason}; 1 run affected"
    due(runner, "later", "true")
    runner.tick()
    assert (
        re.match(SILENT, newest(runner, "later").reason)[1] == since
    )  # of the queue, not of the run
    assert runner.status().problems[-1] == f"{run.reason}; 2 runs affected"
    assert len(lines(home, "does not answer since")) == 1
    own.start()
    own.worker("one")
    assert ended(runner, "later").state == ended(runner, "report").state == "succeeded"
    assert not [each for each in runner.status().problems if "heavy" in each]


def test_a_run_in_a_queue_that_stops_answering_says_so_beside_its_place(own, make, tmp_path):
    runner, go = make(own), tmp_path / "go"
    due(runner, "report", until_there(go))
    due(runner, "later", "true")
    own.worker("one")
    until(lambda: runner.tick() and newest(runner, "report").reason == f"on {HOST}")
    waits = newest(runner, "later").reason
    own.stop()
    runner.tick()
    assert re.match(rf"on {HOST}; {SILENT}", newest(runner, "report").reason)
    assert newest(runner, "later").reason.startswith(f"{waits}; the queue heavy does not answer")
    assert runner.status().problems[-1].endswith("; 2 runs affected")
    own.start()
    until(lambda: runner.tick() and "does not" not in newest(runner, "report").reason)
    go.touch()
    own.worker("two")
    assert ended(runner, "report").reason == f"exit code 0; on {HOST}"
    assert ended(runner, "later").reason == f"exit code 0; on {HOST}"


def noting(folder):
    """A command for `notify` that writes the events of a run into a file, which is there and empty."""
    (folder / "told").touch()
    return f"echo $TASKRUNNER_EVENT >> {folder}/told"


def test_the_start_is_announced_when_a_worker_starts_it(own, make, home, tmp_path):
    runner, go = make(own), tmp_path / "go"
    note = noting(tmp_path)
    due(runner, "report", until_there(go), notify={"start": note, "success": note})
    runner.tick()
    runner.tick()
    assert (tmp_path / "told").read_text() == ""
    run = newest(runner, "report")
    assert run.started is None
    assert len(lines(home, f"report: run {run.id} handed over to the queue heavy")) == 1
    assert not lines(home, "started for")
    own.worker("one")
    until(lambda: runner.tick() and newest(runner, "report").started)
    (line,) = lines(home, f"report: run {run.id} started for")
    assert line.endswith(f" on {HOST}")
    go.touch()
    ended(runner, "report")
    until(lambda: runner.tick() and len((tmp_path / "told").read_text().split()) == 2)
    assert (tmp_path / "told").read_text().split() == ["start", "success"]


def test_a_start_that_nobody_saw_is_announced_before_the_end(own, make, home, tmp_path):
    runner = make(own)
    note = noting(tmp_path)
    due(runner, "report", "true", notify={"start": note, "success": note})
    runner.tick()
    own.worker("one", "--burst").wait(PATIENCE)
    assert ended(runner, "report").state == "succeeded"
    until(lambda: runner.tick() and len((tmp_path / "told").read_text().split()) == 2)
    assert (tmp_path / "told").read_text().split() == ["start", "success"]
    assert len(lines(home, "started for")) == 1


def test_a_run_that_is_lost_before_anybody_saw_it_start_counts_as_a_failure(own, make):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    handed = process(runner, "report").handed
    own.redis.flushall()
    run = ended(runner, "report")
    assert (run.state, run.started) == ("lost", handed)
    assert runner.task("report").streak == -1


def test_a_long_wait_in_the_queue_is_told_at_the_end(own, make, monkeypatch):
    monkeypatch.setattr(queue_answers, "LONG", timedelta(seconds=1))
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    time.sleep(1.5)
    own.worker("one")
    reason = ended(runner, "report").reason
    assert re.fullmatch(rf"exit code 0; on {HOST} after .+ in heavy", reason), reason


def test_runs_of_a_queue_that_was_removed_are_a_problem(own, make, home):
    runner = make(own)
    due(runner, "report", "true")
    runner.add("later", ["true"], Manual(), queue="heavy")
    runner.tick()
    (home / "taskrunner.toml").write_text("")
    runner.close()
    problems = runner.status().problems
    assert (
        problems[-1]
        == "1 run of the queue heavy, which is not in taskrunner.toml: put it back, or cancel them"
    )
