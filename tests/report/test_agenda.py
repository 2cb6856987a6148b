"""The agenda: what comes in the next days, day by day, and what gets in each other's way."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from taskrunner import Cron, Every, InputError
from taskrunner.model.answers import Entry
from taskrunner.model.values import Overlap
from taskrunner.render.agenda import agenda_document, agenda_page, agenda_sentence
from taskrunner.render.page import Page
from taskrunner.report import agenda
from tests.history import ran
from tests.samples import NOON, TASK, call

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def collisions(*slots, usual=(), groups=(), most=16, **tasks):
    """What collides of (task, hours after noon) slots: by task and hour, the kinds."""
    names = {name for name, _ in slots}
    known = {name: replace(TASK, name=name, **tasks.get(name, {})) for name in names}
    load = agenda.Load(known, dict(usual), dict(groups), most)
    entries = [
        Entry(name, NOON + hour * HOUR, NOON + hour * HOUR, 1, False, dict(usual).get(name), None)
        for name, hour in slots
    ]
    found = agenda.collided(entries, load)
    return {
        (each.task, (each.slot - NOON) / HOUR): {one.kind: one.what for one in each.collisions}
        for each in found
        if each.collisions
    }


def test_slots_apart_do_not_collide():
    assert collisions(("a", 1), ("b", 2), ("a", 3)) == {}


def test_starts_that_fall_together_name_each_other():
    found = collisions(("a", 1), ("b", 1), ("c", 2))
    assert found == {("a", 1): {"together": "with b"}, ("b", 1): {"together": "with a"}}


def test_many_that_fall_together_are_not_all_named():
    found = collisions(*((name, 1) for name in "abcdef"))
    assert found["a", 1] == {"together": "with b, c, d and 2 more"}


def test_what_usually_runs_longer_is_named_where_another_starts():
    usual = {"long": 2.5 * 3600}
    found = collisions(("long", 1), ("b", 2), ("c", 3), ("d", 4), usual=usual)
    assert found == {
        ("b", 2): {"running": "long may still run"},
        ("c", 3): {"running": "long may still run"},
    }


def test_a_task_may_be_in_its_own_way():
    found = collisions(("a", 1), ("a", 2), usual={"a": 5400})
    assert found == {("a", 2): {"itself": "its run before may still run: skip"}}
    side_by_side = {"a": {"overlap": Overlap.ALLOW}}
    assert collisions(("a", 1), ("a", 2), usual={"a": 5400}, **side_by_side) == {}


def test_a_slot_that_finds_its_own_run_is_not_counted_as_another_run():
    usual = {"a": 5400}
    found = collisions(("a", 1), ("a", 2), ("b", 2.75), usual=usual)  # the slot at 2 is skipped
    assert ("b", 2.75) not in found


def test_what_exceeds_a_group_is_marked_and_what_starts_first_is_not():
    group = {"group": "db"}
    found = collisions(("a", 1), ("b", 1), groups={"db": 1}, a=group, b={**group, "priority": 5})
    assert found["a", 1]["group"] == "waits: the group db has room for 1"
    assert "group" not in found["b", 1]


def test_what_exceeds_the_capacity_of_the_store_is_marked():
    found = collisions(("a", 1), ("b", 1), ("c", 1), most=2)
    assert [name for name, kinds in found.items() if "capacity" in kinds] == [("c", 1)]
    assert found["c", 1]["capacity"] == "waits: max_parallel = 2"


# ---- from a store


def test_an_agenda_of_a_store_is_in_order_and_knows_what_is_usual(runner, clock):
    runner.add("backup", ["true"], Cron("0 2 * * *"), tz="UTC", timeout="5h")
    runner.add("report", ["true"], Cron("0 3 * * *"), tz="UTC")
    for day in range(1, 5):
        ran(runner._here().store, ended=clock() - day * DAY, took=2 * HOUR)
    found = runner.agenda(clock() + DAY)
    assert [(each.task, each.usual) for each in found] == [("backup", 7200), ("report", None)]
    assert [each.what for each in found[1].collisions] == ["backup may still run"]


def test_a_task_that_comes_often_is_one_line_a_day(runner, clock):
    runner.add("check", ["true"], Every("1m"))
    found = runner.agenda(clock() + timedelta(days=2))
    assert [each.count for each in found] == [719, 1440, 721]
    assert found[1].slot == NOON.replace(day=21, hour=0)
    assert found[1].last == NOON.replace(day=21, hour=23, minute=59)


def test_the_days_are_those_of_the_zone_also_when_clocks_change(runner, clock):
    clock.at = NOON.replace(
        month=10, day=24, hour=22
    )  # midnight in Berlin; 25 hours until the next
    runner.add("check", ["true"], Every("1m"))
    assert [each.count for each in runner.agenda(clock() + 30 * HOUR, tz="Europe/Berlin")] == [
        1499,
        301,
    ]
    clock.at = NOON.replace(year=2027, month=3, day=27, hour=23)
    found = runner.agenda(clock() + 30 * HOUR, tz="Europe/Berlin")
    assert [each.count for each in found] == [1379, 421]


def test_a_task_that_takes_longer_than_its_pause_is_marked_every_day(runner, clock):
    runner.add("check", ["true"], Every("1m"))
    for number in range(1, 5):
        ran(runner._here().store, ended=clock() - number * HOUR, took=timedelta(minutes=3))
    assert all(
        each.collisions[0].kind == "itself" for each in runner.agenda(clock() + timedelta(days=2))
    )


def test_a_disabled_task_is_in_no_agenda(runner, clock):
    runner.add("x", ["true"], Every("1d"))
    runner.disable("x")
    assert runner.agenda(clock() + timedelta(days=2)) == []


def test_an_agenda_that_nobody_could_read_is_refused(runner, clock):
    runner.add("x", ["true"], Every("6h"))
    with pytest.raises(InputError, match="more than 10000 lines: give an earlier --until"):
        runner.agenda(clock() + timedelta(days=3650))


def test_a_task_that_cannot_be_evaluated_takes_no_place_of_another(runner):
    runner.add("broken", ["true"], Every("1m"), tz="UTC")
    runner.add("sound", ["true"], Every("1h"), tz="UTC")
    store = runner._here().store
    with store.transaction():
        store.tasks.change(store.tasks.get("broken").id, tz="Mars/Olympus")
    assert [each.task for each in runner.next(count=2)] == ["sound", "sound"]
    assert {each.task for each in runner.agenda(runner.now() + timedelta(days=1))} == {"sound"}


def test_the_next_slots_of_all_are_the_same_however_many_tasks_there_are(runner, clock):
    for number in range(40):
        runner.add(f"t{number}", ["true"], Cron(f"{number} {number % 24} * * *"), tz="UTC")
    runner.add("often", ["true"], Every("7m"))
    every_one = runner.next(until=clock() + timedelta(days=2))
    assert runner.next(count=30) == every_one[:30]
    clock.forward(hours=5)  # no tick has come, so the store's own next slots have passed
    assert runner.next(count=30) == runner.next(until=clock() + timedelta(days=2))[:30]


# ---- for people and programs


def entry(name, moment, *found, **more):
    made = Entry(name, moment, moment, 1, False, None, None, tuple(found))
    return replace(made, **more)


def test_the_page_is_grouped_by_day_with_marks():
    clash = agenda.Collision("group", "waits: the group db has room for 1", ("a",))
    entries = [
        entry("a", NOON + HOUR, usual=65.0),
        entry("b", NOON + HOUR, clash),
        entry("c", NOON + DAY, last=NOON + DAY + HOUR, count=61),
    ]
    assert agenda_page(Page("UTC", NOON), entries).split("\n") == [
        "time         task  usually",
        "Fri 2026-11-20, today",
        "13:00        a     1m 05s",
        "13:00        b     -        !  waits: the group db has room for 1",
        "Sat 2026-11-21, tomorrow",
        "12:00-13:00  c     -           61 slots",
    ]
    assert "63 slots; 1 marked with !" in agenda_sentence(entries)


def test_long_words_are_folded_under_their_line_on_a_narrow_terminal():
    clash = agenda.Collision("running", "a, b and c may still run and run and run and run", ())
    entries = [entry("a", NOON, clash), entry("b", NOON + DAY)]
    lines = agenda_page(Page("UTC", NOON, width=50), entries).split("\n")
    assert lines[2].startswith("12:00  a")
    assert lines[3].startswith(" " * 10)
    assert lines[4] == "Sat 2026-11-21, tomorrow"


def test_a_name_in_an_agenda_cannot_steer_the_terminal():
    assert "\033" not in agenda_page(Page("UTC", NOON), [entry("a\033[2J", NOON)])


def test_the_document_has_the_slots_as_ever_and_the_collisions_beside(runner, clock):
    for name in ("a", "b"):
        runner.add(name, ["true"], Cron("0 2 * * *"), tz="UTC")
    until = clock() + DAY
    found = json.loads(agenda_document(runner.next(until=until), runner.agenda(until)))
    assert [each["task"] for each in found["next"]] == ["a", "b"]
    assert found["collisions"][0] == {
        "task": "a",
        "slot": "2026-11-21T02:00:00Z",
        "kind": "together",
        "what": "with b",
        "tasks": ["b"],
    }


def test_the_verb_shows_an_agenda_of_all_and_a_list_of_one(home):
    call(home, "add", "a", "--cron", "0 2 * * *", "--", "true")
    call(home, "add", "b", "--cron", "0 2 * * *", "--", "true")
    out, err, code = call(home, "next", "--until", "7d")
    assert (code, out.count("with b")) == (0, 7)
    assert "14 slots; 14 marked" in err
    assert "with" not in call(home, "next", "a", "--until", "7d")[0]
    assert len(call(home, "next", "--until", "7d", "-n", "3")[0].splitlines()) == 4
    assert call(home, "next", "--until", "1m")[1] == "taskrunner: no runs are scheduled\n"
