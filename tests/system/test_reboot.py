"""A machine that goes down and comes up again: what ran is lost, and what was due is not forgotten.

A real systemd in a box, whose disk stays while it is started anew with another boot id. The timer ticks every
two seconds, so that a boot is seen at once.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.system import systemd_box
from tests.system.test_systemd import FAST, UNITS, drop_in, taskrunner

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

HOME = "/srv/reboot"
UNIT = "taskrunner.timer"
# Before the machine goes down, and what the tasks are to show when it is up again.
TASKS = {
    "long": ["--manual", "--now", "--shell", "echo began; sleep 600"],
    "again": [
        *("--manual", "--now", "--on-lost", "retry", "--retry-delay", "1s"),
        *("--shell", "touch /srv/up; sleep 600"),
    ],
    "after": ["--after", "long:failed", "--", "true"],
    "boot": ["--boot", "--shell", "cat /proc/sys/kernel/random/boot_id"],
    "last": ["--every", "1s", "--", "true"],
    "all": [*("--every", "1s", "--overlap", "allow", "--catch-up", "all"), "--", "true"],
    "none": ["--every", "1s", "--overlap", "allow", "--catch-up", "none", "--", "true"],
}
IDS: list[str] = []  # of the boots that were seen to come, in their order
AWAY = 6  # seconds, longer than two and a half periods of the timer


@dataclass
class Story:
    """The box after all that, and the runs of each task, oldest first, as they were then."""

    box: systemd_box.Box
    away: datetime  # an instant before the first reboot at which no tick came
    runs: dict[str, list[dict]]

    def missed_at(self, task: str) -> list[dict]:
        """The rows of a slot that passed before the first reboot."""
        slot = int(self.away.timestamp())
        return [each for each in self.runs[task] if seconds(each)[0] <= slot <= seconds(each)[-1]]


def seconds(run: dict) -> range:
    """The slots a row stands for, of a task that is due every second."""
    first, last = (datetime.fromisoformat(run[name]).timestamp() for name in ("first_slot", "slot"))
    return range(int(first), int(last) + 1)


def runs_of(box, task: str) -> list[dict]:
    said = taskrunner(box, HOME, "history", task, "--json", "--limit", "1000")
    return sorted(json.loads(said)["runs"], key=lambda run: run["id"])


def boot_id(box) -> str:
    return box.path("/proc/sys/kernel/random/boot_id").read_text().strip()


def states(box, task: str) -> list[str]:
    return [run["state"] for run in runs_of(box, task)]


def stopped_for_a_while(box) -> datetime:
    """Stops the clock for longer than counts as a gap; returns an instant in between."""
    box.run("systemctl", "stop", UNIT)
    stopped = datetime.now(UTC)
    box.run("sleep", str(AWAY))
    return stopped + timedelta(seconds=AWAY / 2)


@pytest.fixture(scope="module")
def story(needs):
    """Down by a power cut while two tasks run, and then in an orderly way while one does."""
    systemd_box.check_machine(needs)
    with systemd_box.running() as box:
        for name, words in TASKS.items():
            taskrunner(box, HOME, "add", name, "--quiet", *words)
        box.path(f"{HOME}/taskrunner.toml").write_text("tick_period = '2s'\n")
        taskrunner(box, HOME, "install", "systemd")
        drop_in(box, UNIT, FAST)
        box.run("systemctl", "restart", UNIT)
        box.until(lambda: states(box, "long") == states(box, "again") == ["running"])
        box.until(lambda: "began" in taskrunner(box, HOME, "log", "long"))
        away = stopped_for_a_while(box)
        second = up_again(box, signal.SIGKILL, 1)
        stopped_for_a_while(second)
        third = up_again(second, systemd_box.POWER_OFF, 2)
        third.until(lambda: states(third, "last")[-1] == "succeeded")
        third.run("systemctl", "stop", UNIT)
        yield Story(third, away, {name: runs_of(third, name) for name in TASKS})


def up_again(box, how: int, boots: int) -> systemd_box.Box:
    """Reboots, and waits until the first tick has seen to what was left and has done what is done at boot."""
    made = box.reboot(how)
    made.until(lambda: states(made, "boot") == ["succeeded"] * boots)
    made.until(lambda: len(states(made, "again")) == 2 and "pending" not in states(made, "again"))
    IDS.append(boot_id(made))
    return made


def test_each_boot_has_an_id_of_its_own_and_the_disk_stays(story):
    assert len(set(IDS)) == 2
    assert story.box.path(f"{UNITS}/{UNIT}").exists()
    assert story.box.path("/srv/up").exists()


def test_a_run_that_a_power_cut_ended_is_lost_and_says_why(story):
    (run,) = story.runs["long"]
    assert run["state"] == "lost"
    assert run["reason"] == "the machine was restarted while it ran"
    assert (run["exit_code"], run["signal"]) == (None, None)
    assert taskrunner(story.box, HOME, "log", str(run["id"])) == "began\n"


def test_what_comes_after_its_failure_runs_once(story):
    assert [run["state"] for run in story.runs["after"]] == ["succeeded"]
    assert story.runs["after"][0]["trigger"] == "after"


def test_a_lost_run_is_tried_again_where_that_is_wished(story):
    first, second = story.runs["again"]
    assert (first["state"], first["attempt"]) == ("lost", 1)
    assert (second["trigger"], second["attempt"], second["slot"]) == ("retry", 2, first["slot"])


def test_a_run_that_an_orderly_shutdown_ended_is_not_a_success_and_goes_on_for_nobody(story):
    second = story.runs["again"][1]
    assert second["state"] in ("cancelled", "lost")
    assert second["finished"] is not None
    assert second["reason"]


def test_a_task_at_boot_runs_once_for_each_boot(story):
    said = [taskrunner(story.box, HOME, "log", str(run["id"])) for run in story.runs["boot"]]
    # It was added during the first one.
    assert [text.strip() for text in said] == IDS


def test_the_newest_slot_that_passed_runs_for_all_of_them(story):
    (run,) = story.missed_at("last")
    assert (run["state"], run["trigger"]) == ("succeeded", "catch-up")
    assert run["coalesced"] >= AWAY


def test_every_slot_that_passed_runs_where_all_are_to_be_caught_up(story):
    (run,) = story.missed_at("all")
    assert (run["state"], run["coalesced"]) == ("succeeded", 1)
    assert run["late"] >= AWAY / 2


def test_slots_that_passed_are_one_row_where_none_is_to_be_caught_up(story):
    (run,) = story.missed_at("none")
    assert run["state"] == "missed"
    assert run["coalesced"] >= AWAY - 1


@pytest.mark.parametrize("task", ["last", "all", "none"])
def test_each_slot_has_one_row_over_all_boots(story, task):
    told = [second for run in story.runs[task] for second in seconds(run)]
    assert sorted(told) == list(range(min(told), max(told) + 1))


def test_the_ledger_reports_each_gap_as_a_reboot(story):
    said = taskrunner(story.box, HOME, "explain", "last", "--since", "1h", "--json")
    causes = [gap["cause"] for gap in json.loads(said)["gaps"]]
    assert causes.count("reboot") == 2  # on a busy machine there may be gaps of other causes
    assert "reboot" in taskrunner(story.box, HOME, "explain", "last", "--since", "1h")
