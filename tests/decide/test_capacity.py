"""What may start beside what: capacity, groups, tasks, and who goes first."""

from dataclasses import replace

from taskrunner.decide import capacity, policy
from taskrunner.model.decisions import Action
from taskrunner.model.values import CatchUp, Overlap, State
from tests.decide.test_policy import slots
from tests.samples import MINUTE, NOON, TASK, run


def with_room(decisions, running=(), max_parallel=16, groups=None, queues=None, **tasks):
    """Decide about room among TASK and tasks like it; `running` are runs of the tasks 1 to 9, by their ids."""
    known = {number: replace(TASK, id=number) for number in range(1, 10)}
    known |= {task.id: task for task in tasks.values()}
    live = [replace(each, task_id=each.id) for each in running]
    return capacity.with_room(decisions, live, known, max_parallel, groups or {}, queues or {})


def test_what_has_a_higher_priority_starts_first_when_capacity_is_short():
    plain = policy.decide(replace(TASK, id=1), *slots(1, NOON - MINUTE), [], NOON)
    urgent = policy.decide(replace(TASK, id=2, priority=5), *slots(1, NOON), [], NOON)
    found = with_room([*plain, *urgent], max_parallel=1)
    assert [d.action for d in found] == [Action.WAIT, Action.RUN]


def test_a_group_that_is_full_lets_its_tasks_wait_and_no_others():
    member = replace(TASK, id=1, group="db")
    holder = replace(TASK, id=7, group="db")
    inside = policy.decide(member, *slots(1), [], NOON)
    outside = policy.decide(replace(TASK, id=2), *slots(1), [], NOON)
    tasks, running = {"a": member, "b": holder}, [run(7, State.RUNNING)]
    found = with_room([*inside, *outside], running, groups={"db": 1}, **tasks)
    assert [d.action for d in found] == [Action.WAIT, Action.RUN]
    assert found[0].reason == "waits for run 7 (running): the group db has room for 1"
    wider = with_room(inside, running, groups={"db": 2}, **tasks)
    assert [d.action for d in wider] == [Action.RUN]


def test_two_of_a_group_of_one_start_one_after_the_other():
    both = [replace(TASK, id=n, group="db") for n in (1, 2)]
    decisions = [d for task in both for d in policy.decide(task, *slots(1), [], NOON)]
    found = with_room(decisions, groups={"db": 1}, a=both[0], b=both[1])
    assert [d.action for d in found] == [Action.RUN, Action.WAIT]
    assert found[1].reason == "the group db has room for 1"


def test_several_slots_of_one_task_run_one_after_the_other_in_the_place_of_one():
    task, other = replace(TASK, catch_up=CatchUp.ALL), replace(TASK, id=2)
    decisions = policy.decide(task, *slots(3, NOON - MINUTE), [], NOON)
    decisions += policy.decide(other, *slots(1), [], NOON)
    found = with_room(decisions, max_parallel=2, a=task)
    assert {d.action for d in found} == {Action.RUN}
    full = with_room(decisions, [run(7, State.RUNNING)], 1, a=task)
    assert {d.action for d in full} == {Action.WAIT}


def test_side_by_side_each_slot_takes_a_place():
    task = replace(TASK, catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, max_instances=2)
    decisions = policy.decide(task, *slots(3), [], NOON)
    found = with_room(decisions, a=task)
    assert [d.action for d in found] == [Action.RUN, Action.RUN, Action.WAIT]


def test_what_finds_no_room_waits_oldest_slot_first():
    young = policy.decide(replace(TASK, id=1), *slots(1, NOON), [], NOON)
    old = policy.decide(replace(TASK, id=2), *slots(1, NOON - MINUTE), [], NOON)
    found = with_room([*young, *old], [run(7, State.RUNNING)], 2)
    assert [d.action for d in found] == [Action.WAIT, Action.RUN]
    assert "run 7" in found[0].reason
    assert "max_parallel = 2" in found[0].reason


def test_a_queue_has_a_limit_of_its_own_and_does_not_count_for_the_host():
    tasks = [replace(TASK, id=n, queue="heavy") for n in (1, 2)]
    far = [d for task in tasks for d in policy.decide(task, *slots(1), [], NOON)]
    near = policy.decide(replace(TASK, id=3), *slots(1), [], NOON)
    found = with_room([*far, *near], [], 1, queues={"heavy": 1}, a=tasks[0], b=tasks[1])
    assert [d.action for d in found] == [Action.RUN, Action.WAIT, Action.RUN]
    assert found[1].reason == "limit = 1 of the queue heavy"
    nowhere = with_room(far, a=tasks[0], b=tasks[1])
    assert {d.reason for d in nowhere} == {"there is no queue heavy in taskrunner.toml"}
