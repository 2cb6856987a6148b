"""What becomes of open slots: the table of docs/explanation/time.md, line by line."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskrunner.decide import policy
from taskrunner.model.decisions import Action, Span
from taskrunner.model.values import After, CatchUp, Overlap, State, Trigger
from tests.samples import MINUTE, NOON, TASK, run


def slots(count, newest=NOON, listed=None):
    """The open slots of a task that is due each minute: `count` of them up to `newest`."""
    every = [newest - MINUTE * back for back in range(count - 1, -1, -1)]
    return Span(newest, every[0], count), every[-listed:] if listed else every


def told(decisions):
    return [(d.action, d.span.first, d.span.slot, d.span.count) for d in decisions]


def test_one_slot_in_time_runs_as_scheduled():
    (decision,) = policy.decide(TASK, *slots(1), [], NOON + timedelta(seconds=3))
    assert told([decision]) == [(Action.RUN, NOON, NOON, 1)]
    assert decision.trigger is Trigger.SCHEDULE
    assert decision.reason == "due"


def test_a_slot_older_than_the_grace_runs_as_catch_up():
    in_time, late = policy.GRACE, policy.GRACE + timedelta(milliseconds=1)
    assert policy.decide(TASK, *slots(1), [], NOON + in_time)[0].trigger is Trigger.SCHEDULE
    assert policy.decide(TASK, *slots(1), [], NOON + late)[0].trigger is Trigger.CATCH_UP


def test_catch_up_last_runs_the_newest_for_all():
    (decision,) = policy.decide(TASK, *slots(5), [], NOON)
    assert told([decision]) == [(Action.RUN, NOON - 4 * MINUTE, NOON, 5)]
    assert decision.trigger is Trigger.CATCH_UP
    assert "stands for 5 slots" in decision.reason


def test_catch_up_all_runs_each_oldest_first():
    task = replace(TASK, catch_up=CatchUp.ALL)
    found = policy.decide(task, *slots(3), [], NOON)
    assert told(found) == [
        (Action.RUN, NOON - 2 * MINUTE, NOON - 2 * MINUTE, 1),
        (Action.RUN, NOON - MINUTE, NOON - MINUTE, 1),
        (Action.RUN, NOON, NOON, 1),
    ]


def test_catch_up_all_runs_only_the_newest_up_to_its_limit_and_the_rest_is_one_row():
    task = replace(TASK, catch_up=CatchUp.ALL, catch_up_limit=2)
    found = policy.decide(task, *slots(10, listed=policy.wanted(task)), [], NOON)
    assert told(found) == [
        (Action.MISS, NOON - 9 * MINUTE, NOON - 2 * MINUTE, 8),
        (Action.RUN, NOON - MINUTE, NOON - MINUTE, 1),
        (Action.RUN, NOON, NOON, 1),
    ]
    assert "newest 2" in found[0].reason


@pytest.mark.parametrize(("late", "action"), [(120, Action.RUN), (120.001, Action.MISS)])
def test_catch_up_none_runs_the_newest_within_the_grace_inclusive(late, action):
    task = replace(TASK, catch_up=CatchUp.NONE)
    (decision,) = policy.decide(task, *slots(1), [], NOON + timedelta(seconds=late))
    assert decision.action is action


def test_catch_up_none_misses_all_others_in_one_row():
    task = replace(TASK, catch_up=CatchUp.NONE)
    found = policy.decide(task, *slots(4, listed=policy.wanted(task)), [], NOON)
    assert told(found) == [
        (Action.MISS, NOON - 3 * MINUTE, NOON - MINUTE, 3),
        (Action.RUN, NOON, NOON, 1),
    ]
    late = policy.decide(task, *slots(4, listed=2), [], NOON + timedelta(hours=1))
    assert told(late) == [(Action.MISS, NOON - 3 * MINUTE, NOON, 4)]


def test_catch_up_none_takes_the_deadline_as_its_grace():
    task = replace(TASK, catch_up=CatchUp.NONE, deadline=timedelta(minutes=10))
    assert policy.decide(task, *slots(1), [], NOON + 10 * MINUTE)[0].action is Action.RUN
    found = policy.decide(task, *slots(1), [], NOON + 10.1 * MINUTE)
    assert found[0].action is Action.MISS
    assert "deadline of 10m" in found[0].reason


def test_a_deadline_misses_late_slots_whatever_the_catch_up_says():
    last = replace(TASK, deadline=timedelta(minutes=3))
    assert told(policy.decide(last, *slots(5), [], NOON + 4 * MINUTE)) == [
        (Action.MISS, NOON - 4 * MINUTE, NOON, 5)
    ]
    every = replace(last, catch_up=CatchUp.ALL)
    assert told(policy.decide(every, *slots(5), [], NOON + MINUTE)) == [
        (Action.MISS, NOON - 4 * MINUTE, NOON - 3 * MINUTE, 2),
        (Action.RUN, NOON - 2 * MINUTE, NOON - 2 * MINUTE, 1),
        (Action.RUN, NOON - MINUTE, NOON - MINUTE, 1),
        (Action.RUN, NOON, NOON, 1),
    ]


def test_a_count_that_stopped_early_says_at_least():
    many = Span(NOON, NOON - MINUTE, 10_000, at_least=True)
    (decision,) = policy.decide(TASK, many, [NOON], [], NOON)
    assert decision.span.at_least
    assert "at least 10000 slots" in decision.reason


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING])
def test_overlap_skip_names_the_blocking_run(state):
    (decision,) = policy.decide(TASK, *slots(1), [run(7, state)], NOON)
    assert decision.action is Action.SKIP
    assert f"run 7 ({state})" in decision.reason


def test_overlap_skip_folds_what_catch_up_folds():
    (decision,) = policy.decide(TASK, *slots(3), [run(7, State.RUNNING)], NOON)
    assert told([decision]) == [(Action.SKIP, NOON - 2 * MINUTE, NOON, 3)]


def test_overlap_queue_waits_and_displaces_the_one_that_waited():
    task = replace(TASK, overlap=Overlap.QUEUE)
    first = policy.decide(task, *slots(1), [run(7, State.RUNNING)], NOON)
    assert (first[0].action, first[0].stops) == (Action.QUEUE, ())
    live = [run(7, State.RUNNING), run(8, State.PENDING)]
    second = policy.decide(task, *slots(1), live, NOON)
    assert (second[0].action, second[0].stops) == (Action.QUEUE, (8,))
    assert second[0].reason == "waits for run 7 (running)"  # not for the one whose place it takes


def test_overlap_queue_with_catch_up_all_is_a_line_within_the_limit():
    task = replace(TASK, overlap=Overlap.QUEUE, catch_up=CatchUp.ALL, catch_up_limit=2)
    live = [run(7, State.RUNNING), run(8, State.PENDING)]
    assert policy.decide(task, *slots(1), live, NOON)[0].stops == ()
    live.append(run(9, State.PENDING))
    assert policy.decide(task, *slots(1), live, NOON)[0].stops == (8,)


def test_overlap_replace_stops_all_that_is_live():
    task = replace(TASK, overlap=Overlap.REPLACE)
    (decision,) = policy.decide(task, *slots(1), [run(7, State.RUNNING)], NOON)
    assert (decision.action, decision.stops) == (Action.REPLACE, (7,))
    (free,) = policy.decide(task, *slots(1), [], NOON)
    assert (free.action, free.stops) == (Action.RUN, ())


def test_overlap_allow_runs_side_by_side_up_to_its_instances():
    task = replace(TASK, overlap=Overlap.ALLOW)
    live = [run(7, State.RUNNING), run(8, State.RUNNING)]
    assert policy.decide(task, *slots(1), live, NOON)[0].action is Action.RUN
    few = replace(task, max_instances=2)
    (decision,) = policy.decide(few, *slots(1), live, NOON)
    assert decision.action is Action.SKIP
    assert "runs 7 (running) and 8 (running)" in decision.reason
    assert policy.decide(few, *slots(1), live[:1], NOON)[0].action is Action.RUN


def test_slots_decided_together_do_not_overlap_each_other():
    task = replace(TASK, catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, max_instances=1)
    assert [d.action for d in policy.decide(task, *slots(3), [], NOON)] == [Action.RUN] * 3


def test_a_run_asked_for_has_the_moment_of_the_request_as_its_slot():
    decision = policy.requested(TASK, NOON, [])
    assert (decision.span.slot, decision.trigger) == (NOON, Trigger.MANUAL)
    assert policy.requested(TASK, NOON, [run(7, State.RUNNING)]).action is Action.SKIP


FAILURES = (State.FAILED, State.TIMED_OUT, State.LOST)
STARTED = (State.SUCCEEDED, *FAILURES, State.CANCELLED)


@pytest.mark.parametrize(
    ("on", "state", "starts"),
    [
        *((After.SUCCEEDED, state, state is State.SUCCEEDED) for state in STARTED),
        *((After.FAILED, state, state in FAILURES) for state in STARTED),
        *((After.ANY, state, True) for state in STARTED),
    ],
)
def test_the_end_of_a_parent_starts_a_child_as_its_condition_says(on, state, starts):
    parent = run(7, state, started=NOON)
    found = policy.follows(TASK, on, parent, [], NOON)
    assert [d.action for d in found] == ([Action.RUN] if starts else [])
    assert all(d.trigger is Trigger.AFTER and d.span.slot == NOON for d in found)


@pytest.mark.parametrize("state", [State.SKIPPED, State.MISSED])
def test_a_parent_that_was_not_run_ends_the_chain_with_a_reason(state):
    for on in (After.SUCCEEDED, After.ANY):
        (decision,) = policy.follows(TASK, on, run(7, state), [], NOON)
        assert decision.action is Action.SKIP
        assert "run 7 of report" in decision.reason
    assert policy.follows(TASK, After.FAILED, run(7, state), [], NOON) == []


def test_a_parent_cancelled_before_it_started_starts_no_child():
    assert policy.follows(TASK, After.ANY, run(7, State.CANCELLED), [], NOON) == []


def test_a_child_carries_the_slots_of_its_parent():
    parent = replace(run(7, State.SUCCEEDED, started=NOON), first_slot=NOON - MINUTE, coalesced=2)
    (decision,) = policy.follows(TASK, After.SUCCEEDED, parent, [], NOON + MINUTE)
    assert decision.span == Span(NOON, NOON - MINUTE, 2)


# ---- jitter


def test_a_start_is_delayed_by_a_share_of_the_jitter_that_is_the_same_each_time():
    task = replace(TASK, jitter=timedelta(minutes=10))
    instants = [NOON + n * MINUTE for n in range(500)]
    shares = [policy.decide(task, *slots(1, at), [], at)[0].ready - at for at in instants]
    again = [policy.decide(task, *slots(1, at), [], at)[0].ready - at for at in instants]
    assert shares == again
    assert timedelta(0) <= min(shares) < MINUTE < 9 * MINUTE < max(shares) < 10 * MINUTE
    other = policy.decide(replace(task, id=2), *slots(1), [], NOON)[0].ready - NOON
    assert other != policy.decide(task, *slots(1), [], NOON)[0].ready - NOON


def test_a_delayed_start_waits_and_a_slot_that_is_later_than_its_share_does_not():
    task = replace(TASK, jitter=timedelta(minutes=10))
    (soon,) = policy.decide(task, *slots(1), [], NOON)
    assert (soon.action, soon.span.slot) == (Action.WAIT, NOON)
    assert soon.reason == f"starts at {policy.words(soon.ready)}"
    (late,) = policy.decide(task, *slots(1), [], NOON + 10 * MINUTE)
    assert late.action is Action.RUN


def test_a_run_asked_for_is_not_delayed():
    task = replace(TASK, jitter=timedelta(minutes=10))
    assert policy.requested(task, NOON, []).ready is None


def test_a_new_slot_does_not_displace_a_retry_that_waits():
    task = replace(TASK, overlap=Overlap.QUEUE)
    retry = run(8, State.PENDING, trigger=Trigger.RETRY)
    (decision,) = policy.decide(task, *slots(1), [retry], NOON)
    assert (decision.action, decision.stops) == (Action.QUEUE, ())
    (decision,) = policy.decide(TASK, *slots(1), [retry], NOON)
    assert (decision.action, decision.reason) == (Action.SKIP, "run 8 (pending) had not ended")


def test_a_waiting_run_past_its_deadline_is_too_late_unless_asked_for_by_hand():
    task = replace(TASK, deadline=timedelta(minutes=5))
    waiting = run(7, State.PENDING)
    assert policy.too_late(task, waiting, NOON + 5 * MINUTE) is None
    assert "deadline of 5m" in policy.too_late(task, waiting, NOON + 5.1 * MINUTE)
    by_hand = run(7, State.PENDING, trigger=Trigger.MANUAL)
    assert policy.too_late(task, by_hand, NOON + 60 * MINUTE) is None


def test_a_long_list_of_runs_is_cut_in_words():
    runs = [run(number, State.RUNNING) for number in range(1, 8)]
    assert policy.named(runs) == "runs 1 (running), 2 (running), 3 (running) and 4 more"


def test_what_is_missed_replaces_nothing():
    task = replace(TASK, overlap=Overlap.REPLACE, deadline=MINUTE)
    (decision,) = policy.decide(task, *slots(1), [run(7, State.RUNNING)], NOON + 2 * MINUTE)
    assert (decision.action, decision.stops) == (Action.MISS, ())
