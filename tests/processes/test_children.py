"""Commands to outcomes, with real children."""

import errno
import os
import pwd
import re
import resource
import shlex
import signal
import sys
import threading
import time

import pytest

from taskrunner.home import lock
from taskrunner.model.values import Command, Outcome
from taskrunner.processes import alive, programs, signals, spawn
from taskrunner.processes.children import Children, in_words

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def out(tmp_path):
    """An output file: `fd` to give away, `text()` to read."""

    class Out:
        fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT | os.O_APPEND)

        def text(self):
            return (tmp_path / "out").read_text()

        def wait_for(self, text):
            end = time.monotonic() + 100
            while text not in self.text():
                assert time.monotonic() < end, self.text()
                time.sleep(0.01)

    yield Out()
    os.close(Out.fd)


@pytest.fixture(params=["pidfd", "polling"])
def children(request, monkeypatch, out):
    """The loop, with and without the kernel's help, which must not differ.

    The output stays open for as long as it looks.
    """
    if request.param == "polling":
        monkeypatch.delattr(os, "pidfd_open")
    made = Children()
    yield made
    for key in list(made.running):
        made.kill(key)
    while made.running:
        made.wait(100)
    made.close()


def shell(text, **more):
    return Command(argv=("/bin/sh", "-c", text), env=ENV, cwd="/", **more)


def ended(children, limit=100.0):
    """Wait until all have ended; their outcomes by key."""
    found, end = {}, time.monotonic() + limit
    while children.running:
        assert time.monotonic() < end, "still running"
        found |= dict(children.wait(100))
    return found


def run(children, out, command):
    child = children.start(1, command, out.fd)
    return child if isinstance(child, Outcome) else ended(children)[1]


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_an_exit_code_is_reported(children, out, code):
    outcome = run(children, out, shell(f"exit {code}"))
    assert (outcome.exit_code, outcome.signal, outcome.error) == (code, None, None)


def test_a_signal_is_reported(children, out):
    outcome = run(children, out, shell("kill -USR1 $$"))
    assert (outcome.exit_code, outcome.signal) == (None, signal.SIGUSR1)
    assert in_words(outcome) == "killed by SIGUSR1"


def test_output_and_errors_go_to_the_file_in_order(children, out):
    run(children, out, shell("echo one; echo two >&2; echo three"))
    assert out.text() == "one\ntwo\nthree\n"


def test_the_child_has_the_environment_it_was_given_and_no_more(children, out):
    command = Command(argv=("env",), env={**ENV, "A": "ü"}, cwd="/")
    run(children, out, command)
    assert sorted(out.text().splitlines()) == ["A=ü", "PATH=/usr/bin:/bin"]


def test_the_child_has_its_directory_umask_and_empty_stdin(children, out, tmp_path):
    command = Command(
        argv=("/bin/sh", "-c", "pwd; umask; cat; readlink /proc/self/fd/0"),
        env=ENV,
        cwd=str(tmp_path),
        umask=0o027,
    )
    run(children, out, command)
    assert out.text().split() == [str(tmp_path), "0027", "/dev/null"]


def test_the_child_leads_a_session_and_group_of_its_own(children, out):
    child = children.start(1, shell("exec cat /proc/self/stat"), out.fd)
    ended(children)
    *_, group, session = out.text().split()[:6]
    assert (group, session) == (str(child.pid), str(child.pid))


def test_the_child_inherits_no_descriptor_but_its_three(children, out):
    spare = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(spare, True)
    run(children, out, Command(argv=("ls", "/proc/self/fd"), env=ENV, cwd="/"))
    os.close(spare)
    assert out.text().split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_signals_we_ignore_are_not_ignored_by_the_child(children, out):
    old = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        outcome = run(children, out, shell("kill -PIPE $$; echo survived"))
    finally:
        signal.signal(signal.SIGPIPE, old)
    assert outcome.signal == signal.SIGPIPE


def test_a_text_is_fed_to_stdin(children, out):
    text = "ünï\n" * 50_000  # more than a pipe holds
    run(children, out, Command(argv=("cat",), env=ENV, cwd="/", stdin=text))
    assert out.text() == text


