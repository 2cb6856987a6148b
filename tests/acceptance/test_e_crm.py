"""A CRM in Django that had its scheduler inside the application, now with its tasks here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.samples import ROOT, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crm")]  # one project for all

pytest.importorskip("django")

SETTINGS = """
import os
SECRET_KEY = "of a test"
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
    "sales.apps.SalesConfig",
]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER + "/db.sqlite3",
    "OPTIONS": {"timeout": 20},
}}
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "crm.urls"
SCHEDULE_TASKS = os.environ.get("SCHEDULE_TASKS") != "no"
"""
APPS = """
from django.apps import AppConfig
from django.conf import settings
class SalesConfig(AppConfig):
    name = "sales"
    def ready(self):
        if settings.SCHEDULE_TASKS:
            import sales.scheduled
"""
MODELS = """
from django.db import models
class Reminder(models.Model):
    slot = models.CharField(max_length=40)
"""
SCHEDULED = """
import os, time
from django.core.management import call_command
from taskrunner import TaskRunner
from sales.models import Reminder

runner = TaskRunner()
django = {"django": "crm.settings", "env": {"SCHEDULE_TASKS": "yes"}}

@runner.task("clear-sessions", cron="30 3 * * *", tz="Europe/Berlin", **django)
def clear_sessions():
    call_command("clearsessions")

@runner.task(cron="0 9-17 * * 1-5", tz="Europe/Berlin", description="Remind of offers", **django)
def remind():
    return Reminder.objects.count()

@runner.task(cron="0 6 1 * *", tz="Europe/Berlin", **django)
def invoices():
    raise RuntimeError("no invoice numbers left")

when = {"every": "1s"} if os.environ.get("PULSE") else {"manual": True}

@runner.task(**when, **django)
def pulse():
    Reminder.objects.create(slot=os.environ["TASKRUNNER_SLOT"])

@runner.task(manual=True, **django)
def slow():
    print("begun")
    time.sleep(60)
"""
START = """\
#!/bin/sh
# The application, and its clock beside it; without a configuration of the server.
trap 'kill $clock $app; wait' TERM
"$PYTHON" -m taskrunner daemon --interval 1s & clock=$!
"$PYTHON" manage.py runserver --noreload --nothreading 127.0.0.1:0 & app=$!
wait
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


