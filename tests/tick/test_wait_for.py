"""What is waited for before the first tick: real ports, real files, real signals."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from datetime import timedelta

import pytest

from taskrunner.errors import InputError, StateError
from taskrunner.tick.wait_for import Awaited, parse, wait_for as all_there
from tests.samples import ROOT, call, program, start, wait_for
from tests.tick.test_sd_notify import Listener

SECOND = timedelta(seconds=1)


@pytest.fixture
def port():
    """A port that answers as soon as somebody listens on its socket."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def number(port):
    return port.getsockname()[1]


@pytest.mark.parametrize(
    "text",
    ["tcp://db:5432", "tcp://127.0.0.1:1", "tcp://[::1]:65535", "file:/srv/x", "file:///srv/x"],
)
def test_good_forms_are_understood(text):
    assert parse(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "db:5432",
            "http://db",
            "/srv/x",
            "file:",
            "file:srv/x",
            "file://host/x",
            "file:/a\0b",
        ),
        *("tcp:", "tcp://", "tcp://db", "tcp://db:", "tcp://db:0", "tcp://db:65536", "tcp://:1"),
        *(
            "tcp://db:x",
            "tcp://a@db:1",
            "tcp://db:1/x",
            "tcp://[::1]",
            "tcp://d b:1",
            "tcp://db:123456",
        ),
        f"tcp://{'x' * 64}:1",
    ],
)
def test_bad_forms_are_refused_with_their_value(text):
    with pytest.raises(InputError) as refused:
        parse(text)
    assert repr(text)[:-1] in str(refused.value)


def test_the_daemon_refuses_bad_forms_with_one_sentence_and_makes_no_home(tmp_path):
    out, err, code = call(tmp_path / "none", "daemon", "--wait-for", "db:5432")
    assert (out, code) == ("", 2)
    assert "'db:5432' is not a valid --wait-for: write tcp://HOST:PORT" in err
    assert err.count("\n") == 1
    out, err, code = call(tmp_path / "none", "daemon", "--wait-limit", "5m")
    assert (code, "goes only with --wait-for" in err) == (2, True)
    assert not (tmp_path / "none").exists()


def test_a_port_is_there_when_it_answers(port):
    wanted = parse(f"tcp://localhost:{number(port)}")
    assert not wanted.there()
    port.listen()
    assert wanted.there()


def test_a_host_that_has_no_address_is_not_there():
    assert not parse("tcp://no-such-host.invalid:1").there()


def test_the_first_tick_comes_when_all_that_is_awaited_is_there(home, port, tmp_path):
    listener = Listener(f"@taskrunner-test-{os.urandom(8).hex()}")
    words = ("--wait-for", f"tcp://127.0.0.1:{number(port)}", "--wait-for", f"file:{tmp_path}/up")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": listener.place}
    process = subprocess.Popen(program(home, "daemon", *words), env=env)
    with process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        listener.until("EXTEND_TIMEOUT_USEC=")
        listener.until(f"STATUS=waiting for tcp://127.0.0.1:{number(port)}")
        port.listen()
        listener.until(f"STATUS=waiting for file:{tmp_path}/up")
        assert not (home / "taskrunner.db").exists()  # what is awaited may be its disk
        assert "READY=1" not in listener.lines()
        (tmp_path / "up").touch()
        listener.until("READY=1")
        assert (home / "heartbeat").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
    listener.socket.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_at_once(home, sent):
    listener = Listener(f"@taskrunner-test-{os.urandom(8).hex()}")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": listener.place}
    argv = program(home, "daemon", "--wait-for", "file:/nowhere/at/all")
    with subprocess.Popen(argv, env=env) as process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        listener.until("STATUS=waiting for file:/nowhere/at/all")
        process.send_signal(sent)
        assert process.wait(100) == 0
    assert not (home / "taskrunner.db").exists()
    listener.socket.close()


def test_a_limit_that_is_over_is_reported_in_one_sentence(home):
    words = ("--wait-for", "file:/nowhere/at/all", "--wait-limit", "1s")
    out, err, code = call(home, "daemon", *words)
    assert (out, code) == ("", 1)
    assert "'file:/nowhere/at/all' was not ready within 1 s" in err and err.count("\n") == 1
    assert not (home / "taskrunner.db").exists()


def test_hup_while_it_waits_does_not_end_it(home, tmp_path):
    process = start(home, "daemon", "--wait-for", f"file:{tmp_path}/up")
    with process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        wait_for(lambda: caught(process.pid, signal.SIGHUP))
        process.send_signal(signal.SIGHUP)
        (tmp_path / "up").touch()
        wait_for((home / "heartbeat").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0


def caught(pid, sent):
    """Whether a process has its own way with a signal (SigCgt of proc_pid_status(5))."""
    with open(f"/proc/{pid}/status") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    return int(mask, 16) >> (sent - 1) & 1


def test_a_look_that_hangs_keeps_neither_a_signal_nor_the_limit_waiting():
    """As the search for the address of a name does, which nothing can break off."""
    over = threading.Event()
    slow = Awaited("slow", lambda: over.wait() and False)
    try:
        assert not all_there([slow], timedelta(hours=1), lambda *_: False)
        with pytest.raises(StateError, match="'slow' was not ready within 1 s"):
            all_there([slow], SECOND, lambda *_: True)
    finally:
        over.set()


def test_all_is_awaited_in_its_order_and_each_but_once():
    looks = []
    wanted = [Awaited(text, lambda text=text: looks.append(text) or True) for text in "abc"]
    assert all_there(wanted, SECOND, lambda *_: True)
    assert looks == ["a", "b", "c"]
