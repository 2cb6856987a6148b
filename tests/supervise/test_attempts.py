"""Further attempts of a slot: when they are made, what they wait for, what waits for them."""

from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import After, At, Cron, Every, Manual, State, TaskRunner, Trigger
from taskrunner.errors import TaskBusy
from taskrunner.tick import by_hand
from tests.samples import call, start, wait_for

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EACH_MINUTE = Cron("* * * * *", tz="UTC")
HOURLY = Cron("0 * * * *", tz="UTC")


def told(runs):
    return [(f"{run.slot:%H:%M}", run.attempt, run.state, run.trigger) for run in reversed(runs)]


def fails_until(number, place):
    """A shell text that fails until it has been run so many times, and says so."""
    return f'echo x >> {place}; test "$(wc -l < {place})" -ge {number}'


@pytest.fixture
def due(runner, clock):
    """Add a task that is due at 13:00 and move to then."""

    def due(name, **options):
        runner.add(name, schedule=HOURLY, **options)
        clock.at = NOON + timedelta(hours=1)

    return due


def test_a_slot_that_fails_is_tried_again_under_the_same_slot(runner, clock, due, tmp_path):
    due("flaky", shell=fails_until(3, tmp_path / "log"), retries=5, retry_delay="2m")
    for _ in range(9):
        runner.tick()
        clock.forward(minutes=1)
    assert told(runner.history()) == [
        ("13:00", 1, State.FAILED, Trigger.SCHEDULE),
        ("13:00", 2, State.FAILED, Trigger.RETRY),
        ("13:00", 3, State.SUCCEEDED, Trigger.RETRY),
    ]
    assert [f"{run.started:%H:%M}" for run in runner.history()] == ["13:04", "13:02", "13:00"]
    assert runner.task("flaky").last_state is State.SUCCEEDED


def test_an_attempt_that_waits_says_why_and_from_when(runner, due):
    due("bad", command=["false"], retries=1, retry_delay="10m")
    runner.tick()
    (waiting, failed) = runner.history()
    assert waiting.state is State.PENDING
    assert waiting.ready == failed.finished + timedelta(minutes=10)
    assert waiting.reason == (
        f"attempt 1 failed (run {failed.id}), the next is made at 2026-11-20 13:10:00 UTC"
    )


def test_the_task_is_told_which_attempt_it_is(runner, clock, due, tmp_path):
    shell = f'echo "$TASKRUNNER_ATTEMPT $TASKRUNNER_TRIGGER" >> {tmp_path}/log; false'
    due("bad", shell=shell, retries=2, retry_delay="1m", retry_backoff=3)
    for _ in range(6):
        runner.tick()
        clock.forward(minutes=1)
    assert (tmp_path / "log").read_text() == "1 schedule\n2 retry\n3 retry\n"
    assert [f"{run.started:%H:%M}" for run in runner.history()] == ["13:04", "13:01", "13:00"]


def test_a_supervisor_waits_for_an_attempt_that_is_made_before_the_next_tick(home):
    with TaskRunner(home) as runner:  # the real clock: it goes on while the tick waits
        runner.add("bad", ["false"], Every("1d"), now=True, retries=2, retry_delay="1s")
        visit = runner.tick()
        assert [run.attempt for run in visit.runs] == [1, 2, 3]
        apart = [
            later.started - run.finished
            for run, later in zip(visit.runs, visit.runs[1:], strict=False)
        ]
        assert all(gap >= timedelta(seconds=1) for gap in apart)
        assert {run.state for run in visit.runs} == {State.FAILED}


def test_a_slot_that_arrives_while_an_attempt_waits_is_handled_by_overlap(runner, clock):
    for overlap in ("skip", "queue", "replace"):
        runner.add(overlap, ["false"], EACH_MINUTE, retries=1, retry_delay="90s", overlap=overlap)
    for _ in range(2):
        clock.forward(minutes=1)
        runner.tick()
    found = {name: told(runner.history(name)) for name in ("skip", "queue", "replace")}
    first = ("12:01", 1, State.FAILED, Trigger.SCHEDULE)
    assert found["skip"] == [
        first,
        ("12:01", 2, State.PENDING, Trigger.RETRY),
        ("12:02", 1, State.SKIPPED, Trigger.SCHEDULE),
    ]
    assert found["queue"] == [
        first,
        ("12:01", 2, State.PENDING, Trigger.RETRY),
        ("12:02", 1, State.PENDING, Trigger.SCHEDULE),
    ]
    assert found["replace"] == [
        first,
        ("12:01", 2, State.SKIPPED, Trigger.RETRY),
        ("12:02", 1, State.FAILED, Trigger.SCHEDULE),
        ("12:02", 2, State.PENDING, Trigger.RETRY),
    ]


