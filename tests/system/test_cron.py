"""A few minutes under the real cron, with a crontab line as `install cron` would write it.

One run of cron serves all tests here: at sixty times the speed, four tasks due every minute. A machine that
stalls for a minute of that gets another one, at a slower pace.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.system import cronbox

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

CHECKOUT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)
MINUTES = 8
MINUTE = timedelta(minutes=1)
LATE = 1.5 * MINUTE

TASKS = {
    "quick": ["--", "true"],
    "failing": ["--shell", "exit 7"],
    # Tasks live on the real clock: this is two and a half minutes of cron's.
    "long": ["--", "sleep", "{length}"],
    "talking": ["--shell", 'echo "for $TASKRUNNER_SLOT"; echo aside >&2'],
}


@dataclass(frozen=True)
class Story:
    """What came of the minutes under cron."""

    home: Path
    box: cronbox.Box
    runs: list[dict]

    def of(self, task: str) -> list[dict]:
        """The task's rows, oldest slot first."""
        return sorted(
            (run for run in self.runs if run["task"] == task), key=lambda run: run["slot"]
        )

    def late(self, task: str) -> timedelta:
        """The longest time between a slot of a task and its start."""
        return max(moment(run["started"]) - moment(run["slot"]) for run in self.of(task))

    def steady(self) -> bool:
        """Whether the machine was there all the time."""
        long = [run for run in self.of("long") if run["state"] != "skipped"]
        longest = max(moment(run["finished"]) - moment(run["started"]) for run in long)
        in_time = all(self.late(task) < LATE for task in ("quick", "failing", "talking"))
        return in_time and longest < 5 * MINUTE and len(self.of("quick")) >= MINUTES - 2

    def slots(self) -> list[datetime]:
        """Every slot that came due: each minute after the tasks were added, up to the last tick."""
        first = START.replace(second=0) + MINUTE
        # On a busy machine a tick looks at its clock more than a minute after cron has told of it.
        last = max(self.box.fired[-1], *(moment(run["slot"]) for run in self.runs))
        return [first + n * MINUTE for n in range((last - first) // MINUTE + 1)]


def taskrunner(home: Path, *arguments: str, at: datetime = START) -> str:
    """What the program prints when it is called at an instant of the box's clock."""
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home), *arguments]
    done = cronbox.at(at, argv, cwd=CHECKOUT)
    assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def story(needs, tmp_path_factory):
    cronbox.check_machine(needs)
    for speed in cronbox.SPEEDS:
        made = lived(tmp_path_factory.mktemp("home"), speed)
        if made.steady():
            break
    return made


def lived(home: Path, speed: int) -> Story:
    """Let the minutes pass."""
    home.chmod(0o700)
    for name, command in TASKS.items():
        words = [word.format(length=150 / speed) for word in command]
        taskrunner(home, "add", name, "--cron", "* * * * *", "--tz", "UTC", *words)
    line = f"* * * * * {sys.executable} -m taskrunner --home {home} tick"
    # cron starts in root's home, where an uninstalled checkout would not be found.
    environment = {"PYTHONPATH": str(CHECKOUT)}
    with cronbox.running([line], START, speed=speed, environment=environment) as box:
        box.pass_minutes(MINUTES)
    after = START + timedelta(hours=1)
    document = json.loads(taskrunner(home, "history", "--limit", "1000", "--json", at=after))
    assert document["version"] == 1
    return Story(home, box, document["runs"])


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_cron_ticked_every_minute(story):
    assert len(story.box.fired) >= MINUTES
    assert story.box.fired[-1] - story.box.fired[0] >= (MINUTES - 1) * MINUTE


def test_a_tick_is_silent_and_exits_with_0_under_cron(story):
    assert story.box.mail == ""
    assert [line for line in story.box.log if "failed" in line or "error" in line] == []


def test_nothing_is_left_running_when_the_last_tick_is_through(story):
    assert story.box.left == ""
    assert [run for run in story.runs if run["state"] in ("pending", "running")] == []


@pytest.mark.parametrize("task", TASKS)
def test_every_slot_of_every_task_has_exactly_one_row(story, task):
    told = []
    for run in story.of(task):
        # On a busy machine a tick can come over a minute late; its row then stands for two slots.
        first, last = moment(run["first_slot"]), moment(run["slot"])
        slots = [first + n * MINUTE for n in range((last - first) // MINUTE + 1)]
        assert run["coalesced"] == len(slots)
        told += slots
    assert told == story.slots()


def test_most_slots_have_a_row_to_themselves(story):
    assert len(story.of("quick")) >= MINUTES - 2


def test_a_quick_task_succeeded_every_time(story):
    assert {(run["state"], run["exit_code"]) for run in story.of("quick")} == {("succeeded", 0)}


def test_a_failing_task_failed_every_time_with_its_exit_code(story):
    assert {(run["state"], run["exit_code"]) for run in story.of("failing")} == {("failed", 7)}
    assert all(run["reason"] for run in story.of("failing"))


def test_a_task_longer_than_a_minute_is_skipped_while_it_runs_and_runs_again(story):
    rows = story.of("long")
    ran = [run for run in rows if run["state"] != "skipped"]
    assert {run["state"] for run in ran} == {"succeeded"}
    assert 2 <= len(ran) < len(rows)
    for run in ran:
        # A child's start and end are known closely.
        assert 2.4 * MINUTE <= moment(run["finished"]) - moment(run["started"]) < 5 * MINUTE
    for earlier, later in pairwise(ran):
        assert moment(earlier["finished"]) <= moment(later["started"])


def test_a_skipped_slot_names_the_run_that_stood_in_its_way(story):
    rows = story.of("long")
    skipped = [run for run in rows if run["state"] == "skipped"]
    assert skipped
    for run in skipped:
        blocking = [other for other in rows if other["state"] == "succeeded"]
        blocking = [other for other in blocking if other["slot"] < run["slot"]]
        assert str(blocking[-1]["id"]) in run["reason"]
        assert run["started"] is None
        assert run["exit_code"] is None


def test_a_long_task_delays_no_other(story):
    for task in ("quick", "failing", "talking"):
        assert story.late(task) < LATE


def test_output_can_be_read_of_every_run_and_of_the_newest_by_name(story):
    after = START + timedelta(hours=1)
    rows = story.of("talking")
    for run in (rows[0], rows[-1]):
        said = taskrunner(story.home, "log", str(run["id"]), at=after)
        # The instant it ran for; its exact form is not this test's matter.
        slot = said.splitlines()[0].removeprefix("for ")
        assert datetime.fromisoformat(slot) == moment(run["slot"])
        assert "aside" in said
    assert taskrunner(story.home, "log", "talking", at=after) == said


def test_ids_grow_with_the_order_of_claims_and_no_id_is_used_twice(story):
    ids = [run["id"] for run in story.runs]
    assert len(set(ids)) == len(ids)
    for task in TASKS:
        of_task = [run["id"] for run in story.of(task)]
        assert of_task == sorted(of_task)
