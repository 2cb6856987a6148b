"""An application as the clock: real servers, killed in every way, with one daemon as long as they live."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from taskrunner import DurationError, HomeRefused, keep_clock
from taskrunner.clocks import application
from taskrunner.home import lock
from tests.daemons import application_lives, begun, daemons, free_port, gone, one
from tests.samples import ROOT, wait_for

FLASK = """
import os
from flask import Flask
from taskrunner import keep_clock

keep_clock({home!r}, interval="1s", linger="1s")
app = Flask(__name__)


@app.get("/")
def here():
    return str(os.getpid())
"""


@pytest.fixture(autouse=True)
def no_daemon_left(home):
    yield
    for pid in daemons(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path):
    """Starts Python programs of an application, and ends those that a test leaves running."""
    started = []

    def begin(*words, **options):
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", **options.pop("env", {})}
        with open(tmp_path / "said", "ab") as said:
            process = subprocess.Popen(
                [sys.executable, *words], env=env, cwd=tmp_path, stdout=said, stderr=said, **options
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


class Site:
    """A Flask application under gunicorn."""

    def __init__(self, run, tmp_path, home, *words):
        self.url = f"http://127.0.0.1:{free_port()}/"
        (tmp_path / "site_with_clock.py").write_text(FLASK.format(home=str(home)))
        bind = self.url.removeprefix("http://").removesuffix("/")
        more = ("--graceful-timeout", "2", "--no-control-socket")
        self.process = run("-m", "gunicorn", "-b", bind, *words, *more, "site_with_clock:app")
        wait_for(self.answer)

    def answer(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=30) as response:
            return int(response.read())

    def children(self):
        place = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in place.read_text().split()}


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--preload",)], ids=["plain", "preload"])
def test_one_daemon_lives_with_a_site_whatever_is_killed(run, tmp_path, home, words):
    site = Site(run, tmp_path, home, "-w", "3", *words)
    pid = one(home)
    with application_lives(home):
        before = site.children()
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(site.children()) == 3 and min(before) not in site.children())
        before = site.children()
        site.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(site.children()) == 3 and not before & site.children())
        wait_for(site.answer)
    time.sleep(3)  # longer than the linger
    assert (one(home), begun(home)) == (pid, 1)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in daemons(home))
    assert one(home) != pid
    wait_for(lambda: begun(home) == 2)  # it has its lock before it says so
    site.process.send_signal(signal.SIGTERM)
    site.process.wait(100)
    assert gone(home)
    assert begun(home) == 2


@pytest.mark.slow
def test_when_the_one_that_forks_is_killed_its_forks_still_have_the_clock(run, tmp_path, home):
    code = (
        "import os, sys, time\n"
        "from taskrunner import keep_clock\n"
        f"keep_clock({str(home)!r}, interval='1s', linger='1s')\n"
        "if os.fork() == 0:\n"
        "    print('child', os.getpid(), flush=True)\n"
        "time.sleep(1000)\n"
    )
    parent = run("-c", code)
    first = one(home)
    said = wait_for(lambda: re.search(r"^child (\d+)\n", (tmp_path / "said").read_text(), re.M))
    child = int(said[1])
    try:
        parent.kill()
        parent.wait()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in daemons(home))
        assert one(home) != first  # a thread of the child has looked
    finally:
        os.kill(child, signal.SIGKILL)
    assert gone(home)


@pytest.mark.slow
def test_it_ends_with_a_program_and_is_no_child_of_it(run, tmp_path, home):
    program = run("-c", f"{IMPORTED}keep_clock({str(home)!r}, linger='1s'); time.sleep(1000)")
    pid = one(home)
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(parts[1]) != program.pid
    assert int(parts[3]) != os.getsid(program.pid)  # a terminal's ctrl-C does not reach it
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    assert not int(ignored, 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGQUIT - 1)
    program.kill()
    program.wait()
    assert gone(home)


IMPORTED = "import time; from taskrunner import keep_clock; "


@pytest.mark.slow
def test_the_service_of_the_application_is_not_that_of_the_daemon(run, home):
    env = {"NOTIFY_SOCKET": "/no/such", "WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "APP_SECRET": "x"}
    program = run(
        "-c", f"{IMPORTED}keep_clock({str(home)!r}, linger='1s'); time.sleep(1000)", env=env
    )
    variables = Path(f"/proc/{one(home)}/environ").read_text().split("\0")
    names = {each.partition("=")[0] for each in variables}
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"}
    assert "APP_SECRET=x" in variables
    program.kill()
    program.wait()
    assert gone(home)


# ---- without a daemon


@pytest.fixture
def started(monkeypatch):
    """The daemons that would have been started."""
    found = []
    monkeypatch.setattr(application.programs, "detach", lambda argv, cwd: found.append(argv))
    monkeypatch.setattr(application.Keeper, "begin", lambda _: None)  # a thread outlives its test
    yield found
    for kept in application._Ours.keepers.values():
        os.close(kept.shared)
    application._Ours.keepers.clear()


@pytest.fixture
def keeper(home, started):
    made = application.Keeper(str(home), ("taskrunner", "daemon"))
    yield made
    if made.shared is not None:
        os.close(made.shared)


def test_a_second_call_changes_nothing(home, started):
    keep_clock(home)
    keep_clock(str(home), linger="forever")
    (argv,) = started
    assert " ".join(argv).endswith(
        f"--home {home} daemon --only-one --while-held application.lock --interval 10s --linger 15s"
    )


@pytest.mark.parametrize("linger", [None, "forever"])
def test_it_may_linger_for_ever(home, started, linger):
    keep_clock(home, linger=linger)
    assert started[0][-2:] == ("--linger", "forever")


def test_a_run_of_a_task_that_imports_the_application_has_no_clock(home, started, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_RUN", "7")
    keep_clock(home)
    assert not started
    assert not (home / "application.lock").exists()


def test_it_makes_the_home_private(tmp_path, started):
    keep_clock(tmp_path / "new" / "home")
    assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_is_refused_before_anything_is_made(home, started):
    for wrong in ({"interval": "soon"}, {"linger": "5"}, {"linger": "-1s"}):
        with pytest.raises(DurationError):
            keep_clock(home, **wrong)
    home.chmod(0o777)
    with pytest.raises(HomeRefused, match="can be written by others"):
        keep_clock(home)
    assert not started
    assert not (home / "application.lock").exists()


def test_a_lock_that_a_program_has_alone_is_refused(home, started, monkeypatch):
    monkeypatch.setattr(lock, "SHARE_WAIT", 0.0)
    refused = pytest.raises(HomeRefused, match="another program holds it alone")
    with lock.held(str(home / "application.lock")), refused:
        keep_clock(home)
    keep_clock(home)
    assert len(started) == 1


def test_no_daemon_is_started_while_one_lives(home, keeper, started):
    with lock.held(str(home / "daemon.lock")):
        keeper.look()
    assert not started
    keeper.look()
    assert len(started) == 1


def test_the_more_often_none_stays_the_later_the_next_one_is_started(
    home, keeper, started, monkeypatch, caplog
):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    at = []
    for _ in range(200):
        before = len(started)
        keeper.look()
        if len(started) > before:
            at.append(now - 1000)
        now += 5
    assert at == [0, 5, 15, 35, 75, 155, 315, 615, 915]
    assert len(caplog.messages) == len(at) - 2
    assert caplog.messages[0].startswith(f"no daemon stays in {home}: see {home}/taskrunner.log")
    with lock.held(str(home / "daemon.lock")):
        keeper.look()
    keeper.look()
    assert len(started) == len(at) + 1


def test_a_lock_file_that_was_removed_is_made_and_shared_again(home, keeper):
    keeper.look()
    first = keeper.shared
    (home / "application.lock").unlink()
    keeper.look()
    assert lock.is_held(str(home / "application.lock"), shared=True)
    os.close(first)


def test_a_home_that_was_removed_is_not_made_again(home, keeper, started):
    keeper.folder = str(home / "gone")
    keeper.look()
    assert not started
    assert not (home / "gone").exists()
