"""What the daemon tells who keeps it running, heard on a real socket."""

import contextlib
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

import pytest

from taskrunner import Every, Manual, State, TaskRunner
from taskrunner.home import config
from taskrunner.tick.sd_notify import Readiness
from tests.samples import ROOT, program, wait_for

pytestmark = pytest.mark.one_python


class Listener:
    """A socket that remembers what came, each datagram a list of lines."""

    def __init__(self, place):
        self.place = place
        self.messages = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind("\0" + place[1:] if place.startswith("@") else place)

    def lines(self):
        try:
            while True:
                self.messages.append(self.socket.recv(65536).decode().split("\n"))
        except BlockingIOError:
            return [line for message in self.messages for line in message]

    def until(self, beginning, times=1):
        """Wait for lines that begin so; the last of them."""
        wait_for(lambda: len([x for x in self.lines() if x.startswith(beginning)]) >= times)
        return [x for x in self.lines() if x.startswith(beginning)][-1]


@pytest.fixture(params=["@", "/"], ids=["abstract", "path"])
def places(request):
    """A name for a socket: without a file, or with one, in a folder whose path is short enough."""
    if request.param == "@":
        yield f"@taskrunner-test-{os.urandom(8).hex()}"
        return
    folder = tempfile.mkdtemp(prefix="taskrunner-notify-")
    yield f"{folder}/socket"
    shutil.rmtree(folder)


@pytest.fixture
def place():
    return f"@taskrunner-test-{os.urandom(8).hex()}"


