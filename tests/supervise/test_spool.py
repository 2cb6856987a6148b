"""The spool: the end of a run is not forgotten, whatever becomes of the store and of who saw it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import After, Every, Manual, State, TaskRunner, schema
from taskrunner.model.values import Outcome
from taskrunner.store.tasks import Tasks
from taskrunner.supervise import outcomes, spool
from taskrunner.supervise.systemd import record_end
from tests.samples import NOON, ROOT, rests, start, wait_for

WAITS = "touch {0}/up; while [ -e {0}/up ]; do sleep 0.02; done; echo done; exit 3"


@pytest.fixture
def runner(home):
    """A taskrunner with the real clock, since other processes take part."""
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def waiting(runner, home, tmp_path):
    """A run under a supervisor of its own that ends, with exit code 3, when `tmp_path/up` is gone."""
    runner.add(
        "x", shell=WAITS.format(tmp_path), schedule=Manual(), now=True, retries=1, retry_delay="1h"
    )
    with start(home, "tick") as supervisor:
        wait_for((tmp_path / "up").exists)
        wait_for(lambda: [p for _, p in runner._here().store.processes.with_runs() if p.pid])
        yield supervisor
        (tmp_path / "up").unlink(missing_ok=True)
        if supervisor.poll() is None:
            supervisor.send_signal(signal.SIGTERM)


@pytest.fixture
def spooled(runner, home, waiting, tmp_path):
    """The same run when its end is in the spool alone: its supervisor met a busy store, and was killed."""
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (tmp_path / "up").unlink()
    (file,) = wait_for(lambda: list((home / "spool").glob("*.json")))
    waiting.kill()
    waiting.wait()
    other.close()
    return file


def states(runner):
    return [(run.task, run.state, run.attempt) for run in runner.history()]


def test_an_outcome_outlives_its_supervisor_when_the_store_is_busy(runner, home, spooled):
    ended = runner.now()
    assert runner.history()[0].state is State.RUNNING
    assert spooled.stat().st_mode & 0o777 == 0o600
    assert (home / "spool").stat().st_mode & 0o777 == 0o700
    runner.add("next", ["true"], After("x", "failed"))
    runner.set("x", retries=0)
    runner.tick()
    assert states(runner) == [("next", State.SUCCEEDED, 1), ("x", State.FAILED, 1)]
    run = runner.history("x")[0]
    assert (run.exit_code, run.reason, runner.output(run)) == (3, "exit code 3", b"done\n")
    assert run.cpu_seconds is not None
    assert run.finished < ended
    assert not list((home / "spool").iterdir()) and not list((home / "output").iterdir())
    assert runner.tick().idle


def test_a_spooled_end_brings_about_the_next_attempt(runner, spooled):
    runner.tick()
    assert states(runner) == [("x", State.PENDING, 2), ("x", State.FAILED, 1)]


def test_an_outcome_that_is_taken_up_twice_does_no_harm(runner, home, spooled):
    text = spooled.read_bytes()
    for _ in range(2):
        runner.tick()
        assert states(runner) == [("x", State.PENDING, 2), ("x", State.FAILED, 1)]
        assert not spooled.exists()
        spooled.write_bytes(text)


def test_two_who_take_up_at_once_record_one_end(runner, home, spooled):
    many = [start(home, "tick") for _ in range(6)]
    for each in many:
        out, err = each.communicate(timeout=100)
        assert (out, err, each.returncode) == ("", "", 0)
    assert states(runner) == [("x", State.PENDING, 2), ("x", State.FAILED, 1)]


def die(*_, **__):
    """What ends a process at once, unlike what goes wrong with one run."""
    raise KeyboardInterrupt


def test_a_take_up_that_dies_before_it_removed_the_file_is_done_again(runner, spooled, monkeypatch):
    monkeypatch.setattr(spool, "drop", die)
    with pytest.raises(KeyboardInterrupt):
        spool.take_up(runner._here())
    monkeypatch.undo()
    assert states(runner)[1] == ("x", State.FAILED, 1)
    runner.tick()
    assert not spooled.exists()


def test_a_take_up_that_dies_halfway_leaves_run_and_file_as_they_were(
    runner, home, spooled, monkeypatch
):
    monkeypatch.setattr(Tasks, "any_concerned", die)
    runner.set("x", retries=0)
    with pytest.raises(KeyboardInterrupt):
        spool.take_up(runner._here())
    monkeypatch.undo()
    assert states(runner) == [("x", State.RUNNING, 1)]
    runner.tick()
    assert states(runner) == [("x", State.FAILED, 1)]
    assert runner.output(runner.history()[0]) == b"done\n"


def test_what_waits_in_the_spool_ends_the_idleness(runner, home, spooled):
    text = spooled.read_bytes()
    runner.set("x", retries=0)
    runner.tick()
    assert runner.tick().idle
    spooled.write_bytes(text)
    assert not runner.tick().idle
    assert runner.tick().idle
    shutil.rmtree(home / "spool")
    assert runner.tick().idle


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1}', '{"version": 1, "outcome": {}}']
)
def test_a_spooled_file_that_cannot_be_read_is_set_aside_and_told_of_once(runner, home, text):
    runner.add("x", ["true"], Manual())
    runner.tick()
    (home / "spool" / "7.1-abc.json").write_text(text)
    runner.tick()
    assert [place.name for place in (home / "spool").iterdir()] == ["7.1-abc.json.refused"]
    (event,) = [each for each in runner._here().store.events.all() if each.what == "error"]
    assert "7.1-abc.json" in event.text
    assert runner.tick().idle


def test_an_end_of_a_run_that_the_store_does_not_know_is_dropped(runner, home):
    runner.add("x", ["true"], Manual())
    runner.run("x")
    for number in (1, 99):
        there = outcomes.Ended(
            number, "1-abc", NOON, Outcome(exit_code=9), 0, False, None, None, True
        )
        spool.put(runner.home, there)
    runner.tick()
    assert states(runner) == [("x", State.SUCCEEDED, 1)]
    assert not list((home / "spool").iterdir())


def test_what_is_read_is_what_was_written(runner):
    runner.add("x", ["true"], Manual())
    outcome = Outcome(None, 9, None, True, cpu_seconds=1.25, peak_memory=4096)
    there = outcomes.Ended(5, "1-abc", NOON, outcome, 70_000, True, "a fault", "a note", False)
    spool.put(runner.home, there)
    assert spool.waiting(runner.home) == [there.name]
    assert spool._read(runner.home, there.name) == there


def test_a_half_written_file_of_a_dead_supervisor_is_removed(runner, home):
    runner.add("x", ["true"], Manual())
    runner.tick()
    (home / "spool" / "7.1-abc.json.new").write_text("{")
    runner.set("x", now=True)
    runner.tick()
    assert not list((home / "spool").iterdir())


def test_an_outcome_is_recorded_by_its_supervisor_once_the_store_is_free_again(
    runner, home, waiting, tmp_path
):
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (tmp_path / "up").unlink()
    (file,) = wait_for(lambda: list((home / "spool").glob("*.json")))
    other.close()
    wait_for(lambda: runner.run_of(2).state is State.FAILED)
    wait_for(lambda: not file.exists())
    assert runner.output(runner.run_of(2)) == b"done\n"


def test_an_upgrade_under_a_live_supervisor_loses_no_outcome(runner, home, waiting, tmp_path):
    raw = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    raw.execute(f"PRAGMA user_version = {len(schema.STEPS) + 1}")
    raw.execute("UPDATE tasks SET retries = 0")
    raw.execute(  # what would be started if it went on
        "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed) "
        "VALUES (1, 1, 1, 'manual', 'pending', 1)"
    )
    (tmp_path / "up").unlink()
    _, err = waiting.communicate(timeout=100)
    assert waiting.returncode == 1
    assert err.count("\n") == 1 and "newer than the" in err
    rows = raw.execute("SELECT state FROM runs ORDER BY id").fetchall()
    assert rows == [("running",), ("pending",)]
    (file,) = (home / "spool").iterdir()
    assert json.loads(file.read_text())["outcome"]["exit_code"] == 3
    raw.execute("DELETE FROM runs WHERE state = 'pending'")
    raw.execute(f"PRAGMA user_version = {len(schema.STEPS)}")  # the newer program comes
    raw.close()
    runner.tick()
    assert states(runner) == [("x", State.FAILED, 1)]
    assert runner.output(runner.history()[0]) == b"done\n"


def test_a_daemon_ends_when_the_store_is_upgraded(runner, home):
    runner.add("x", ["sleep", "2"], Manual(), now=True)
    with start(home, "daemon", "--interval", "1s") as process:
        wait_for(lambda: runner.status().running)
        raw = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
        raw.execute(f"PRAGMA user_version = {len(schema.STEPS) + 1}")
        _, err = process.communicate(timeout=100)
        assert process.returncode == 1
        assert "newer than the" in err and "Traceback" not in err
        raw.execute(f"PRAGMA user_version = {len(schema.STEPS)}")
        raw.close()
    runner.tick()
    assert states(runner) == [("x", State.SUCCEEDED, 1)]


def test_a_supervisor_needs_none_of_its_files_any_more(home, tmp_path):
    """With the package, croniter and dateutil moved away the end and all that it brings about is recorded."""
    copy = tmp_path / "lib"
    copy.mkdir()
    shutil.copytree(ROOT / "taskrunner", copy / "taskrunner")
    for name in ("croniter", "dateutil", "six", "pytz"):
        try:
            place = os.path.dirname(__import__(name).__file__)
        except ImportError:
            continue
        if name == "six":
            shutil.copy(__import__(name).__file__, copy)
        else:
            shutil.copytree(place, copy / name)
    with TaskRunner(home) as runner:
        shell = WAITS.format(tmp_path)
        runner.add("x", shell=shell, schedule=Every("1mo", from_finish=True), now=True)
        runner.add("then", ["true"], After("x", "any"))
    program_ = "import sys; sys.path.insert(0, sys.argv.pop(1)); import runpy; runpy.run_module('taskrunner', run_name='__main__', alter_sys=True)"
    argv = [sys.executable, "-I", "-S", "-c", program_, str(copy), "--home", str(home), "tick"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for((tmp_path / "up").exists)
        wait_for(lambda: rests(process.pid))  # it has all that it may need
        copy.rename(tmp_path / "gone")
        (tmp_path / "up").unlink()
        out, err = process.communicate(timeout=100)
    assert (out, err, process.returncode) == (b"", b"", 0)
    with TaskRunner(home) as runner:
        assert states(runner) == [("then", State.SUCCEEDED, 1), ("x", State.FAILED, 1)]
        assert runner.task("x").next > datetime.now(UTC) + timedelta(days=20)


def test_a_run_that_was_being_cancelled_is_cancelled_also_through_the_spool(runner, home, spooled):
    store = runner._here().store
    with store.transaction():
        store.processes.ask_to_stop(2, State.CANCELLED, "cancelled by ann", runner.now())
    runner.tick()
    run = runner.run_of(2)
    assert (run.state, run.reason) == (State.CANCELLED, "cancelled by ann (exit code 3)")


def test_cancel_finds_the_end_in_the_spool(runner, spooled):
    (run,) = runner.cancel(2, reason="cancelled by ann")
    assert (run.state, run.exit_code) == (State.CANCELLED, 3)


@pytest.mark.usefixtures("spooled")
def test_an_end_that_came_into_the_spool_after_it_was_taken_up_is_not_a_lost_run(
    runner, monkeypatch
):
    """Its supervisor left while the tick waited for its turn to write: the next tick takes it up."""
    with monkeypatch.context() as patched:
        patched.setattr(spool, "take_up", lambda _: None)
        runner.tick()
    assert states(runner) == [("x", State.RUNNING, 1)]
    runner.tick()
    assert states(runner)[-1] == ("x", State.FAILED, 1)


def test_the_end_of_a_unit_waits_while_the_settings_have_a_mistake(runner, home):
    """Nobody else would hear how a run ended that systemd carried."""
    runner.add("x", ["true"], Manual())
    (home / "taskrunner.toml").write_text("max_parallel =\n")
    told = record_end.UnitEnd(
        7, "taskrunner-run-7.service", Outcome(exit_code=0), runner.now(), None, False
    )
    record_end._record(str(home), told)
    assert [place.name for place in (home / "spool").iterdir()] == [
        "7.taskrunner-run-7.service.json"
    ]
