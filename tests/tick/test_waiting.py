"""What lets a run wait: jitter, groups, priority, capacity, a hold of the store; and dry runs that tell it before."""

import os
import random
import signal
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import After, Cron, Every, Manual, State, TaskRunner, Trigger
from taskrunner.errors import StateError, TaskBusy
from taskrunner.model.decisions import Action
from taskrunner.model.values import End
from tests.samples import start, wait_for
from tests.tick.test_visit import block

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EACH_MINUTE = Cron("* * * * *", tz="UTC")


def states(runner, name=None):
    return [run.state for run in reversed(runner.history(name))]


def log_order(tmp_path):
    return {"shell": f'echo "$TASKRUNNER_TASK" >> {tmp_path}/order'}


# ---- groups


def test_a_group_runs_one_at_a_time_within_one_tick(runner, clock, tmp_path):
    # Each fails when it finds another of its group at work.
    alone = f"mkdir {tmp_path}/taken && sleep 0.05 && rmdir {tmp_path}/taken"
    for number in range(4):
        runner.add(f"t{number}", shell=alone, schedule=EACH_MINUTE, group="db")
    clock.forward(minutes=1)
    runner.tick()
    assert states(runner) == [State.SUCCEEDED] * 4


def test_a_group_has_as_much_room_as_one_of_its_tasks_says(runner, clock):
    runner.add("a", ["true"], EACH_MINUTE, group="db:2")
    runner.add("b", ["true"], EACH_MINUTE, group="db")
    block(runner, "a")
    clock.forward(minutes=1)
    runner.tick()
    assert states(runner, "b") == [State.SUCCEEDED]


def test_a_full_group_keeps_its_tasks_pending_and_others_go_on(runner, clock):
    runner.add("holder", ["true"], Manual(), group="db")
    runner.add("member", ["true"], EACH_MINUTE, group="db")
    runner.add("other", ["true"], EACH_MINUTE)
    block(runner, "holder")
    clock.forward(minutes=1)
    visit = runner.tick()
    assert states(runner, "member") == [State.PENDING]
    assert states(runner, "other") == [State.SUCCEEDED]
    told = {decision.task: (decision.action, decision.reason) for decision in visit.decisions}
    assert told["member"] == (
        Action.WAIT,
        "waits for run 4 (running): the group db has room for 1",
    )


def test_a_deadline_that_passes_while_the_group_is_full_makes_the_slot_missed(runner, clock):
    runner.add("holder", ["true"], Manual(), group="db")
    runner.add("member", ["true"], Cron("1 12 * * *", tz="UTC"), group="db", deadline="5m")
    blocking = block(runner, "holder")
    clock.forward(minutes=1)
    runner.tick()
    clock.forward(minutes=6)
    here = runner._here()
    with here.store.transaction():
        here.store.runs.finish(
            [End(here.store.runs.get(blocking), State.SUCCEEDED, "done", clock())]
        )
    runner.tick()
    (run,) = runner.history("member")
    assert (run.state, run.started) == (State.MISSED, None)
    assert "waited past its deadline of 5m" in run.reason


def test_a_limit_that_contradicts_another_tasks_is_refused(runner):
    runner.add("a", ["true"], Manual(), group="db:2")
    with pytest.raises(StateError, match=r"--group db:3 contradicts a, whose limit .* is 2"):
        runner.add("b", ["true"], Manual(), group="db:3")
    runner.add("b", ["true"], Manual(), group="db")
    with pytest.raises(StateError, match="contradicts a"):
        runner.set("b", group="db:1")
    assert runner.set("a", group="db:3").group_limit == 3


def test_a_run_by_hand_does_not_break_into_a_full_group_unless_forced(runner):
    runner.add("a", ["true"], Manual(), group="db")
    runner.add("b", ["true"], Manual(), group="db")
    block(runner, "a")
    with pytest.raises(TaskBusy, match=r"b is not run: its group db has room for 1, and run 3"):
        runner.run("b")
    assert runner.run("b", force=True).state is State.SUCCEEDED


# ---- priority


