"""One daemon in a home, and a daemon that lives as long as an application: real processes and locks."""

import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from taskrunner import Every, Manual, State, TaskRunner
from taskrunner.home import lock
from taskrunner.tick.daemon_lock import ApplicationLock, DaemonLock
from tests.samples import NOON, call, start, wait_for

# An application: it holds a shared lock, with `fork` its child alone does, and says so.
HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_SH)
if sys.argv[2:] == ["fork"] and os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that holds a shared lock on a file."""

    def __init__(self, place, *words):
        argv = [sys.executable, "-c", HOLDER, str(place), *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        self.pid = int(self.process.stdout.readline())

    def kill(self):
        """Kill whoever holds the lock, which its kernel frees before the process is gone."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.stdout.read()  # ends when the killed process is gone
            self.process.communicate()
            self.pid = None


@pytest.fixture
def hold(tmp_path):
    """Starts applications, and ends those that a test leaves running."""
    started = []

    def begin(place, *words):
        started.append(Holder(place, *words))
        return started[-1]

    yield begin
    for each in started:
        each.kill()


@pytest.fixture
def daemon(home):
    """Starts daemons, and ends those that a test leaves running."""
    started = []

    def begin(*words):
        started.append(start(home, "daemon", "--interval", "1s", *words))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def lives(home):
    return lock.is_held(str(home / "daemon.lock"))


