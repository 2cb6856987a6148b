"""The tick in a loop, as a real process with real signals."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from taskrunner import Every, Manual, State, TaskRunner
from tests.samples import start, wait_for


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def catches_term(pid):
    """Whether a process has a handler for SIGTERM: proc(5), SigCgt."""
    status = Path("/proc", str(pid), "status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.M)[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def daemon(home):
    """Starts daemons, and ends those that a test leaves running."""
    started = []

    def begin(*words):
        process = start(home, "daemon", "--interval", "1s", *words)
        started.append(process)
        # A signal that comes earlier ends it, as any program that has not begun.
        wait_for(lambda: catches_term(process.pid) and (home / "heartbeat").exists())
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def states(runner, name):
    return [run.state for run in runner.history(name)]


def is_stopping(home):
    """Whether the daemon has heeded a first signal: two of one number that come at once are one."""
    return "daemon: stopping" in (home / "taskrunner.log").read_text()


def test_it_makes_the_store_and_ticks_at_its_interval(runner, daemon, home):
    process = daemon()
    assert (home / "taskrunner.db").exists()
    runner.add("often", ["true"], Every("1s"))
    wait_for(lambda: states(runner, "often").count(State.SUCCEEDED) >= 3)
    assert runner.status().clock == "daemon"
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert process.communicate() == ("", "")


def test_a_run_that_ends_within_the_grace_is_left_to_end(runner, daemon, tmp_path):
    shell = f"touch {tmp_path}/up; sleep 1; echo done"
    runner.add("slow", shell=shell, schedule=Manual(), now=True)
    process = daemon("--grace", "20s")
    wait_for((tmp_path / "up").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    (run,) = runner.history("slow")
    assert (run.state, runner.output(run)) == (State.SUCCEEDED, b"done\n")


@pytest.mark.parametrize("signals", [1, 2])
def test_a_run_is_stopped_after_the_grace_or_at_a_second_signal(
    runner, daemon, home, tmp_path, signals
):
    runner.add("slow", shell=f"touch {tmp_path}/up; sleep 300", schedule=Manual(), now=True)
    process = daemon("--grace", "1s" if signals == 1 else "1h")
    wait_for((tmp_path / "up").exists)
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_stopping(home))
    assert process.wait(100) == 0
    (run,) = runner.history("slow")
    assert run.state is State.CANCELLED
    assert "the daemon was stopped" in run.reason


def test_a_third_signal_kills(runner, daemon, home, tmp_path):
    told = tmp_path / "told"
    shell = f"trap 'touch {told}' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    runner.add("hard", shell=shell, schedule=Manual(), now=True, kill_after="1h")
    process = daemon("--grace", "1h")
    wait_for((tmp_path / "up").exists)
    for heeded in (lambda: is_stopping(home), told.exists, lambda: True):
        process.send_signal(signal.SIGINT)
        wait_for(heeded)
    assert process.wait(100) == 0
    assert runner.history("hard")[0].signal == signal.SIGKILL


def test_nothing_new_is_started_once_it_is_stopping(runner, daemon, home, tmp_path):
    shell = f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    runner.add("slow", shell=shell, schedule=Manual(), now=True)
    process = daemon("--grace", "5m")
    wait_for((tmp_path / "up").exists)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: is_stopping(home))
    runner.add("late", ["true"], Manual(), now=True)
    time.sleep(1.5)  # longer than its interval
    (tmp_path / "go").touch()
    assert process.wait(100) == 0
    assert states(runner, "late") == []


def test_a_run_in_progress_does_not_hold_up_others(runner, daemon, tmp_path):
    runner.add("slow", shell=f"touch {tmp_path}/up; sleep 300", schedule=Manual(), now=True)
    daemon()
    wait_for((tmp_path / "up").exists)
    runner.add("quick", ["true"], Every("1s"))
    wait_for(lambda: states(runner, "quick").count(State.SUCCEEDED) >= 2)
    assert states(runner, "slow") == [State.RUNNING]
    runner.cancel("slow")


def test_it_survives_a_store_that_cannot_be_used_for_a_while(runner, daemon, home):
    runner.add("often", ["true"], Every("1s"))
    process = daemon()
    home.chmod(0o777)
    said = process.stderr.readline()
    time.sleep(1.5)  # longer than its interval
    home.chmod(0o700)
    before = len(states(runner, "often"))
    wait_for(lambda: len(states(runner, "often")) > before)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert (said + process.stderr.read()).count("can be written by others") == 1


def test_two_daemons_side_by_side_run_each_slot_once(runner, daemon, home):
    runner.add("often", ["true"], Every("1s"), overlap="allow")  # a run may take a second here
    processes = [daemon(), daemon()]
    wait_for(lambda: len(os.listdir(home / "supervisors")) == 2)
    wait_for(lambda: len(states(runner, "often")) >= 4)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        assert process.wait(100) == 0
    slots = [run.slot for run in runner.history("often", limit=100)]
    assert len(slots) == len(set(slots))
    assert {State.SUCCEEDED} == set(states(runner, "often"))


def test_settings_read_anew_hold_also_for_what_the_daemon_says(runner, daemon, home):
    settings, log = home / "taskrunner.toml", home / "taskrunner.log"
    settings.write_text("log_level = 'error'\n")
    process = daemon()
    settings.write_text("log_level = 'info'\n")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: log.exists() and "reloaded" in log.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert "daemon: stopping" in log.read_text()
