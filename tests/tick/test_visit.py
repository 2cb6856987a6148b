"""One visit of the clock: whole days played with a clock in our hand, real store, real children."""

import os
import resource
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import (
    After,
    At,
    Boot,
    Cron,
    Every,
    Manual,
    On,
    State,
    TaskRunner,
    Trigger,
    clock as clock_room,
    host,
)
from taskrunner.errors import LockHeld
from taskrunner.home import lock
from taskrunner.model.decisions import Action
from taskrunner.model.values import End
from taskrunner.supervise import follow_up
from taskrunner.tick import visit

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EACH_MINUTE = Cron("* * * * *", tz="UTC")


def told(runs):
    return [(run.task, f"{run.slot:%H:%M}", run.state, run.coalesced) for run in reversed(runs)]


def dump(home):
    """All that is in the store, as SQL."""
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
        return list(connection.iterdump())


def block(runner, name, number=1):
    """Leave a task with a run that looks running, as a supervisor elsewhere would."""
    here = runner._here()
    store, task = here.store, here.store.tasks.get(name)
    from taskrunner.model.values import Process

    with store.transaction():
        slot = here.now() - timedelta(seconds=number)
        values = {"slot": slot, "first_slot": slot, "trigger": Trigger.MANUAL}
        run_id = store.runs.add(task.id, State.PENDING, here.now(), **values)
        process = Process(
            run_id,
            "elsewhere",
            host.boot_id(),
            "none",
            1,
            pid_namespace=0,  # not to be seen from here
        )
        store.runs.start([process], here.now())
    return run_id


# ---- what runs when


def test_a_task_runs_once_in_each_of_its_slots(runner, clock):
    runner.add("report", ["true"], Cron("*/5 * * * *", tz="UTC"))
    for _ in range(11):
        clock.forward(minutes=1)
        runner.tick()
    assert told(runner.history()) == [
        ("report", "12:05", State.SUCCEEDED, 1),
        ("report", "12:10", State.SUCCEEDED, 1),
    ]


