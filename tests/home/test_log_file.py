"""The log of what taskrunner did: its lines, its levels, its size, and many who write it at once."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from taskrunner import Cron, InputError, Manual, TaskRunner
from taskrunner.home import syslog
from taskrunner.home.log_file import Log
from tests.samples import ROOT, call, start, wait_for

NOON = datetime(2026, 11, 20, 12, 0, 0, 5000, UTC)
LINE = re.compile(r"(\S+Z) (\d+) (error|warning|info|debug) +(.*)")


def read(home):
    """The level and the text of each line of the log."""
    place = home / "taskrunner.log"
    if not place.exists():
        return []
    found = [LINE.fullmatch(line) for line in place.read_text().splitlines()]
    assert all(found)
    return [(each[3], each[4]) for each in found]


def test_the_log_reports_what_was_claimed_started_and_ended(runner, home, clock):
    runner.add("good", ["true"], Cron("1 12 * * *", tz="UTC"))
    runner.add("bad", ["sh", "-c", "exit 3"], Cron("1 12 * * *", tz="UTC"))
    clock.forward(minutes=1)
    runner.tick(caller="cron")
    added, told = read(home)[:2], read(home)[2:]
    assert all(re.match(r"task \d added by \w+: cron 1 12", text) for _, text in added)
    assert told[0] == ("info", "tick by cron: 2 to run")
    assert sorted((level, re.sub(r"run \d", "run N", text)) for level, text in told[1:]) == [
        ("info", "bad: run N started for 2026-11-20T12:01:00Z (schedule)"),
        ("info", "good: run N started for 2026-11-20T12:01:00Z (schedule)"),
        ("info", "good: run N succeeded: exit code 0, after 0.000 s"),
        ("warning", "bad: run N failed: exit code 3, after 0.000 s"),
    ]
    first = (home / "taskrunner.log").read_text().split()[0]
    assert first == "2026-11-20T12:00:00.000Z"


def test_the_log_is_private(runner, home):
    runner.add("x", ["true"], Manual())
    runner.run("x")
    assert (home / "taskrunner.log").stat().st_mode & 0o777 == 0o600


def test_slots_that_are_not_run_are_reported_with_the_reason(runner, home, clock):
    runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"), catch_up="none")
    clock.forward(hours=1, minutes=30)
    runner.tick()
    assert [level for level, text in read(home) if text.startswith("x: slot")] == ["warning"]
    assert ("info", "tick by library: 1 missed") in read(home)


def test_changes_by_people_are_reported(runner, home):
    runner.add("x", ["true"], Manual())
    runner.set("x", timeout="5m")
    runner.disable("x")
    runner.close()
    texts = [re.sub(r" by \w+", "", text) for _, text in read(home)]
    assert texts == ["task 1 added: manual", "task 1 changed: timeout 1h -> 5m", "task 1 disabled"]


def test_a_task_that_cannot_be_evaluated_is_an_error(runner, home, clock):
    runner.add("x", ["true"], Cron("1 12 * * *", tz="Europe/Berlin"))
    runner.close()
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("UPDATE tasks SET tz = 'No/Where', following = NULL, next = 0")
    store.close()
    clock.forward(minutes=1)
    runner.tick()
    (error,) = [text for level, text in read(home) if level == "error"]
    assert error.startswith("x: cannot be evaluated, tried again in an hour: ")


def test_an_idle_tick_leaves_nothing_in_the_log(runner, home, clock):
    runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"))
    runner.tick()
    before = read(home)
    clock.forward(minutes=1)
    assert runner.tick().idle
    assert read(home) == before


def test_messages_are_sent_as_written(home, clock):
    channel = "[notify.c]\nkind = 'command'\nshell = 'exit 1'\n"
    (home / "taskrunner.toml").write_text(channel)
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Manual(), notify="@c", on_failure="true")
        runner.run("x")
        runner.deliver()
    assert read(home)[-2:] == [
        ("warning", "x: could not send the failure notification to channel c: exit code 1"),
        ("info", "x: sent the failure notification to its own command"),
    ]


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("error", set()),
        ("warning", {"warning"}),
        ("info", {"warning", "info"}),
        ("debug", {"warning", "info", "debug"}),
    ],
)
def test_the_level_says_what_is_kept(home, clock, level, kept):
    (home / "taskrunner.toml").write_text(f'log_level = "{level}"')
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Cron("1 12 * * *", tz="UTC"))
        clock.forward(minutes=1)
        runner.tick()
    assert {found for found, _ in read(home)} == kept


def test_there_need_not_be_a_log(home, clock, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_LOG_TO", "none")
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["true"], Manual())
        runner.run("x")
    assert not (home / "taskrunner.log").exists()


@pytest.mark.parametrize("text", ['log_to = "nowhere"', 'log_level = "loud"', "log_level = 3"])
def test_a_setting_that_means_nothing_is_refused(home, text):
    (home / "taskrunner.toml").write_text(text)
    with pytest.raises(InputError, match="it must be one of "):
        TaskRunner(home).tasks()


def test_a_log_that_cannot_be_written_keeps_nobody_from_work(runner, home):
    (home / "taskrunner.log").mkdir()
    runner.add("x", ["true"], Manual())
    assert runner.run("x").state == "succeeded"


def test_no_link_is_followed(runner, home, tmp_path):
    (home / "taskrunner.log").symlink_to(tmp_path / "elsewhere")
    runner.add("x", ["true"], Manual())
    runner.run("x")
    assert not (tmp_path / "elsewhere").exists()


def test_an_uncommitted_change_is_not_reported(runner, home):
    runner.add("x", ["false"], Manual(), on_failure="true")
    runner.close()
    store = sqlite3.connect(home / "taskrunner.db")
    store.execute("CREATE TRIGGER t BEFORE INSERT ON outbox BEGIN SELECT raise(FAIL, 'no'); END")
    store.close()
    run = runner.run("x")
    runner.close()
    assert "IntegrityError" in run.reason
    (line,) = [text for _, text in read(home) if f"run {run.id} failed" in text]
    assert run.reason in line  # as the row says, not as it would have been told with its message


# ---- the file


def test_a_line_is_one_line_whatever_it_tells(tmp_path):
    book = Log(str(tmp_path), "file")
    book.say(syslog.INFO, NOON, "one\ntwo\x1b[31m \u202e" + "x" * 2000)
    book.write()
    (line,) = (tmp_path / "taskrunner.log").read_text().splitlines()
    assert line.startswith(f"2026-11-20T12:00:00.005Z {os.getpid()} info    one\\ntwo\\x1b[31m")
    assert line.isprintable() and len(line) < 1100 and line.endswith("x…")


def test_a_line_reports_its_instant_in_utc_whatever_its_zone(tmp_path):
    book = Log(str(tmp_path), "file")
    book.say(syslog.INFO, NOON.astimezone(ZoneInfo("Europe/Berlin")), "one")
    book.write()
    assert (tmp_path / "taskrunner.log").read_text().startswith("2026-11-20T12:00:00.005Z ")


def test_many_lines_are_one_write(tmp_path, monkeypatch):
    book, writes = Log(str(tmp_path), "file"), []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (writes.append(data), real(fd, data))[1])
    for number in range(500):
        book.say(syslog.INFO, NOON, f"line {number}")
    book.write()
    book.write()
    assert len(writes) == 1


def test_a_file_that_is_full_is_put_aside_and_five_are_kept(tmp_path):
    book = Log(str(tmp_path), "file")
    for number in range(9):
        for _ in range(1100):
            book.say(syslog.INFO, NOON, f"{number}" + "x" * 900)
        book.write()
    assert sorted(os.listdir(tmp_path)) == [f"taskrunner.log.{number}" for number in range(1, 6)]
    book.say(syslog.INFO, NOON, "new")
    book.write()
    assert (tmp_path / "taskrunner.log").read_text().endswith("new\n")
    newest = [(tmp_path / f"taskrunner.log.{n}").read_text().split()[3][0] for n in range(1, 6)]
    assert newest == ["8", "7", "6", "5", "4"]


WRITER = """
import sys
from datetime import datetime, UTC
from taskrunner.home import log_file
log_file.LARGEST, log_file.KEPT = 20_000, 50
book = log_file.Log(sys.argv[1], "file")
for number in range(1000):
    book.say(6, datetime.now(UTC), f"{sys.argv[2]} {number}")
    if number % 3 == 0:
        book.write()