def end(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0


# ---- one daemon


def test_of_daemons_started_at_once_one_lives(daemon, home):
    started = [daemon("--only-one") for _ in range(4)]
    wait_for(lambda: sum(each.poll() is not None for each in started) == 3)
    (one,) = [each for each in started if each.poll() is None]
    for each in set(started) - {one}:
        assert each.returncode == 0
        assert re.fullmatch(
            rf"taskrunner: another daemon( \(process {one.pid}\))? ticks here already, so this one ends\n",
            each.stderr.read(),
        )
    assert lives(home)
    end(one)


def test_each_daemon_counts_and_the_next_one_lives_when_it_is_gone(daemon, home):
    first = daemon()
    wait_for(lambda: lives(home))
    out, err, code = call(home, "daemon", "--only-one", "--wait-for", "file:/no/such")
    assert (code, out) == (0, "")
    assert f"(process {first.pid})" in err
    first.kill()
    first.wait()
    assert not lives(home)
    second = daemon("--only-one")
    wait_for(lambda: lives(home))
    end(second)


def test_a_daemon_beside_another_takes_the_lock_when_that_one_ends(daemon, home):
    first = daemon("--only-one")
    wait_for(lambda: lives(home))
    second = daemon()
    wait_for(lambda: len(os.listdir(home / "supervisors")) == 2)
    end(first)
    wait_for(lambda: lives(home))
    end(second)
    assert not lives(home)


def test_a_daemon_that_only_lets_its_runs_end_leaves_the_home_to_the_next(daemon, home, tmp_path):
    with TaskRunner(home) as runner:
        shell = f"touch {tmp_path}/up; while ! test -e {tmp_path}/go; do sleep 0.1; done"
        runner.add("slow", shell=shell, schedule=Manual(), now=True)
        first = daemon("--only-one", "--grace", "5m")
        wait_for((tmp_path / "up").exists)
        first.send_signal(signal.SIGTERM)
        wait_for(lambda: not lives(home))
        second = daemon("--only-one")
        wait_for(lambda: lives(home))
        (tmp_path / "go").touch()
        assert first.wait(100) == 0
        assert runner.history("slow")[0].state is State.SUCCEEDED
        assert second.poll() is None
        end(second)


def test_a_pipe_as_the_file_of_an_application_keeps_nobody_waiting(home, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    words = ("--while-held", str(tmp_path / "pipe"), "--linger", "1s")
    assert call(home, "daemon", *words) == ("", "", 0)


def test_a_home_whose_lock_cannot_be_made_is_refused(home):
    (home / "daemon.lock").mkdir()
    _, err, code = call(home, "daemon", "--only-one")
    assert code == 1
    assert err == f"taskrunner: '{home}/daemon.lock' cannot be written: Is a directory\n"


def test_the_lock_is_taken_once_and_again_after_its_release(home):
    with DaemonLock(str(home / "daemon.lock")) as ours, DaemonLock(ours.place) as other:
        assert ours.take(NOON)
        assert ours.take(NOON)
        assert not other.take(NOON)
        assert f"(process {os.getpid()})" in other.taken()
        ours.release()
        assert other.take(NOON)
        assert not ours.take(NOON)
    assert not lives(home)


# ---- a home that is deleted


def delete(home):
    """Delete a home in which a daemon lives and writes, at one stroke."""
    gone = home.with_name("gone")
    home.rename(gone)
    shutil.rmtree(gone)


def ended(home, process):
    sentence = f"the home '{home}' was deleted or made again, so this daemon ends"
    out, err = process.communicate(timeout=100)
    assert (out, process.returncode) == ("", 0)
    assert f"taskrunner: {sentence}\n" in err
    return sentence


def test_a_daemon_ends_when_its_home_is_deleted(daemon, home):
    process = daemon()
    wait_for((home / "heartbeat").exists)
    delete(home)
    ended(home, process)
    assert not home.exists()


def test_daemons_leave_a_home_that_is_made_again_to_a_new_one(daemon, home, tmp_path):
    with TaskRunner(home) as runner:
        runner.add("old", ["touch", str(tmp_path / "old")], Every("1s"))
    old = [daemon()]
    wait_for(lambda: lives(home))
    old.append(daemon())  # has no lock
    wait_for(lambda: len(os.listdir(home / "supervisors")) == 2)
    wait_for((tmp_path / "old").exists)
    delete(home)
    with TaskRunner(home) as runner:
        runner.add("new", ["true"], Every("1s"))
        new = daemon("--only-one")
        sentences = [ended(home, each) for each in old]
        (tmp_path / "old").unlink()
        wait_for(lambda: runner.history("new"))
        assert not (tmp_path / "old").exists()
    assert lives(home)
    assert sentences[0] in (home / "taskrunner.log").read_text()
    end(new)


# ---- an application


@pytest.fixture
def application(home):
    return ApplicationLock(str(home / "application.lock"), timedelta(seconds=15))


def test_an_application_is_gone_when_nobody_held_its_lock_for_the_linger(application, hold):
    first, second = hold(application.place), hold(application.place)
    assert not application.is_abandoned(100)
    first.kill()
    assert not application.is_abandoned(200)  # the second one holds it
    assert not application.is_abandoned(300)
    second.kill()
    assert not application.is_abandoned(400)
    assert not application.is_abandoned(414.9)
    assert application.is_abandoned(415)


def test_an_application_that_comes_back_within_the_linger_is_not_gone(application, hold):
    assert not application.is_abandoned(100)  # the file is not there: nobody holds it
    held = hold(application.place)
    assert not application.is_abandoned(101)  # it is not looked at yet
    assert not application.is_abandoned(114)
    assert not application.is_abandoned(200)
    held.kill()
    assert not application.is_abandoned(202)
    assert not application.is_abandoned(216)
    assert application.is_abandoned(217)


def test_a_forked_child_holds_the_lock_of_its_parent(application, hold):
    held = hold(application.place, "fork")
    assert held.pid != held.process.pid
    assert not application.is_abandoned(100)
    assert not application.is_abandoned(200)
    held.kill()
    assert not application.is_abandoned(300)
    assert application.is_abandoned(315)


def test_it_is_looked_at_every_two_seconds(application):
    assert not application.is_abandoned(100)
    assert application.until_look(100.5) == 1.5
    assert not application.is_abandoned(101)
    assert application.until_look(101) == 1.0
    assert not application.is_abandoned(102)
    assert application.until_look(102) == 2.0


def test_whose_linger_is_for_ever_is_never_gone(application):
    application.linger = None
    assert not application.is_abandoned(100)
    assert not application.is_abandoned(1e9)


@pytest.mark.slow
@pytest.mark.parametrize("relative", [False, True])
def test_a_daemon_ends_with_its_application_and_lets_runs_end(
    daemon, home, hold, tmp_path, relative
):
    place = home / "application.lock"
    held = hold(place)
    with TaskRunner(home) as runner:
        shell = f"touch {tmp_path}/up; while ! test -e {tmp_path}/go; do sleep 0.1; done"
        runner.add("slow", shell=shell, schedule=Manual(), now=True)
        process = daemon(
            "--while-held",
            place.name if relative else str(place),
            "--linger",
            "1s",
            "--grace",
            "5m",
        )
        wait_for((tmp_path / "up").exists)
        assert lives(home)
        held.kill()
        wait_for(lambda: not lives(home))  # it is stopping
        (tmp_path / "go").touch()
        assert process.wait(100) == 0
        assert process.communicate() == ("", "")
        assert runner.history("slow")[0].state is State.SUCCEEDED
    assert f"nobody holds '{place}' any more" in (home / "taskrunner.log").read_text()


# A daemon that finds its application gone just when a task and a pending run are due.
GONE = """
import sys, time
from datetime import timedelta
from taskrunner import Manual, TaskRunner
from taskrunner.tick import by_hand, daemon
from taskrunner.tick.daemon_lock import ApplicationLock

runner = TaskRunner(sys.argv[1])
here = runner._here(create=True)

class Gone(ApplicationLock):
    def is_abandoned(self, now):
        runner.add("due", ["true"], Manual(), now=True)
        task = runner.add("pending", ["true"], Manual())
        with here.store.transaction():
            by_hand.request(here, task, by_hand.JUST_NOW, here.now())
        time.sleep(1.1)
        return True

second, gone = timedelta(seconds=1), Gone(sys.argv[1] + "/application.lock", None)
wishes = daemon.Wishes(second, second, print, print, application=gone)
daemon.daemon(runner.home, lambda: runner._here(create=True), wishes)
"""


def test_nothing_is_started_once_the_application_is_gone(home):
    done = subprocess.run(
        [sys.executable, "-c", GONE, str(home)], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "nobody holds" in done.stdout
    with TaskRunner(home) as runner:
        assert [run.state for run in runner.history()] == [State.PENDING]
        assert runner.history("due") == []


def test_a_daemon_that_nobody_ever_held_ends_by_itself(home):
    assert call(home, "daemon", "--while-held", "application.lock", "--linger", "1s") == ("", "", 0)


def test_a_file_that_cannot_be_opened_is_refused(home):
    (home / "loop").symlink_to("loop")
    _, err, code = call(home, "daemon", "--while-held", "loop/x")
    assert code == 2
    assert err.startswith(f"taskrunner: --while-held '{home}/loop/x' cannot be opened: Too many")
    assert not (home / "taskrunner.db").exists()


@pytest.mark.parametrize("name", ["daemon.lock", "tick.lock", "notify.lock", "queues.lock", "link"])
def test_a_daemon_does_not_wait_for_itself(home, name):
    (home / "link").symlink_to(home / "daemon.lock")
    _, err, code = call(home, "daemon", "--while-held", name, "--linger", "1s")
    assert code == 2
    assert "is a lock of the daemon, which would wait for itself: give a file that" in err
    assert not (home / "taskrunner.db").exists()
