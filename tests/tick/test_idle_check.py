"""The idle path: what it imports, what it touches, when it says no."""

import os
import re
import sqlite3
import subprocess
from datetime import timedelta

import pytest

from taskrunner import Cron, Every, Manual, clock as clock_room, host, schema
from taskrunner.home import heartbeat
from taskrunner.tick import idle_check, idle_question
from tests.samples import ROOT, imported_by, program, with_library

# All that an idle tick imports, and what these bring along: while the last answer holds, and when it asks anew.
KEPT = "__main__ host home home.heartbeat home.paths tick tick.idle_check"
ASKS = f"{KEPT} errors home.lock schema tick.idle_question"
LIBRARY = "sqlite3 contextlib fcntl"

INSERT_RUN = "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed) VALUES "


def test_an_idle_tick_imports_what_is_listed_and_nothing_else(runner, home, clock, monkeypatch):
    runner.add("report", ["true"], Every("1d"))
    runner.tick()
    now = clock_room.to_ms(clock.forward(minutes=1))
    at = f"from taskrunner import host; host.now_ms = lambda: {now}"
    assert imported_by(home, "tick", first=at) == with_library(ASKS, LIBRARY)
    monkeypatch.setattr(idle_check, "RECENT", -(10**12))
    assert idle_check.idle(str(home), now, "test")
    assert imported_by(home, "tick", first=at) == with_library(KEPT, "os")


def test_an_idle_tick_of_the_real_program_is_silent_and_quick_to_leave(runner, home):
    runner.close()
    from taskrunner import TaskRunner

    with TaskRunner(home) as live_runner:
        live_runner.add("report", ["true"], Every("1d"))
        live_runner.tick()
    before = (home / "heartbeat").read_bytes()
    argv = [
        "strace",
        "-f",
        "-e",
        "trace=%network,fork,vfork,clone,clone3,execve",
        "-o",
        home / "trace",
    ]
    traced = [*argv, *program(home, "tick")] if os.access("/usr/bin/strace", os.X_OK) else None
    done = subprocess.run(
        traced or program(home, "tick"),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)
    assert (home / "heartbeat").read_bytes() != before
    if traced:
        calls = (home / "trace").read_text().splitlines()
        assert sum("execve(" in line for line in calls) == 1
        assert not any(re.search(r"\b(v?fork|clone3?)\(", line) for line in calls)


def test_the_number_of_the_schema_is_the_one_that_the_idle_check_compares():
    assert len(schema.STEPS) == idle_check.SCHEMA, "set SCHEMA in tick/idle_check.py"


@pytest.fixture
def idle(runner, home, clock):
    """A home where nothing is due, and the question put to the idle check a minute later."""
    runner.add("report", ["true"], Cron("0 18 * * *", tz="UTC"))
    runner.tick()
    clock.forward(minutes=1)

    def ask():
        return idle_check.idle(str(home), clock_room.to_ms(clock()), "test")

    assert ask()
    return ask


def raw(home, sql):
    connection = sqlite3.connect(home / "taskrunner.db")
    with connection:
        connection.execute(sql)
    connection.close()


def test_a_slot_that_has_come_ends_the_idleness(idle, clock):
    clock.forward(hours=6)
    assert not idle()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tasks SET requested = 1",
        INSERT_RUN + "(1, 1, 1, 'schedule', 'pending', 1)",
        "UPDATE facts SET value = 'older' WHERE name = 'zone_data'",
        "INSERT INTO outbox (event, task_id, run_id, channel, created, due) VALUES ('late', 1, 1, 'c', 1, 1)",
        "PRAGMA user_version = 99",
        "DROP TABLE runs",
    ],
)
def test_whatever_needs_a_look_ends_the_idleness(idle, home, sql):
    raw(home, sql)
    assert not idle()


def test_a_message_whose_time_has_not_come_does_not_end_it(idle, home, clock):
    soon = clock_room.to_ms(clock.forward(seconds=30)) + 1
    columns = "INSERT INTO outbox (event, task_id, run_id, channel, created, due) "
    raw(home, columns + f"VALUES ('late', 1, 1, 'c', 1, {soon})")
    raw(home, columns + "VALUES ('late', 1, 1, 'c', 1, NULL)")
    assert idle()
    clock.forward(seconds=1)
    assert not idle()


def test_a_run_whose_supervisor_is_gone_ends_the_idleness(idle, home):
    raw(home, INSERT_RUN + "(1, 1, 1, 'schedule', 'running', 1)")
    raw(
        home,
        "INSERT INTO processes (run_id, supervisor, boot_id, output, inode) VALUES (1, 'gone', 'boot', 'x', 1)",
    )
    assert not idle()
    from taskrunner.home import lock

    with lock.held_own(str(home / "supervisors" / "gone")):
        assert idle()


@pytest.mark.parametrize("length", [timedelta(minutes=4), timedelta(seconds=-90)])
def test_a_gap_or_a_step_back_ends_the_idleness(idle, clock, length):
    clock.at += length
    assert not idle()


def test_a_new_boot_ends_the_idleness(idle, monkeypatch):
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    assert not idle()


def test_a_missing_heartbeat_ends_the_idleness(idle, home):
    (home / "heartbeat").unlink()
    assert not idle()


def test_tasks_that_are_disabled_removed_or_manual_do_not_end_it(idle, runner, clock):
    runner.add("hand", ["true"], Manual())
    runner.add("off", ["true"], Cron("2 12 * * *", tz="UTC"))
    runner.disable("off")
    runner.add("gone", ["true"], Cron("2 12 * * *", tz="UTC"))
    runner.remove("gone")
    clock.forward(minutes=2)
    assert idle()


def test_the_gap_is_measured_in_the_period_of_the_clock_that_beat(idle, home, clock):
    now = clock_room.to_ms(clock())
    place = str(home / "heartbeat")
    heartbeat.write(place, heartbeat.Beat(now - 30_000, 10_000, host.boot_id(), "daemon"))
    assert not idle()


def test_the_question_is_answered_from_indexes(runner, home):
    runner.add("report", ["true"], Every("1d"))
    runner.close()
    connection = sqlite3.connect(home / "taskrunner.db")
    values = {"now": 1, "soon": 2, "boot": "", "zone_data": ""}
    plan = connection.execute("EXPLAIN QUERY PLAN " + idle_question.QUESTION, values)
    steps = [row[3] for row in plan]
    connection.close()
    # The one table that is walked holds no more rows than runs are running.
    walked = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert [step for step in walked if "CONSTANT" not in step] == ["SCAN processes"]
    assert sum("tasks_due" in step for step in steps) == 1
    of_runs = [step for step in steps if step.split()[1] == "runs"]
    # Each of these holds only runs that wait; which one answers, a newer SQLite chooses differently.
    assert of_runs and all(re.search("runs_(waiting|pending|delayed)", step) for step in of_runs)
