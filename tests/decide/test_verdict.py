"""How a run ended, and whether its slot is tried again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskrunner.decide import verdict
from taskrunner.model.values import OnLost, Outcome, Process, State
from tests.samples import MINUTE, NOON, TASK, run

# ---- further attempts

RETRYING = replace(TASK, retries=3, retry_delay=timedelta(minutes=2), retry_backoff=2.0)


def attempt(number, **more):
    return replace(run(7, State.RUNNING, **more), attempt=number)


@pytest.mark.parametrize("state", [State.FAILED, State.TIMED_OUT])
def test_each_further_attempt_waits_longer_until_there_are_no_more(state):
    waits = [verdict.retry_at(RETRYING, attempt(n), state, 1, NOON) for n in (1, 2, 3, 4)]
    assert waits == [NOON + 2 * MINUTE, NOON + 4 * MINUTE, NOON + 8 * MINUTE, None]


def test_a_delay_does_not_grow_past_a_month():
    task = replace(RETRYING, retries=1000, retry_backoff=100.0)
    assert verdict.retry_at(task, attempt(900), State.FAILED, 1, NOON) == NOON + timedelta(days=30)
    slow = replace(task, retry_delay=timedelta(days=60))
    assert verdict.retry_at(slow, attempt(900), State.FAILED, 1, NOON) == NOON + timedelta(days=60)


def test_only_the_exit_codes_named_are_tried_again():
    task = replace(RETRYING, retry_codes=(75,))
    assert verdict.retry_at(task, attempt(1), State.FAILED, 75, NOON)
    assert verdict.retry_at(task, attempt(1), State.FAILED, 1, NOON) is None
    assert verdict.retry_at(task, attempt(1), State.TIMED_OUT, None, NOON) is None


def test_a_task_that_is_disabled_is_not_tried_again():
    task = replace(RETRYING, enabled=False)
    assert verdict.retry_at(task, attempt(1), State.FAILED, 1, NOON) is None


def test_a_lost_run_is_tried_again_only_if_its_task_says_so():
    assert verdict.retry_at(RETRYING, attempt(1), State.LOST, None, NOON) is None
    task = replace(RETRYING, on_lost=OnLost.RETRY, retries=0)
    assert verdict.retry_at(task, attempt(1), State.LOST, None, NOON)
    assert verdict.retry_at(task, attempt(2), State.LOST, None, NOON) is None


def test_an_attempt_that_could_start_only_past_the_deadline_is_not_made():
    task = replace(RETRYING, deadline=timedelta(minutes=10))
    assert verdict.retry_at(task, attempt(1), State.FAILED, 1, NOON + 8 * MINUTE)
    assert verdict.retry_at(task, attempt(1), State.FAILED, 1, NOON + 8.1 * MINUTE) is None


STOPPED = Process(7, "s", "b", "o", 1, stop_state=State.CANCELLED, stop_reason="cancelled by ann")


@pytest.mark.parametrize(
    ("outcome", "process", "state"),
    [
        (Outcome(exit_code=0), None, State.SUCCEEDED),
        (Outcome(exit_code=3), None, State.FAILED),
        (Outcome(signal=15), None, State.FAILED),
        (Outcome(exit_code=127, error="could not start"), None, State.FAILED),
        (Outcome(signal=15, timed_out=True), None, State.TIMED_OUT),
        (Outcome(exit_code=0), STOPPED, State.CANCELLED),
    ],
)
def test_the_verdict_on_an_outcome(outcome, process, state):
    found, reason = verdict.judge(TASK, outcome, "how it ended", process)
    assert found is state
    assert "how it ended" in reason
    if process is not None:
        assert "cancelled by ann" in reason


def test_exit_codes_mean_what_the_task_says():
    task = replace(TASK, ok_codes=(0, 3), noop_codes=(75,))
    found = {
        code: verdict.judge(task, Outcome(exit_code=code), "so", None) for code in (0, 1, 3, 75)
    }
    assert [state for state, _ in found.values()] == [
        State.SUCCEEDED,
        State.FAILED,
        State.SUCCEEDED,
        State.SUCCEEDED,
    ]
    assert found[75][1] == "nothing to do (so)"
    zero = replace(TASK, ok_codes=(1,))
    assert verdict.judge(zero, Outcome(exit_code=0), "so", None)[0] is State.FAILED