@pytest.fixture
def listener(place):
    made = Listener(place)
    yield made
    made.socket.close()


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def daemon(home, place):
    """Starts daemons that are told of a socket, and ends those that a test leaves running."""
    started = []

    def begin(*words, **variables):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": place, **variables}
        argv = program(home, "daemon", *words)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(argv, env=env, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ends_well(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (out, process.returncode) == ("", 0)
    return err


def test_it_is_heard_with_and_without_a_file(places, daemon):
    listener = Listener(places)
    process = daemon(NOTIFY_SOCKET=places)
    listener.until("READY=1")
    ends_well(process)
    assert "STOPPING=1" in listener.lines()
    listener.socket.close()


def test_it_is_ready_when_the_first_visit_is_done_and_not_before(runner, daemon, home, listener):
    runner.add("x", ["true"], Manual(), now=True)
    raw = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    process = daemon("--interval", "1h")
    wait_for(lambda: list((home / "supervisors").iterdir()))  # the store is open
    time.sleep(0.5)
    assert listener.lines() == []
    raw.execute("ROLLBACK")
    raw.close()
    listener.until("READY=1")
    assert runner.history("x")
    ends_well(process)


def test_a_store_that_is_refused_is_never_ready(daemon, home, listener):
    home.chmod(0o777)
    process = daemon()
    assert process.wait(100) == 1
    assert listener.lines() == []


def test_the_status_reports_what_runs_and_when_the_last_visit_was(runner, daemon, listener):
    runner.add("slow", ["sleep", "300"], Manual(), now=True)
    process = daemon("--interval", "1s", "--grace", "1s")
    first = listener.until("STATUS=1 running, last tick 20")
    assert first.endswith("Z")
    wait_for(lambda: listener.until("STATUS=1 running") > first)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert listener.until("STATUS=stopping, 1 running")


def test_the_status_reports_the_trouble_and_its_end(runner, daemon, home, listener):
    runner.add("often", ["true"], Every("1s"))
    process = daemon("--interval", "1s")
    listener.until("READY=1")
    home.chmod(0o777)
    wait_for(lambda: "problem: " in listener.until("STATUS="))
    home.chmod(0o700)
    wait_for(lambda: "problem: " not in listener.until("STATUS="))
    ends_well(process)


def test_the_sign_of_life_comes_from_the_loop_though_it_waits_for_an_hour(daemon, listener):
    process = daemon("--interval", "1h", WATCHDOG_USEC="400000")
    listener.until("WATCHDOG=1", times=5)
    assert (
        next(line for line in listener.lines() if line[:8] in ("READY=1", "WATCHDOG")) == "READY=1"
    )
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = len(listener.lines())
    time.sleep(1)
    assert len(listener.lines()) == before
    process.send_signal(signal.SIGCONT)
    listener.until("WATCHDOG=1", times=before)
    ends_well(process)


@pytest.mark.slow
def test_the_sign_of_life_goes_on_while_it_stops(runner, daemon, tmp_path, listener):
    shell = f"touch {tmp_path}/up; while ! test -e {tmp_path}/go; do sleep 0.1; done"
    runner.add("slow", shell=shell, schedule=Manual(), now=True)
    process = daemon("--interval", "1h", "--grace", "5m", WATCHDOG_USEC="400000")
    wait_for((tmp_path / "up").exists)
    process.send_signal(signal.SIGTERM)
    listener.until("STOPPING=1")
    so_far = listener.lines().count("WATCHDOG=1")
    listener.until("WATCHDOG=1", times=so_far + 3)
    (tmp_path / "go").touch()
    assert process.wait(100) == 0


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert config.watchdog() == 3
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert config.watchdog() == 3
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert config.watchdog() is None


@pytest.mark.parametrize("told", ["", "0", "-1", "soon", "1" * 5000])
def test_a_watchdog_that_is_not_a_length_is_none(monkeypatch, told):
    monkeypatch.setenv("WATCHDOG_USEC", told)
    assert config.watchdog() is None


def test_tasks_do_not_hear_of_the_socket(runner, daemon, listener):
    runner.add("look", ["env"], Manual(), now=True)
    process = daemon("--interval", "1s", WATCHDOG_USEC="30000000")
    wait_for(lambda: [run for run in runner.history("look") if run.state is State.SUCCEEDED])
    seen = runner.output(runner.history("look")[0]).decode()
    assert "PATH=" in seen
    assert "NOTIFY_SOCKET" not in seen and "WATCHDOG" not in seen
    ends_well(process)


@pytest.mark.parametrize("place", ["/nowhere/at/all", "@nobody", "relative", "/" + 200 * "x"])
def test_a_listener_that_does_not_read_does_not_end_the_daemon(runner, daemon, home, place):
    process = daemon("--interval", "1s", NOTIFY_SOCKET=place, WATCHDOG_USEC="200000")
    wait_for((home / "heartbeat").exists)
    assert ends_well(process) == ""


# ---- HUP


def settings(home, text):
    (home / "taskrunner.toml").write_text(text)


def reload(process, listener):
    so_far = listener.lines().count("READY=1")
    process.send_signal(signal.SIGHUP)
    listener.until("READY=1", times=so_far + 1)


def test_hup_reads_the_settings_anew_and_says_so(runner, daemon, home, listener):
    settings(home, "[env]\nCOLOUR = 'red'\n")
    runner.add("look", shell="echo $COLOUR", schedule=Every("1s"))
    process = daemon("--interval", "1s")
    wait_for(lambda: colours(runner) == {"red"})
    settings(home, "[env]\nCOLOUR = 'blue'\n")
    reload(process, listener)
    wait_for(lambda: "blue" in colours(runner))
    order = [line for line in listener.lines() if line[:5] in ("READY", "RELOA", "MONOT")]
    assert [line.partition("=")[0] for line in order] == [
        *("READY", "RELOADING", "MONOTONIC_USEC", "READY")
    ]
    assert 0 < int(order[2].partition("=")[2]) <= time.monotonic_ns() // 1000
    assert ends_well(process) == ""


def colours(runner):
    return {runner.output(r).decode().strip() for r in runner.history("look", state="succeeded")}


def test_hup_disturbs_no_run(runner, daemon, home, tmp_path, listener):
    runner.add(
        "slow", shell=f"touch {tmp_path}/up; sleep 2; echo done", schedule=Manual(), now=True
    )
    process = daemon("--interval", "1s")
    wait_for((tmp_path / "up").exists)
    reload(process, listener)
    wait_for(lambda: runner.history("slow")[0].state is State.SUCCEEDED)
    ends_well(process)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_parallel = 'many'", "max_parallel"),
        ("max_par", "cannot be read"),
        ("tz = 'Mars/Base'", "Mars"),
    ],
)
def test_a_bad_file_is_reported_in_one_sentence_and_the_old_settings_stay(
    runner, daemon, home, listener, text, named
):
    settings(home, "[env]\nCOLOUR = 'red'\n")
    runner.add("look", shell="echo $COLOUR", schedule=Every("1s"))
    process = daemon("--interval", "1s")
    listener.until("READY=1")
    settings(home, text)
    reload(process, listener)
    wait_for(lambda: "the settings stay unchanged" in listener.until("STATUS="))
    settings(home, "")
    with TaskRunner(home) as other:
        so_far = len(other.history("look", state="succeeded", limit=None))
        wait_for(lambda: len(other.history("look", state="succeeded", limit=None)) > so_far + 1)
        assert colours(other) == {"red"}
    reload(process, listener)
    wait_for(lambda: "stay unchanged" not in listener.until("STATUS="))
    err = ends_well(process)
    assert named in err and err.count("\n") == 1