@pytest.mark.parametrize(
    ("argv", "cwd", "code", "said"),
    [
        (("/no/such/program",), "/", 127, "no program '/no/such/program'"),
        (("nosuch",), "/", 127, "no program 'nosuch'"),
        (("/etc/passwd",), "/", 126, "'/etc/passwd': Permission denied"),
        (("/etc",), "/", 126, "'/etc'"),
        (("true",), "/no/such/folder", None, "the directory '/no/such/folder': No such file"),
        (("true",), "/etc/passwd", None, "the directory '/etc/passwd': Not a directory"),
        (("a\0b",), "/", None, "null byte"),
    ],
)
def test_what_cannot_be_started_is_an_outcome_that_says_why(children, out, argv, cwd, code, said):
    outcome = children.start(1, Command(argv=argv, env=ENV, cwd=cwd), out.fd)
    assert isinstance(outcome, Outcome)
    assert outcome.exit_code == code
    assert said in outcome.error
    assert not children.running


def test_a_missing_null_device_is_not_taken_for_the_program(children, out, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "devnull", f"{tmp_path}/null")
    spawn._null.cache_clear()
    try:
        outcome = children.start(1, Command(argv=("true",), env=ENV, cwd="/"), out.fd)
    finally:
        spawn._null.cache_clear()
    assert outcome.error == f"could not start: {tmp_path}/null: No such file or directory"


def test_a_script_without_interpreter_line_cannot_be_executed(children, out, tmp_path):
    place = tmp_path / "script"
    place.write_text("echo hello\n")
    place.chmod(0o755)
    outcome = children.start(1, Command(argv=(str(place),), env=ENV, cwd="/"), out.fd)
    assert outcome.exit_code == 126
    assert "Exec format error" in outcome.error


def test_cpu_time_is_reported(children, out):
    busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    outcome = run(children, out, shell(busy))
    assert outcome.cpu_seconds > 0.02


def test_peak_memory_is_reported_only_when_it_is_the_childs_own(children, out):
    size = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 100_000_000
    large = f'{shlex.quote(sys.executable)} -c "b = bytearray({size})"'
    assert run(children, out, shell(large)).peak_memory > size
    # A new process starts as a copy of us, which the kernel counts in: nothing can be said of /bin/true.
    assert run(children, out, shell("true")).peak_memory is None


def timed_out(children, out, text, **more):
    """Run a command to its timeout, which lets it write a line first; its outcome, and how long it took."""
    for timeout in (0.2, 2, 20):  # a machine that stalls gets more
        started = time.monotonic()
        outcome = run(children, out, shell(text, timeout=timeout, **more))
        if out.text():
            break
    assert outcome.timed_out
    return outcome, time.monotonic() - started - timeout


def test_a_timeout_stops_the_whole_group_with_term(children, out):
    told = []
    children.on_timeout = told.append
    outcome, took = timed_out(children, out, "sleep 100 & echo $!; wait", kill_after=90)
    assert took < 60
    assert outcome.signal == signal.SIGTERM
    assert set(told) == {1}
    assert not alive.started_ticks(int(out.text()))


def test_who_ignores_term_is_killed_after_a_while(children, out):
    text = 'trap "" TERM; sleep 100 & echo $!; wait; sleep 100'
    outcome, took = timed_out(children, out, text, kill_after=0.5)
    assert 0.5 <= took < 60
    assert outcome.signal == signal.SIGKILL
    assert not alive.started_ticks(int(out.text()))


def test_a_grandchild_that_ignores_term_outlives_its_leader_only_until_the_kill(children, out):
    text = """sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done' & wait"""
    outcome, took = timed_out(children, out, text, kill_after=0.6)
    assert outcome.signal == signal.SIGTERM
    assert took >= 0.6
    assert not alive.started_ticks(int(out.text()))


def test_a_stop_waits_for_the_clean_up_of_the_group(children, out):
    text = "trap 'sleep 0.3; echo cleaned up; exit 3' TERM; echo up; sleep 100 & wait"
    children.start(1, shell(text, kill_after=90), out.fd)
    out.wait_for("up")
    children.stop(1)
    children.stop(1)  # a second request changes nothing
    outcome = ended(children)[1]
    assert (outcome.exit_code, outcome.timed_out) == (3, False)
    assert "cleaned up" in out.text()


def test_the_rest_of_a_group_that_somebody_else_stops_is_ended_too(children, out):
    text = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait"
    child = children.start(1, shell(text, kill_after=0.5), out.fd)
    children.stopped_elsewhere = lambda key: key == 1
    left = int(wait_for_line(out))
    alive.terminate(child.pid)
    assert ended(children)[1].signal == signal.SIGTERM
    assert not alive.started_ticks(left)