class Site:
    """The folder of the project, and the commands of those who run it."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TASKRUNNER_HOME": str(folder / "state"),
            "PYTHONPATH": str(ROOT),
            "PYTHON": sys.executable,
            "TZ": "UTC",
            "LANG": "C.UTF-8",
        }
        (folder / "state").mkdir(mode=0o700, exist_ok=True)
        # The package is not installed where these tests may run: tasks that import it have to find it.
        (folder / "state" / "taskrunner.toml").write_text(f'[env]\nPYTHONPATH = "{ROOT}"\n')

    def type(self, *words, code=0):
        return self._done([sys.executable, "-m", "taskrunner", *words], code)

    def manage(self, *words, **env):
        return self._done([sys.executable, "manage.py", *words], 0, **env)

    def _done(self, argv, code, **env):
        env = self.env | env
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def ask(self, *words):
        return json.loads(self.type(*words, "--json"))

    def tasks(self):
        return {task["name"]: task for task in self.ask("list")["tasks"]}

    def runs(self, *words):
        return self.ask("history", *words)["runs"]

    def start(self):
        argv = ["/bin/sh", "start.sh"]
        log = open(self.folder / "start.log", "ab")  # noqa: SIM115
        with log:
            return subprocess.Popen(argv, cwd=self.folder, env=self.env, stdout=log, stderr=log)


def end(*processes):
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(timeout=100)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project, with its database made and no tasks yet."""
    folder = tmp_path_factory.mktemp("project") / "site"
    for name in ("crm", "sales"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    (folder / "crm" / "settings.py").write_text(SETTINGS)
    (folder / "crm" / "urls.py").write_text("urlpatterns = []\n")
    (folder / "sales" / "apps.py").write_text(APPS)
    (folder / "sales" / "models.py").write_text(MODELS)
    (folder / "sales" / "scheduled.py").write_text(SCHEDULED)
    (folder / "manage.py").write_text(MANAGE)
    (folder / "start.sh").write_text(START)
    made = Site(folder)
    made.manage("makemigrations", "sales", SCHEDULE_TASKS="no")
    made.manage("migrate", SCHEDULE_TASKS="no")
    return folder


@pytest.fixture
def site(project, tmp_path):
    return Site(Path(shutil.copytree(project, tmp_path / "site")))


def test_a_setting_keeps_the_application_from_adding_tasks(site):
    site.manage("check", SCHEDULE_TASKS="no")
    assert not (site.folder / "state" / "taskrunner.db").exists()
    site.manage("check")
    assert set(site.tasks()) == {"clear-sessions", "invoices", "pulse", "remind", "slow"}


def test_triggers_are_by_hour_minute_weekday_and_day_of_month(site):
    site.manage("check")
    berlin = ZoneInfo("Europe/Berlin")

    def slots(name, count):
        found = site.ask("next", name, "-n", str(count))["next"]
        return [datetime.fromisoformat(each["slot"]).astimezone(berlin) for each in found]

    assert {f"{slot:%H:%M}" for slot in slots("clear-sessions", 400)} == {"03:30"}
    remind = slots("remind", 90)
    assert {slot.weekday() for slot in remind} == {0, 1, 2, 3, 4}
    assert {slot.hour for slot in remind} == set(range(9, 18))
    assert {f"{slot:%d %H:%M}" for slot in slots("invoices", 12)} == {"01 06:00"}


def test_starting_again_replaces_what_changed_and_nothing_else(site):
    site.manage("check")
    before = site.tasks()
    site.manage("check")
    assert site.tasks() == before
    place = site.folder / "sales" / "scheduled.py"
    place.write_text(SCHEDULED.replace("30 3 * * *", "45 3 * * *"))
    site.manage("check")
    after = site.tasks()
    assert (after["clear-sessions"]["schedule"], len(after)) == ("45 3 * * *", len(before))
    assert after["clear-sessions"]["id"] == before["clear-sessions"]["id"]
    assert after["remind"] == before["remind"]


def test_it_starts_and_ends_with_the_application_and_two_of_them_run_each_slot_once(site):
    site.env["PULSE"] = "yes"
    first, second = site.start(), site.start()
    try:
        wait_for(lambda: "pulse" in site.tasks())
        wait_for(lambda: len(site.runs("pulse", "--state", "succeeded")) >= 4)
    finally:
        end(first, second)
    runs = site.runs("pulse", "-n", "200")
    slots = [run["slot"] for run in runs if run["state"] == "succeeded"]
    assert len(slots) == len(set(slots)) >= 4
    count = site.manage(
        "shell",
        "-c",
        "from sales.models import Reminder as R; print(list(R.objects.values_list('slot', flat=True)))",
        SCHEDULE_TASKS="no",
    )
    done = re.findall(r"'(\S+?)'", count)
    assert len(done) == len(set(done))
    assert not [run for run in site.runs("-n", "200") if run["state"] in ("running", "pending")]


def test_history_has_status_duration_and_error_and_a_failure_stops_nothing(site):
    site.manage("check")
    site.type("run", "invoices", code=1)
    assert site.type("run", "remind") == "returned 0\n"
    (remind,), (invoices,) = site.runs("remind"), site.runs("invoices")
    assert (remind["state"], remind["reason"]) == ("succeeded", "exit code 0; returned 0")
    assert (invoices["state"], invoices["exit_code"]) == ("failed", 1)
    assert invoices["reason"] == "exit code 1; RuntimeError: no invoice numbers left"
    assert invoices["duration"] > 0
    assert "no invoice numbers left" in site.type("log", "invoices")
    assert "Remind of offers" in site.type("show", "remind")


def test_management_commands_are_called(site):
    site.manage("check")
    site.manage("shell", "-c", "from django.contrib.sessions.models import Session as S; S.objects.create(session_key='a', expire_date='2020-01-01T00:00Z')", SCHEDULE_TASKS="no")  # fmt: skip
    site.type("run", "clear-sessions")
    left = site.manage("shell", "-v", "0", "-c", "from django.contrib.sessions.models import Session as S; print(S.objects.count())", SCHEDULE_TASKS="no")  # fmt: skip
    assert left.split()[-1] == "0"
    words = ("--python", "django.core.management:call_command", "--args", '["check"]')
    site.type("add", "checked", "--manual", "--django", "crm.settings", "--cwd", ".", *words)
    assert "no issues" in site.type("run", "checked")


def test_at_most_one_instance_of_a_task_runs(site):
    site.manage("check")
    run_id = site.type("run", "slow", "--detach").split()[0]
    wait_for(lambda: site.type("log", "slow") == "begun\n")
    assert "had not ended" in site.type("run", "slow", code=125)
    site.type("cancel", run_id)
    assert site.runs("slow")[0]["state"] == "cancelled"


def test_old_executions_are_deleted_by_themselves(site):
    site.manage("check")
    site.type("set", "remind", "--manual")  # else it has a run more at the turn of an hour
    for _ in range(3):
        site.type("run", "remind")
    (site.folder / "state" / "taskrunner.toml").write_text(
        f'keep_age = "1s"\nkeep_runs = 1\n[env]\nPYTHONPATH = "{ROOT}"\n'
    )
    for _ in range(3):  # so that the clock is seen to go as it should: nothing is deleted before
        site.type("tick")
    wait_for(lambda: "2 runs" in site.type("prune", "--dry-run"))
    site.type("prune")
    assert len(site.runs("remind")) == 1
    assert site.ask("stats", "remind")["total"]["runs"] == 3


def test_all_of_it_is_turned_off_and_on_at_once(site):
    site.manage("check")
    site.type("set", "remind", "--now")
    site.type("hold", "--reason", "release")
    site.type("tick")
    assert site.runs() == []
    assert "release" in site.type("status")
    site.type("resume")
    site.type("tick")
    assert "remind" in {run["task"] for run in site.runs()}


def test_functions_and_the_backups_of_cron_live_side_by_side(site):
    site.manage("check")
    (site.folder / "mytab").write_text(
        "# the nightly dump\n15 2 * * * cd $HOME && cp db.sqlite3 kept-$(date +\\%F).sqlite3\n"
    )
    site.type("import", "crontab", "mytab")
    (name,) = set(site.tasks()) - {"clear-sessions", "invoices", "pulse", "remind", "slow"}
    site.type("set", name, "--env", f"HOME={site.folder}", "--now")
    site.type("set", "remind", "--now")
    site.type("tick")
    states = {run["task"]: run["state"] for run in site.runs()}
    assert states[name] == states["remind"] == "succeeded"
    assert any(each.startswith("kept-") for each in os.listdir(site.folder))
    slot = datetime.fromisoformat(site.ask("next", name, "-n", "1")["next"][0]["slot"])
    assert slot - datetime.now(slot.tzinfo) < timedelta(days=1)
