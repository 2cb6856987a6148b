"""A deployment panel that runs Ansible playbooks at chosen times, in a loop or from cron, lives here."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.samples import ROOT, wait_for

pytestmark = pytest.mark.slow

PLAYBOOK = """\
#!/bin/sh
# As ansible-playbook does: a line for each play, an exit code of 2 when a host failed.
echo "PLAY [$1] on $(date +%Z)"
case "$1" in
bad.yml) echo "fatal: [web1]: UNREACHABLE!" >&2; exit 2 ;;
long.yml) echo "TASK [copy]"; sleep 300 ;;
short.yml) until [ -e "$(dirname "$0")/../seen" ]; do sleep 0.1; done ;;
esac
echo "PLAY RECAP: ok=3"
echo "$1" >> "$(dirname "$0")/../done"
"""


class Panel:
    """The folder of the panel, and the commands that it calls."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TASKRUNNER_HOME": str(folder / "state"),
            "TASKRUNNER_PATH": f"{folder}/bin:/usr/bin:/bin",
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

    def loop(self):
        argv = [sys.executable, "-m", "taskrunner", "daemon", "--interval", "1s", "--grace", "5s"]
        process = subprocess.Popen(argv, cwd=self.folder, env=self.env, stderr=subprocess.DEVNULL)
        self.loops.append(process)
        return process

    def states(self):
        return {run["task"]: run["state"] for run in reversed(self.ask("history")["runs"])}

    def pid(self):
        """The process of the only run that goes on, once it has been noted."""
        with closing(sqlite3.connect(self.folder / "state" / "taskrunner.db")) as store:
            ((pid,),) = store.execute("SELECT pid FROM processes")
            return pid

    def deploy(self, name, playbook, when="+1s", *more):
        """Ask for one run at a chosen time; answers with the id of the task."""
        words = ("add", name, "--at", when, *more, "--", "ansible-playbook", *playbook.split())
        return int(self.type(*words))


@pytest.fixture
def panel(tmp_path):
    folder = tmp_path / "panel"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "ansible-playbook"
    program.write_text(PLAYBOOK)
    program.chmod(0o755)
    made = Panel(folder)
    yield made
    for each in made.loops:
        if each.poll() is None:
            each.terminate()
        each.wait(100)


def test_a_deployment_at_a_chosen_time_answers_with_an_id_and_runs_then(panel):
    when = (datetime.now(UTC) + timedelta(seconds=10)).replace(microsecond=0)
    number = panel.deploy("site", "site.yml", when.isoformat())
    (task,) = panel.ask("list")["tasks"]
    assert (task["id"], task["kind"], task["next"]) == (number, "at", f"{when:%Y-%m-%dT%H:%M:%S}Z")
    panel.loop()
    wait_for(lambda: panel.states() == {"site": "succeeded"})
    (run,) = panel.ask("history", str(number))["runs"]
    assert run["slot"] == task["next"] and run["late"] < 60
    assert panel.type("log", "site").splitlines() == ["PLAY [site.yml] on UTC", "PLAY RECAP: ok=3"]
    assert panel.ask("list")["tasks"][0]["enabled"] is False  # once is once


def test_every_state_of_the_panel_is_seen_also_running_of_a_short_run(panel):
    panel.deploy("good", "site.yml")
    panel.deploy("bad", "bad.yml")
    panel.deploy("stopped", "long.yml")
    panel.deploy("short", "short.yml")
    panel.deploy("later", "site.yml", "+1h")
    panel.loop()
    seen = set()

    def ended():
        found = panel.states()
        seen.update(found.items())
        if ("short", "running") in seen:
            (panel.folder / "seen").touch()
        if found.get("stopped") == "running" and ("bad", "failed") in seen:
            panel.type("cancel", "stopped")
        return found == {
            "good": "succeeded",
            "bad": "failed",
            "stopped": "cancelled",
            "short": "succeeded",
        }

    wait_for(ended)
    assert ("short", "running") in seen and ("stopped", "running") in seen
    assert [each["task"] for each in panel.ask("next")["next"]] == ["later"]
    assert [run["task"] for run in panel.ask("history", "--state", "failed")["runs"]] == ["bad"]
    assert "UNREACHABLE" in panel.type("log", "bad")


def test_a_deployment_that_waits_is_called_off(panel):
    panel.deploy("site", "site.yml", "+1s")
    panel.type("remove", "site", "--quiet")
    time.sleep(2)  # a whole second, and never too soon
    panel.type("tick")
    assert panel.ask("history")["runs"] == [] and not (panel.folder / "done").exists()


def test_a_single_pass_by_hand_and_from_cron_each_do_what_is_due(panel):
    panel.deploy("one", "site.yml", "+1s")
    time.sleep(2)  # a whole second, and never too soon
    assert panel.type("tick", "-v").startswith("1 decided, 1 ended")
    panel.deploy("two", "site.yml", "+1s")
    time.sleep(2)  # a whole second, and never too soon
    line = panel.type("install", "cron", "--system", "--dry-run") if os.geteuid() == 0 else "tick"
    assert "tick" in line
    assert panel.type("tick") == ""  # what cron calls is silent
    assert panel.states() == {"one": "succeeded", "two": "succeeded"}


def test_the_log_of_a_deployment_is_followed_while_it_goes_on(panel):
    panel.deploy("long", "long.yml", "now", "--now")
    panel.loop()
    wait_for(lambda: panel.states() == {"long": "running"})
    argv = [sys.executable, "-m", "taskrunner", "log", "-f", "long"]
    with subprocess.Popen(argv, env=panel.env, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout.readline().startswith("PLAY [long.yml]")
        assert follower.stdout.readline() == "TASK [copy]\n"
        assert panel.states() == {"long": "running"}
        panel.type("cancel", "long")
        assert follower.stdout.read() == ""


def test_a_time_is_that_of_the_configured_zone(panel):
    (panel.folder / "state").mkdir(mode=0o700)
    (panel.folder / "state" / "taskrunner.toml").write_text('tz = "America/Bogota"\n')
    panel.deploy("site", "site.yml", "2031-07-01 22:00")
    assert panel.ask("list")["tasks"][0]["next"] == "2031-07-02T03:00:00Z"


def test_nothing_is_lost_when_the_loop_is_killed_and_started_again(panel):
    panel.deploy("before", "long.yml", "now", "--now")
    first = panel.loop()
    wait_for(lambda: panel.states() == {"before": "running"})
    pid = wait_for(panel.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    panel.deploy("meanwhile", "site.yml", "+1s")
    time.sleep(2)  # a whole second, and never too soon
    panel.loop()
    wait_for(lambda: panel.states().get("meanwhile") == "succeeded")
    assert panel.states()["before"] == "running"  # it lives on, and is watched again
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: panel.states()["before"] == "lost")
    assert (panel.folder / "done").read_text() == "site.yml\n"


def test_the_loop_ends_in_order_and_leaves_what_it_could_not_do_to_the_next(panel):
    panel.deploy("long", "long.yml", "now", "--now")
    loop = panel.loop()
    wait_for(lambda: panel.states() == {"long": "running"})
    loop.terminate()
    assert loop.wait(100) == 0
    (run,) = panel.ask("history")["runs"]
    assert (run["state"], run["reason"].partition(" (")[0]) == (
        "cancelled",
        "the daemon was stopped",
    )


def test_the_unit_of_the_loop_starts_again_by_itself():
    text = (ROOT / "contrib" / "systemd" / "taskrunner-daemon.service").read_text()
    assert "daemon" in text and "Restart=" in text
