"""A ticket system with tasks as Python code in a table, run by a cron line each minute, lives here."""

import json
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import Every, TaskRunner
from tests.samples import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.one_python]

PAGE = ROOT / "docs" / "how-to" / "move-scheduled-code.md"
CRONTAB = """\
#!/bin/sh
tab={folder}/tab
case "$1" in
-l) if [ -e "$tab" ]; then cat "$tab"; else echo "no crontab for $(id -un)" >&2; exit 1; fi ;;
-r) rm "$tab" ;;
-) cat > "$tab" ;;
*) cat "$1" > "$tab" ;;
esac
"""
MODELS = """
import sqlite3

class Ticket:
    @staticmethod
    def overdue(days):
        return [row[0] for row in sqlite3.connect("tickets.db").execute(
            "SELECT id FROM tickets WHERE age > ?", (days,))]
"""
TASKS = [
    ("Close overdue", 5, "minutes", "for n in Ticket.overdue(days=2):\n    logger.info('closed %s', n)", 1),
    ("Failing sync", 30, "minutes", "print('syncing')\nraise ConnectionError('no route to host')", 1),
    ("Digest", 2, "hours", "print(date.today() - timedelta(days=1), task)", 1),
    ("Backup tickets", 1, "days", "print('saved', slot.date())", 1),
    ("Monthly report", 1, "months", "print((slot - relativedelta(months=1)).month)", 1),
    ("Old import", 12, "hours", "print('never')", 0),
]  # fmt: skip