def test_what_has_a_higher_priority_starts_first(home, clock, tmp_path):
    (home / "taskrunner.toml").write_text("max_parallel = 1\n")
    with TaskRunner(home, clock=clock) as runner:
        for name, priority in (("low", -5), ("plain", 0), ("high", 10)):
            runner.add(name, schedule=EACH_MINUTE, priority=priority, **log_order(tmp_path))
        clock.forward(minutes=1)
        runner.tick()
    assert (tmp_path / "order").read_text().split() == ["high", "plain", "low"]


# ---- jitter


def test_a_delayed_start_waits_for_its_instant_and_the_slot_does_not_move(runner, clock):
    runner.add("spread", ["true"], Cron("0 13 * * *", tz="UTC"), jitter="30m")
    clock.at = NOON + timedelta(hours=1)
    (decision,) = runner.dry_run()[1]
    runner.tick()
    (waiting,) = runner.history()
    assert (decision.action, decision.ready) == (Action.WAIT, waiting.ready)
    assert timedelta(0) < waiting.ready - clock() < timedelta(minutes=30)
    clock.at = waiting.ready - timedelta(seconds=1)
    runner.tick()
    assert states(runner) == [State.PENDING]
    clock.at = waiting.ready
    runner.tick()
    (run,) = runner.history()
    assert (run.state, run.slot, run.started) == (
        State.SUCCEEDED,
        NOON + timedelta(hours=1),
        waiting.ready,
    )


def test_an_idle_tick_stays_idle_while_a_start_is_far_away(runner, clock):
    runner.add("spread", ["true"], Cron("0 13 * * *", tz="UTC"), jitter="30m")
    clock.at = NOON + timedelta(hours=1)
    runner.tick()
    ready = runner.history()[0].ready
    while ready - clock.forward(minutes=1) > timedelta(minutes=1):
        assert runner.tick().idle
    assert not runner.tick().idle


# ---- hold