book.write()
"""


def test_many_who_write_at_once_lose_no_line_and_tear_none(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    many = [subprocess.Popen([*argv, str(number)], env=env) for number in range(4)]
    assert [each.wait(100) for each in many] == [0] * 4
    found = []
    for name in os.listdir(tmp_path):
        lines = (tmp_path / name).read_text().splitlines()
        matches = [LINE.fullmatch(line) for line in lines]
        assert all(matches), name
        found += [each[4] for each in matches]
    assert len(os.listdir(tmp_path)) > 5
    assert sorted(found) == sorted(f"{one} {number}" for one in range(4) for number in range(1000))


def test_the_daemon_logs_what_it_says(home):
    with start(home, "daemon", "--interval", "1s") as process:
        try:
            wait_for(lambda: any("daemon: ticking every 1 s" in text for _, text in read(home)))
        finally:
            process.terminate()
            process.communicate(timeout=100)
    assert any(text.startswith("daemon: stopping") for _, text in read(home))


# ---- the journal and syslog


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """A socket where the journal and syslog would be; returns what it has heard."""
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "socket"))
    heard.setblocking(False)
    monkeypatch.setattr(syslog, "JOURNAL", str(tmp_path / "socket"))
    monkeypatch.setattr(syslog, "SYSLOG", str(tmp_path / "socket"))

    def ask():
        found = []
        while True:
            try:
                found.append(heard.recv(65536))
            except BlockingIOError:
                return found

    yield ask
    heard.close()


def test_the_journal_gets_fields_to_search_by(home, clock, listener):
    (home / "taskrunner.toml").write_text('log_to = "journal"')
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Manual())
        runner.run("x")
    entries = [dict(line.split(b"=", 1) for line in each.splitlines()) for each in listener()]
    last = entries[-1]
    assert last == {
        b"SYSLOG_IDENTIFIER": b"taskrunner",
        b"MESSAGE": b"x: run 2 failed: exit code 1, after 0.000 s",
        b"PRIORITY": b"4",
        b"TASKRUNNER_TASK": b"x",
        b"TASKRUNNER_RUN": b"2",
        b"TASKRUNNER_STATE": b"failed",
        b"TASKRUNNER_TRIGGER": b"manual",
        b"TASKRUNNER_HOME": str(home).encode(),
    }
    assert not (home / "taskrunner.log").exists()


def test_a_field_of_several_lines_goes_by_its_length(listener):
    assert syslog.send(MESSAGE="one\ntwo", PRIORITY=6)
    assert b"MESSAGE\n\x07\x00\x00\x00\x00\x00\x00\x00one\ntwo\nPRIORITY=6\n" in listener()[0]


def test_syslog_gets_lines(home, clock, listener):
    (home / "taskrunner.toml").write_text('log_to = "syslog"')
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Manual())
        runner.run("x")
    text = "x: run 2 failed: exit code 1, after 0.000 s"
    assert listener()[-1] == f"<76>taskrunner[{os.getpid()}]: {text}".encode()


@pytest.mark.parametrize("place", ["journal", "syslog"])
def test_where_nobody_listens_the_file_is_written(home, clock, monkeypatch, tmp_path, place):
    monkeypatch.setattr(syslog, place.upper(), str(tmp_path / "nobody"))
    (home / "taskrunner.toml").write_text(f'log_to = "{place}"')
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["true"], Manual())
        runner.run("x")
    assert read(home)[-1] == ("info", "x: run 2 succeeded: exit code 0, after 0.000 s")


# ---- the last success


def test_the_last_success_is_read_by_show_and_by_a_query_once_a_run_has_ended(runner, home, clock):
    runner.add("x", ["true"], Manual())
    runner.run("x")
    clock.forward(hours=1)
    runner.set("x", command=["false"])
    runner.run("x")
    store = sqlite3.connect(f"file:{home}/taskrunner.db?mode=ro", uri=True)
    query = "SELECT last_success, last_run, last_state FROM v_tasks WHERE name = 'x'"
    (row,) = store.execute(query).fetchall()
    store.close()
    assert row == ("2026-11-20T12:00:00.000Z", "2026-11-20T13:00:00.000Z", "failed")
    runner.close()
    assert "last success  2026-11-20 12:00:00" in call(home, "show", "x")[0]
