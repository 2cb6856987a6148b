"""Columns of tasks: check a request to add or change one, and turn it into what its row holds.

All faults are found here, before anything is written.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock, host
from taskrunner.decide import policy, slots
from taskrunner.errors import InputError, ScheduleError, StateError, advice, shown
from taskrunner.home import channels, config, notify_rules
from taskrunner.home.config import Config
from taskrunner.model.values import Kind, Task
from taskrunner.processes import account
from taskrunner.schedule import describe, kinds
from taskrunner.schedule.kinds import After, At, Every, On, Schedule
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up
from taskrunner.tasks import options, python, readers


def work(
    name: str, argv: Sequence[str] | None, shell: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the name and the columns of the command; options that do not go with it are cleared.

    Exactly one of command, shell text and the options for Python must be given; `given` are the options, read.
    """
    said = {"command": argv, "shell": shell} | {each: given.get(each) for each in options.PYTHON}
    chosen = [each for each, value in said.items() if value is not None]
    if len(chosen) > 1:
        both = describe.join(options.WORK[each] for each in chosen)
        raise InputError(f"the task {shown(name)} has {both}: give one of them")
    if not chosen or said[chosen[0]] == []:
        raise InputError(
            f"the task {shown(name)} has no command: write it after --, or give --shell TEXT or --python MODULE:NAME"
        )
    check_python(chosen[0], given)
    return {
        "name": readers.name(name),
        "command": readers.argv(argv),
        "shell": readers.shell(shell),
        **{each: said[each] for each in options.PYTHON},
        **({} if chosen[0] == "python" else {"args": None}),
        **({} if chosen[0] in options.PYTHON else {"interpreter": None, "django": None}),
    }


def kind_of_work(task: Task) -> str:
    """Return which option holds the command of a task."""
    return next((each for each in options.WORK if getattr(task, each) not in (None, ())), "command")


def check_python(kind: str, given: Mapping[str, Any]) -> None:
    """Raise InputError for options of Python that do not go with this kind of command."""
    if given.get("args") is not None and kind != "python":
        raise InputError(f"--args {shown(given['args'])} goes only with --python")
    for each in ("interpreter", "django"):
        if given.get(each) is not None and kind not in options.PYTHON:
            raise InputError(
                f"--{each} {shown(given[each])} goes only with --python, --code or --code-file"
            )


def check_code(code: str | None, interpreter: str | None, name: str | None = None) -> None:
    """Raise InputError for code that does not compile; code for another interpreter is not checked."""
    if code is not None and interpreter is None:
        try:
            python.check(code)
        except InputError as exc:
            whose = "" if name is None else f"the task {shown(name)}: "
            raise InputError(f"{whose}--code cannot be run, {exc}") from exc


def schedule_of(
    whole: Schedule | None, said: Mapping[str, Any], at_time: str | None = None
) -> Schedule | None:
    """Return the schedule given as a value, or as a keyword such as every="1d"; None when there is none."""
    words_said = {kind: value for kind, value in said.items() if value not in (None, False)}
    if len(words_said) + (whole is not None) > 1:
        both = describe.join([*words_said, *(["schedule"] if whole is not None else [])])
        raise InputError(f"{both} are several schedules: give one of them")
    if at_time is not None and "on" not in words_said:
        raise InputError(f"--at-time {shown(at_time)} goes only with --on")
    for kind, value in words_said.items():
        if kind == "on":
            return On(value, at_time)
        text = "" if value is True else value
        return kinds.parse(Kind(kind), text, tz=None, anchor=None, from_finish=False)
    return whole


def timing(
    store: Store, whole: Schedule, moment: datetime, evaluated: datetime | None = None
) -> dict[str, Any]:
    """Return the columns of a schedule, counted from `moment`.

    After a small step back of the clock nothing is due before the task was `evaluated` last.
    """
    if evaluated is not None and timedelta(0) < evaluated - moment <= clock.STEP_BACK:
        moment = evaluated
    delay = isinstance(whole, Every) and whole.from_finish
    first = whole.next_after(moment)
    if first is None and delay and isinstance(whole, Every):
        first = whole.after_finish(moment)
    return {
        "kind": Kind(whole.kind),
        "schedule": whole.text,
        "tz": getattr(whole, "tz", None),
        "anchor": getattr(whole, "anchor", None),
        "from_finish": delay,
        "evaluated": moment,
        "next": first,
        "following": None if first is None or delay else whole.next_after(first),
        "boot_id": _boot(store) if whole.kind == Kind.BOOT else None,
        "error": None,
    }


def _boot(store: Store) -> str:
    """Return the newest known boot of this machine: a new boot task waits for the next one."""
    known, machine = store.facts.boot(), host.boot_id()
    return machine if known is None or host.is_new_boot(machine, known) else known


