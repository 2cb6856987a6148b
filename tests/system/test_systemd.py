"""`install systemd` and what it installs, under a real systemd: the timer, the daemon, user units, and removal."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.system import systemd_box

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

UNITS = "/etc/systemd/system"
FAST = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2 UTC\nAccuracySec=100ms\n"


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(box):
    """Leaves no unit of a test that failed to the next one."""
    yield
    left = f"rm -rf {UNITS}/taskrunner* {UNITS}/*.wants/taskrunner*; systemctl daemon-reload"
    stop = "systemctl stop taskrunner.timer taskrunner-daemon.service 2>/dev/null"
    box.run("sh", "-c", f"{stop}; {left}", check=False)


def taskrunner(box, home: str, *words: str, check: bool = True) -> str:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PYTHONPATH": str(systemd_box.CHECKOUT),
    }
    argv = [sys.executable, "-m", "taskrunner", "--home", home, *words]
    return box.run(*argv, env=environment, check=check)


def history(box, home: str, task: str) -> list[dict]:
    return json.loads(taskrunner(box, home, "history", task, "--json"))["runs"]


def ended(box, home: str, task: str) -> list[dict]:
    return [run for run in history(box, home, task) if run["finished"]]


def drop_in(box, unit: str, text: str) -> None:
    folder = box.path(f"{UNITS}/{unit}.d")
    folder.mkdir(exist_ok=True)
    (folder / "fast.conf").write_text(text)
    box.run("systemctl", "daemon-reload")


def state(box, unit: str) -> str:
    return box.run("systemctl", "is-active", unit, check=False).strip()


def ticked(box, unit: str) -> bool:
    """Starts a tick by hand, and waits for its end: under its timer it would come within a minute."""
    box.run("systemctl", "start", unit)
    return True


def ours(box) -> list[str]:
    """Every file and link of ours in the folder of units, and every unit systemd knows."""
    files = [each for each in box.path(UNITS).rglob("*taskrunner*") if not each.is_dir()]
    known = box.run("systemctl", "list-units", "--all", "--no-legend", "--plain", "taskrunner*")
    return [each.name for each in files] + known.split()


def test_the_timer_ticks_and_nothing_is_left_after_uninstall(box):
    home = "/srv/50% o'clock"  # % means something to systemd, too
    taskrunner(box, home, "add", "often", "--every", "1s", "--", "true")
    said = taskrunner(box, home, "install", "systemd")
    assert "systemd calls a tick of" in said
    drop_in(box, "taskrunner.timer", FAST)
    box.run("systemctl", "restart", "taskrunner.timer")
    box.until(lambda: len(ended(box, home, "often")) >= 3)
    assert {run["state"] for run in ended(box, home, "often") if run["started"]} == {"succeeded"}
    assert json.loads(taskrunner(box, home, "status", "--json"))["clock"] == "systemd"
    journal = box.run("journalctl", "-u", "taskrunner.service", "--no-pager", "-o", "cat")
    assert "left-over" not in journal
    assert "rror" not in journal
    again = taskrunner(box, home, "install", "systemd", "--dry-run")
    assert "no changes are needed" in again
    said = taskrunner(box, home, "uninstall", "systemd")
    assert f"{UNITS}/taskrunner.timer.d is your own" in said
    box.run("rm", "-r", f"{UNITS}/taskrunner.timer.d")
    box.run("systemctl", "daemon-reload")
    box.until(lambda: ours(box) == [])  # a run may still be on its way out


def test_the_timer_fires_at_second_0_of_a_minute_in_utc(box):
    taskrunner(box, "/srv/plain", "install", "systemd")
    when = box.run("systemctl", "show", "taskrunner.timer", "-p", "TimersCalendar", "--value")
    assert "*-*-* *:*:00 UTC" in when
    assert box.run("systemctl", "is-enabled", "taskrunner.timer").strip() == "enabled"
    assert "timer is not active" not in taskrunner(box, "/srv/plain", "doctor", check=False)
    box.run("systemctl", "stop", "taskrunner.timer")
    assert "timer is not active" in taskrunner(box, "/srv/plain", "doctor", check=False)
    taskrunner(box, "/srv/plain", "uninstall", "systemd")
    box.until(lambda: ours(box) == [])  # a run may still be on its way out


def test_the_daemon_takes_the_place_of_the_timer_and_runs_tasks_in_its_sandbox(box):
    home = "/srv/daemon"
    taskrunner(
        box, home, "add", "look", "--every", "1s", "--shell", "id -un; umask; touch /srv/was"
    )
    taskrunner(box, home, "install", "systemd")
    taskrunner(box, home, "install", "systemd", "--daemon")
    assert state(box, "taskrunner-daemon.service") == "active"
    assert state(box, "taskrunner.timer") == "inactive"
    assert not box.path(f"{UNITS}/taskrunner.timer").exists()
    box.until(lambda: [r for r in history(box, home, "look") if r["state"] == "succeeded"])
    assert taskrunner(box, home, "log", "look").split() == ["root", "0022"]
    assert box.path("/srv/was").exists()
    assert "daemon" in taskrunner(box, home, "status")
    assert "no changes are needed" in taskrunner(
        box, home, "install", "systemd", "--daemon", "--dry-run"
    )
    taskrunner(box, home, "uninstall", "systemd")
    assert state(box, "taskrunner-daemon.service") == "inactive"
    box.until(lambda: ours(box) == [])  # a run may still be on its way out


def test_a_task_becomes_another_user_under_the_sandbox(box):
    home = "/srv/users"
    taskrunner(box, home, "add", "who", "--every", "1s", "--user", "daemon", "--", "id", "-un")
    taskrunner(box, home, "install", "systemd")
    box.until(lambda: ticked(box, "taskrunner.service") and ended(box, home, "who"))
    assert taskrunner(box, home, "log", "who").strip() == "daemon"
    taskrunner(box, home, "uninstall", "systemd")


def test_ticks_may_follow_each_other_at_once_and_the_timer_goes_on(box):
    home = "/srv/often"
    taskrunner(box, home, "add", "x", "--manual", "--", "true")
    taskrunner(box, home, "install", "systemd")
    for _ in range(12):
        ticked(box, "taskrunner.service")
    assert box.run("systemctl", "is-active", "taskrunner.timer").strip() == "active"
    taskrunner(box, home, "uninstall", "systemd")


def test_tasks_run_under_the_drop_in_that_the_page_gives_and_the_exposure_is_what_it_says(box):
    home, go = "/srv/closed", "/srv/closed.go"
    page = (systemd_box.CHECKOUT / "docs/how-to/systemd.md").read_text()
    (text,) = re.findall(r"^```ini\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    taskrunner(
        *(box, home, "add", "look", "--manual", "--now"),
        *(
            "--shell",
            f"touch /tmp/here; touch /usr/x; echo looked; until [ -e {go} ]; do sleep 0.1; done",
        ),
    )
    taskrunner(box, home, "install", "systemd")
    places = sorted({str(systemd_box.CHECKOUT), sys.prefix})
    hidden = [place for place in places if place.startswith("/tmp/")]
    if hidden:  # a checkout or an environment of the developer's, which PrivateTmp= hides
        text += f"BindReadOnlyPaths={' '.join(hidden)}\n"
    drop_in(box, "taskrunner-run-.service", text)
    ticked(box, "taskrunner.service")
    box.until(lambda: "looked" in taskrunner(box, home, "log", "look", check=False))
    unit = f"taskrunner-run-{history(box, home, 'look')[0]['id']}.service"
    said = box.run("systemd-analyze", "security", "--no-pager", unit)
    figure = re.search(r"exposure level for taskrunner-run\S+: ([0-9.]+)", said)
    told = re.search(r"`taskrunner-run-\*.service`.*\| ([0-9.]+) +\|\n", page)
    assert abs(float(figure[1]) - float(told[1])) < 0.5
    box.path(go).touch()
    # The end is recorded from within what the page closes.
    box.until(lambda: ended(box, home, "look"))
    assert ended(box, home, "look")[0]["state"] == "succeeded"
    assert "Read-only file system" in taskrunner(box, home, "log", "look")
    assert not box.path("/tmp/here").exists()
    taskrunner(box, home, "uninstall", "systemd")
    box.run("rm", "-r", f"{UNITS}/taskrunner-run-.service.d")
    box.run("systemctl", "daemon-reload")


def test_units_of_another_home_are_not_touched(box):
    taskrunner(box, "/srv/first", "install", "systemd")
    before = box.path(f"{UNITS}/taskrunner.service").read_text()
    for verb in (["install"], ["install", "--daemon"], ["uninstall"]):
        said = taskrunner(box, "/srv/second", verb[0], "systemd", *verb[1:], check=False)
        assert "not for '/srv/second'" in said
    assert box.path(f"{UNITS}/taskrunner.service").read_text() == before
    taskrunner(box, "/srv/first", "uninstall", "systemd")
    box.until(lambda: ours(box) == [])  # a run may still be on its way out


def test_a_unit_that_somebody_edited_is_kept_before_it_is_replaced(box):
    taskrunner(box, "/srv/edited", "install", "systemd")
    unit = box.path(f"{UNITS}/taskrunner.service")
    unit.write_text(unit.read_text() + "# mine\n")
    said = taskrunner(box, "/srv/edited", "install", "systemd")
    assert "kept in /srv/edited/backups/taskrunner.service-" in said
    assert "# mine" not in unit.read_text()
    taskrunner(box, "/srv/edited", "uninstall", "systemd")


# ---- one user's own


@pytest.fixture
def user(box):
    """A user of the box with a systemd of their own, that lingers."""
    for place in (sys.executable, os.path.realpath(sys.executable), systemd_box.CHECKOUT):
        for folder in Path(place).parents:  # in the box only: an interpreter may lie in /root
            box.run("chmod", "o+rx", str(folder))
    box.run("useradd", "--create-home", "--uid", "4711", "tess")
    box.run("loginctl", "enable-linger", "tess")
    box.until(lambda: box.path("/run/user/4711/bus").exists())
    yield lambda *words, check=True: box.run(
        *("setpriv", "--reuid=4711", "--regid=4711", "--init-groups", *words),
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/home/tess",
            "XDG_RUNTIME_DIR": "/run/user/4711",
            "PYTHONPATH": str(systemd_box.CHECKOUT),
        },
        check=check,
        cwd="/",
    )
    box.run("loginctl", "disable-linger", "tess", check=False)
    box.run("loginctl", "terminate-user", "tess", check=False)
    box.until(lambda: not box.path("/run/user/4711").exists())
    box.run("userdel", "--remove", "--force", "tess", check=False)


def test_a_user_has_units_of_their_own_and_is_told_of_lingering(box, user):
    program = (sys.executable, "-m", "taskrunner")
    user(*program, "add", "often", "--every", "1s", "--", "true")
    assert "lingering" not in user(*program, "install", "systemd")
    folder = Path("/home/tess/.config/systemd/user")
    assert (box.path(str(folder)) / "taskrunner.timer").exists()
    assert "--home" not in (box.path(str(folder)) / "taskrunner.service").read_text()
    tick = ("systemctl", "--user", "start", "taskrunner.service")
    box.until(lambda: "succeeded" in user(*tick) + user(*program, "history", "often"))
    box.run("rm", "/var/lib/systemd/linger/tess")
    assert "lingering is off for tess" in user(*program, "install", "systemd")
    assert "lingering is off" in user(*program, "doctor", check=False)
    user(*program, "uninstall", "systemd")
    left = [each for each in box.path(str(folder)).rglob("*") if "taskrunner" in each.name]
    assert left == []


def test_a_user_whose_systemd_does_not_answer_is_told_what_to_do(box, user):
    program = (sys.executable, "-m", "taskrunner")
    said = user("env", "-u", "XDG_RUNTIME_DIR", *program, "install", "systemd", check=False)
    assert "loginctl enable-linger tess" in said
    assert said.count("\n") == 1


# ---- the box


def test_the_box_has_a_boot_of_its_own_and_leaves_the_machine_alone(box):
    place = Path("/proc/sys/kernel/random/boot_id")
    assert box.path(str(place)).read_text() != place.read_text()
    assert not Path("/srv/was").exists()
    assert not (Path(UNITS) / "taskrunner.timer").exists()
