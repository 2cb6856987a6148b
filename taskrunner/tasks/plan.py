"""Plan of applying task files: the changes, their consequences, and their execution.

The same code makes the plan and carries it out: a dry run only omits the last step. It must not know
where definitions come from.
"""

import os
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime
from typing import Any

from taskrunner.decide import ledger, policy
from taskrunner.errors import InputError, StateError, TaskRunnerError, shown
from taskrunner.home.config import Config
from taskrunner.model.answers import Plan, Planned
from taskrunner.model.record import like, record
from taskrunner.model.values import Kind, Progress, Run, State, Task, untold
from taskrunner.schedule import counting, instants, of_task, zones
from taskrunner.schedule.kinds import After, Schedule
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.tasks import change, options
from taskrunner.tasks.change import Draft
from taskrunner.tasks.taskfile import DASHED, Defined, Definition, Fault

# The fields that a run takes from its task when it starts, and keeps.
AT_START = (
    *("command", "shell", "cwd", "env", "env_file", "pass_env", "stdin", "umask", "user", "nice"),
    *("limit", "queue"),
    *("timeout", "max_silence", "kill_after"),
    *options.OF_PYTHON,
)
NOTHING = Defined(())


@record
class Step:
    """One step of a plan: the task, the columns to write, and phrases that describe it."""

    planned: Planned
    old: Task | None
    values: dict[str, Any]


@record
class Comparison:
    """The existing tasks by name, those to remove, and the names of all tasks afterwards."""

    old: dict[str, Task]
    gone: Sequence[Task]
    staying: Container[str]


# ---- definitions to drafts


def drafts(
    settings: Config, defined: Defined, moment: datetime, progress: Progress = untold
) -> tuple[list[Draft], Defined]:
    """Return drafts of the definitions, and the faults of unusable ones."""
    # Once: else a fault of the config would be repeated for each task.
    usual = {after: options.usual(settings.defaults, after=after) for after in (False, True)}
    made, faults = [], [*defined.faults, *_twice(defined.definitions)]
    for number, each in enumerate(defined.definitions):
        progress("definitions read", number, len(defined.definitions))
        try:
            made.append(
                change.draft(settings, each, usual[isinstance(each.schedule, After)], moment)
            )
        except TaskRunnerError as exc:
            faults.append(each.fault(str(exc), _key(str(exc)), known=isinstance(exc, InputError)))
    return made, like(defined, faults=faults)


def _key(sentence: str) -> str:
    """Return the key of the option in a message."""
    flag = DASHED.search(sentence)
    return flag[1].replace("-", "_") if flag else "user" * (" user " in sentence)


def _twice(definitions: Sequence[Definition]) -> list[Fault]:
    """Return a fault for each task that is defined a second time."""
    first: dict[str, Definition] = {}
    faults = []
    for each in definitions:
        before = first.setdefault(each.name, each)
        if before is not each:
            where = f"{before.place}, line {before.lines.get('', 0)}"
            faults.append(each.fault(f"it is defined a second time, after {where}"))
    return faults


def refuse(faults: Iterable[Fault]) -> None:
    """Raise one error with all faults, by file and line; do nothing when there are none."""
    known = sorted(set(faults), key=lambda each: (each.place, each.line, each.text))
    if not known:
        return
    kind = InputError if any(each.known for each in known) else StateError
    raise kind("\n".join(map(str, known)))


# ---- checks between tasks


def _chain_faults(
    made: Sequence[Draft], stored: dict[str, Task], names: Iterable[str]
) -> list[Fault]:
    """Return faults of tasks without a parent, or that come after themselves."""
    parents = dict.fromkeys(names) | {task.name: _parent(task) for task in stored.values()}
    parents |= {each.given.name: None for each in made}
    for each in made:
        if isinstance(each.whole, After):
            parents[each.given.name] = each.whole.parent
    faults = []
    for each in made:
        parent = parents[each.given.name]
        if parent is not None and parent not in parents:
            text = (
                f"it runs after {shown(parent)}, which is neither defined here nor in the database"
            )
            faults.append(each.given.fault(text, "after", known=False))
        elif circle := _circle(each.given.name, parents):
            text = f"it runs after itself: {' after '.join(circle)}"
            faults.append(each.given.fault(text, "after"))
    return faults


def _parent(task: Task) -> str | None:
    return task.schedule.partition(":")[0] if task.kind is Kind.AFTER else None


