"""Capacity: the limits on parallel runs of the home, of each queue, of each group and of each task.

Pure: it predicts the result of the query `startable` of the store.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from taskrunner.decide.policy import named
from taskrunner.model.decisions import Action, Decision
from taskrunner.model.record import like, mutable
from taskrunner.model.values import Overlap, Run, State, Task

NO_LIMIT = 1_000_000  # runs of a task side by side


@mutable
class Room:
    """The free places of the home and of each group, and the runs that hold the others."""

    running: Sequence[Run]
    tasks: Mapping[int, Task]
    max_parallel: int
    groups: Mapping[str, int]
    queues: Mapping[str, int]

    def __post_init__(self) -> None:
        self._in_queue = Counter(self.tasks[run.task_id].queue for run in self.running)
        self._of_task = Counter(run.task_id for run in self.running)
        self._of_group = Counter(self.tasks[run.task_id].group for run in self.running)
        self._ahead: dict[int, str | None] = {}  # by task: why the first of its decisions waits

    def refuses(self, decision: Decision) -> str | None:
        """Count the run of a decision as started, if it may start; else return why not.

        Of several decisions of one task each follows the one before it, if they may not run side by side.
        """
        task = self.tasks[decision.task_id]
        if task.overlap is not Overlap.ALLOW and task.id in self._ahead:
            return self._ahead[task.id]
        why = decision.reason if decision.action is Action.WAIT else self._full(task)
        if why is None:
            self._in_queue[task.queue] += 1
            self._of_task[task.id] += 1
            self._of_group[task.group] += 1
        self._ahead.setdefault(task.id, why)
        return why

    def _full(self, task: Task) -> str | None:
        """Return why no run of a task may start now, None when one may."""
        if self._of_task[task.id] >= _most(task):
            mine = [run for run in self.running if run.task_id == task.id]
            return f"waits for {named(mine)}" if mine else f"waits for one of its {_most(task)}"
        if task.group is not None and self._of_group[task.group] >= self.groups[task.group]:
            mine = [run for run in self.running if self.tasks[run.task_id].group == task.group]
            full = f"the group {task.group} has room for {self.groups[task.group]}"
            return f"waits for {named(mine)}: {full}" if mine else full
        return self._full_there(task.queue)

    def _full_there(self, queue: str | None) -> str | None:
        """Return why no run may start on this host, or in a queue; None when one may."""
        most = self.max_parallel if queue is None else self.queues.get(queue)
        if most is None:
            return f"there is no queue {queue} in taskrunner.toml"
        if self._in_queue[queue] < most:
            return None
        full = f"max_parallel = {most}" if queue is None else f"limit = {most} of the queue {queue}"
        mine = [run for run in self.running if self.tasks[run.task_id].queue == queue]
        return f"{named(mine)} hold all of {full}" if mine else full


def _most(task: Task) -> int:
    """Return how many runs of a task may run at a time."""
    if task.overlap is not Overlap.ALLOW:
        return 1
    return task.max_instances or NO_LIMIT


def with_room(
    decisions: Sequence[Decision],
    live: Sequence[Run],
    tasks: Mapping[int, Task],
    max_parallel: int,
    group_limits: Mapping[str, int],
    queue_limits: Mapping[str, int],
) -> list[Decision]:
    """Turn starts beyond the capacity into waits: by priority, then the oldest slot first.

    `tasks` are at least those of `task_ids`, by their ids.
    """
    room = Room(_running(live), tasks, max_parallel, group_limits, queue_limits)
    starts = [d for d in decisions if d.action in (Action.RUN, Action.WAIT)]
    starts.sort(key=lambda decision: (-decision.priority, decision.span.slot))
    refused = {id(decision): room.refuses(decision) for decision in starts}
    found = ((decision, refused.get(id(decision))) for decision in decisions)
    return [d if why is None else like(d, action=Action.WAIT, reason=why) for d, why in found]


def task_ids(decisions: Sequence[Decision], live: Sequence[Run]) -> set[int]:
    """Return the ids of the tasks that `with_room` has to know."""
    return {each.task_id for each in decisions} | {run.task_id for run in _running(live)}


def _running(live: Sequence[Run]) -> list[Run]:
    return [run for run in live if run.state is State.RUNNING]
