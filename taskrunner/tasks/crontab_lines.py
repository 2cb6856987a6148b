"""Import the lines of one crontab: find new lines, match the others with their tasks, and apply changes.

The database keeps each line as it was last imported, so that an edit of the crontab can be distinguished
from a change of the task. It must not know where crontabs are kept.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.clocks import cron_text, install_cron
from taskrunner.errors import InputError, StateError, TaskRunnerError, shown
from taskrunner.home.config import Config
from taskrunner.model.answers import CALLS_US, ImportedLine
from taskrunner.model.record import like, names_of, record
from taskrunner.model.values import Kind, Progress, Task, untold
from taskrunner.processes import account
from taskrunner.schedule import of_task
from taskrunner.schedule.kinds import Cron, Schedule
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.tasks import (
    change,
    columns,
    crontab,
    crontab_doubts,
    crontab_names,
    debian_cron,
    obstacles,
    options,
    plan,
    readers,
)
from taskrunner.tasks.change import Draft
from taskrunner.tasks.crontab import Line
from taskrunner.tasks.taskfile import Defined, Definition

GONE = "its line is gone"
AS_IT_WAS = "{} stays as it was"
OF_WORK = ("command", "shell", *options.OF_PYTHON)
OF_LINE = ("stdin", "description", "user", "cwd")


@record
class Tab:
    """A crontab to import: the name of its source, its text, and whether its lines have a user."""

    source: str
    text: str
    system: bool = False


@record
class Known:
    """A task that came from a line, and that line as it was last imported."""

    task: Task
    line: Line


# ---- match lines and tasks


def _work(line: Line) -> tuple[object, ...]:
    return (line.command, line.stdin, line.user)


def _said(line: Line) -> tuple[object, ...]:
    return (line.when, *_work(line))


def _base(line: Line) -> str:
    return crontab_names.name(line.command, ())


# Ways to recognise a line that was edited, the strictest first.
ALIKE: Sequence[Callable[[Line], object]] = (
    lambda line: (_said(line), *sorted(line.settings.items()), line.number),
    lambda line: (_said(line), *sorted(line.settings.items())),
    _said,
    _work,
    lambda line: (line.when, line.user, _base(line)),
    lambda line: (line.user, _base(line)),
    lambda line: (line.when, line.user, line.number),
)


def _pairs(lines: Sequence[Line], known: Sequence[Known]) -> tuple[dict[int, Known], list[Known]]:
    """Return the task of each line, by the line's number, and the tasks without a line."""
    found: dict[int, Known] = {}
    rest = list(known)
    for key in ALIKE:
        meant: dict[object, list[Known]] = {}
        for each in reversed(rest):
            meant.setdefault(key(each.line), []).append(each)
        for line in lines if rest else ():
            if line.number not in found and meant.get(same := key(line)):
                found[line.number] = meant[same].pop()
        taken = {each.task.id for each in found.values()}
        rest = [each for each in rest if each.task.id not in taken]
    return found, rest


# ---- lines in the database


def _fact(source: str) -> str:
    return f"imported {source}"


def _known(store: Store, tab: Tab) -> list[Known]:
    """Return the tasks of a source with their lines."""
    kept = {
        key: Line(**said) for key, said in json.loads(store.facts.get(_fact(tab.source)) or "[]")
    }
    return [
        Known(task, kept.get(task.id) or _guessed(task))
        for task in store.tasks.all()
        if task.source == tab.source
    ]


def _guessed(task: Task) -> Line:
    """Return the line that a task probably came from, derived from the task."""
    when = "@reboot" if task.kind is Kind.BOOT else task.schedule
    text = task.shell or (task.command[-1] if task.command else "")
    return Line(0, "", when, text, "", task.stdin, task.user, task.env, task.description)


def _written(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in names_of(Line)}


# ---- from line to task


def _given(settings: Config, line: Line) -> dict[str, Any]:
    """Return the options of a task from its line."""
    env = crontab.environment(line)
    if env.get("PATH") == settings.path:
        del env["PATH"]  # the same as the default
    given: dict[str, Any] = {"env": env, "timeout": None}  # cron has no timeout
    given |= {"stdin": line.stdin} if line.stdin is not None else {}
    given |= {"description": line.description} if line.description else {}
    given |= {"user": line.user} if line.user not in (None, install_cron.own_name()) else {}
    home = line.settings.get("HOME", "")
    given |= {"cwd": home} if os.path.isabs(home) else {}
    return given