def give_up(here: OpenHome, task: Task, moment: datetime) -> None:
    """Record due slots as missed that no tick has handled before a task got another schedule.

    In the transaction of the caller, before the change.
    """
    if not task.enabled or task.next is None or task.next > moment:
        return
    with suppress(InputError):  # an invalid schedule has no slots to record
        span, _, _ = slots.open_slots(task, moment)
        if span is not None:
            who = account.account(None)[0]
            why = f"no tick had handled it when {who} changed the schedule"
            follow_up.write(here, policy.given_up(task, span, why, moment), moment)


def revived(task: Task) -> dict[str, Any]:
    """Return the columns that make a finished one-off due again."""
    retired = task.kind is Kind.AT and task.next is None
    return {"enabled": True} if retired else {}


def check_enabled(task: Task, changes: Mapping[str, Any]) -> None:
    """Refuse an immediate run of a disabled task: no tick would start it."""
    if not changes.get("enabled", task.enabled):
        raise StateError(
            f"{task.name} is disabled: enable it first, or use `taskrunner run {task.name}`"
        )


def same_schedule(old: Task | None, given: Schedule, whole: Schedule) -> bool:
    """Return whether a redefined task keeps its schedule; an omitted anchor is not a difference."""
    if old is None:
        return False
    anchor = getattr(given, "anchor", None)
    return (
        (old.kind, old.schedule, old.tz) == (whole.kind, whole.text, getattr(whole, "tz", None))
        and old.from_finish == getattr(whole, "from_finish", False)
        and (anchor is None or anchor == old.anchor)
    )


def _check_chain(store: Store, name: str, parent: str) -> None:
    """Raise unless the parent exists and does not itself come after the task."""
    chain, above = [name], parent
    while True:
        if above == name:
            raise StateError(
                f"{name} cannot run after {parent}: that is a circle ({' after '.join([*chain, above])})"
            )
        chain.append(above)
        task = store.tasks.get(above)
        if task.kind is not Kind.AFTER:
            return
        above = task.schedule.partition(":")[0]


def completed(
    settings: Config, given: Schedule, tz: str | None, moment: datetime, before: str | None = None
) -> Schedule:
    """Return a schedule with zone and anchor: its own, else the given, the previous, the default one."""
    own = getattr(readers.schedule(given, tz), "tz", None)
    if tz is not None and own is not None and tz != own:
        raise InputError(
            f"the zone {shown(tz)} contradicts the {shown(own)} of the schedule: give one of them"
        )
    where = own or tz or before or config.default_zone(settings)
    return kinds.complete(given, tz=where, now=moment)


def check_new(store: Store, name: str, whole: Schedule, now: bool, moment: datetime) -> None:
    """Refuse a one-off in the past and a circular chain."""
    if isinstance(whole, At) and whole.instant <= moment and not now:
        raise ScheduleError(
            f"{shown(whole.text)} is in the past: give a later instant, or run it at once with --now"
        )
    if isinstance(whole, After):
        _check_chain(store, name, whole.parent)


def check_group(store: Store, name: str, group: str | None, limit: int | None) -> None:
    """Refuse a limit of a group that contradicts the limit of another of its tasks."""
    for other in store.tasks.of_group(group) if group is not None and limit is not None else []:
        if other.name != name and other.group_limit not in (None, limit):
            raise StateError(
                f"--group {group}:{limit} contradicts {other.name}, whose limit of that group is "
                f"{other.group_limit}: give one of the two, or --group {group} without a limit"
            )


def check_account(user: str | None) -> None:
    """Raise StateError unless tasks of ours can run as this user."""
    if user is None:
        return
    account.account(user)
    if os.geteuid() != 0 and user != account.account(None)[0]:
        raise StateError(f"only root can run tasks as {shown(user)}: add the task as that user")


def check_queue(settings: Config, queue: str | None) -> None:
    """Raise StateError for a queue that is not in the settings, or whose engine is not installed; InputError for a mistake."""
    if queue is None:
        return
    if queue not in settings.queues:
        known = f"known are {', '.join(settings.queues)}" if settings.queues else "there is none"
        told = advice(queue, settings.queues, f"{known}; add [queues.{queue}]")
        raise StateError(f"--queue {shown(queue)} is not a queue of taskrunner.toml: {told}")
    mistake = settings.queues[queue].mistake
    if mistake is not None:
        raise InputError(mistake)
    missing = settings.queues[queue].missing()
    if missing is not None:
        raise StateError(missing)


def check_mailer(settings: Config, values: Mapping[str, Any]) -> None:
    """Raise StateError, with advice, for mail addresses on a host that cannot send mail."""
    for whom in notify_rules.targets(values.get("on_failure"), values.get("notify") or {}):
        to = notify_rules.addressed(whom)
        if to and channels.mailer(settings.notify, to) is None:
            raise StateError(channels.no_mailer(to))
