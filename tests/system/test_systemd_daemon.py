"""The daemon as a unit of `Type=notify`, under a real systemd: ready, reloaded, killed by the watchdog, stopped."""

from __future__ import annotations

import pytest

from tests.system import systemd_box
from tests.system.test_systemd import drop_in, history, state, taskrunner

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

UNIT = "taskrunner-daemon.service"
HOME = "/srv/notify"
# As the unit, but with a pace that a test can wait for, and a machine that stalls can keep.
QUICK = "[Service]\nWatchdogSec=8s\nRestartSec=100ms\nTimeoutStopSec=20s\n"


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


@pytest.fixture
def daemon(box):
    taskrunner(box, HOME, "add", "often", "--every", "1d", "--now", "--", "true")
    taskrunner(box, HOME, "install", "systemd", "--daemon")
    yield
    taskrunner(box, HOME, "uninstall", "systemd", check=False)
    box.run("sh", "-c", f"rm -rf {HOME} /etc/systemd/system/taskrunner*", check=False)
    box.run("systemctl", "daemon-reload")


def shown(box, name: str) -> str:
    return box.run("systemctl", "show", UNIT, "-p", name, "--value").strip()


def test_the_unit_is_active_when_the_first_visit_is_done_and_shows_the_status(box, daemon):
    # `systemctl enable --now` came back when the daemon was ready: what was due has been claimed by then.
    assert state(box, UNIT) == "active"
    assert shown(box, "Type") == "notify"
    assert len(history(box, HOME, "often")) == 1
    box.until(lambda: "running, last tick 20" in shown(box, "StatusText"))


def test_systemctl_reload_reads_the_settings_anew_in_the_same_process(box, daemon):
    pid = shown(box, "MainPID")
    place = box.path(f"{HOME}/taskrunner.toml")
    place.write_text("max_parallel = 'many'\n")
    box.run("systemctl", "reload", UNIT)
    box.until(lambda: "the settings stay unchanged" in shown(box, "StatusText"))
    place.write_text("max_parallel = 3\n")
    box.run("systemctl", "reload", UNIT)
    box.until(lambda: "stay unchanged" not in shown(box, "StatusText"))
    assert (state(box, UNIT), shown(box, "MainPID")) == ("active", pid)


def test_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_anew(box, daemon):
    drop_in(box, UNIT, QUICK)
    box.run("systemctl", "restart", UNIT)
    pid = shown(box, "MainPID")
    box.run("sleep", "10")  # more than the watchdog allows
    assert (state(box, UNIT), shown(box, "MainPID"), shown(box, "NRestarts")) == (
        "active",
        pid,
        "0",
    )
    box.run("kill", "-STOP", pid)
    box.until(lambda: shown(box, "NRestarts") != "0" and state(box, UNIT) == "active")
    assert shown(box, "MainPID") != pid
    assert "watchdog" in box.run("journalctl", "-u", UNIT, "--no-pager", "-o", "cat").lower()


def test_a_stop_lets_a_run_end_and_is_not_a_failure(box, daemon):
    taskrunner(box, HOME, "add", "slow", "--manual", "--now", "--shell", "touch /srv/up; sleep 2")
    box.run("systemctl", "restart", UNIT)  # so that it is visited now
    box.until(lambda: box.path("/srv/up").exists())
    box.run("systemctl", "stop", UNIT)
    assert shown(box, "Result") == "success"
    assert [run["state"] for run in history(box, HOME, "slow")] == ["succeeded"]