class Importing:
    """One crontab being imported: the result for each line, the tasks to write, and the tasks whose line is gone."""

    def __init__(self, here: OpenHome, tab: Tab, moment: datetime) -> None:
        """Read the crontab, and which tasks came from it before."""
        self._here, self._tab, self._moment = here, tab, moment
        self._usual = options.usual(here.config.defaults)
        self._taken = {task.name for task in here.store.tasks.all()}
        lines, left = crontab.read(tab.text, system=tab.system, halves=install_cron.halves())
        called = cron_text.lines_that_call(tab.text.removeprefix(crontab.MARK), users=tab.system)
        own = {each.number for each in called}
        self._lines = [each for each in lines if each.number not in own]
        self.known = _known(here.store, tab)
        self._pairs, rest = _pairs(self._lines, self.known)
        moved = crontab.moved(tab.text)
        self.gone = [each for each in rest if not _is_moved(each, moved)]
        self._rest = rest
        self._stay: dict[str, Line] = {}  # by the names of tasks
        self.made: list[Draft] = []
        self.told = [_left(each.number, each.text.strip(), each.why) for each in left]
        self.told += [_left(n.number, n.command, CALLS_US) for n in lines if n.number in own]

    def take_all(self, progress: Progress = untold) -> None:
        """Import all usable lines."""
        for number, line in enumerate(self._lines):
            progress("lines compared with cron", number, len(self._lines))
            self.told.append(self._take(line, self._pairs.get(line.number)))
        self.told.sort(key=lambda each: each.line)

    def _take(self, line: Line, known: Known | None) -> ImportedLine:
        try:
            draft = self._draft(line, known)
        except TaskRunnerError as exc:
            notes = [str(exc), *crontab_doubts.of_fields(line)]
            if known is not None:
                self._stay[known.task.name] = known.line
                notes.append(AS_IT_WAS.format(known.task.name))
            return _left(line.number, line.command, *notes)
        self._stay[draft.given.name] = line
        if known is None:
            self._taken.add(draft.given.name)
            self.made.append(draft)
            return self._told(line, "add", draft, None)
        (step,) = plan.steps(self._here.store, [draft], plan.only(known.task), self._moment)
        if step.planned.action == "keep":
            return self._told(line, "keep", draft, known)
        self.made.append(draft)
        return self._told(line, "change", draft, known, step.planned.told)

    def _draft(self, line: Line, known: Known | None) -> Draft:
        """Return the draft for a line: its task with the changes of the line; raises InputError or StateError."""
        argv, shell = crontab.work(line)
        name = crontab_names.name(line.command, self._taken) if known is None else known.task.name
        given = _given(self._here.config, line)
        source = self._tab.source
        made = Definition(name, source, crontab.schedule(line), argv, shell, given=given)
        draft = change.draft(self._here.config, made, self._usual, self._moment)
        return draft if known is None else self._merged(draft, line, known)

    def _merged(self, draft: Draft, line: Line, known: Known) -> Draft:
        """Return a task with the changes of its line."""
        task, before = known.task, known.line
        was, now = _given(self._here.config, before), draft.given.given
        values = {key: getattr(task, key) for key in change.COLUMNS}
        changed = [key for key in OF_LINE if was.get(key) != now.get(key)]
        if _is_heading(line.description, task):
            changed = [key for key in changed if key != "description"]
        changed += OF_WORK if crontab.work(before) != crontab.work(line) else ()
        values |= {key: draft.values[key] for key in changed}
        values |= {"env": _merged_env(task.env, was["env"], now["env"])}
        when = ("when", "CRON_TZ")
        if [_of(before, each) for each in when] == [_of(line, each) for each in when]:
            whole = _as_it_is(task, draft.whole)
            return like(draft, given=like(draft.given, schedule=whole), whole=whole, values=values)
        return like(draft, values=values)

    def _told(
        self,
        line: Line,
        action: str,
        draft: Draft,
        known: Known | None,
        more: Sequence[str] = (),
    ) -> ImportedLine:
        """Return the result for an imported line, with the comparison of its slots and command with cron's."""
        differing, whole = None, draft.whole
        notes = [*more, *_unproved(line), *crontab_doubts.doubts(line, _is_user)]
        task = (
            _task(self._here.store, draft, self._moment)
            if known is None
            else like(known.task, **draft.values)
        )
        notes += [*obstacles.obstacles(task, self._here.config), *crontab.notes(line)]
        if isinstance(whole, Cron) and whole.tz is not None:
            differing, first = debian_cron.differences(whole.text, whole.tz, self._moment)
            notes += [f"slots that are not cron's: {', '.join(first)}"] if differing else []
        name = draft.given.name
        return ImportedLine(
            line.number, action, name, whole.describe(), line.command, differing, tuple(notes)
        )

    def defined(self) -> Defined:
        """Return the names of the tasks that stay."""
        moved = [each.task.name for each in self._rest if each not in self.gone]
        return Defined((), names=frozenset((*self._stay, *moved)))

    def owner(self, prune: bool) -> Callable[[str], bool] | None:
        """Return a test whether a source is this crontab, None when no task is to be removed."""
        return (lambda source: source == self._tab.source) if prune else None

    def keep(self, here: OpenHome, *, prune: bool) -> None:
        """Record the lines in a home; in the transaction of the caller, after the tasks."""
        store = here.store
        rest = [each for each in self._rest if not (prune and each in self.gone)]
        kept = [(each.task.id, _written(each.line)) for each in rest]
        kept += [(store.tasks.get(name).id, _written(line)) for name, line in self._stay.items()]
        text = json.dumps(sorted(kept, key=lambda each: each[0]))
        if text != (store.facts.get(_fact(self._tab.source)) or "[]"):
            store.facts.set(_fact(self._tab.source), text)