def test_a_file_that_others_can_write_is_not_read_at_hup(runner, daemon, home, listener):
    process = daemon("--interval", "1h")
    listener.until("READY=1")
    settings(home, "[env]\nPATH = '/tmp'\n")
    (home / "taskrunner.toml").chmod(0o666)
    reload(process, listener)
    assert "can be written by others" in ends_well(process)


def test_hup_does_not_hurry_a_stop(runner, daemon, tmp_path, listener):
    runner.add("slow", shell=f"touch {tmp_path}/up; sleep 2", schedule=Manual(), now=True)
    process = daemon("--grace", "1h")
    wait_for((tmp_path / "up").exists)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
        process.send_signal(number)
        time.sleep(0.2)
    assert process.wait(100) == 0
    assert runner.history("slow")[0].state is State.SUCCEEDED


def test_a_daemon_whose_terminal_is_hung_up_ends(home):
    ours, its = os.openpty()
    argv = ["setsid", "--ctty", *program(home, "daemon", "--interval", "1s")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=env)
    with process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        os.close(its)
        wait_for((home / "heartbeat").exists)
        os.close(ours)
        assert process.wait(100) == 0


# ---- the room itself


def test_who_is_not_watched_need_not_wake():
    notice = Readiness()
    assert notice.go_on("1 running") == math.inf
    notice.close()


def test_a_status_that_changes_all_the_time_is_reported_once_in_a_while(place, listener):
    notice = Readiness(place)
    notice.ready()
    began = time.monotonic()
    for number in range(100):
        left = notice.go_on(f"{number} running")
        assert left == math.inf or 0 <= left <= 1
    took = time.monotonic() - began
    assert listener.lines()[:2] == ["READY=1", "STATUS=0 running"]
    assert len(listener.lines()) <= 2 + took
    time.sleep(1)
    assert notice.go_on("99 running") == math.inf
    assert listener.lines()[-1] == "STATUS=99 running"
    notice.close()


def test_a_status_is_one_short_line(place, listener):
    notice = Readiness(place)
    notice.ready()
    notice.go_on("a\nREADY=0\n" + 10_000 * "x")
    status = listener.lines()[-1]
    assert status.startswith("STATUS=a READY=0 x") and len(status) < 600
    notice.close()


def test_a_long_start_asks_for_more_time(place, listener):
    notice = Readiness(place, watchdog=10)
    left = notice.go_on("waiting")
    assert listener.lines() == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=waiting"]
    assert 10 < left <= 15
    notice.ready()
    assert 0 < notice.go_on("waiting") <= 5
    assert listener.lines()[-1] == "WATCHDOG=1"
    notice.close()