def _circle(name: str, parents: dict[str, str | None]) -> list[str]:
    """Return the tasks from one back to itself, empty when it is in no circle."""
    chain, above = [name], parents.get(name)
    while above is not None and above not in chain:
        chain.append(above)
        above = parents.get(above)
    return [*chain, name] if above == name else []


def _group_faults(made: Sequence[Draft], stored: dict[str, Task]) -> list[Fault]:
    """Return faults of tasks that contradict others about the limit of a group."""
    limits = {
        task.group: (task.group_limit, name)
        for name, task in stored.items()
        if task.group is not None and task.group_limit is not None
    }
    faults = []
    for each in made:
        group, limit = each.values["group"], each.values["group_limit"]
        if group is None or limit is None:
            continue
        before, name = limits.setdefault(group, (limit, each.given.name))
        if before != limit:
            text = (
                f"group {shown(f'{group}:{limit}')} contradicts {name}, which says {group}:{before}"
            )
            faults.append(each.given.fault(text, "group"))
    return faults


def _owner_faults(made: Sequence[Draft], old: dict[str, Task], ours: Container[str]) -> list[Fault]:
    """Return faults of tasks that belong to another existing file."""
    faults = []
    for each in made:
        task = old.get(each.given.name)
        source = None if task is None else task.source
        if source is not None and source not in ours and os.path.isfile(source):
            text = f"it belongs to {source}: take it out there, or apply both files together"
            faults.append(each.given.fault(text, known=False))
    return faults


# ---- one step each


def _step(store: Store, draft: Draft, old: Task | None, moment: datetime) -> Step:
    """Return the change for one definition."""
    return _added(store, draft, moment) if old is None else _changed(store, draft, old, moment)


def _added(store: Store, draft: Draft, moment: datetime) -> Step:
    values = change.of_new(store, draft, moment)
    told = [_next(values["next"], draft.whole)]
    if draft.passed(moment, now=draft.given.now):
        told = [f"its instant, {draft.whole.text}, has passed: it will not run"]
    elif not values["enabled"]:
        told = ["disabled"]
    elif draft.given.now:
        told.insert(0, "a run at once")
    return Step(Planned(draft.given.name, "add", (draft.whole.describe(), *told)), None, values)


def _next(slot: datetime | None, whole: Schedule) -> str:
    return "no slot of its own" if slot is None else f"next slot {_local(slot, whole)}"


def _local(slot: datetime | None, whole: Schedule) -> str:
    """Return a slot by the clocks of its task's zone."""
    if slot is None:
        return "none"
    tz = getattr(whole, "tz", None) or "UTC"
    return f"{instants.spell(zones.local(slot, zones.zone(tz)))} ({zones.told(tz)})"


def _changed(store: Store, draft: Draft, old: Task, moment: datetime) -> Step:
    values = change.of_old(store, draft, old, moment)
    if not values:
        return Step(Planned(old.name, "keep"), old, {})
    moved = change.moved(draft, old)
    told = _consequences(store, old, like(old, **values), draft.whole, moved, moment)
    return Step(Planned(old.name, "change", tuple(filter(None, told))), old, values)


def _consequences(
    store: Store, old: Task, new: Task, whole: Schedule, moved: bool, moment: datetime
) -> list[str]:
    untold = {key: getattr(old, key) for key in (*ledger.TIMING, "evaluated", "source")}
    told = [ledger.difference(old, like(new, **untold))]
    if new.source != old.source:
        told.append(f"belongs to {new.source} from now on")
    if new.enabled != old.enabled:
        told.append("is scheduled again" if new.enabled else "is no longer scheduled")
    if moved:
        told += _moves(old, new, whole, moment)
    if any(getattr(old, key) != getattr(new, key) for key in AT_START):
        told += _live(store.runs.live(old.id))
    return told


def _moves(old: Task, new: Task, whole: Schedule, moment: datetime) -> list[str]:
    """Return the consequences of a new schedule; the old one may be invalid."""
    try:
        was = of_task.value_of(old)
    except InputError as exc:
        return [f"{whole.describe()}, instead of what could not be evaluated: {exc}"]
    now, before = whole.describe(), was.describe()
    told = [f"{now}, instead of {before}"] if now != before else []
    return [*told, _move(old, new, was, whole), _lost(old, was, moment)]