def test_a_queued_slot_starts_only_after_the_last_attempt_of_the_one_before_it(runner, clock):
    runner.add("queue", ["false"], EACH_MINUTE, retries=1, retry_delay="90s", overlap="queue")
    clock.forward(minutes=1)
    runner.tick()
    clock.forward(minutes=1)
    runner.tick()
    clock.forward(seconds=30)
    runner.tick()
    starts = [(f"{run.slot:%H:%M}", run.attempt) for run in runner.history() if run.started]
    assert starts == [("12:02", 1), ("12:01", 2), ("12:01", 1)]


def test_what_comes_after_a_task_waits_for_its_last_attempt(runner, clock, due, tmp_path):
    due("flaky", shell=fails_until(2, tmp_path / "log"), retries=1, retry_delay="5m")
    runner.add("child", ["true"], After("flaky"))
    runner.add("rescue", ["true"], After("flaky", "failed"))
    runner.tick()
    assert runner.history("child") == [] and runner.history("rescue") == []
    clock.forward(minutes=5)
    runner.tick()
    (child,) = runner.history("child")
    assert (child.state, child.slot) == (State.SUCCEEDED, NOON + timedelta(hours=1))
    assert runner.history("rescue") == []


def test_a_one_off_is_retired_only_after_its_last_attempt(runner, clock):
    runner.add("once", ["false"], At("2026-11-20T12:30:00Z"), retries=1, retry_delay="5m")
    clock.forward(minutes=30)
    runner.tick()
    assert runner.task("once").enabled
    clock.forward(minutes=5)
    runner.tick()
    assert [run.state for run in runner.history("once")] == [State.FAILED] * 2
    assert not runner.task("once").enabled


def test_a_delay_from_the_finish_counts_from_the_last_attempt(runner, clock):
    every = Every("10m", from_finish=True)
    runner.add("poll", ["false"], every, retries=1, retry_delay="3m")
    clock.forward(minutes=10)
    runner.tick()
    assert runner.task("poll").next is None
    clock.forward(minutes=3)
    runner.tick()
    assert runner.task("poll").next == NOON + timedelta(minutes=23)


def test_a_waiting_attempt_can_be_cancelled(runner, clock, due):
    due("bad", command=["false"], retries=3, retry_delay="5m")
    runner.tick()
    (cancelled,) = runner.cancel("bad")
    assert (cancelled.attempt, cancelled.state) == (2, State.CANCELLED)
    clock.forward(minutes=6)
    runner.tick()
    assert len(runner.history("bad")) == 2


def test_disabling_a_task_ends_its_attempts(runner, due):
    due("bad", command=["false"], retries=3, retry_delay="5m")
    runner.tick()
    runner.disable("bad")
    assert runner.history("bad")[0].state is State.SKIPPED


def test_a_run_by_hand_is_not_tried_again_behind_the_back_of_who_sees_it_fail(runner):
    runner.add("bad", ["false"], Manual(), retries=3)
    assert runner.run("bad").state is State.FAILED
    assert len(runner.history("bad")) == 1


def test_a_run_by_hand_meets_a_waiting_attempt_as_it_would_a_running_one(runner, due):
    due("bad", command=["false"], retries=3, retry_delay="5m")
    runner.tick()
    with pytest.raises(TaskBusy, match=r"run 3 \(pending\)"):
        runner.run("bad")
    assert runner.run("bad", force=True).state is State.FAILED


def test_a_run_that_times_out_is_tried_again(runner, clock, due):
    due("slow", command=["sleep", "60"], timeout="1s", retries=1, retry_delay="1m")
    runner.tick()
    assert [(run.attempt, run.state) for run in runner.history()] == [
        (2, State.PENDING),
        (1, State.TIMED_OUT),
    ]


