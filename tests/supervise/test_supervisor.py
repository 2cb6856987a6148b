"""The supervisor: outcomes that are known are not thrown away, whatever the store does."""

import sqlite3
import sys
import threading
import time
from contextlib import closing

import pytest

from taskrunner import Cron, Manual, State, StoreBusy, TaskRunner
from taskrunner.processes import children
from taskrunner.store import connection
from taskrunner.supervise import supervisor
from tests.samples import ROOT, wait_for

FULL = 2  # PRAGMA synchronous


@pytest.fixture
def busy(home, monkeypatch):
    """Lets another program hold the store for writing: `begin()` and `end()`."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr(supervisor, "PATIENCE", 0.05)
    monkeypatch.setattr(supervisor, "RETRY", 0.05)

    class Busy:
        def begin(self):
            self.other = sqlite3.connect(
                home / "taskrunner.db", isolation_level=None, check_same_thread=False
            )
            self.other.execute("BEGIN IMMEDIATE")

        def end(self):
            self.other.execute("ROLLBACK")
            self.other.close()

    return Busy()


def ticking(home):
    """Do a tick in a thread; returns the thread and where its fault will be."""
    faults = []

    def go():
        try:
            with TaskRunner(home) as mine:
                mine.tick()
        except BaseException as exc:  # noqa: BLE001  shown by the caller
            faults.append(exc)

    thread = threading.Thread(target=go)
    thread.start()
    return thread, faults


def test_an_outcome_waits_for_a_store_that_stays_busy(home, busy, tmp_path):
    with TaskRunner(home) as live_runner:
        shell = f"touch {tmp_path}/up; while [ -e {tmp_path}/up ]; do sleep 0.02; done; echo done; exit 3"
        live_runner.add("x", shell=shell, schedule=Manual(), now=True)
        thread, faults = ticking(home)
        wait_for((tmp_path / "up").exists)
        wait_for(lambda: live_runner._here().store.processes.with_runs()[0][1].pid)
        busy.begin()
        (tmp_path / "up").unlink()
        time.sleep(0.6)  # several tries
        busy.end()
        thread.join(100)
        assert faults == []
        (run,) = live_runner.history()
        assert (run.state, run.exit_code, live_runner.output(run)) == (State.FAILED, 3, b"done\n")


def test_a_store_that_stays_busy_for_good_is_left_with_the_outcome_in_the_spool(
    home, busy, tmp_path, monkeypatch
):
    monkeypatch.setattr(supervisor, "LEAVE", 0.3)
    with TaskRunner(home) as live_runner:
        shell = (
            f"touch {tmp_path}/up; while [ -e {tmp_path}/up ]; do sleep 0.02; done; echo hi; exit 3"
        )
        live_runner.add("x", shell=shell, schedule=Manual(), now=True)
        thread, faults = ticking(home)
        wait_for((tmp_path / "up").exists)
        wait_for(lambda: live_runner._here().store.processes.with_runs()[0][1].pid)
        busy.begin()
        (tmp_path / "up").unlink()
        thread.join(100)
        busy.end()
        assert [type(fault) for fault in faults] == [StoreBusy]
        (file,) = (home / "spool").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert not live_runner.tick().idle
        (run,) = live_runner.history()
        assert (run.state, run.exit_code, live_runner.output(run)) == (State.FAILED, 3, b"hi\n")
        assert list((home / "spool").iterdir()) == list((home / "output").iterdir()) == []


@pytest.mark.slow
def test_a_run_is_stopped_at_its_timeout_even_if_that_cannot_be_written_first(home, busy, tmp_path):
    with TaskRunner(home) as live_runner:
        shell = f"touch {tmp_path}/up; exec sleep 300"
        live_runner.add("x", shell=shell, schedule=Manual(), now=True, timeout="5s")
        thread, faults = ticking(home)
        wait_for((tmp_path / "up").exists)
        wait_for(lambda: live_runner._here().store.processes.with_runs()[0][1].pid)
        busy.begin()
        time.sleep(5.5)
        busy.end()
        thread.join(100)
        assert faults == []
        assert live_runner.history()[0].state is State.TIMED_OUT


def test_a_supervisor_leaves_no_file_behind(home):
    with TaskRunner(home) as live_runner:
        live_runner.add("x", shell="seq 1 50000; echo err >&2", schedule=Manual())
        run = live_runner.run("x")
        assert list((home / "supervisors").iterdir()) == []
        assert [place.name for place in (home / "output").iterdir()] == [f"{run.id}.log"]
        assert (home / "output" / f"{run.id}.log").stat().st_mode & 0o777 == 0o600


# ---- a start is on the disk before it happens


def test_a_run_is_running_in_a_durable_commit_before_its_process_is_started(home, monkeypatch):
    (home / "taskrunner.toml").write_text("max_parallel = 2\n")
    told, execute, spawn = [], connection.Connection.run, children.spawn

    def executing(self, statement, *values):
        if statement == "COMMIT":
            ((level,),) = execute(self, "PRAGMA synchronous").fetchall()
            told.append(level)
        return execute(self, statement, *values)

    def starting(command, output, *more):
        with closing(sqlite3.connect(home / "taskrunner.db")) as other:
            number = command.env["TASKRUNNER_RUN"]
            (row,) = other.execute("SELECT state FROM runs WHERE id = ?", (number,))
        assert row == ("running",)
        assert told[-1] == FULL
        return spawn(command, output, *more)

    with TaskRunner(home) as live_runner:
        for number in range(6):
            live_runner.add(
                f"t{number}", shell="sleep 0.05; echo done", schedule=Manual(), now=True
            )
        monkeypatch.setattr(connection.Connection, "run", executing)
        monkeypatch.setattr(children, "spawn", starting)
        live_runner.tick()
        assert [run.state for run in live_runner.history()] == 6 * [State.SUCCEEDED]


def test_a_task_that_is_changed_between_claim_and_start_is_started_as_it_is_now(home):
    (home / "taskrunner.toml").write_text("max_parallel = 1\n")
    change = f"{sys.executable} -m taskrunner --home {home} set b -- echo new"
    with TaskRunner(home) as live_runner:
        live_runner.add(
            "a",
            shell=change,
            schedule=Manual(),
            now=True,
            priority=1,
            env={"PYTHONPATH": str(ROOT)},
        )
        live_runner.add("b", ["echo", "old"], Manual(), now=True)
        live_runner.tick()
        newest, first = live_runner.history()
        assert (first.task, first.state, newest.task) == ("a", State.SUCCEEDED, "b")
        assert live_runner.output(newest) == b"new\n"


def test_the_second_run_of_a_task_in_one_tick_sees_what_came_of_the_first(runner, clock):
    told = 'echo "$TASKRUNNER_LAST_SUCCESS"'
    runner.add("x", shell=told, schedule=Cron("* * * * *", tz="UTC"), catch_up="all")
    clock.forward(minutes=2)
    runner.tick()
    second, first = runner.history()
    assert runner.output(first) == b"\n" and runner.output(second) != b"\n"
