"""The agenda of the coming days, with collisions between slots.

Pure: slots, usual durations and limits in, an agenda out. It must know neither the store nor the clock. How long a
task takes is estimated from its past runs; without any it is assumed to end at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from taskrunner.model.answers import Collision, Entry
from taskrunner.model.record import like, mutable
from taskrunner.model.values import Overlap, Task


@mutable
class Load:
    """The expected load at an instant, from the usual durations of tasks in seconds, and the limits on it."""

    tasks: Mapping[str, Task]
    usual: Mapping[str, float | None]
    groups: Mapping[str, int]
    max_parallel: int

    def __post_init__(self) -> None:
        self._running: list[Entry] = []

    def at(self, moment: datetime) -> list[Entry]:
        """Forget the runs that have ended by then and return the rest."""
        self._running = [each for each in self._running if self.end(each) > moment]
        return self._running

    def end(self, entry: Entry) -> datetime:
        """Return when a run is expected to end."""
        return entry.slot + timedelta(seconds=self.usual.get(entry.task) or 0)

    def add(self, entry: Entry) -> None:
        """Let a run start, unless another run of its task is still running."""
        own = any(each.task == entry.task for each in self._running)
        if not own or self.tasks[entry.task].overlap is Overlap.ALLOW:
            self._running.append(entry)


def collided(entries: Iterable[Entry], load: Load) -> Iterator[Entry]:
    """Yield entries, in the order of their slots, with the collisions of each."""
    for slot, some in groupby(entries, lambda each: each.slot):
        running = [*load.at(slot)]
        together = sorted(some, key=lambda each: (-load.tasks[each.task].priority, each.task))
        for place, entry in enumerate(together):
            ahead = [*running, *together[:place]]
            found = [
                *_with(entry, together),
                *_itself(entry, running, load),
                *_still(entry, running),
                *_full(entry, ahead, load),
            ]
            yield like(entry, collisions=tuple(found))
        for entry in together:
            load.add(entry)


def _with(entry: Entry, together: Sequence[Entry]) -> Iterator[Collision]:
    others = tuple(each.task for each in together if each.task != entry.task)
    if others:
        yield Collision("together", f"with {named(others)}", others)


def _itself(entry: Entry, running: Sequence[Entry], load: Load) -> Iterator[Collision]:
    task = load.tasks[entry.task]
    if task.overlap is not Overlap.ALLOW and any(each.task == entry.task for each in running):
        yield Collision("itself", f"its run before may still run: {task.overlap}", (entry.task,))


def _still(entry: Entry, running: Sequence[Entry]) -> Iterator[Collision]:
    others = tuple(dict.fromkeys(each.task for each in running if each.task != entry.task))
    if others:
        verb = "runs" if len(others) == 1 else "run"
        yield Collision("running", f"{named(others)} may still {verb.removesuffix('s')}", others)


def _full(entry: Entry, ahead: Sequence[Entry], load: Load) -> Iterator[Collision]:
    """Yield the limits that let it wait for those ahead of it."""
    group = load.tasks[entry.task].group
    mine = tuple(each.task for each in ahead if group and load.tasks[each.task].group == group)
    if group is not None and len(mine) >= load.groups[group]:
        room = f"the group {group} has room for {load.groups[group]}"
        yield Collision("group", f"waits: {room}", tuple(dict.fromkeys(mine)))
    if len(ahead) >= load.max_parallel:
        what = f"waits: max_parallel = {load.max_parallel}"
        yield Collision("capacity", what, tuple(dict.fromkeys(each.task for each in ahead)))


def named(tasks: Sequence[str]) -> str:
    """Return a few names, and the number of the others."""
    few, more = tasks[:3], len(tasks) - 3
    return ", ".join(few) + (f" and {more} more" if more > 0 else "")


def too_long(entry: Entry, pause: timedelta) -> Entry:
    """Return the entry of a task with many slots, with a collision if it usually takes longer than the interval."""
    if entry.usual is None or entry.usual <= pause.total_seconds():
        return entry
    what = "usually takes longer than from one slot to the next"
    return like(entry, collisions=(Collision("itself", what, (entry.task,)),))