@pytest.mark.parametrize(
    ("codes", "code", "state", "reason"),
    [
        ({"ok_codes": "0,3-5"}, 4, State.SUCCEEDED, "exit code 4"),
        ({"ok_codes": "3"}, 0, State.FAILED, "exit code 0"),
        ({"noop_codes": [75]}, 75, State.SUCCEEDED, "nothing to do (exit code 75)"),
        ({}, 75, State.FAILED, "exit code 75"),
    ],
)
def test_exit_codes_mean_what_the_task_says(runner, due, codes, code, state, reason):
    due("coded", shell=f"exit {code}", **codes)
    runner.tick()
    (run,) = runner.history()
    assert (run.state, run.reason, run.exit_code) == (state, reason, code)


def test_after_a_reboot_a_lost_run_is_tried_again_if_its_task_says_so(runner, clock, monkeypatch):
    from tests.tick.test_visit import block

    for name, what in (("careful", "fail"), ("stubborn", "retry")):
        runner.add(name, ["true"], EACH_MINUTE, on_lost=what, overlap="queue")
        block(runner, name)
    monkeypatch.setattr("taskrunner.host.boot_id", lambda: "another-boot")
    runner.tick()
    assert [run.state for run in runner.history("careful")] == [State.LOST]
    waiting, lost = runner.history("stubborn")
    assert (waiting.state, waiting.attempt, lost.state) == (State.PENDING, 2, State.LOST)
    clock.forward(minutes=1)
    runner.tick()
    wait_for(lambda: runner.history("stubborn", state="succeeded"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_codes": "75"}, "--retry-codes 75 goes only with --retries"),
        ({"retries": 1, "retry_codes": "3", "ok_codes": "0,3"}, "--retry-codes has 3"),
        ({"retries": -1}, "--retries '-1': it must be a number from 0"),
        ({"retry_backoff": "0.5"}, "--retry-backoff '0.5': it must be a number from 1"),
        ({"retry_backoff": "nan"}, "--retry-backoff 'nan': it must be a number from 1"),
        ({"ok_codes": "256"}, "--ok-codes '256': it must be exit codes from 0 to 255"),
        ({"ok_codes": "5-3"}, "--ok-codes '5-3': it must be exit codes"),
        ({"ok_codes": ["1"]}, "it must be exit codes"),
        ({"on_lost": "cry"}, "--on-lost 'cry': it must be one of fail, retry"),
        ({"jitter": "10m", "deadline": "5m"}, "--jitter 10m delays a start past --deadline 5m"),
        ({"expect": "("}, r"--expect '\(': it is not a valid regular expression"),
        ({"max_output": "much"}, "--max-output 'much': it must be a size such as 64kB"),
        ({"group": "a:0"}, "--group 'a:0': it must be NAME or NAME:N"),
        ({"priority": "high"}, "--priority 'high': it must be a number from -1000 to 1000"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(runner, options, said):
    with pytest.raises(ValueError, match=said):
        runner.add("x", ["true"], EACH_MINUTE, **options)
    assert runner.tasks() == []


@pytest.mark.slow
def test_of_several_ticks_one_waits_for_an_attempt_and_the_others_leave(home):
    with TaskRunner(home) as runner:
        runner.add("bad", ["false"], Every("1d"), now=True, retries=1, retry_delay="12s")
        with start(home, "tick") as first:
            wait_for(lambda: runner.history(state="pending"))
            assert call(home, "tick")[2] == 0
            assert first.poll() is None  # that one did not wait until the attempt was made
        assert [run.attempt for run in runner.history()] == [2, 1]


@pytest.mark.parametrize("by_hand_first", [False, True])
def test_a_slot_that_is_also_done_by_hand_keeps_the_attempts_of_both(
    runner, clock, due, by_hand_first
):
    due("x", command=["false"], retries=1, retry_delay="1m", overlap="allow")
    slot, here = clock.at, runner._here()

    def ask():
        with here.store.transaction():
            by_hand.request(here, runner.task("x"), by_hand.Asked(slot), clock.at)

    def tick():
        for _ in range(4):
            runner.tick()
            clock.forward(minutes=1)

    if by_hand_first:
        ask()
    tick()
    if not by_hand_first:
        ask()
        tick()
    found = told(runner.history())
    assert sorted(attempt for _, attempt, *_ in found) == [1, 1, 2, 3]
    assert {(at, state) for at, _, state, _ in found} == {("13:00", State.FAILED)}
