"""The status of a home with many tasks: it reads the few that matter, by indexes."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from taskrunner import Every, InputError, Manual, State, host
from taskrunner.home import heartbeat
from taskrunner.notify import metrics
from taskrunner.store.store import open_store
from tests.history import ran
from tests.samples import NOON


@pytest.fixture
def many(runner, home):
    """A hundred tasks: one fails, one cannot be evaluated, the zone of one is gone, two come soon."""
    for number in range(100):
        runner.add(f"t{number:02}", ["true"], Every(f"{number + 10}h"))
    runner.add("often", ["true"], Every("1m"))
    runner.add("soon", ["true"], Every("5m"))
    store = open_store(str(home))
    ran(store, State.LOST, NOON - timedelta(hours=1), task=runner.task("t07").id)
    store.close()
    with closing(sqlite3.connect(home / "taskrunner.db")) as db, db:
        db.execute("UPDATE tasks SET error = 'it is broken' WHERE name = 't20'")
        db.execute("UPDATE tasks SET tz = 'Moon/Base', schedule = '1mo' WHERE name = 't30'")
    return runner


def test_a_status_tells_of_the_tasks_that_matter(many):
    found = many.status()
    assert [task.name for task in found.failing] == ["t07"]
    assert [run.state for run in found.failures] == [State.LOST]
    assert [item.task for item in found.next] == ["often", "soon", "t00", "t01", "t02"]
    broken = [each for each in found.problems if "cannot be evaluated" in each]
    assert [each.split(":")[0] for each in broken] == [
        "t20 cannot be evaluated",
        "t30 cannot be evaluated",
    ]
    assert "Moon/Base" in broken[1]


def test_next_in_a_status_has_one_line_for_each_task(many):
    names = [item.task for item in many.status().next]
    assert len(names) == len(set(names)) == 5


def test_a_task_whose_slot_has_come_is_among_those_that_come_next(many, clock):
    clock.forward(minutes=7)  # and no tick has come
    assert [(item.task, item.slot) for item in many.next(each=True, count=2)] == [
        ("often", NOON + timedelta(minutes=8)),
        ("soon", NOON + timedelta(minutes=10)),
    ]


def test_no_task_is_read_that_the_status_does_not_tell_of(many):
    read, rows = [], many._here().store.connection.rows

    def note(sql, values=()):
        found = rows(sql, values)
        if "FROM tasks" in sql and "SELECT tasks.id" in sql:
            read.extend(found)
        return found

    many._here().store.connection.rows = note
    many.status()
    assert len(read) < 12


def test_where_there_are_no_tasks_there_are_no_zones(runner):
    assert runner._here().store.tasks.zones() == []
    runner.add("x", ["true"], Manual())
    assert runner._here().store.tasks.zones() == []


# ---- much asked of many tasks


def test_an_agenda_with_a_limit_has_the_first_lines_and_a_count_tells_of_the_rest(many, clock):
    until = clock() + timedelta(hours=24)
    whole = many.agenda(until)
    assert [each.task for each in many.agenda(until, limit=4)] == [each.task for each in whole[:4]]
    assert many.due_count(until) == len({each.task for each in whole})
    with pytest.raises(InputError, match="is not a valid number of entries"):
        many.agenda(until, limit=0)


def test_the_clock_is_judged_alone_when_only_it_is_asked_about(many):
    many.tick()
    assert many.check().severity == "warning"
    found = many.check(clock_only=True)
    assert (found.severity, found.what) == ("ok", "last tick 0s ago by library")


def test_the_clock_alone_is_an_error_without_ticks(many):
    assert many.check(clock_only=True).severity == "error"


def test_without_a_clock_the_status_names_the_command_that_sets_one_up(runner):
    runner.add("x", ["true"], Every("1h"))
    (told,) = runner.status().problems
    assert told.startswith("no tick has come yet: set up a clock with `taskrunner install cron`")


def test_under_a_quick_daemon_no_interval_is_too_short(runner, home):
    task = runner.add("x", ["true"], Every("10s"))
    advised = [each for each in runner.advice(task) if "cron ticks once a minute" in each]
    assert advised
    beat = heartbeat.Beat(0, 2000, "boot", "daemon")
    heartbeat.write(str(home / "heartbeat"), beat)
    assert not [each for each in runner.advice(task) if "ticks" in each]
    heartbeat.write(str(home / "heartbeat"), heartbeat.Beat(0, 30_000, "boot", "daemon"))
    advised = [each for each in runner.advice(task) if "ticks" in each]
    assert "the daemon ticks every 30s: a shorter interval" in advised[0]


def test_a_home_whose_clock_is_an_application_gets_no_advice_about_cron(runner, home, clock):
    """The lock of the application is there, from `keep_clock` or from what knows that it will be called."""
    (home / "application.lock").touch()
    task = runner.add("x", ["true"], Every("10s"))
    assert not [each for each in runner.advice(task) if "ticks" in each]
    (told,) = runner.status().problems
    assert (
        told == "no tick has come yet: start the application whose server is the clock of this home"
    )
    now = int(clock().timestamp() * 1000)
    heartbeat.write(str(home / "heartbeat"), heartbeat.Beat(now, 10_000, host.boot_id(), "daemon"))
    clock.forward(minutes=5)
    (told,) = runner.status().problems
    assert told.endswith("the application whose server is the clock does not run")
    assert "the daemon did not run" in runner.explain("x").gaps[0].cause


def test_a_home_with_very_many_tasks_has_metrics_of_all_together(many, home, monkeypatch):
    store = open_store(str(home))
    ran(store, State.SUCCEEDED, task=many.task("t08").id)
    store.close()
    assert 'task="t08"' in many.metrics()
    monkeypatch.setattr(metrics, "MOST_TASKS", 101)
    text = many.metrics()
    assert 'task="' not in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert any("taskrunner_tasks_failing" in each for each in samples)
    assert {line.rsplit(" ", 1)[1] for line in samples if line.startswith("taskrunner_tasks{")} == {
        "102"
    }
    ended = [line for line in samples if line.startswith("taskrunner_runs_total")]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in ended) == 2


def test_a_disabled_task_tells_since_when_by_whom_and_its_next_slot(runner, clock):
    task = runner.add("x", ["true"], Every("1h"))
    assert runner.disabled("x") is None
    clock.forward(minutes=90)
    runner.disable("x", by="ann")
    clock.forward(minutes=90)
    runner.set("x", timeout="5m")
    found = runner.disabled(task.id)
    assert (found.since, found.by) == (clock() - timedelta(minutes=90), "ann")
    assert found.next == runner.enable("x").next


def test_a_task_that_was_added_disabled_tells_since_when(runner, clock):
    runner.apply(text="[tasks.x]\nmanual = true\nshell = 'true'\nenabled = false\n")
    found = runner.disabled("x")
    assert found.since == clock() and found.by and found.next is None