def wait_for_line(out):
    out.wait_for("\n")
    return out.text()


def test_what_a_command_leaves_behind_lives_on_when_it_ends_by_itself(children, out):
    outcome = run(children, out, shell("sleep 100 & echo $!"))
    assert outcome.exit_code == 0
    left = int(out.text())
    assert alive.started_ticks(left)
    os.kill(left, signal.SIGKILL)


def test_many_run_side_by_side_in_one_loop(children, out, tmp_path):
    go = tmp_path / "go"
    for key in range(50):
        children.start(key, shell(f"until [ -e {go} ]; do sleep 0.1; done; exit {key}"), out.fd)
    go.touch()
    outcomes = ended(children)
    assert {key: outcome.exit_code for key, outcome in outcomes.items()} == {
        n: n for n in range(50)
    }
    assert not children.running


def test_waiting_ends_in_time_when_nothing_happens(children, out):
    children.start(1, shell("sleep 100"), out.fd)
    started = time.monotonic()
    assert children.wait(0.2) == []
    assert 0.03 <= time.monotonic() - started < 60


def test_an_end_that_somebody_else_took_is_an_outcome_too(children, out):
    child = children.start(1, shell("exit 0"), out.fd)
    os.waitpid(child.pid, 0)
    assert "another part" in ended(children)[1].error


def test_other_children_of_the_program_are_left_alone(children, out):
    other = os.fork()
    if other == 0:
        os._exit(9)
    run(children, out, shell("sleep 0.2"))
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 9


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
def test_root_runs_as_another_user_with_all_its_groups_and_nothing_of_ours(children, out):
    text = "id -u; id -g; id -G; grep CapEff /proc/self/status; touch /etc/x 2>&1"
    run(children, out, shell(text, user="nobody"))
    lines = out.text().splitlines()
    entry = pwd.getpwnam("nobody")
    groups = os.getgrouplist("nobody", entry.pw_gid)
    assert lines[:2] == [str(entry.pw_uid), str(entry.pw_gid)]
    assert sorted(map(int, lines[2].split())) == sorted(groups)
    assert lines[3].split()[1].strip("0") == ""
    assert "Permission denied" in lines[4]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
def test_root_executes_nothing_with_the_environment_of_another_user(children, out):
    env = {**ENV, "LD_PRELOAD": "/no/such/library.so"}  # the loader complains once for each program
    run(children, out, Command(argv=("/bin/true",), env=env, cwd="/", user="nobody"))
    assert out.text().count("cannot be preloaded") == 1


def test_a_user_who_does_not_exist_is_an_outcome(children, out):
    outcome = children.start(1, shell("true", user="nobody-here"), out.fd)
    assert outcome.error == "could not start: there is no user 'nobody-here'"


def test_niceness_is_that_of_the_command_from_its_first_step(children, out):
    run(children, out, shell("nice", nice=7))
    assert out.text() == f"{min(19, os.nice(0) + 7)}\n"  # ours is not always 0


def test_signals_are_collected_and_wake_the_loop(children, out):
    children.start(1, shell("sleep 100"), out.fd)
    with signals.stop_signals(children) as received:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started = time.monotonic()
        while not received:
            children.wait(100)
        assert time.monotonic() - started < 60
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_was_ignored_before_stays_ignored(children):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.stop_signals(children) as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, old)


