"""A mail sender that a loop calls at intervals, on a laptop every minute and on a server every four hours, lives here."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from taskrunner.home import log_file
from tests.samples import ROOT, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.one_python]

SENDER = """\
#!/bin/sh
# Sends what is in the outbox; the file "mood" says how that goes.
echo "3 mails in the queue"
case "$(cat {folder}/mood 2>/dev/null)" in
bad) echo "smtp: connection refused" >&2; exit 75 ;;
stuck) exec sleep 300 ;;
esac
echo "sent 3 mails"
"""
TASKS = """\
[tasks.mailer]
description = "sends what waits"
every = "4h"
now = true
command = ["{folder}/send-mails"]

[profiles.test.tasks.mailer]
every = "1m"
"""


class Sender:
    """The folder of the sender, and what its people type."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TASKRUNNER_HOME": str(folder / "state"),
            "PYTHONPATH": str(ROOT),
            "TZ": "UTC",
        }
        self.loops = []

    def type(self, *words, code=0):
        argv = [sys.executable, "-m", "taskrunner", *words]
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ask(self, *words):
        return json.loads(self.type(*words, "--json"))

    def mood(self, word):
        (self.folder / "mood").write_text(word)

    def foreground(self, *words):
        """Start the loop in the foreground, as in a terminal; what it says is kept."""
        argv = [sys.executable, "-m", "taskrunner", "daemon", "--interval", "1s", *words]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(argv, cwd=self.folder, env=self.env, **said)
        self.loops.append(process)
        return process

    def states(self):
        return [run["state"] for run in reversed(self.ask("history")["runs"])]

    def log(self):
        return (self.folder / "state" / "taskrunner.log").read_text()


@pytest.fixture
def sender(tmp_path):
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "send-mails").write_text(SENDER.format(folder=folder))
    (folder / "send-mails").chmod(0o755)
    (folder / "tasks.toml").write_text(TASKS.format(folder=folder))
    made = Sender(folder)
    yield made
    for each in made.loops:
        each.terminate() if each.poll() is None else None
        each.communicate(timeout=100)


def gap(sender, name="mailer"):
    first, second = sender.ask("next", name, "-n", "2")["next"]
    return datetime.fromisoformat(second["slot"]) - datetime.fromisoformat(first["slot"])


def test_the_interval_is_that_of_the_environment(sender):
    sender.type("apply", "tasks.toml", "--profile", "test")
    assert gap(sender) == timedelta(minutes=1)
    sender.type("apply", "tasks.toml")
    assert gap(sender) == timedelta(hours=4)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("45m", timedelta(minutes=45)),
        ("4h", timedelta(hours=4)),
        ("2d", timedelta(days=2)),
        ("7h30m", timedelta(hours=7, minutes=30)),
        ("36h", timedelta(days=1, hours=12)),
        ("1w2d", timedelta(days=9)),
    ],
)
def test_intervals_are_minutes_hours_days_and_mixtures(sender, text, length):
    sender.type("add", "x", "--every", text, "--tz", "UTC", "--", "true")
    assert gap(sender, "x") == length


def test_the_first_run_is_at_once_on_start_and_in_the_foreground(sender):
    sender.type("apply", "tasks.toml")
    loop = sender.foreground("-v")
    wait_for(lambda: sender.states() == ["succeeded"])
    loop.send_signal(signal.SIGINT)  # Ctrl-C
    said = loop.communicate(timeout=100)[0]
    assert loop.returncode == 0
    assert "ticking every 1 s" in said and "stopping" in said


def test_what_the_program_writes_to_both_streams_is_kept(sender):
    sender.mood("bad")
    sender.type("apply", "tasks.toml")
    sender.type("tick")
    assert sender.type("log", "mailer") == "3 mails in the queue\nsmtp: connection refused\n"


def test_a_failure_is_logged_and_the_schedule_goes_on(sender):
    sender.mood("bad")
    sender.type("add", "mailer", "--every", "1s", "--", str(sender.folder / "send-mails"))
    sender.foreground()
    wait_for(lambda: "failed" in sender.states())
    bad = r"warning mailer: run 2 failed: exit code 75, after"
    wait_for(lambda: re.search(bad, sender.log()))  # it is logged once it is recorded
    sender.mood("good")
    wait_for(lambda: "succeeded" in sender.states())
    good = r"info +mailer: run \d+ succeeded: exit code 0, after"
    wait_for(lambda: re.search(good, sender.log()))


def test_the_time_of_the_last_success_is_read_at_a_glance(sender):
    sender.type("apply", "tasks.toml")
    sender.type("tick")
    good = sender.ask("list")["tasks"][0]["last_success"]
    sender.mood("bad")
    sender.type("run", "mailer", code=75)
    (task,) = sender.ask("list")["tasks"]
    assert (task["last_success"], task["last_state"]) == (good, "failed")
    assert re.search(r"^last success +20\d\d-", sender.type("show", "mailer"), re.M)
    store = sqlite3.connect(f"file:{sender.folder}/state/taskrunner.db?mode=ro", uri=True)
    ((found,),) = store.execute("SELECT last_success FROM v_tasks WHERE name = 'mailer'")
    store.close()
    assert datetime.fromisoformat(found) == datetime.fromisoformat(good)


def test_a_run_is_stopped_after_an_hour_unless_one_says_otherwise(sender):
    sender.type("apply", "tasks.toml")
    assert sender.ask("list")["tasks"][0]["timeout"] == 3600
    sender.mood("stuck")
    sender.type("set", "mailer", "--timeout", "1s")
    sender.type("run", "mailer", code=124)
    (run,) = sender.ask("history", "--state", "timed_out")["runs"]
    assert run["reason"].startswith("stopped at its timeout of 1s")
    assert run["duration"] < 60


def test_the_log_is_begun_anew_at_one_megabyte_and_five_are_kept(sender):
    sender.type("apply", "tasks.toml")
    place = sender.folder / "state" / "taskrunner.log"
    for _ in range(7):
        with place.open("a") as file:
            file.write("an old line\n" * 90_000)
        sender.type("run", "mailer")
    names = {each.name for each in place.parent.glob("taskrunner.log*")}
    assert {f"taskrunner.log.{number}" for number in range(1, 6)} <= names
    assert "taskrunner.log.6" not in names
    assert (log_file.LARGEST, log_file.KEPT) == (1_000_000, 5)
