"""Restoring a backup: what ran since is named, and can be kept from running again."""

from datetime import timedelta

import pytest

from taskrunner import After, At, Boot, Every, Manual, State, TaskRunner
from taskrunner.cli import main
from tests.samples import wait_for


@pytest.fixture
def once(runner, clock):
    """A task that runs once, in an hour."""
    runner.add("once", shell="echo once", schedule=At(clock() + timedelta(hours=1)))
    return runner


def history(home):
    with TaskRunner(home) as live_runner:
        return live_runner.history("once")


def states(runner, name):
    return [run.state for run in runner.history(name)]


def test_restore_names_a_one_off_that_ran_since_the_backup(once, clock):
    copy = once.backup().place
    clock.forward(hours=2)
    once.tick()
    (ran,) = once.history("once")
    (repeat,) = once.restore(copy).repeats
    assert (repeat.task, repeat.slot, repeat.run) == ("once", ran.slot, ran.id)
    once.cancel("once")  # as is said
    once.tick()
    assert states(once, "once") == [State.CANCELLED]


def test_a_one_off_whose_time_is_to_come_or_that_did_not_run_is_not_named(once, clock):
    copy = once.backup().place
    assert once.restore(copy).repeats == ()
    clock.forward(hours=2)
    assert once.restore(copy).repeats == ()
    once.tick()
    assert states(once, "once") == [State.SUCCEEDED]


def test_a_run_that_was_asked_for_in_the_backup_is_named(runner):
    runner.add("asked", ["true"], Manual(), now=True)
    copy = runner.backup().place
    runner.tick()
    assert [each.task for each in runner.restore(copy).repeats] == ["asked"]


def test_a_retry_that_waits_in_the_backup_and_ran_since_is_named(runner, clock):
    runner.add("again", ["false"], Manual(), now=True, retries=1, retry_delay="10m")
    runner.tick()
    copy = runner.backup().place
    clock.forward(minutes=20)
    runner.tick()
    assert [each.task for each in runner.restore(copy).repeats] == ["again"]


def test_on_a_new_machine_it_says_that_a_one_off_may_have_run(once, clock, home):
    copy = once.backup(home.parent / "copy.db").place
    once.close()
    for name in ("taskrunner.db", "taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    clock.forward(hours=2)
    (repeat,) = once.restore(copy).repeats
    assert (repeat.task, repeat.run) == ("once", None)


def test_with_skip_missed_nothing_of_the_time_since_the_backup_runs(once, clock):
    once.add("often", ["true"], Every("10m"))
    once.add("boot", ["true"], Boot())
    once.add("asked", ["true"], Manual(), now=True)
    once.add("then", ["true"], After("often"))
    once.add("broken", ["false"], Every("1h"), now=True, retries=1, retry_delay="10m")
    once.tick()
    once.add("late", ["true"], Manual(), now=True)
    copy = once.backup().place
    clock.forward(hours=2)
    done = once.restore(copy, skip_missed=True)
    before = [run.id for run in once.history(limit=None) if run.started]
    assert done.repeats == ()
    assert done.skipped == 12 + 2 + 1 + 1 + 1  # often, broken and its retry, once, late
    assert once.tick().decisions == []
    assert [run.id for run in once.history(limit=None) if run.started] == before
    (row,) = once.history("once")
    assert (row.state, row.reason) == (
        State.SKIPPED,
        "counts as done: restored from a backup with --skip-missed",
    )
    assert not once.task("once").enabled
    clock.forward(minutes=10)
    once.tick()
    assert states(once, "often")[0] is State.SUCCEEDED  # what comes later does run


def test_a_hold_goes_on_after_a_restore(once, clock):
    copy = once.backup().place
    once.hold(reason="restoring")
    clock.forward(hours=2)
    once.restore(copy)
    once.tick()
    assert once.history("once") == []
    assert once.resume().reason == "restoring"
    once.tick()
    assert states(once, "once") == [State.SUCCEEDED]


def test_the_command_line_says_what_runs_again_and_how_to_keep_it_from_that(home, tmp_path, capsys):
    def say(*words):
        assert main.main(["--home", str(home), *words]) == 0
        return capsys.readouterr().err

    say("add", "once", "--at", "now", "--", "true")
    say("backup", str(tmp_path / "copy.db"))
    wait_for(lambda: say("tick") or history(home))
    told = say("restore", str(tmp_path / "copy.db"))
    assert "ran since the backup (run" in told
    assert "`taskrunner cancel once` prevents that" in told
    say("cancel", "once")
    told = say("restore", "--skip-missed", str(tmp_path / "copy.db"))
    assert "the slots since then (1) count as done" in told