class System:
    """The folder of the application, and the commands that its people type there."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": f"{folder}/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TASKRUNNER_HOME": str(folder / "state"),
            "PYTHONPATH": str(ROOT),
            "TZ": "UTC",
            "LANG": "C.UTF-8",
        }

    def type(self, *words, code=0):
        argv = [sys.executable, "-m", "taskrunner", *words]
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert code in (None, done.returncode), (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def ask(self, *words):
        return json.loads(self.type(*words, "--json"))

    def python(self, text):
        argv = [sys.executable, "-c", text]
        subprocess.run(argv, cwd=self.folder, env=self.env, check=True)

    def cron_fires(self):
        """Do what cron does with the line in the crontab: a shell, and next to no environment."""
        tab = (self.folder / "bin" / "tab").read_text()
        (line,) = [line for line in tab.splitlines() if line.startswith("* * * * *")]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        command = line.removeprefix("* * * * *").strip()
        done = subprocess.run(["/bin/sh", "-c", command], env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def as_if(self, **ago):
        """A taskrunner whose clock stands in the past."""
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(**ago)
        return TaskRunner(self.folder / "state", clock=lambda: at)


@pytest.fixture
def system(tmp_path):
    folder = tmp_path / "site"
    (folder / "tickets").mkdir(parents=True)
    (folder / "tickets" / "models.py").write_text(MODELS)
    (folder / "bin").mkdir()
    (folder / "bin" / "crontab").write_text(CRONTAB.format(folder=folder / "bin"))
    (folder / "bin" / "crontab").chmod(0o755)
    db = sqlite3.connect(folder / "tickets.db")
    db.execute("CREATE TABLE scheduled_tasks (name, number, unit, code, active)")
    db.executemany("INSERT INTO scheduled_tasks VALUES (?, ?, ?, ?, ?)", TASKS)
    db.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, age INTEGER)")
    db.executemany("INSERT INTO tickets (age) VALUES (?)", [(5,), (1,), (9,)])
    db.commit()
    db.close()
    return System(folder)


@pytest.fixture
def moved(system):
    """The table taken over by the very lines of the page that tells how to."""
    (move,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    system.python(move)
    return system


def test_the_table_becomes_tasks_and_twice_is_once(moved):
    tasks = {task["name"]: task for task in moved.ask("list")["tasks"]}
    assert {name: task["schedule"] for name, task in tasks.items()} == {
        "close-overdue": "5m",
        "failing-sync": "30m",
        "digest": "2h",
        "backup-tickets": "1d",
        "monthly-report": "1mo",
        "old-import": "12h",
    }
    assert [name for name, task in tasks.items() if not task["enabled"]] == ["old-import"]
    assert tasks["digest"]["code"].endswith("print(date.today() - timedelta(days=1), task)")
    assert tasks["digest"]["description"] == "Digest"
    (move,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    moved.python(move)
    again = {task["name"]: task for task in moved.ask("list")["tasks"]}
    assert again == tasks


def test_cron_is_installed_by_one_command_or_after_a_look_or_by_hand(moved):
    assert "+* * * * *" in moved.type("install", "cron", "--dry-run")
    assert not (moved.folder / "bin" / "tab").exists()
    moved.type("install", "cron")
    moved.type("install", "cron")
    assert (moved.folder / "bin" / "tab").read_text().count("* * * * *") == 1
    moved.type("uninstall", "cron")
    assert not (moved.folder / "bin" / "tab").exists()


def test_cron_runs_all_that_is_due_and_an_error_stops_nothing(moved):
    moved.type("install", "cron")
    for name in ("close-overdue", "failing-sync", "digest", "monthly-report", "backup-tickets"):
        moved.type("set", name, "--now")
    assert moved.cron_fires() == (0, "")
    runs = {run["task"]: run for run in moved.ask("history")["runs"]}
    assert {name: run["state"] for name, run in runs.items()} == {
        "close-overdue": "succeeded",
        "failing-sync": "failed",
        "digest": "succeeded",
        "monthly-report": "succeeded",
        "backup-tickets": "succeeded",
    }
    assert runs["failing-sync"]["reason"] == "exit code 1; ConnectionError: no route to host"
    assert all(run["duration"] > 0 for run in runs.values())
    assert moved.type("log", "close-overdue") == "INFO closed 1\nINFO closed 3\n"
    assert "Traceback" in moved.type("log", "failing-sync")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert moved.type("log", "digest") in {
        f"{yesterday + timedelta(days=n)} digest\n" for n in (-1, 0)
    }


def test_verbose_dry_run_and_one_task_by_its_id(moved):
    moved.type("set", "digest", "--now")
    moved.type("set", "backup-tickets", "--now")
    before = moved.ask("history")["runs"]
    told = moved.ask("tick", "--dry-run")["decisions"]
    assert sorted(each["task"] for each in told) == ["backup-tickets", "digest"]
    assert moved.ask("history")["runs"] == before == []
    ids = {task["name"]: str(task["id"]) for task in moved.ask("list")["tasks"]}
    moved.type("tick", "--task", ids["digest"])
    assert [run["task"] for run in moved.ask("history")["runs"]] == ["digest"]
    assert "backup-tickets" in moved.type("tick", "--verbose")
    assert moved.type("run", ids["backup-tickets"]).startswith("saved 2")
    moved.type("run", ids["failing-sync"], code=1)


def test_every_unit_counts_as_it_says(moved):
    def slots(name, count=3):
        found = moved.ask("next", name, "-n", str(count))["next"]
        return [datetime.fromisoformat(each["slot"]) for each in found]

    for name, gap in (
        ("close-overdue", timedelta(minutes=5)),
        ("digest", timedelta(hours=2)),
        ("backup-tickets", timedelta(days=1)),
    ):
        first, second, third = slots(name)
        assert second - first == third - second == gap
    months = slots("monthly-report", 13)
    assert months[12].month == months[0].month and months[12].year == months[0].year + 1


def test_inactive_tasks_do_not_run_until_they_are_active(moved):
    moved.type("disable", "close-overdue")
    with moved.as_if(minutes=-20) as later:
        assert "close-overdue" not in {each.task for each in later.tick().runs}
    moved.type("enable", "close-overdue")
    with moved.as_if(minutes=-40) as later:
        assert "close-overdue" in {each.task for each in later.tick().runs}
        assert "old-import" not in {run.task for run in later.history()}


def test_success_and_error_are_counted(moved):
    for _ in range(2):
        moved.type("run", "digest")
        moved.type("run", "failing-sync", code=1)
    found = {each["task"]: each for each in moved.ask("stats")["tasks"]}
    assert (found["digest"]["succeeded"], found["digest"]["success_rate"]) == (2, 1.0)
    assert (found["failing-sync"]["failed"], found["failing-sync"]["streak"]) == (2, -2)
    assert [run["task"] for run in moved.ask("history", "--state", "failed")["runs"]] == [
        "failing-sync",
        "failing-sync",
    ]
    assert moved.ask("stats")["total"]["success_rate"] == 0.5


def test_a_task_is_made_by_name_number_unit_and_code(moved):
    code = "logger.warning('%s in %s', len(Ticket.overdue(days=0)), task)"
    words = ("--cwd", str(moved.folder), "--code", f"from tickets.models import Ticket\n{code}")
    moved.type("add", "count", "--every", "3d", *words)
    assert moved.type("run", "count") == "WARNING 3 in count\n"
    refused = moved.type("add", "bad", "--every", "1h", "--code", "if True print(1)", code=2)
    assert "--code cannot be run, line 1" in refused


def test_the_tasks_are_backed_up_and_come_back(moved):
    kept = moved.folder / "kept.db"
    moved.type("backup", str(kept))
    text = moved.type("export")
    before = moved.ask("list")["tasks"]
    for task in before:
        moved.type("remove", task["name"])
    assert moved.ask("list")["tasks"] == []
    moved.type("restore", str(kept))
    assert moved.ask("list")["tasks"] == before
    for task in before:
        moved.type("remove", task["name"])
    (moved.folder / "tasks.toml").write_text(text)
    moved.type("apply", str(moved.folder / "tasks.toml"))
    keys = ("name", "schedule", "code", "cwd", "enabled", "description")
    came = [{key: task[key] for key in keys} for task in moved.ask("list")["tasks"]]
    assert came == [{key: task[key] for key in keys} for task in before]


def test_a_cron_that_does_not_call_is_noticed(moved):
    assert "CRITICAL" in moved.type("status", "--check", code=2)
    moved.type("install", "cron")
    moved.cron_fires()
    assert moved.type("status", "--check").startswith("OK")
    with moved.as_if(hours=-3) as later:
        assert later.check().severity == "error"
    assert "nothing calls a tick" not in moved.type("doctor", code=None)


def test_the_reason_of_a_late_run_is_reported(moved):
    with moved.as_if(hours=3) as earlier:
        earlier.add("hourly", None, Every("1h"), code="print('late')", tz="UTC")
        earlier.tick()
    moved.type("install", "cron")
    assert moved.cron_fires()[0] == 0
    (run,) = moved.ask("history", "hourly")["runs"]
    assert (run["state"], run["trigger"], run["coalesced"]) == ("succeeded", "catch-up", 3)
    told = moved.type("explain", "hourly")
    assert "no tick" in told and "stands for 3 slots" in told