def _move(old: Task, new: Task, was: Schedule, whole: Schedule) -> str:
    before = "none" if old.next is None else _local(old.next, was)
    after = "none" if not new.enabled else _local(new.next, whole)
    if before == after:
        return f"next slot stays {after}"
    place = after[after.rfind(" (") :] if "(" in after else " "
    return f"next slot moves from {before.removesuffix(place)} to {after}"


def _lost(old: Task, was: Schedule, moment: datetime) -> str:
    """Return a phrase about due slots that no tick has handled yet."""
    if not old.enabled or old.next is None or old.next > moment:
        return "no slot lost"
    count, more = counting.count(was, old.evaluated, moment)
    many = f"{'more than ' * more}{count} slot{'s' * (count != 1)}"
    return f"{many} that came due and that no tick has handled yet will not run"


def _live(runs: Sequence[Run]) -> list[str]:
    waiting = sum(run.state is State.PENDING for run in runs)
    going = len(runs) - waiting
    told = [f"{_many(going, 'run')} keep{'s' * (going == 1)} the old settings"] if going else []
    if waiting:
        told.append(f"{_many(waiting, 'waiting run')} take{'s' * (waiting == 1)} the new ones")
    return told


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _removed(store: Store, old: Task, staying: Container[str]) -> Step:
    runs = store.runs.count(old.id)
    followers = [each.name for each in store.tasks.followers(old.name) if each.name in staying]
    told = [f"{_many(runs, 'run')} stay{'s' * (runs == 1)} in history"] if runs else []
    if followers:
        told.append(f"{', '.join(followers)} ran after it and will not run any more")
    return Step(Planned(old.name, "remove", tuple(told)), old, {})


def _busy(store: Store, old: Task) -> list[Fault]:
    live = store.runs.live(old.id)
    if not live:
        return []
    text = f"{old.name} is not removed: {policy.named(live)} has not ended; wait, or cancel it"
    return [Fault("", 0, text, known=False)]


# ---- all of it


def compare(
    store: Store,
    made: Sequence[Draft],
    owned: Callable[[str], bool] | None = None,
    defined: Defined = NOTHING,
) -> Comparison:
    """Compare drafts with the existing tasks; `owned` tasks without a draft are to be removed.

    Raises InputError or StateError with all faults.
    """
    old = {task.name: task for task in store.tasks.all()}
    names = {each.given.name for each in made} | defined.names
    gone = [task for name, task in old.items() if name not in names and _owns(owned, task)]
    others = {name: old[name] for name in old.keys() - names - {task.name for task in gone}}
    against = [*_chain_faults(made, others, names), *_group_faults(made, others)]
    against += _owner_faults(made, old, defined.sources)
    refuse([*defined.faults, *against, *(fault for task in gone for fault in _busy(store, task))])
    return Comparison(old, gone, others.keys() | names)


def only(task: Task) -> Comparison:
    """Return a comparison with this task only."""
    return Comparison({task.name: task}, (), (task.name,))


def steps(
    store: Store,
    made: Sequence[Draft],
    compared: Comparison,
    moment: datetime,
    progress: Progress = untold,
) -> list[Step]:
    """Return the steps that create, change and remove tasks."""
    steps = []
    for number, each in enumerate(made):
        progress("tasks compared", number, len(made))
        steps.append(_step(store, each, compared.old.get(each.given.name), moment))
    return [*steps, *(_removed(store, task, compared.staying) for task in compared.gone)]


def _owns(owned: Callable[[str], bool] | None, task: Task) -> bool:
    return owned is not None and task.source is not None and owned(task.source)


def carry_out(
    here: OpenHome,
    steps: Sequence[Step],
    moment: datetime,
    progress: Progress = untold,
    by: str | None = None,
) -> None:
    """Write the changes; inside a transaction of the caller."""
    change.add(here, [step.values for step in steps if step.planned.action == "add"], moment, by)
    for number, step in enumerate(steps):
        progress("tasks written", number, len(steps))
        if step.old is not None and step.planned.action == "change":
            change.change(here, step.old, step.values, moment, by)
        elif step.old is not None and step.planned.action == "remove":
            change.remove(here, step.old, moment, by)


def told(steps: Sequence[Step], *, dry_run: bool) -> Plan:
    """Return the plan as a record, by name."""
    return Plan(sorted((step.planned for step in steps), key=lambda each: each.task), dry_run)
