"""Why a task ran or did not: each slot, gap and change, told from the real store with a clock in our hand."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import (
    After,
    At,
    Boot,
    Cron,
    Every,
    InputError,
    Manual,
    State,
    UnknownRun,
    UnknownTask,
    clock as clock_room,
    host,
)
from taskrunner.cli import main
from taskrunner.decide import ledger
from taskrunner.model.values import End, Event, Gap, Hold, Process, Trigger
from taskrunner.render import documents, page, tables
from taskrunner.report import explain, why
from tests.samples import MINUTE, NOON, TASK

EACH_MINUTE = Cron("* * * * *", tz="UTC")
HOURLY = Cron("0 * * * *", tz="UTC")
SILENT = "the clock entry did not fire, or the machine was suspended"


def at(hour, minute=0, day=20):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def reasons(found):
    return [each.reason for each in found.slots]


def told(found):
    """The slots as hour and minute, with state and run."""
    return [(each.slot and f"{each.slot:%H:%M}", each.state, each.run) for each in found.slots]


def only(found):
    (each,) = found.slots
    return each


def who(runner):
    return runner._here().store.events.all()[0].by


def ticks(runner, clock, count, **step):
    for _ in range(count):
        clock.forward(**(step or {"minutes": 1}))
        runner.tick()


def write_run(runner, name, *, claimed, started=None, finished=None, **more):
    """Write a run as if it had been claimed, started and ended at these instants."""
    store = runner._here().store
    slot = more.pop("slot", claimed)
    values = {"slot": slot, "first_slot": slot, "trigger": Trigger.SCHEDULE, **more}
    with store.transaction():
        number = store.runs.add(store.tasks.get(name).id, State.PENDING, claimed, **values)
        if started:
            process = Process(number, "elsewhere", host.boot_id(), "none", 1, 0)
            store.runs.start([process], started)
        if finished:
            store.runs.finish(
                [End(store.runs.get(number), State.SUCCEEDED, "exit code 0", finished)]
            )
    return number


# ---- events, as they are written and read back


def test_a_gap_is_read_back_as_it_was_written():
    event = ledger.gap(NOON, NOON + 10 * MINUTE, rebooted=True)
    assert ledger.gaps([event]) == [Gap(NOON, NOON + 10 * MINUTE, "reboot")]
    event = ledger.gap(NOON, NOON + 10 * MINUTE, rebooted=False)
    assert ledger.gaps([event]) == [Gap(NOON, NOON + 10 * MINUTE, SILENT)]


def test_a_step_back_is_a_gap_that_ends_before_it_begins():
    event = ledger.step_back(NOON, NOON - MINUTE)
    assert ledger.gaps([event]) == [Gap(NOON, NOON - MINUTE, "the clock went back by 60 s")]


def test_the_gap_that_is_still_open_comes_last():
    event, silence = ledger.gap(NOON, NOON + MINUTE, rebooted=True), Gap(NOON, None, SILENT)
    assert ledger.gaps([event], silence)[-1] is silence


def test_a_gap_is_told_of_a_time_that_it_reaches_into():
    found = [Gap(at(1), at(3), ""), Gap(at(5), at(4), ""), Gap(at(6), None, "")]
    assert ledger.between(found, at(2), at(2, 30)) == found[:1]
    assert ledger.between(found, at(4), at(5)) == found[1:2]
    assert ledger.between(found, at(8), at(9)) == found[2:]
    assert ledger.between(found, at(3, 30), at(3, 40)) == []


def test_a_hold_ends_with_its_time_or_with_the_next_word_about_it():
    first = ledger.held(Hold(at(1), at(3), "ann", "the database moves: slowly"))
    second = ledger.held(Hold(at(2), None, "bob"))
    assert ledger.holds([first]) == [
        ledger.Stretch(at(1), at(3), "ann", "the database moves: slowly")
    ]
    assert ledger.holds([first, second, Event(at(5), "resumed", "ann")]) == [
        ledger.Stretch(at(1), at(2), "ann", "the database moves: slowly"),
        ledger.Stretch(at(2), at(5), "bob"),
    ]
    assert ledger.holds([second])[0].until is None


def test_what_happens_meanwhile_ends_neither_a_hold_nor_a_time_disabled():
    hold, off = ledger.held(Hold(at(1), None, "ann")), Event(at(1), "disabled", "ann")
    other, end = Event(at(2), "changed", "bob"), Event(at(3), "gap", "tick")
    assert ledger.holds([hold, other, end]) == [ledger.Stretch(at(1), None, "ann")]
    assert ledger.disabled([off, other, end]) == [ledger.Stretch(at(1), None, "ann")]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"timeout": None}, "timeout 1h -> none"),
        ({"command": ("echo", "a b")}, "command true -> echo 'a b'"),
        ({"group": "db", "group_limit": 2}, "group none -> db:2"),
        ({"umask": 0o22}, "umask none -> 022"),
        ({"ok_codes": (0, 3)}, "ok-codes 0 -> 0 3"),
        ({"name": "again"}, "name report -> again"),
        ({"env": {"TOKEN": "hunter2"}}, "env"),
        ({"stdin": "hunter2"}, "stdin"),
        ({"shell": "x" * 200}, f"shell none -> {'x' * 99}…"),
        ({"last_state": State.FAILED, "next": NOON, "error": "no"}, ""),
        ({"tz": "Asia/Tokyo"}, "schedule cron * * * * * (UTC) -> cron * * * * * (Asia/Tokyo)"),
        (
            {"evaluated": NOON + MINUTE},
            "schedule cron * * * * * (UTC) -> cron * * * * * (UTC)",
        ),
    ],
)
def test_a_change_is_reported_with_old_and_new_value_and_secrets_by_name(change, text):
    assert ledger.difference(TASK, replace(TASK, **change)) == text


def test_a_change_is_noted_with_who_made_it(runner, clock):
    runner.add("report", ["true"], Every("1h", tz="UTC"))
    clock.forward(minutes=1)
    runner.set("report", schedule=HOURLY, timeout="2h", now=True)
    runner.disable("report")
    runner.enable("report")
    runner.remove("report")
    found = [(change.what, change.by) for change in runner.explain("report").changes]
    me, anchor = who(runner), " from 2026-11-20 12:00:00 UTC"
    rest = "timeout 1h -> 2h, a run at once"
    assert found == [
        (f"added: every 1h{anchor} (UTC)", me),
        (f"changed: schedule every 1h{anchor} (UTC) -> cron 0 * * * * (UTC), {rest}", me),
        ("disabled", me),
        ("enabled", me),
        ("removed", me),
    ]


def test_defining_a_task_again_is_noted_only_when_that_changes_it(runner):
    for timeout in ("1h", "1h", "2h"):
        runner.add("report", ["true"], HOURLY, replace=True, timeout=timeout)
    found = [event.text for event in runner._here().store.events.all()]
    assert found == ["cron 0 * * * * (UTC)", "timeout 1h -> 2h"]


# ---- slots that have a row


def test_a_slot_that_ran_is_reported_with_its_state_and_its_run(runner, clock):
    runner.add("report", ["false"], EACH_MINUTE)
    ticks(runner, clock, 1)
    assert told(runner.explain("report")) == [("12:01", "failed", 2), ("12:02", None, None)]
    assert reasons(runner.explain("report")) == ["exit code 1", "is due then"]


def test_several_slots_in_one_row_are_reported_as_one(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    ticks(runner, clock, 1, minutes=30)
    each = only(runner.explain("report", since=NOON + MINUTE))
    assert (each.first_slot, each.slot, each.run) == (at(12, 1), at(12, 30), 2)
    assert "stands for 30 slots from 2026-11-20 12:01:00 UTC on" in each.reason
    assert only(runner.explain("report", at=at(12, 7))).run == 2


def test_a_late_run_is_reported_with_the_gap_before_it(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, minutes=90)
    each = only(runner.explain("report", at=at(13)))
    assert each.reason == (
        "exit code 0; started 30m 00s late; no tick came from 2026-11-20 12:00:00 UTC "
        f"to 2026-11-20 13:30:00 UTC: {SILENT}"
    )


def test_a_gap_after_which_the_machine_has_another_boot_id_is_a_reboot(runner, clock, monkeypatch):
    runner.add("report", ["true"], HOURLY, catch_up="none")
    runner.tick()
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    ticks(runner, clock, 1, minutes=90)
    found = runner.explain("report", at=at(13))
    assert only(found).state is State.MISSED
    assert only(found).reason == (
        "no tick came in time, and --catch-up is none; no tick came from 2026-11-20 12:00:00 UTC "
        "to 2026-11-20 13:30:00 UTC: reboot"
    )
    assert found.gaps == [Gap(at(12), at(13, 30), "reboot")]


def test_a_run_in_time_is_reported_without_a_gap(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 60)
    assert only(runner.explain("report", at=at(13))).reason == "exit code 0"
    assert runner.explain("report", at=at(13)).gaps == []


def test_of_many_gaps_a_few_are_reported_one_by_one(runner, clock):
    runner.add("report", ["true"], Cron("0 3 * * *", tz="UTC"))
    runner.tick()
    store = runner._here().store
    with store.transaction():
        for hour in range(5):
            since = at(5 + hour, 0, 21)
            store.events.add(ledger.gap(since, since + 30 * MINUTE, rebooted=False))
    ticks(runner, clock, 1, days=1)
    assert "and 3 more of the kind" in only(runner.explain("report", at=at(3, 0, 21))).reason


def test_a_run_that_a_hold_delayed_says_so(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    clock.forward(minutes=59)
    runner.tick()
    runner.hold(reason="the database moves")
    ticks(runner, clock, 10)
    runner.resume()
    runner.tick()
    assert only(runner.explain("report", at=at(13))).reason.endswith(
        f"started 9m 00s late; scheduled runs were paused by {who(runner)} from 2026-11-20 12:59:00 UTC "
        "to 2026-11-20 13:09:00 UTC (the database moves)"
    )


def test_a_run_that_an_error_delayed_says_so(runner, clock):
    runner.add("report", ["true"], HOURLY)
    write_run(runner, "report", claimed=at(12), started=at(13, 1), finished=at(13, 2))
    store = runner._here().store
    with store.transaction():
        store.events.add(Event(at(12, 1), "error", "tick", text="the zone is gone"), 1)
    clock.at = at(13, 2)
    said = "it could not be evaluated at 2026-11-20 12:01:00 UTC: the zone is gone"
    assert said in runner.explain("1").slots[0].reason


def test_a_run_that_waited_for_room_names_the_run_whose_end_gave_it(runner, clock):
    for name in ("long", "report"):
        runner.add(name, ["true"], HOURLY)
    write_run(runner, "long", claimed=at(11, 59), started=at(11, 59), finished=at(12, 30))
    mine = write_run(runner, "report", claimed=at(12), started=at(12, 30), finished=at(12, 31))
    clock.at = at(12, 31)
    assert only(runner.explain(mine)).reason == (
        "exit code 0; started 30m 00s late; it waited for run 3 of long to end, at 2026-11-20 12:30:00 UTC"
    )


def test_a_run_that_started_when_it_was_claimed_waited_for_nobody(runner, clock):
    for name in ("long", "report"):
        runner.add(name, ["true"], HOURLY)
    write_run(runner, "long", claimed=at(11, 59), started=at(11, 59), finished=at(12, 30))
    mine = write_run(
        runner,
        "report",
        claimed=at(12, 30),
        slot=at(12),
        started=at(12, 30),
        finished=at(12, 31),
    )
    clock.at = at(12, 31)
    assert only(runner.explain(mine)).reason == "exit code 0; started 30m 00s late"


def test_a_run_by_hand_is_reported_beside_the_slots(runner, clock):
    runner.add("report", ["true"], HOURLY)
    clock.forward(minutes=1)
    runner.run("report")
    found = runner.explain("report", since=NOON)
    assert told(found) == [("12:00", None, None), ("12:01", "succeeded", 2)]
    assert found.slots[1].reason == "started by hand; exit code 0"


def test_the_attempts_of_a_slot_are_one_slot_and_by_run_each_their_own(runner, clock):
    runner.add("report", ["false"], HOURLY, retries=1, retry_delay="10m")
    ticks(runner, clock, 80)
    each = only(runner.explain("report", at=at(13)))
    assert (each.state, each.run) == ("failed", 3)
    assert "exit code 1; attempt 2, after run 2 (failed)" in each.reason
    assert "the retry was to start at 2026-11-20 13:10:00 UTC" in each.reason
    assert [one.run for one in runner.explain("2").slots] == [2, 3]
    assert runner.explain(3) == runner.explain("2")


def test_a_run_that_was_replaced_names_the_one_that_took_its_place(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, overlap="replace")
    first = write_run(runner, "report", claimed=NOON, trigger=Trigger.MANUAL)
    clock.forward(minutes=1)
    runner.tick()
    told = runner.explain(first).slots[0].reason
    assert "the slot of 2026-11-20 12:01:00 UTC replaced it" in told
    assert "that is run 3 (succeeded)" in told


def test_a_run_after_another_names_that(runner, clock):
    runner.add("backup", ["true"], HOURLY)
    runner.add("clean", ["true"], After("backup"))
    clock.forward(hours=1)
    runner.tick()
    said = "exit code 0; came after run 3 of backup, which succeeded at 2026-11-20 13:00:00 UTC"
    assert only(runner.explain("clean", at=at(13))).reason == said


def test_a_run_that_goes_on_says_since_when(runner, clock):
    runner.add("report", ["true"], HOURLY)
    number = write_run(runner, "report", claimed=NOON, started=NOON)
    assert only(runner.explain(number)).reason == "it runs since 2026-11-20 12:00:00 UTC"


def test_an_old_slot_that_is_done_again_by_hand_is_not_late(runner, clock):
    runner.add("report", ["true"], HOURLY)
    for _ in range(2):
        runner.run("report", slot=at(9))
    found = runner.explain("report", at=at(9))
    assert [each.run for each in found.slots] == [None, 2, 3]
    assert found.slots[1].reason == "started by hand; exit code 0"


def test_a_delay_is_reported_with_what_happened_meanwhile_and_nothing_else(runner, clock):
    runner.add("report", ["true"], HOURLY)
    store = runner._here().store
    with store.transaction():
        for hour in (10, 15):
            store.events.add(ledger.gap(at(hour), at(hour, 30), rebooted=True))
            store.events.add(ledger.held(Hold(at(hour), at(hour, 30), "ann")))
            store.events.add(Event(at(hour), "error", "tick", text="the moon is full"), 1)
    write_run(
        runner, "report", claimed=at(13), ready=at(13, 4), started=at(13, 5), finished=at(13, 6)
    )
    clock.at = at(16)
    assert only(runner.explain("report", at=at(13))).reason == (
        "exit code 0; started 5m 00s late; with its jitter it was to start at 2026-11-20 13:04:00 UTC"
    )


def test_a_hold_without_a_reason_needs_none_to_be_told(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.hold()
    clock.forward(hours=2)
    runner.resume()
    write_run(runner, "report", claimed=at(14), slot=at(13), started=at(14), finished=at(14))
    said = only(runner.explain("report", at=at(13))).reason
    assert said.endswith("from 2026-11-20 12:00:00 UTC to 2026-11-20 14:00:00 UTC")


# ---- runs that wait


def test_a_run_by_hand_waits_for_no_hold_and_knows_no_deadline(runner, clock):
    runner.add("report", ["true"], Manual(), deadline="1h")
    number = write_run(runner, "report", claimed=NOON, trigger=Trigger.MANUAL)
    runner.hold()
    said = only(runner.explain(number)).reason
    assert said.startswith("started by hand; it is waiting for the next tick to start it")
    assert "missed" not in said


def test_a_retry_that_waits_says_when_it_starts_and_until_when_it_may(runner, clock):
    runner.add("report", ["false"], HOURLY, retries=1, retry_delay="10m", deadline="30m")
    ticks(runner, clock, 60)
    assert only(runner.explain("report", at=at(13))).reason == (
        "it waits for its time by retry: 2026-11-20 13:10:00 UTC; "
        "it is missed if it has not started by 2026-11-20 13:30:00 UTC; attempt 2, after run 2 (failed)"
    )


def test_a_run_that_its_jitter_delays_says_when_it_starts(runner, clock):
    runner.add("report", ["true"], HOURLY)
    ready = at(12, 7)
    number = write_run(runner, "report", claimed=NOON, ready=ready)
    said = "it waits for its time by jitter: 2026-11-20 12:07:00 UTC"
    assert only(runner.explain(number)).reason == said


def test_a_run_without_room_names_the_runs_that_hold_it(runner, home, clock):
    (home / "taskrunner.toml").write_text("max_parallel = 1\n")
    for name in ("long", "report"):
        runner.add(name, ["true"], HOURLY)
    write_run(runner, "long", claimed=NOON, started=NOON)
    number = write_run(runner, "report", claimed=NOON)
    assert only(runner.explain(number)).reason == (
        "it is waiting: run 3 (running) hold all of max_parallel = 1"
    )


def test_a_run_whose_group_is_full_names_the_runs_of_it(runner, clock):
    for name in ("long", "report"):
        runner.add(name, ["true"], HOURLY, group="db")
    write_run(runner, "long", claimed=NOON, started=NOON)
    number = write_run(runner, "report", claimed=NOON)
    assert only(runner.explain(number)).reason.startswith("it waits for run 3 (running)")


def test_a_run_that_waits_while_the_store_is_held_says_who_holds_it(runner, clock):
    runner.add("report", ["true"], HOURLY)
    number = write_run(runner, "report", claimed=NOON)
    runner.hold("1h")
    assert only(runner.explain(number)).reason == (
        f"it is waiting: scheduled runs are paused by {who(runner)} since 2026-11-20 12:00:00 UTC, "
        "until 2026-11-20 13:00:00 UTC"
    )


def test_a_run_that_could_start_waits_for_a_tick(runner, clock):
    runner.add("report", ["true"], HOURLY)
    number = write_run(runner, "report", claimed=NOON)
    assert only(runner.explain(number)).reason == (
        "it is waiting for the next tick to start it: none has ever come, so call `taskrunner tick` every minute"
    )


# ---- slots without a row


def test_a_slot_that_no_tick_has_come_for_says_since_when_and_what_a_tick_would_do(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    clock.forward(minutes=10)
    found = runner.explain("report", since=at(12, 3), until=at(12, 4))
    said = (
        "waiting for the next tick: none has come since 2026-11-20 12:00:00 UTC; "
        f"{SILENT}; a tick now would run it: due, stands for 10 slots"
    )
    assert told(found) == [("12:03", None, None), ("12:04", None, None)]
    assert set(reasons(found)) == {said}
    assert found.gaps == [Gap(NOON, None, SILENT)]


def test_a_slot_that_a_tick_would_miss_says_so(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE, catch_up="none")
    runner.tick()
    clock.forward(minutes=2)
    found = runner.explain("report", since=at(12, 1))
    assert [said.partition("which will ")[2] for said in reasons(found)] == [
        "miss it: no tick came in time, and --catch-up is none",
        "run it",
    ]


def test_a_hold_that_came_later_does_not_hide_an_open_slot(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    clock.forward(minutes=70)
    runner.hold()
    said = only(runner.explain("report", at=at(13))).reason
    assert said.startswith("waiting: scheduled runs are paused")


def test_a_slot_to_come_of_a_task_that_is_disabled_or_broken_says_so(runner, clock):
    runner.add("report", ["true"], HOURLY)
    store = runner._here().store
    with store.transaction():
        store.tasks.change(1, error="the moon is full")
    said = "is due then, but the task cannot be evaluated: the moon is full"
    assert only(runner.explain("report", at=at(13))).reason == said
    with store.transaction():
        store.tasks.change(1, enabled=False)
    assert only(runner.explain("report", at=at(13))).reason == "the task is disabled"


def test_a_slot_of_this_minute_blames_nobody(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    clock.forward(minutes=1)
    found = runner.explain("report", at=at(12, 1))
    assert reasons(found) == ["waiting for the next tick, which will run it"]
    assert found.gaps == []


def test_where_no_tick_has_ever_come_it_says_what_to_do(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    clock.forward(minutes=1)
    for said in reasons(runner.explain("report")):
        assert "none has ever come, so call `taskrunner tick` every minute" in said


def test_a_machine_that_was_restarted_since_the_last_tick_is_a_reboot(runner, clock, monkeypatch):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    clock.forward(minutes=5)
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    assert runner.explain("report").gaps == [Gap(NOON, None, "reboot")]


def test_a_slot_from_before_the_task_was_added_says_so(runner):
    runner.add("report", ["true"], HOURLY)
    assert only(runner.explain("report", at=at(11))).reason == (
        f"the task was added only later: at 2026-11-20 12:00:00 UTC by {who(runner)}"
    )


def test_a_slot_while_the_task_was_disabled_says_by_whom_and_how_long(runner, clock):
    runner.add("report", ["true"], HOURLY)
    clock.forward(minutes=30)
    runner.disable("report")
    clock.forward(hours=1)
    by = f"the task was disabled by {who(runner)} at 2026-11-20 12:30:00 UTC"
    assert only(runner.explain("report", at=at(13))).reason == by
    assert only(runner.explain("report", at=at(15))).reason == by
    runner.enable("report")
    until = f"{by}, until 2026-11-20 13:30:00 UTC"
    assert only(runner.explain("report", at=at(13))).reason == until
    assert only(runner.explain("report", at=at(15))).reason.startswith("is due then")


def test_a_slot_that_was_open_when_the_task_was_disabled_says_so(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    clock.forward(minutes=70)
    runner.disable("report")
    assert only(runner.explain("report", at=at(13))).reason == (
        f"no tick came between it and 2026-11-20 13:10:00 UTC, when {who(runner)} disabled the task; {SILENT}"
    )


def test_a_gap_that_is_over_is_not_blamed_for_a_later_slot(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    ticks(runner, clock, 1, minutes=10)
    clock.forward(seconds=70)
    runner.remove("report")
    assert only(runner.explain("report", at=at(12, 11))).reason == (
        f"no tick came between it and 2026-11-20 12:11:10 UTC, when {who(runner)} removed the task"
    )


def test_the_one_who_added_the_task_is_named_whatever_happened_before(runner):
    runner.add("other", ["true"], HOURLY)
    store = runner._here().store
    with store.transaction():
        store.events.add(ledger.gap(at(10), at(11), rebooted=True))
    runner.add("report", ["true"], HOURLY)
    said = only(runner.explain("report", at=at(11))).reason
    assert said.endswith(f"12:00:00 UTC by {who(runner)}")


def test_a_task_that_was_removed_can_still_be_explained(runner, clock):
    runner.add("report", ["true"], HOURLY)
    ticks(runner, clock, 1, minutes=60)
    clock.forward(minutes=1)
    runner.remove("report")
    clock.forward(hours=1)
    gone = f"the task was removed by {who(runner)} at 2026-11-20 13:01:00 UTC"
    assert only(runner.explain("report", at=at(14))).reason == gone
    found = runner.explain("report")
    assert told(found) == [("13:00", "succeeded", 2), ("14:00", None, None), (None, None, None)]
    assert found.slots[-1].reason == gone
    assert runner.explain(2).slots[0].run == 2


def test_a_name_that_is_used_again_means_the_new_task(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.remove("report")
    clock.forward(minutes=1)
    runner.add("report", ["true"], Manual())
    assert runner.explain("report").schedule == "only by hand"


def test_a_slot_under_an_older_schedule_says_what_that_was(runner, clock):
    runner.add("report", ["true"], HOURLY)
    clock.forward(minutes=90)
    runner.set("report", schedule=Cron("30 * * * *", tz="UTC"))
    said = only(runner.explain("report", at=at(12, 30))).reason
    assert said == (
        "its schedule was another, cron 0 * * * * (UTC), until "
        f"{who(runner)} changed it at 2026-11-20 13:30:00 UTC"
    )
    assert only(runner.explain("report", at=at(14, 30))).reason.startswith("is due then")
    assert only(runner.explain("report", at=at(13))).reason == (
        f"no tick had handled it when {who(runner)} changed the schedule"
    )


def test_a_schedule_that_was_given_anew_counts_from_then_on(runner, clock):
    runner.add("report", ["true"], HOURLY)
    clock.forward(minutes=90)
    runner.set("report", schedule=HOURLY)
    assert only(runner.explain("report", at=at(13))).reason == (
        f"no tick had handled it when {who(runner)} changed the schedule"
    )
    runner.disable("report")
    runner.enable("report")
    assert only(runner.explain("report", at=at(12))).reason.startswith("the task was added")


def test_a_row_that_was_pruned_is_not_a_slot_that_was_forgotten(runner, clock, home):
    runner.add("report", ["true"], HOURLY)
    clock.forward(hours=3)
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection, connection:
        connection.execute(
            "INSERT INTO totals (task_id, state, runs, started, duration, last_slot, last_end) "
            "VALUES (1, 'lost', 1, 1, 0, ?, ?)",
            (clock_room.to_ms(at(13)), clock_room.to_ms(at(13))),
        )
    pruned = "it was deleted from the history by the retention settings"
    assert only(runner.explain("report", at=at(13))).reason == pruned
    assert only(runner.explain("report", at=at(14))).reason != pruned


def test_a_slot_while_the_store_is_held_waits_for_the_end_of_the_hold(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.hold("3h", reason="the database moves")
    assert only(runner.explain("report", at=at(14))).reason.startswith(
        "is due then, but will wait: scheduled runs are paused"
    )
    clock.forward(hours=2)
    runner.tick()
    who_and_why = (
        f"scheduled runs are paused by {who(runner)} since 2026-11-20 12:00:00 UTC, "
        "until 2026-11-20 15:00:00 UTC (the database moves)"
    )
    assert only(runner.explain("report", at=at(13))).reason == f"waiting: {who_and_why}"
    assert only(runner.explain("report", at=at(14, 0, 20))).state is None
    assert only(runner.explain("report", at=at(16))).reason == "is due then"
    runner.hold()
    assert only(runner.explain("report", at=at(16))).reason.startswith("is due then, but will wait")


def test_a_task_that_cannot_be_evaluated_says_why(runner, clock):
    runner.add("report", ["true"], HOURLY)
    store = runner._here().store
    with store.transaction():
        store.tasks.change(1, error="the moon is full")
    clock.forward(hours=1)
    assert "the task cannot be evaluated: the moon is full" in reasons(runner.explain("report"))[0]
    with store.transaction():
        store.tasks.change(1, tz="Nowhere/City")
    found = runner.explain("report")
    assert "Nowhere/City" in found.schedule
    assert "Nowhere/City" in only(found).reason
    assert "no scheduled times" in only(runner.explain("report", at=at(13))).reason


# ---- which slots


def test_without_a_time_the_newest_slots_and_the_next_are_reported(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    ticks(runner, clock, 8)
    found = runner.explain("report")
    times = [f"12:{minute:02}" for minute in range(4, 10)]
    assert [slot for slot, _, _ in told(found)] == times
    assert [run for _, _, run in told(found)] == [5, 6, 7, 8, 9, None]


def with_attempts(runner, count):
    """Add a task whose slots at 11 and 12 have a row, and that of 13 as many as it had attempts."""
    runner.add("report", ["true"], HOURLY)
    store = runner._here().store
    with store.transaction():
        store.tasks.change(1, created=at(10))
    for hour in (11, 12):
        write_run(runner, "report", claimed=at(hour), finished=at(hour))
    for attempt in range(1, count + 1):
        write_run(runner, "report", claimed=at(13), finished=at(13), attempt=attempt)


def test_many_attempts_do_not_hide_the_rows_of_older_slots(runner, clock):
    with_attempts(runner, 9)
    clock.at = at(13, 1)
    assert [each.run for each in runner.explain("report").slots] == [2, 3, 12, None]


def test_attempts_that_are_cut_do_not_make_older_slots_look_forgotten(runner, clock, monkeypatch):
    monkeypatch.setattr(why, "MOST", 3)
    with_attempts(runner, 9)
    found = runner.explain("report", since=at(11), until=at(13))
    assert ([each.run for each in found.slots], found.cut) == ([12], True)


def test_every_slot_in_a_time_is_reported(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    ticks(runner, clock, 3)
    clock.forward(minutes=1)
    found = runner.explain("report", since=at(11, 59), until=at(12, 6))
    assert [(slot, run) for slot, _, run in told(found)] == [
        ("11:59", None),
        ("12:00", None),
        ("12:01", 2),
        ("12:02", 3),
        ("12:03", 4),
        ("12:04", None),
        ("12:05", None),
        ("12:06", None),
    ]
    assert not found.cut


def test_a_thousand_slots_are_reported_at_most_the_newest(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    found = runner.explain("report", since=NOON - 2000 * MINUTE)
    assert (len(found.slots), found.cut) == (1000, True)
    assert found.slots[-1].slot == NOON
    assert not runner.explain("report", since=NOON - 999 * MINUTE).cut


def test_rows_that_are_cut_do_not_look_like_slots_without_a_row(runner, clock, monkeypatch):
    monkeypatch.setattr(why, "MOST", 3)
    runner.add("report", ["true"], EACH_MINUTE)
    ticks(runner, clock, 6)
    found = runner.explain("report", since=NOON)
    assert told(found)[0] == ("12:04", "succeeded", 5)
    assert (len(found.slots), found.cut) == (3, True)


def test_an_instant_between_the_slots_of_one_row_is_not_a_slot(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, hours=3)
    assert only(runner.explain("report", at=at(14))).run == 2
    assert only(runner.explain("report", at=at(14, 30))).run is None


def test_a_run_is_explained_with_its_own_attempts_only(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, hours=3)
    runner.run("report", slot=at(14))
    write_run(runner, "report", claimed=clock.at, slot=at(14), finished=clock.at)
    assert [each.run for each in runner.explain(4).slots] == [4]
    assert [each.run for each in runner.explain(3).slots] == [3]


def test_a_run_is_explained_with_the_gaps_up_to_its_start_only(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, minutes=90)
    clock.forward(hours=5)
    assert runner.explain(2).gaps == [Gap(NOON, at(13, 30), SILENT)]
    assert runner.explain("report", at=at(13)).gaps == [Gap(NOON, at(13, 30), SILENT)]


def test_an_instant_that_is_not_a_slot_names_those_beside_it(runner, clock):
    runner.add("report", ["true"], HOURLY)
    each = only(runner.explain("report", at=at(14, 20)))
    assert (each.slot, each.state, each.run) == (at(14, 20), None, None)
    assert each.reason == (
        "this is not a slot of report (cron 0 * * * * (UTC)): the slot before is 2026-11-20 14:00:00 UTC, "
        "the slot after is 2026-11-20 15:00:00 UTC"
    )


def test_a_task_that_no_clock_drives_has_no_slots_beside_an_instant(runner):
    runner.add("report", ["true"], Manual())
    assert only(runner.explain("report", at=NOON)).reason.endswith("it has no scheduled times")


def test_a_run_by_hand_is_found_by_its_second(runner, clock):
    runner.add("report", ["true"], Manual())
    clock.forward(seconds=5, milliseconds=250)
    runner.run("report")
    second = NOON + timedelta(seconds=5)
    assert only(runner.explain("report", at=second)).run == 2
    assert only(runner.explain("report", at=second - timedelta(seconds=1))).run is None
    exact = timedelta(milliseconds=250)
    assert only(runner.explain("report", at=second + exact)).run == 2
    assert only(runner.explain("report", at=second + exact / 2)).run is None


def test_events_of_the_store_that_no_person_made_are_not_changes(runner):
    runner.add("report", ["true"], HOURLY)
    runner.hold("1h")
    store = runner._here().store
    with store.transaction():
        store.events.add(Event(NOON, "something", "tick", text="else"))
        store.events.add(ledger.step_back(NOON + MINUTE, NOON))
    found = [change.what for change in runner.explain("report").changes]
    assert found == ["added: cron 0 * * * * (UTC)", "held: until 2026-11-20 13:00:00 UTC"]


def test_changes_in_a_time_are_reported_with_the_last_one_before(runner, clock):
    runner.add("report", ["true"], HOURLY)
    for timeout in ("2h", "3h", "4h"):
        clock.forward(hours=1)
        runner.set("report", timeout=timeout)
    found = runner.explain("report", since=at(13, 30), until=at(14, 30)).changes
    assert [change.what for change in found] == [
        "changed: timeout 1h -> 2h",
        "changed: timeout 2h -> 3h",
    ]


# ---- what a task waits for


def test_a_task_by_hand_waits_for_a_hand(runner):
    runner.add("report", ["true"], Manual())
    each = only(runner.explain("report"))
    assert (each.slot, each.first_slot) == (None, None)
    assert each.reason == "it runs only by hand: `taskrunner run report`"


def test_a_task_of_the_boot_waits_for_a_boot(runner, clock, monkeypatch):
    runner.add("report", ["true"], Boot())
    runner.tick()
    said = "it is due at the first tick after the next boot"
    assert only(runner.explain("report")).reason == said
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    again = "the machine has started again: the next tick starts it"
    assert only(runner.explain("report")).reason == again


def test_a_task_after_another_says_how_that_stands(runner, clock):
    runner.add("backup", ["false"], HOURLY)
    runner.add("clean", ["true"], After("backup"))
    said = "it waits for a run of backup that succeeds: backup has not run yet"
    due = ", and is due next at 2026-11-20 13:00:00 UTC"
    assert only(runner.explain("clean")).reason == f"{said}{due}"
    runner.run("backup")
    said = said.replace("has not run yet", "ran last at 2026-11-20 12:00:00 UTC and failed")
    assert only(runner.explain("clean")).reason == f"{said}{due}"
    runner.disable("backup")
    assert only(runner.explain("clean")).reason == f"{said}, and is disabled"
    runner.add("alarm", ["true"], After("backup", "failed"))
    assert "a run of backup that fails: backup ran" in only(runner.explain("alarm")).reason
    runner.set("backup", schedule=Manual())
    runner.enable("backup")
    assert only(runner.explain("clean")).reason == said
    runner.remove("backup")
    gone = "it runs after backup, but that task was removed"
    assert only(runner.explain("clean")).reason == gone


def test_a_task_that_is_disabled_says_how_to_enable_it(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.disable("report")
    assert only(runner.explain("report")).reason == (
        f"the task was disabled by {who(runner)} at 2026-11-20 12:00:00 UTC: "
        "nothing is due until `taskrunner enable report`"
    )


def test_a_one_off_that_has_run_waits_for_nothing(runner, clock):
    runner.add("report", ["true"], At(at(13)))
    assert told(runner.explain("report")) == [("13:00", None, None)]
    ticks(runner, clock, 1, hours=1)
    found = runner.explain("report")
    assert told(found) == [("13:00", "succeeded", 2), (None, None, None)]
    said = "it is done: `taskrunner set report --at WHEN` gives it another time"
    assert found.slots[-1].reason == said


def test_a_run_that_was_asked_for_waits_for_the_next_tick(runner, clock):
    runner.add("report", ["true"], HOURLY, now=True)
    assert only(runner.explain("report")).reason.startswith(
        "a run was requested at 2026-11-20 12:00:00 UTC: the next tick starts it"
    )


def test_a_task_that_runs_waits_for_nothing_else(runner):
    runner.add("report", ["true"], Manual())
    write_run(runner, "report", claimed=NOON, started=NOON)
    assert [each.run for each in runner.explain("report").slots] == [2]


def test_a_delay_comes_due_where_the_last_run_put_it(runner, clock):
    runner.add("report", ["true"], Every("1h", tz="UTC", from_finish=True))
    clock.forward(minutes=90)
    runner.tick()
    runner.run("report")
    assert runner.explain("report").slots[-1].slot == at(14, 30)


def test_a_delay_waits_for_the_end_of_the_run_that_goes_on(runner, clock):
    runner.add("report", ["true"], Every("1h", tz="UTC", from_finish=True))
    write_run(runner, "report", claimed=NOON, started=NOON)
    store = runner._here().store
    with store.transaction():
        store.tasks.change(1, next=None)
    assert [each.run for each in runner.explain("report").slots] == [2]


# ---- questions that are refused


@pytest.mark.parametrize(
    ("name", "times", "sentence"),
    [
        ("2", {"at": NOON}, "2 is the id of one run: leave out the time, or name the task"),
        ("report", {"at": NOON, "since": NOON}, "2026-11-20T12:00:00Z is one slot"),
        ("report", {"until": NOON}, "until 2026-11-20T12:00:00Z needs a start: also give since"),
        ("report", {"since": NOON + MINUTE, "until": NOON}, "swap since and until"),
    ],
)
def test_a_time_that_contradicts_itself_is_refused(runner, name, times, sentence):
    runner.add("report", ["true"], HOURLY)
    write_run(runner, "report", claimed=NOON)
    with pytest.raises(InputError, match=sentence):
        runner.explain(name, **times)


def test_what_does_not_exist_is_not_explained(runner):
    with pytest.raises(UnknownTask, match="there is no task 'report'"):
        runner.explain("report")
    with pytest.raises(UnknownRun, match="there is no run 7"):
        runner.explain("7")


# ---- the verb


@pytest.fixture
def tell(home, capsys):
    """Do what a command line asks for, in this process; returns stdout, stderr and the exit code."""

    def tell(*words):
        code = main.main(["--home", str(home), *words])
        return *capsys.readouterr(), code

    return tell


def test_the_document_has_the_keys_of_the_contract(runner, clock, tell):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, minutes=90)
    out, err, code = tell("explain", "report", "--at", "2026-11-20T13:00Z", "--json")
    assert (err, code) == ("", 0)
    document = json.loads(out)
    assert list(document) == ["version", "task", "slots", "gaps", "changes"]
    (slot,) = document["slots"]
    assert slot.pop("reason").startswith("exit code 0; started 30m 00s late")
    assert slot == {
        "slot": "2026-11-20T13:00:00Z",
        "first_slot": "2026-11-20T13:00:00Z",
        "state": "succeeded",
        "run": 2,
    }
    assert document["gaps"] == [
        {"from": "2026-11-20T12:00:00Z", "until": "2026-11-20T13:30:00Z", "cause": SILENT}
    ]
    assert document["changes"] == [
        {"at": "2026-11-20T12:00:00Z", "what": "added: cron 0 * * * * (UTC)", "by": who(runner)}
    ]


def test_a_gap_that_is_open_has_no_end_in_the_document(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    clock.forward(hours=1)
    document = json.loads(documents.explanation_document(runner.explain("report")))
    assert document["gaps"][0]["until"] is None


def test_at_is_read_in_the_zone_of_the_task(runner, tell):
    runner.add("report", ["true"], Cron("0 2 * * *", tz="Asia/Tokyo"))
    out, _, _ = tell("explain", "report", "--at", "2026-11-19 02:00", "--json")
    assert json.loads(out)["slots"][0]["slot"] == "2026-11-18T17:00:00Z"


def test_a_page_speaks_in_the_zone_of_the_task(runner, tell):
    runner.add("report", ["true"], Cron("0 2 * * *", tz="Asia/Tokyo"))
    out, _, _ = tell("explain", "report", "--at", "2026-11-19 02:00")
    title, _, head, line = out.splitlines()[:4]
    assert title == "report: every day at 02:00 (Asia/Tokyo)"
    assert head == "slot (Asia/Tokyo)    state  run  why"
    assert line.startswith("2026-11-19 02:00:00  -      -    the task was added only later")
    assert "at 2026-11-20 21:00:00 JST" in line


def test_slots_with_the_same_story_are_one_line_of_the_page(runner, tell):
    runner.add("report", ["true"], EACH_MINUTE)
    found = runner.explain("report", since=at(11), until=at(11, 59))
    lines = tables.explanation_page(page.Page("UTC", NOON), found).splitlines()
    (line,) = [line for line in lines if "added only later" in line]
    assert line.startswith("2026-11-20 11:59:00")
    assert line.endswith("[60 slots from 2026-11-20 11:00:00 on]")


def test_long_stories_are_wrapped_on_a_terminal_and_whole_in_a_pipe(runner, clock):
    runner.add("report", ["true"], HOURLY)
    runner.tick()
    ticks(runner, clock, 1, minutes=90)
    found = runner.explain("report", at=at(13))
    narrow = tables.explanation_page(page.Page("UTC", NOON, width=70), found)
    assert all(len(line) <= 70 for line in narrow.splitlines())
    assert " ".join(narrow.split()).count(SILENT.partition(",")[0]) == 2
    assert "…" not in narrow
    wide = tables.explanation_page(page.Page("UTC", NOON), found)
    assert found.slots[0].reason in wide


def test_slots_that_are_cut_are_said_on_stderr(runner, tell):
    runner.add("report", ["true"], EACH_MINUTE)
    out, err, code = tell(
        "explain", "report", "--since", "2026-11-01", "--until", "2026-11-09", "--json"
    )
    assert len(json.loads(out)["slots"]) == 1000
    assert "these are the newest 1000 slots: name an earlier --until for others" in err
    assert code == 0


def test_the_reasons_are_asked_in_the_order_in_which_they_exclude_each_other():
    case = explain.Case(TASK, None, NOON, [])
    assert explain.unrecorded(case, NOON).startswith("the task was added only later")
    assert explain.unrecorded(case, NOON + MINUTE).startswith("is due then")
    later = replace(case, task=replace(TASK, evaluated=NOON + 5 * MINUTE), now=NOON + 9 * MINUTE)
    forgotten = "a tick passed it without recording a result"
    assert explain.unrecorded(later, NOON + MINUTE) == forgotten


def test_a_slot_that_clocks_moved_says_so(runner, clock):
    clock.at = datetime(2026, 3, 28, 12, tzinfo=UTC)
    runner.add("backup", ["true"], Cron("30 2 * * *", tz="Europe/Berlin"))
    clock.at = datetime(2026, 3, 29, 1, tzinfo=UTC)
    runner.tick()
    (told,) = runner.explain("backup", at=clock()).slots
    assert told.reason == (
        "exit code 0; its time does not exist in Europe/Berlin that day, as clocks go forward: "
        "moved to after the gap"
    )
    clock.at += timedelta(hours=23, minutes=30)
    runner.tick()
    (told,) = runner.explain("backup", at=clock()).slots
    assert told.reason == "exit code 0"


def test_a_further_attempt_of_a_run_asked_for_says_which_it_is(runner, clock):
    runner.add("x", ["false"], Cron("0 3 * * *", tz="UTC"), now=True, retries=1, retry_delay="1m")
    for _ in range(2):
        runner.tick()
        clock.forward(minutes=1)
    reasons = [told.reason for told in runner.explain("x").slots if told.state]
    assert reasons == ["started by hand; exit code 1", "exit code 1; attempt 2"]