def _is_heading(text: str | None, task: Task) -> bool:
    """Return whether a comment is the heading that export writes above the line of a task."""
    return text is not None and text.partition(":")[0] == task.name


def _of(line: Line, what: str) -> str | None:
    return line.when if what == "when" else line.settings.get(what)


def _as_it_is(task: Task, whole: Schedule) -> Schedule:
    """Return the schedule of a task, or that of its line if the task's cannot be read."""
    try:
        return of_task.value_of(task)
    except InputError:
        return whole


def _merged_env(
    env: Mapping[str, str], was: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a task with the changes of the settings."""
    changed = {name for name in {*was, *now} if was.get(name) != now.get(name)}
    kept = {name: value for name, value in env.items() if name not in changed}
    return kept | {name: value for name, value in now.items() if name in changed}


def _is_moved(known: Known, moved: Sequence[tuple[str, str]]) -> bool:
    """Return whether the line of a task was commented out on import."""
    return any(
        known.task.name == name or known.line.text.strip() == text.strip() for name, text in moved
    )


def _task(store: Store, draft: Draft, moment: datetime) -> Task:
    """Return the task of a draft."""
    values = {**draft.values, **columns.timing(store, draft.whole, moment)}
    return Task(id=0, enabled=True, created=moment, **values)


def _is_user(name: str) -> bool:
    try:
        return readers.NAME.fullmatch(name) is not None and bool(account.account(name))
    except StateError:
        return False


def _unproved(line: Line) -> list[str]:
    """Return a sentence when the command of a task differs from cron's."""
    theirs = debian_cron.work(line.text, users=line.user is not None, halves=install_cron.halves())
    same = theirs == (line.command, line.stdin)
    return [] if same else [f"its command is not cron's, which is {shown(theirs[0])}"]


def _left(number: int, text: str, *why: str) -> ImportedLine:
    return ImportedLine(number, "leave", None, None, text, None, why)


def removed(known: Known) -> ImportedLine:
    """Return the result for a task that is removed with its line."""
    return ImportedLine(
        known.line.number, "remove", known.task.name, None, known.line.command, None, (GONE,)
    )


def still_there(known: Known) -> str:
    """Return the sentence about a task that stays without its line."""
    name = known.task.name
    where = f"line {known.line.number}" if known.line.number else "a line"
    still = ", and still runs" if known.task.enabled else ""
    return f"{name} came from {where}, which is gone{still}: `taskrunner remove {name}`, or import with --prune"
