"""A clock that was ahead: whatever it wrote to be waited for is due now, or waits no longer than its setting says."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import At, Cron, Every, Manual, State, TaskRunner, schema
from taskrunner.report.doctor import check_callers
from taskrunner.store import ahead
from tests.tick.test_visit import EACH_MINUTE, NOON

AHEAD = NOON.replace(year=2036)

# Every column with an instant, and what becomes of one that a clock wrote which was ahead.
WAITED_FOR = {
    "tasks.evaluated": "now, after a step of over three hours",
    "tasks.next": "anew from then on; after an error now",
    "tasks.following": "anew, with the next",
    "tasks.anchor": "a slot of the same grid that is past",
    "tasks.last_run": "none",
    "tasks.last_success": "now",
    "runs.ready": "now, and its delay",
    "runs.started": "now, while it runs: its time limits count from it",
    "processes.stop_at": "now",
    "outbox.due": "now; of a run that takes long, as long after its start",
    "outbox.created": "as due",
    "told.at": "now",
    "facts.held_until": "as long after now",
    "facts.held_since": "now",
}
# Instants of what was, which nothing waits for, and those of the schedule.
OF_THE_PAST = {
    *("tasks.created", "tasks.removed", "tasks.requested"),  # what is asked for is due at once
    *("runs.slot", "runs.first_slot", "runs.claimed", "runs.finished", "processes.handed"),
    *("outbox.sent", "events.at", "totals.last_slot", "totals.last_end", "tallies.last_end"),
}
# Whole numbers that are no instants.
NUMBERS = {
    *(
        "id",
        "task_id",
        "run_id",
        "enabled",
        "from_finish",
        "umask",
        "nice",
        "timeout",
        "kill_after",
    ),
    *("catch_up_limit", "deadline", "max_instances", "jitter", "retries", "retry_delay"),
    *("group_limit", "priority", "max_silence", "max_output", "late_after", "streak"),
    *("coalesced", "at_least", "attempt", "forced", "exit_code", "signal", "cpu", "peak_memory"),
    *(
        "cut_at",
        "left_out",
        "output_size",
        "inode",
        "pid_namespace",
        "pid",
        "pid_started",
        "attempts",
        "runs",
        "slots",
    ),
    *("started_count", "duration", "punctual", "late", "last_duration", "last_late"),
}


@pytest.fixture
def failing(runner, clock):
    """A task whose first attempt fails, one hour before the next one."""
    runner.add("report", shell="exit 1", schedule=EACH_MINUTE, retries=1, retry_delay="1m")
    return runner


def columns():
    """Every column of the schema that holds a whole number."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection)
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for row in connection.execute(f"PRAGMA table_info({table})"):
                if row[2] == "INTEGER":
                    yield f"{table}.{row[1]}"


def test_every_column_with_an_instant_is_known_here():
    instants = {*WAITED_FOR, *OF_THE_PAST}
    new = [name for name in columns() if name not in instants and name.split(".")[1] not in NUMBERS]
    counts = {"totals.started", "tallies.started"}
    assert set(new) <= counts, "say above whether it is an instant, and let `ahead` move it if so"
    moved = {f"{each.table}.{each.name}" for each in ahead.COLUMNS}
    assert moved <= set(WAITED_FOR)
    by_the_schedule = {name for name in WAITED_FOR if name.startswith("tasks.")} - moved
    assert by_the_schedule == {"tasks.evaluated", "tasks.next", "tasks.following", "tasks.anchor"}


def back(runner, clock, at=NOON + timedelta(minutes=1)):
    clock.at = at
    runner.tick()


def events(runner, what="moved"):
    return [event.text for event in runner._here().store.events.all() if event.what == what]


@pytest.mark.parametrize("ahead_by", [timedelta(hours=2), timedelta(hours=4), timedelta(days=3653)])
def test_a_retry_is_made_as_long_after_the_clock_was_set_right_as_its_delay_is(
    failing, clock, ahead_by
):
    clock.at = NOON + ahead_by
    failing.set("report", retry_delay="10m")
    failing.tick()
    assert failing.history("report")[0].state is State.PENDING
    back(failing, clock)
    (run,) = [run for run in failing.history("report") if run.state is State.PENDING]
    assert run.ready == clock() + timedelta(minutes=10)
    assert any(f"run {run.id} waited for 20" in text for text in events(failing))
    clock.forward(minutes=11)
    failing.tick()
    assert not [
        run
        for run in failing.history("report")
        if run.state is State.PENDING and run.ready > clock() + timedelta(minutes=10)
    ]
    assert failing._here().store.runs.get(run.id).state is State.FAILED


def test_later_slots_run_once_the_retry_has(failing, clock):
    clock.at = AHEAD
    failing.tick()
    back(failing, clock)
    failing.set("report", shell="true")
    for _ in range(6):
        clock.forward(minutes=1)
        failing.tick()
    states = [run.state for run in failing.history("report")]
    assert states.count(State.SUCCEEDED) >= 4


def test_a_delay_by_jitter_ends(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, jitter="50s")
    clock.at = AHEAD + timedelta(seconds=1)
    runner.tick()
    back(runner, clock, NOON + timedelta(seconds=1))
    clock.forward(minutes=1)
    runner.tick()
    assert {run.state for run in runner.history()} <= {State.SUCCEEDED, State.SKIPPED}


@pytest.mark.parametrize("ahead_by", [timedelta(minutes=30), timedelta(days=3653)])
def test_a_hold_lasts_as_long_as_was_asked(runner, clock, ahead_by):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.at = NOON + ahead_by
    runner.tick()
    before = len(runner.history())
    runner.hold("1h", reason="repair")
    back(runner, clock)
    assert runner.held().until == clock() + timedelta(hours=1)
    assert runner.held().reason == "repair"
    assert any("the hold waited for" in text for text in events(runner))
    clock.forward(minutes=61)
    runner.tick()
    assert len(runner.history()) > before or ahead_by < timedelta(hours=3)