def test_a_fresh_task_does_not_make_up_for_the_time_before_it(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    assert runner.history() == []


def test_two_ticks_in_one_minute_run_a_slot_once(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=1, seconds=1)
    runner.tick()
    clock.forward(seconds=5)
    assert runner.tick().idle
    assert len(runner.history()) == 1


def test_a_failing_task_comes_due_again_and_hurts_no_other(runner, clock):
    runner.add("bad", ["false"], EACH_MINUTE)
    runner.add("good", ["true"], EACH_MINUTE)
    for _ in range(2):
        clock.forward(minutes=1)
        runner.tick()
    states = [(run.task, run.state, run.exit_code, run.reason) for run in runner.history()]
    assert states.count(("bad", State.FAILED, 1, "exit code 1")) == 2
    assert states.count(("good", State.SUCCEEDED, 0, "exit code 0")) == 2


def test_a_tick_that_did_not_come_is_made_up_for_once(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=7, seconds=30)
    runner.tick()
    (run,) = runner.history()
    assert (run.slot, run.first_slot) == (NOON + timedelta(minutes=7), NOON + timedelta(minutes=1))
    assert (run.coalesced, run.trigger, run.late) == (7, Trigger.CATCH_UP, 30)


def test_years_of_missed_minutes_are_counted_up_to_a_bound(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(days=3 * 365)
    runner.tick()
    (run,) = runner.history()
    assert (run.coalesced, run.coalesced_at_least) == (10_000, True)


def test_catch_up_all_runs_each_missed_slot_in_order(runner, clock, tmp_path):
    shell = f'echo "$TASKRUNNER_SLOT $TASKRUNNER_TRIGGER" >> {tmp_path}/log'
    runner.add("report", shell=shell, schedule=EACH_MINUTE, catch_up="all")
    clock.forward(minutes=4)
    runner.tick()
    assert (tmp_path / "log").read_text().split() == [
        *("2026-11-20T12:01:00Z", "catch-up", "2026-11-20T12:02:00Z", "schedule"),
        *("2026-11-20T12:03:00Z", "schedule", "2026-11-20T12:04:00Z", "schedule"),
    ]


def test_a_day_of_the_month_is_caught_up_once_or_each_time(runner, clock):
    payday = On("last workday", "09:00", "Europe/Berlin")
    runner.add("one", ["true"], payday)
    runner.add("each", ["true"], payday, catch_up="all")
    clock.forward(days=100)  # to 28 February
    runner.tick()
    days = ("2026-11-30", "2026-12-31", "2027-01-29", "2027-02-26")
    slots = [datetime.fromisoformat(f"{day}T08:00Z") for day in days]
    (run,) = runner.history("one")
    assert (run.slot, run.first_slot, run.coalesced) == (slots[-1], slots[0], 4)
    assert [run.slot for run in runner.history("each")] == slots[::-1]
    assert runner.task("one").next == datetime(2027, 3, 31, 7, tzinfo=UTC)  # summer time


def test_catch_up_none_records_what_was_missed(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, catch_up="none")
    clock.forward(minutes=30)
    runner.tick()
    assert told(runner.history()) == [
        ("report", "12:29", State.MISSED, 29),
        ("report", "12:30", State.SUCCEEDED, 1),
    ]


def test_a_deadline_turns_a_late_slot_into_a_missed_one(runner, clock):
    runner.add("report", ["true"], Cron("0 13 * * *", tz="UTC"), deadline="10m")
    clock.forward(hours=1, minutes=11)
    runner.tick()
    (run,) = runner.history()
    assert (run.state, run.started) == (State.MISSED, None)
    assert "deadline of 10m" in run.reason


def test_a_run_due_at_once_leaves_the_grid_alone(runner, clock):
    runner.add("report", ["true"], Every("1h"), now=True)
    clock.forward(seconds=20)
    runner.tick()
    (run,) = runner.history()
    assert (run.slot, run.trigger) == (NOON, Trigger.MANUAL)
    assert runner.task("report").next == NOON + timedelta(hours=1)


def test_a_run_asked_for_does_not_eat_the_slot_that_comes_due_with_it(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, now=True)
    clock.forward(minutes=1)
    runner.tick()
    assert sorted(run.trigger for run in runner.history()) == ["manual", "schedule"]
    assert {run.state for run in runner.history()} == {State.SUCCEEDED}


def test_a_one_off_runs_late_rather_than_never_and_is_then_disabled(runner, clock):
    runner.add("once", ["true"], At("2026-11-20T12:30:00Z"))
    clock.forward(days=3)
    runner.tick()
    (run,) = runner.history()
    assert (run.state, run.slot) == (State.SUCCEEDED, NOON + timedelta(minutes=30))
    assert not runner.task("once").enabled


def test_a_one_off_that_fails_is_disabled_too(runner, clock):
    runner.add("once", ["false"], At("2026-11-20T12:30:00Z"))
    clock.forward(hours=1)
    runner.tick()
    assert runner.history()[0].state is State.FAILED
    assert not runner.task("once").enabled


def test_a_run_by_hand_leaves_a_one_off_to_come(runner, clock):
    runner.add("once", ["true"], At("2026-11-20T12:30:00Z"))
    runner.run("once")
    assert runner.task("once").enabled
    clock.forward(hours=1)
    runner.tick()
    assert [run.trigger for run in runner.history()] == [Trigger.CATCH_UP, Trigger.MANUAL]


def test_a_delay_is_counted_from_the_end_of_the_run(runner, clock):
    runner.add("poll", ["true"], Every("10m", from_finish=True))
    assert runner.task("poll").next == NOON + timedelta(minutes=10)
    clock.forward(minutes=14)
    runner.tick()
    assert runner.task("poll").next == clock() + timedelta(minutes=10)
    clock.forward(minutes=9)
    runner.run("poll")  # a run by hand ends too
    assert runner.task("poll").next == clock() + timedelta(minutes=10)
    assert [f"{run.slot:%H:%M}" for run in runner.history()] == ["12:23", "12:10"]


def test_a_boot_task_runs_once_after_each_boot(runner, clock, monkeypatch):
    runner.add("warm", ["true"], Boot())
    runner.tick()
    assert runner.history() == []  # this boot was there before it
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    for _ in range(3):
        clock.forward(minutes=1)
        runner.tick()
    (run,) = runner.history()
    assert (run.state, run.trigger) == (State.SUCCEEDED, Trigger.SCHEDULE)


def test_a_manual_task_never_comes_due(runner, clock):
    runner.add("x", ["true"], Manual())
    clock.forward(days=400)
    runner.tick()
    assert runner.history() == []


def test_a_chain_runs_through_in_one_tick_and_carries_the_slot(runner, clock):
    runner.add("first", ["true"], Cron("30 12 * * *", tz="UTC"))
    runner.add("second", ["false"], After("first"))
    runner.add("third", ["true"], After("second"))
    runner.add("rescue", ["true"], After("second", "failed"))
    clock.forward(minutes=31)
    runner.tick()
    assert told(runner.history()) == [
        ("first", "12:30", State.SUCCEEDED, 1),
        ("second", "12:30", State.FAILED, 1),
        ("rescue", "12:30", State.SUCCEEDED, 1),
    ]
    assert [run.trigger for run in runner.history(limit=2)] == [Trigger.AFTER] * 2


def test_a_disabled_task_is_left_out_and_comes_back_without_a_stampede(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.disable("report")
    clock.forward(hours=2)
    runner.tick()
    runner.enable("report")
    runner.tick()
    assert runner.history() == []
    clock.forward(minutes=1)
    runner.tick()
    assert told(runner.history()) == [("report", "14:01", State.SUCCEEDED, 1)]


# ---- overlap and capacity


def test_a_slot_that_meets_a_running_one_is_skipped_and_names_it(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    blocking = block(runner, "report")
    clock.forward(minutes=1)
    runner.tick()
    skipped = runner.history()[0]
    assert skipped.state is State.SKIPPED
    assert f"run {blocking} (running)" in skipped.reason
    assert skipped.started is None


def test_a_queued_slot_waits_and_a_newer_one_takes_its_place(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, overlap="queue")
    blocking = block(runner, "report")
    for _ in range(2):
        clock.forward(minutes=1)
        runner.tick()
    newest, displaced, _ = runner.history()
    assert (newest.state, displaced.state) == (State.PENDING, State.SKIPPED)
    here = runner._here()
    with here.store.transaction():
        here.store.runs.finish(
            [End(here.store.runs.get(blocking), State.SUCCEEDED, "done", clock())]
        )
    runner.tick()
    assert runner.run_of(newest.id).state is State.SUCCEEDED


def test_no_more_than_max_parallel_run_at_a_time(home, clock, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "2")
    shell = f"echo + >> {tmp_path}/log; sleep 0.05; echo - >> {tmp_path}/log"
    with TaskRunner(home, clock=clock) as runner:
        for number in range(8):
            runner.add(f"t{number}", shell=shell, schedule=EACH_MINUTE)
        clock.forward(minutes=1)
        runner.tick()
        assert {run.state for run in runner.history()} == {State.SUCCEEDED}
    signs, now, most = (tmp_path / "log").read_text().split(), 0, 0
    for sign in signs:
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert (len(signs), most) == (16, 2)


def test_the_oldest_slot_starts_first(home, clock, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "1")
    with TaskRunner(home, clock=clock) as runner:
        for name, minute in (("late", 3), ("early", 1), ("middle", 2)):
            schedule = Cron(f"{minute} 12 * * *", tz="UTC")
            runner.add(name, shell=f"echo {name} >> {tmp_path}/log", schedule=schedule)
        clock.forward(minutes=5)
        runner.tick()
    assert (tmp_path / "log").read_text().split() == ["early", "middle", "late"]


def test_a_pending_run_past_its_deadline_is_missed_when_it_could_start(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, overlap="queue", deadline="5m")
    blocking = block(runner, "report")
    clock.forward(minutes=1)
    runner.tick()
    waiting = runner.history()[0]
    assert waiting.state is State.PENDING
    here = runner._here()
    with here.store.transaction():
        here.store.tasks.change(1, next=None)
        here.store.runs.finish(
            [End(here.store.runs.get(blocking), State.SUCCEEDED, "done", clock())]
        )
    clock.forward(minutes=6)
    runner.tick()
    missed = runner.run_of(waiting.id)
    assert (missed.state, missed.started) == (State.MISSED, None)
    assert "deadline of 5m" in missed.reason


# ---- one bad task never stops the loop


def test_a_task_whose_rows_cannot_be_written_does_not_keep_the_others(runner, clock, monkeypatch):
    for name in ("one", "broken", "two"):
        runner.add(name, ["true"], Cron("0 * * * *", tz="UTC"))
    write = follow_up.write_plain

    def failing(here, decisions, now):
        decisions = list(decisions)
        write(here, decisions, now)
        if "broken" in [decision.task for decision in decisions]:
            raise OverflowError("too large")

    monkeypatch.setattr(follow_up, "write_plain", failing)
    clock.forward(hours=1)
    assert sorted(run.task for run in runner.tick().runs) == ["one", "two"]
    assert runner.task("broken").error == "too large"
    monkeypatch.undo()
    clock.forward(hours=1)
    runner.tick()
    (made,) = runner.history("broken")
    assert (made.state, made.coalesced) == (State.SUCCEEDED, 2)  # no slot of it was forgotten


def test_a_task_that_cannot_be_evaluated_is_pushed_ahead_and_says_why(runner, clock, home):
    runner.add("broken", ["true"], EACH_MINUTE)
    runner.add("good", ["true"], EACH_MINUTE)
    raw = sqlite3.connect(home / "taskrunner.db")
    with raw:
        raw.execute("UPDATE tasks SET tz = 'Gone/Zone', following = NULL WHERE name = 'broken'")
    clock.forward(minutes=1)
    runner.tick()
    assert told(runner.history()) == [("good", "12:01", State.SUCCEEDED, 1)]
    assert "'Gone/Zone'" in runner.task("broken").error
    assert runner.task("broken").next == clock() + follow_up.PUSHED_AHEAD
    assert any("broken cannot be evaluated" in text for text in runner.status().problems)
    with raw:
        raw.execute("UPDATE tasks SET tz = 'UTC' WHERE name = 'broken'")
    raw.close()
    clock.forward(hours=2)
    runner.tick()
    mended = runner.history("broken")[0]
    assert (mended.state, mended.coalesced) == (State.SUCCEEDED, 121)  # no slot was lost
    assert runner.task("broken").error is None


# ---- the clock itself


def test_a_step_back_of_up_to_three_hours_waits_for_time_to_catch_up(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=5)
    runner.tick()
    clock.forward(hours=-2)
    for _ in range(3):
        clock.forward(minutes=1)
        runner.tick()
    assert len(runner.history()) == 1
    clock.forward(hours=2)
    runner.tick()
    assert [run.coalesced for run in runner.history()] == [3, 5]


def test_a_step_back_by_more_starts_anew_and_runs_nothing_twice(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    for _ in range(3):
        clock.forward(minutes=1)
        runner.tick()
    clock.at = NOON.replace(year=2036) + timedelta(minutes=3)
    runner.tick()
    assert len(runner.history()) == 4
    clock.at = NOON + timedelta(seconds=30)
    runner.tick()
    for _ in range(5):
        clock.forward(minutes=1)
        runner.tick()
    slots = [f"{run.slot:%Y %H:%M}" for run in reversed(runner.history())]
    assert slots == [
        "2026 12:01",
        "2026 12:02",
        "2026 12:03",
        "2036 12:03",
        "2026 12:04",
        "2026 12:05",
    ]
    assert any(event.what == "step back" for event in runner._here().store.events.all())


def test_a_gap_in_the_ticks_is_written_down_with_its_cause(runner, clock, monkeypatch):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    clock.forward(minutes=2, seconds=30)  # two and a half periods are no gap yet
    runner.tick()
    clock.forward(minutes=10)
    runner.tick()
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    clock.forward(minutes=20)
    runner.tick()
    gaps = [event.text for event in runner._here().store.events.all() if event.what == "gap"]
    assert len(gaps) == 2
    assert "since 2026-11-20T12:02:30Z: the clock entry did not fire" in gaps[0]
    assert "since 2026-11-20T12:12:30Z: reboot" in gaps[1]


def test_new_zone_data_lets_all_slots_be_computed_anew(runner, clock, home, monkeypatch):
    runner.add("report", ["true"], Cron("0 15 * * *", tz="Europe/Berlin"))
    runner.tick()
    raw = sqlite3.connect(home / "taskrunner.db")
    with raw:  # what an older edition of the zone data had said
        raw.execute("UPDATE tasks SET next = next + 3600000, following = following + 3600000")
    raw.close()
    wrong = runner.task("report").next
    monkeypatch.setattr(host, "zone_stamp", lambda: "tzdata of tomorrow")
    clock.forward(minutes=1)
    runner.tick()
    assert wrong == NOON + timedelta(hours=3)
    assert runner.task("report").next == NOON + timedelta(hours=2)
    clock.forward(minutes=1)
    assert runner.tick().idle


def test_the_slot_after_the_next_is_kept_so_that_a_claim_computes_nothing(
    runner, clock, monkeypatch
):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=1)
    runner.tick()
    task = runner.task("report")
    assert (task.next, task.following) == (NOON + timedelta(minutes=2), NOON + timedelta(minutes=3))
    clock.forward(minutes=1)
    here = runner._here()
    monkeypatch.setattr(
        "taskrunner.schedule.of_task.value_of", lambda task: pytest.fail("a schedule was computed")
    )
    assert [d.action for d in visit.Tick(here, "test").claim_under_lock().decisions] == [Action.RUN]


# ---- idle, locked, many at once


def test_an_idle_tick_leaves_a_heartbeat_and_the_store_alone(runner, clock, home):
    runner.add("report", ["true"], Every("1h"))
    runner.tick()
    before = (home / "taskrunner.db").stat().st_mtime_ns
    clock.forward(minutes=1)
    assert runner.tick(caller="cron").idle
    assert (home / "taskrunner.db").stat().st_mtime_ns == before
    status = runner.status()
    assert (status.last_tick, status.clock) == (clock(), "cron")


def test_a_tick_without_a_store_makes_nothing(tmp_path, clock):
    with TaskRunner(tmp_path / "nothing", clock=clock) as runner:
        assert runner.tick().idle
        assert runner.history() == runner.tasks() == []
    assert not (tmp_path / "nothing").exists()


def test_a_busy_lock_ends_a_tick_quietly(runner, clock, home, monkeypatch):
    monkeypatch.setattr(visit, "LOCK_WAIT", 0.05)
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=1)
    with lock.held(str(home / "tick.lock")):
        assert runner.tick().busy
    assert runner.history() == []
    assert not runner.tick().busy
    assert len(runner.history()) == 1


def test_a_lock_held_for_too_long_names_its_holder(runner, clock, home, monkeypatch):
    monkeypatch.setattr(visit, "LOCK_WAIT", 0.05)
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=1)
    since = clock_room.to_ms(clock())
    with lock.held(str(home / "tick.lock")) as fd:
        os.pwrite(fd, b"4711 %d" % since, 0)
        clock.forward(minutes=5)
        assert runner.tick().busy
        clock.forward(minutes=1)
        with pytest.raises(LockHeld, match="pid 4711 has held the lock for 6 minutes"):
            runner.tick()
        assert runner.tick().busy  # said once an hour, not every minute


def test_many_ticks_at_once_run_each_slot_once(home, clock, tmp_path):
    with TaskRunner(home, clock=clock) as runner:
        for number in range(10):
            runner.add(
                f"t{number}", shell=f"echo t{number} >> {tmp_path}/log", schedule=EACH_MINUTE
            )
    clock.forward(minutes=1)
    faults = []

    def tick():
        try:
            with TaskRunner(home, clock=clock) as mine:
                mine.tick()
        except BaseException as exc:  # noqa: BLE001  shown by the assert below
            faults.append(exc)

    threads = [threading.Thread(target=tick) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with TaskRunner(home, clock=clock) as runner:
        runs = runner.history(limit=100)
    assert len(runs) == 10 and {run.state for run in runs} == {State.SUCCEEDED}
    assert sorted((tmp_path / "log").read_text().split()) == [f"t{n}" for n in range(10)]


def test_a_tick_for_one_task_looks_at_no_other_and_only_if_it_is_due(runner, clock):
    runner.add("one", ["true"], EACH_MINUTE)
    runner.add("two", ["true"], EACH_MINUTE)
    runner.tick()
    beat = runner.status().last_tick
    runner.tick(task="one")
    assert runner.history() == []
    clock.forward(minutes=1)
    runner.tick(task="one")
    assert told(runner.history()) == [("one", "12:01", State.SUCCEEDED, 1)]
    assert runner.status().last_tick == beat  # it was no visit of the clock
    runner.tick()
    assert len(runner.history("two")) == 1


# ---- dry runs


def test_a_dry_run_says_what_the_tick_does_and_writes_nothing(runner, clock, home):
    runner.add("late", ["true"], EACH_MINUTE)
    runner.add("missed", ["true"], EACH_MINUTE, catch_up="none")
    runner.add("blocked", ["true"], EACH_MINUTE)
    runner.add("asked", ["true"], Every("1d"), now=True)
    block(runner, "blocked")
    clock.forward(minutes=10)
    before = dump(home)
    at, planned = runner.dry_run()
    assert at == clock()
    assert dump(home) == before
    done = runner.tick().decisions
    assert sorted(map(repr, planned)) == sorted(map(repr, done))
    assert sorted((d.task, d.action) for d in planned) == [
        ("asked", Action.RUN),
        ("blocked", Action.SKIP),
        ("late", Action.RUN),
        ("missed", Action.MISS),
        ("missed", Action.RUN),
    ]


def test_a_dry_run_for_another_instant(runner, clock):
    runner.add("report", ["true"], Cron("0 18 * * *", tz="UTC"))
    assert runner.dry_run()[1] == []
    at = NOON + timedelta(days=1, hours=7)
    (decision,) = runner.dry_run(at=at)[1]
    assert (decision.span.count, decision.action) == (2, Action.RUN)


def test_a_dry_run_reports_what_waits_for_capacity(home, clock, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "1")
    with TaskRunner(home, clock=clock) as runner:
        runner.add("one", ["true"], EACH_MINUTE)
        runner.add("two", ["true"], EACH_MINUTE)
        clock.forward(minutes=1)
        assert sorted(d.action for d in runner.dry_run()[1]) == [Action.RUN, Action.WAIT]


def test_no_more_run_at_a_time_than_open_files_allow(home, clock, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "1000")
    with TaskRunner(home, clock=clock) as runner:
        for number in range(60):
            runner.add(f"t{number}", ["sleep", "0.1"], EACH_MINUTE)
        clock.forward(minutes=1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 90, hard))
        try:
            runner.tick()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [run.state for run in runner.history(limit=100)] == [State.SUCCEEDED] * 60


def test_a_delay_goes_on_when_the_clock_is_set_back_over_its_slots(runner, clock):
    runner.add("x", ["true"], Every("1m", from_finish=True))
    start = clock.at
    for _ in range(3):
        clock.forward(minutes=1)
        runner.tick()
    assert len(runner.history("x")) == 3
    clock.at = start + timedelta(minutes=1)
    runner.run("x")
    assert runner.task("x").next == clock.forward(minutes=1)
    runner.tick()  # that slot has a run already
    assert len(runner.history("x")) == 4
    assert runner.task("x").next == clock.forward(minutes=1)
    for _ in range(3):
        runner.tick()
        clock.forward(minutes=1)
    assert runner.task("x").next is not None and len(runner.history("x")) >= 5


def test_what_was_asked_for_runs_although_the_schedule_means_nothing_any_more(runner, clock, home):
    runner.add("x", ["true"], Cron("* * * * *", tz="UTC"))
    runner.set("x", now=True)
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("UPDATE tasks SET tz = 'Mars/Olympus', following = NULL")
    clock.forward(minutes=1)
    runner.tick()
    assert [run.trigger for run in runner.history("x")] == [Trigger.MANUAL]
    runner.tick()
    assert "Mars/Olympus" in runner.task("x").error


def test_a_delay_whose_zone_is_gone_stops_nobody(runner, clock, home):
    runner.add("lame", ["true"], Every("1d", from_finish=True), tz="Europe/Berlin")
    runner.add("sound", ["true"], EACH_MINUTE)
    with closing(sqlite3.connect(home / "taskrunner.db")) as raw, raw:
        raw.execute("UPDATE tasks SET tz = 'Gone/Zone' WHERE name = 'lame'")
    assert runner.run("lame").state is State.SUCCEEDED  # its end sets the next slot, or tries to
    assert "Gone/Zone" in runner.task("lame").error
    clock.forward(days=1, minutes=1)
    runner.tick()
    assert runner.history()[0].task == "sound"
    assert runner.history()[0].state is State.SUCCEEDED


def test_a_clock_that_was_years_ahead_leaves_no_delay_and_no_state_behind(runner, clock):
    runner.add("poll", ["false"], Every("10m", from_finish=True))
    clock.at = NOON.replace(year=2036)
    runner.tick()
    clock.at = NOON + timedelta(hours=1)
    runner.tick()
    assert runner.task("poll").next <= clock() + timedelta(minutes=10)
    clock.forward(minutes=11)
    runner.tick()
    assert [f"{run.started:%Y}" for run in runner.history()] == ["2026", "2036"]
    assert runner.task("poll").last_run == clock()


def test_folders_among_the_files_of_supervisors_and_outputs_stop_no_tick(runner, clock, home):
    runner.add("x", ["true"], Every("1m"))
    (home / "supervisors" / "1-dead").mkdir(parents=True)
    (home / "output" / "1-dead.1").mkdir(parents=True)
    clock.forward(minutes=1)
    assert [run.state for run in runner.tick().runs] == [State.SUCCEEDED]


def test_a_caller_of_several_words_is_kept_as_one(runner, clock):
    runner.tick(caller="my own app!")
    runner.add("x", ["true"], Manual())
    runner.tick(caller="my own app!")
    clock.forward(seconds=30)
    assert runner.tick(caller="my own app!").idle
    assert runner.status().clock == "myownapp"