def test_outside_the_main_thread_signals_are_left_alone(children):
    found = []

    def look():
        with signals.stop_signals(children) as received:
            found.append((received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [([], signal.SIG_DFL)]


def test_a_process_is_known_by_its_start_time(out):
    mine = alive.started_ticks(os.getpid())
    assert mine > 0
    assert alive.started_ticks(os.getpid()) == mine
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    assert alive.started_ticks(dead) is None  # a zombie has ended
    os.waitpid(dead, 0)
    assert alive.started_ticks(dead) is None


def test_a_session_is_found_by_the_file_it_has_open(children, out, tmp_path):
    child = children.start(1, shell("echo up; sleep 100 & wait"), out.fd)
    out.wait_for("up")
    found = (tmp_path / "out").stat()
    assert alive.session_that_has_open(found.st_ino, found.st_dev) == child.pid
    mine, other = (found.st_ino, found.st_dev), os.stat("/proc/self").st_uid + 1
    assert alive.session_that_has_open(*mine, b"TASKRUNNER_RUN=1", other) is None  # handed on
    by_user = child.pid if os.geteuid() else None
    assert alive.session_that_has_open(*mine, b"TASKRUNNER_RUN=1", os.geteuid()) == by_user
    with (tmp_path / "other").open("wb"):
        pass
    with (tmp_path / "other").open("rb"):  # who only reads it is no child of ours
        other = (tmp_path / "other").stat()
        assert alive.session_that_has_open(other.st_ino, other.st_dev) is None
    other = (tmp_path / "other").stat()
    assert alive.session_that_has_open(other.st_ino, other.st_dev) is None


def test_what_is_written_while_its_output_is_cut_is_seen_at_the_next_look(children, out):
    seen = []

    def cut(key):
        seen.append(key)
        if len(seen) < 3:
            os.write(out.fd, b"more")

    children.on_output = cut
    children.start(7, shell("echo up; sleep 300"), out.fd)
    end = time.monotonic() + 100
    while len(seen) < 3:
        assert time.monotonic() < end
        children.wait(0.1)
    children.kill(7)
    ended(children)
    assert set(seen) == {7}


def test_a_child_has_its_output_open_for_itself(children, out):
    children.start(1, shell("echo up; exec sleep 300"), out.fd)
    out.wait_for("up")
    assert not lock.nobody_else_has_open(out.fd)
    children.kill(1)
    ended(children)
    assert lock.nobody_else_has_open(out.fd)


def test_silence_is_reported_before_a_child_is_stopped_for_it(children, out):
    told = []
    children.on_silence = lambda key: told.append((key, list(children.running)))
    outcome = run(children, out, shell("sleep 300", max_silence=0.3))
    assert told == [(1, [1])]
    assert (outcome.silent, outcome.timed_out, outcome.signal) == (True, True, signal.SIGTERM)


def test_python_that_takes_too_long_is_interrupted_in_the_main_thread():
    before, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with pytest.raises(TimeoutError), signals.time_limit(0.2):
        re.search("(a+)+$", "a" * 60 + "b")
    with signals.time_limit(10):
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    # Who runs the test may have set a timer, which is still there.
    assert left == pytest.approx(signal.getitimer(signal.ITIMER_REAL)[0], abs=60)
    found = []

    def elsewhere():
        with signals.time_limit(0.01):
            time.sleep(0.05)
            found.append("not interrupted")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == ["not interrupted"]


def test_a_detached_program_is_not_our_child(tmp_path):
    programs.detach(("/bin/sh", "-c", f"echo $PPID > {tmp_path}/ppid"), "/")
    end = time.monotonic() + 100
    place = tmp_path / "ppid"
    while not (place.exists() and place.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert int(place.read_text()) != os.getpid()


def test_many_commands_run_at_a_time_and_each_end_is_reported(children, out):
    for key in range(50):
        children.start(key, shell(f"exit {key}"), out.fd)
    assert {key: outcome.exit_code for key, outcome in ended(children).items()} == {
        key: key for key in range(50)
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [({"umask": 0o027}, "0027"), ({"stdin": "text"}, "text"), ({"user": "nobody"}, "nobody")],
    ids=["umask", "stdin", "user"],
)
def test_a_command_has_the_umask_the_input_and_the_user_of_its_own(children, out, more, said):
    if "user" in more and os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    assert run(children, out, shell("cat; umask; id -un", **more)).exit_code == 0
    assert said in out.text()


def test_a_program_is_found_by_the_path_of_the_command_alone(children, out, tmp_path, monkeypatch):
    for folder, text in (("ours", "ours"), ("theirs", "theirs")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "prog").write_text(f"#!/bin/sh\necho {text}\n")
        (tmp_path / folder / "prog").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/ours:{os.environ['PATH']}")
    wanted = Command(argv=("prog",), env={"PATH": f"{tmp_path}/theirs:/bin"}, cwd="/")
    run(children, out, wanted)
    assert out.text() == "theirs\n"


def test_a_child_that_the_kernel_has_no_room_to_watch_is_polled(children, out, monkeypatch):
    """As when max_user_watches of epoll(7) are used up."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(children.selector, "register", full)
    children.start(1, shell("exit 3"), out.fd)
    assert ended(children)[1].exit_code == 3


def test_the_number_of_a_file_fits_the_store(tmp_path):
    found = os.stat(tmp_path)
    large = os.stat_result((found.st_mode, 2**64 - 1, *found[2:]))
    assert alive.inode(found) == found.st_ino
    assert alive.inode(large) == 2**63 - 1