def test_while_the_store_is_held_nothing_is_claimed_and_afterwards_it_is_caught_up(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.tick()
    runner.hold(reason="moving house")
    for _ in range(3):
        clock.forward(minutes=1)
        assert runner.tick().idle
    assert runner.history() == []
    assert runner.dry_run()[1] == []
    runner.resume()
    runner.tick()
    (run,) = runner.history()
    assert (run.state, run.coalesced) == (State.SUCCEEDED, 3)


def test_a_hold_ends_by_itself(runner, clock):
    runner.add("report", ["true"], EACH_MINUTE)
    runner.hold("10m")
    clock.forward(minutes=9, seconds=59)
    runner.tick()
    assert runner.history() == []
    clock.forward(seconds=1)
    runner.tick()
    assert states(runner) == [State.SUCCEEDED]


def test_what_waits_does_not_start_while_the_store_is_held(runner, clock):
    runner.add("bad", ["false"], EACH_MINUTE, retries=1, retry_delay="1m")
    runner.add("child", ["true"], After("bad", "failed"))
    clock.forward(minutes=1)
    runner.tick()
    runner.hold()
    clock.forward(minutes=5)
    runner.tick()
    assert states(runner, "bad") == [State.FAILED, State.PENDING]
    assert runner.run("bad", force=True).state is State.FAILED  # a person may


def test_a_boot_that_comes_while_the_store_is_held_is_made_up_for(runner, clock, monkeypatch):
    from taskrunner import Boot

    runner.add("warm", ["true"], Boot())
    runner.tick()
    runner.hold()
    monkeypatch.setattr("taskrunner.host.boot_id", lambda: "another-boot")
    for _ in range(2):
        clock.forward(minutes=1)
        runner.tick()
    assert runner.history() == []
    runner.resume()
    clock.forward(minutes=1)
    runner.tick()
    assert states(runner) == [State.SUCCEEDED]


# ---- dry runs


def random_task(dice, number):
    schedules = [
        EACH_MINUTE,
        Cron("*/7 * * * *", tz="UTC"),
        Every("13m"),
        Cron("30 2 * * *", tz="UTC"),
    ]
    options = {
        "overlap": dice.choice(["skip", "queue", "replace", "allow"]),
        "catch_up": dice.choice(["last", "all", "none"]),
        "group": dice.choice([None, None, "db", "web:2"]),
        "priority": dice.choice([0, 0, 5, -5]),
        "retries": dice.choice([0, 2]),
        "retry_delay": dice.choice(["3m", "20m"]),
        "jitter": dice.choice([None, "4m"]),
        "deadline": dice.choice([None, None, "45m"]),
    }
    if options["catch_up"] == "all":
        options["catch_up_limit"] = 4
    command = dice.choice(["true", "false"])
    return f"t{number}", [command], dice.choice(schedules), options


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_dry_run_decides_exactly_as_the_tick_that_follows(home, clock, seed):
    dice = random.Random(seed)
    (home / "taskrunner.toml").write_text("max_parallel = 3\n")
    with TaskRunner(home, clock=clock) as runner:
        for number in range(7):
            name, command, schedule, options = random_task(dice, number)
            runner.add(name, command, schedule, **options)
        for _ in range(110):
            clock.forward(seconds=dice.choice([60, 60, 60, 150, 3600, 30_000]))
            if dice.random() < 0.1:
                block(runner, f"t{dice.randrange(7)}")
            before = runner.history(limit=1000)
            at, foreseen = runner.dry_run()
            assert runner.history(limit=1000) == before  # it writes nothing
            visit = runner.tick()
            if visit.idle:  # what waits for an instant to come needs no tick
                assert {decision.action for decision in foreseen} <= {Action.WAIT}, at
            else:
                assert visit.decisions == foreseen, at


# ---- what ends one run for the sake of another, with real children and the real clock


@pytest.fixture
def live_runner(home):
    with TaskRunner(home) as made:
        yield made


def test_a_slot_that_replaces_waits_until_a_run_that_ignores_term_is_killed(
    live_runner, home, tmp_path
):
    log, quick = tmp_path / "log", tmp_path / "quick"
    shell = (
        f"test -e {quick} && {{ echo start >> {log}; exit; }}; trap 'echo term >> {log}' TERM; "
        f"echo start >> {log}; while :; do sleep 0.05; done"
    )
    live_runner.add("x", shell=shell, schedule=Every("1s"), overlap="replace", kill_after="1s")
    due(live_runner, "x")
    with start(home, "tick"):
        wait_for(log.exists)
        quick.touch()
        due(live_runner, "x")
        live_runner.tick()
    first, second = live_runner.history("x", limit=None)[::-1][:2]
    assert (first.state, first.signal) == (State.CANCELLED, 9)
    assert "replaced it" in first.reason and "SIGKILL" in first.reason
    assert second.state is State.SUCCEEDED and second.started >= first.finished
    assert log.read_text().split()[:3] == ["start", "term", "start"]


def due(live_runner, name):
    """Wait until the next slot of a task has come."""
    wait_for(lambda: live_runner.now() >= live_runner.task(name).next)


def test_an_orphan_whose_task_says_so_is_tried_again_once_it_is_gone(live_runner, home, tmp_path):
    log = tmp_path / "log"
    shell = f"echo $TASKRUNNER_ATTEMPT $$ >> {log}; test $TASKRUNNER_ATTEMPT = 2 || exec sleep 300"
    live_runner.add(
        "x", shell=shell, schedule=Manual(), now=True, on_lost="retry", retry_delay="1s"
    )
    with start(home, "tick") as supervisor:
        wait_for(lambda: log.exists() and log.read_text())
        wait_for(lambda: live_runner._here().store.processes.with_runs()[0][1].pid)
        supervisor.kill()
    live_runner.tick()
    assert [run.state for run in live_runner.history("x")] == [State.RUNNING]  # it lives on
    os.kill(int(log.read_text().split()[1]), signal.SIGKILL)
    wait_for(lambda: not live_runner.tick().idle and len(live_runner.history("x")) == 2)
    again, lost = live_runner.history("x")
    assert (lost.state, again.trigger) == (State.LOST, Trigger.RETRY)
    wait_for(lambda: live_runner.tick() and live_runner.history("x")[0].state is State.SUCCEEDED)
