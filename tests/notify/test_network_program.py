"""The sender as a process of its own: who starts it, that there is one, what a channel that hangs costs a run."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskrunner import Every, Manual, TaskRunner
from taskrunner.home import lock
from tests.samples import ROOT, call, imported_by, start, wait_for


@pytest.fixture
def living(home):
    """A home with the real clock; at the end its senders are ended."""
    with TaskRunner(home) as runner:
        yield runner
    for pid in senders(home):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getsid(pid), signal.SIGKILL)
    wait_for(lambda: not senders(home))


def senders(home):
    """The pids of those who send for a home."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().split(b"\0")
            if b"--send" in words and str(home).encode() in words:
                found.append(int(place.parent.name))
    return found


def channel(home, shell, **more):
    keys = "".join(f"{key} = {value!r}\n" for key, value in more.items())
    (home / "taskrunner.toml").write_text(
        f"[notify.c]\nkind = 'command'\nshell = '''{shell}'''\n{keys}"
    )


def test_a_tick_that_sees_a_failure_has_it_told(living, home, tmp_path):
    channel(home, f'echo "$TASKRUNNER_SUMMARY" >> {tmp_path}/told')
    living.add("x", ["sh", "-c", "exit 7"], Every("1d"), now=True, notify="@c")
    assert call(home, "tick") == ("", "", 0)
    wait_for((tmp_path / "told").exists)
    wait_for(lambda: [each.state for each in living.outbox()] == ["sent"])
    assert (tmp_path / "told").read_text() == "x failed: exit code 7\n"


def test_a_channel_that_hangs_keeps_no_tick_and_no_run(living, home, tmp_path):
    channel(home, f"echo >> {tmp_path}/begun; exec sleep 300", time_limit="5m")
    living.add("x", ["false"], Manual(), notify="@c")
    began = time.monotonic()
    for _ in range(4):
        living.run("x")
        living.add("y", ["false"], Every("1d"), now=True, notify="@c", replace=True)
        assert call(home, "tick")[2] == 0
    assert time.monotonic() - began < 120
    begun = tmp_path / "begun"
    wait_for(lambda: begun.exists() and begun.read_text())
    wait_for(lambda: len(senders(home)) == 1)  # those that came later leave
    assert len(begun.read_text()) == 1  # the others wait, and so does nobody else


def test_there_is_one_sender_however_many_are_started(living, home, tmp_path):
    channel(home, f"echo >> {tmp_path}/begun; sleep 0.5", digest=100)
    living.add("x", ["false"], Manual())
    living.run("x")
    living.set("x", notify={"failure": "@c"})
    with lock.held(str(home / "notify.lock")):  # nobody sends yet
        living.run("x")
    many = [start(home, "notify", "--send", "--json") for _ in range(5)]
    for each in many:
        each.communicate(timeout=100)
    assert len((tmp_path / "begun").read_text()) == 1
    assert [each.state for each in living.outbox()] == ["sent"]


def test_what_is_posted_while_the_sender_is_at_work_is_sent_by_it(living, home, tmp_path):
    channel(home, f'echo "$TASKRUNNER_RUN" >> {tmp_path}/told; sleep 1', repeat="always")
    living.add("x", ["false"], Manual(), notify="@c")
    first = living.run("x")
    wait_for((tmp_path / "told").exists)
    runs = [first, living.run("x"), living.run("x")]
    wait_for(lambda: {each.state for each in living.outbox()} == {"sent"})
    assert (tmp_path / "told").read_text().split() == [str(run.id) for run in runs]


def test_a_sender_that_is_killed_is_followed_by_another(living, home, tmp_path):
    channel(home, f"echo >> {tmp_path}/begun; test -e {tmp_path}/go || exec sleep 300")
    living.add("x", ["false"], Manual(), notify="@c")
    living.run("x")
    wait_for((tmp_path / "begun").exists)
    (pid,) = senders(home)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not senders(home))
    (message,) = living.outbox()
    assert (message.state, message.attempts) == ("waiting", 1)  # put off before it was tried
    (tmp_path / "go").touch()
    living._here().store.connection.run("UPDATE outbox SET due = 0")
    assert call(home, "tick") == ("", "", 0)
    wait_for(lambda: [each.state for each in living.outbox()] == ["sent"])


def test_a_tick_is_idle_while_a_message_waits_for_its_time(living, home):
    channel(home, "exit 1")
    living.add("x", ["false"], Manual(), notify="@c")
    living.run("x")
    wait_for(lambda: living.outbox() and living.outbox()[0].error)
    wait_for(lambda: not senders(home))
    call(home, "tick")
    code = "import sys; sys.argv[1:] = ['--home', %r, 'tick']\nimport os\nreal = os._exit\n"
    code += "def leave(code):\n  print('taskrunner.tick.visit' in sys.modules, flush=True); real(code)\n"
    code += "os._exit = leave\nfrom taskrunner.__main__ import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def busy():
        argv = [sys.executable, "-c", code % str(home)]
        return subprocess.run(argv, capture_output=True, text=True, env=env).stdout.strip()

    assert busy() == "False"
    living._here().store.connection.run("UPDATE outbox SET due = 0")
    assert busy() == "True"


def test_a_tick_imports_nothing_that_speaks_to_servers(living, home):
    channel(home, "true")
    living.add("x", ["false"], Every("1d"), now=True, notify="@c")
    loaded = imported_by(home, "tick")
    assert "taskrunner.notify.announce" in loaded
    never = {"smtplib", "ssl", "socket", "email", "urllib.request", "http.client", "logging"}
    assert not loaded & {*never, "taskrunner.notify.deliver"}
    wait_for(lambda: [each.state for each in living.outbox()] == ["sent"])


def test_the_verb_lists_tests_and_sends(living, home, tmp_path):
    assert call(home, "notify") == (
        "",
        "taskrunner: there are no channels: write [notify.NAME] into taskrunner.toml\n",
        0,
    )
    channel(home, f"cat >> {tmp_path}/told; test -e {tmp_path}/good")
    out, err, code = call(home, "notify", "--test", "c")
    assert (out, code) == ("", 1)
    assert err == "taskrunner: c: 1 message (test) not sent: exit code 1\n"
    (tmp_path / "good").touch()
    out, err, code = call(home, "notify", "--test", "c")
    assert re.fullmatch(r"c: 1 message \(test\) sent in \d+\.\d s\n", out)
    assert (err, code) == ("", 0)
    assert call(home, "notify", "--test", "d")[1:] == (
        "taskrunner: there is no channel 'd' in taskrunner.toml: it has c\n",
        1,
    )
    assert call(home, "notify", "--send", "-v") == ("nothing is due\n", "", 0)
    assert call(home, "notify", "--send", "--test", "c")[2] == 2
    assert "c        command" in call(home, "notify")[0]