def test_a_hold_by_a_person_whose_clock_no_tick_has_seen_ends_too(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    clock.at = AHEAD
    runner.hold("1h")
    back(runner, clock)
    assert runner.held().until == clock() + timedelta(hours=1)


def test_a_hold_without_an_end_has_none_afterwards(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.at = AHEAD
    runner.tick()
    runner.hold()
    back(runner, clock)
    assert runner.held().until is None


def test_messages_are_sent_again_at_once_and_what_goes_on_is_reported_again_in_time(runner, clock):
    runner.add("report", shell="exit 1", schedule=EACH_MINUTE)
    clock.at = AHEAD
    runner.tick()
    store, task = runner._here().store, runner.task("report")
    run = runner.history("report")[0]
    with store.transaction():
        store.outbox.post(
            "failure", task.id, run.id, "ops", None, AHEAD, due=AHEAD + timedelta(minutes=5)
        )
        store.outbox.set_notified(task.id, "ops", "failure", AHEAD)
    back(runner, clock)
    rows = store.connection.rows("SELECT due, created FROM outbox WHERE due IS NOT NULL")
    assert rows == [(int(clock().timestamp() * 1000),) * 2]
    assert store.outbox.notified(task.id) == {("ops", "failure"): clock()}
    assert any("message to ops" in text for text in events(runner))


def test_a_run_that_goes_on_keeps_its_limits_and_its_stop_is_sent(runner, clock):
    from tests.tick.test_visit import block

    runner.add("report", ["true"], Manual(), timeout="1h")
    clock.at = AHEAD
    block(runner, "report")
    store = runner._here().store
    (run,) = store.runs.running()
    with store.transaction():
        store.processes.ask_to_stop(run.id, State.CANCELLED, "cancelled by a test", clock())
        long = AHEAD + timedelta(minutes=7)
        store.outbox.post("long", run.task_id, run.id, "ops", None, long, due=long)
    clock.at = NOON
    with store.transaction():
        told = [each.what for each in ahead.move(store, clock(), went_back=True)]
    (run,) = store.runs.running()
    assert run.started == clock()
    assert store.processes.of(run.id).stop_at == clock()
    since, _ = store.outbox.long_since(run.id)
    assert since == clock() + timedelta(minutes=7)
    assert told == [
        "a message to ops",
        f"the stop of run {run.id}",
        f"the time limit of run {run.id}",
    ]


@pytest.mark.parametrize("length", ["20m", "1d", "2w", "1mo", "1y"])
def test_an_interval_that_was_added_then_has_slots_now(runner, clock, length):
    clock.at = datetime(2036, 1, 31, 12, 0, tzinfo=UTC)
    runner.add("report", ["true"], Every(length, tz="Europe/Berlin"))
    runner.tick()
    back(runner, clock)
    task = runner.task("report")
    grid = Every(length, anchor=clock.at, tz="Europe/Berlin")
    assert task.anchor <= clock()
    assert clock() < task.next <= grid.after_finish(clock()) + timedelta(days=2)
    far = Every(length, anchor=task.anchor, tz="Europe/Berlin")
    added = datetime(2036, 1, 31, 12, 0, tzinfo=UTC)
    assert far.slot(far.number(added)) == added  # the grid is the same
    assert any("its anchor waited for 2036" in text for text in events(runner))


def test_an_anchor_that_was_given_for_the_future_stays(runner, clock):
    runner.add("report", ["true"], Every("1d", anchor=AHEAD + timedelta(days=9)))
    clock.at = AHEAD
    runner.tick()
    back(runner, clock)
    assert runner.task("report").next == AHEAD + timedelta(days=9)


def test_a_task_that_could_not_be_evaluated_then_is_tried_again_now(runner, clock, home):
    runner.add("broken", ["true"], EACH_MINUTE)
    with closing(sqlite3.connect(home / "taskrunner.db")) as raw, raw:
        raw.execute("UPDATE tasks SET tz = 'Gone/Zone', following = NULL")
    clock.at = AHEAD
    runner.tick()
    with closing(sqlite3.connect(home / "taskrunner.db")) as raw, raw:
        raw.execute("UPDATE tasks SET tz = 'UTC'")
    back(runner, clock)
    assert runner.task("broken").error is None
    assert [run.state for run in runner.history()] == [State.SUCCEEDED]


def test_nothing_of_a_right_clock_is_moved(failing, clock):
    failing.hold("1h")
    failing.resume()
    for _ in range(3):
        clock.forward(minutes=1)
        failing.tick()
    assert events(failing) == []


def test_doctor_names_what_waits_longer_than_its_setting_allows(home, clock, monkeypatch):
    monkeypatch.setattr(check_callers, "entries_of_host", list)
    with TaskRunner(home, clock=clock) as runner:
        clock.at = AHEAD
        runner.add("once", ["true"], At("2036-12-24T18:00", tz="UTC"))
        runner.add("report", shell="exit 1", schedule=Cron("* * * * *"), retries=1)
        clock.forward(minutes=1)
        runner.tick()
        runner.hold("1h")
        clock.at = NOON
        told = "\n".join(each.what for each in runner.doctor().findings)
        assert "the hold waits until 2036-11-20T13:01:00Z" in told
        assert "report: run " in told
        runner.tick()
        told = "\n".join(each.what for each in runner.doctor().findings)
        assert "waits until 2036-11-20" not in told
        assert (
            "once waits until 2036-12-24T18:00:00Z: it was added by a clock that was ahead" in told
        )
