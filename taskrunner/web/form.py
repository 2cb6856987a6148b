"""The form that defines a task: its fields, the check of its text, and the writing.

A form becomes the text of a task file with one key a line, so the check is that of task files, and each fault has its
field. It must not know Flask.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any

from taskrunner.errors import InputError, StateError, UnknownTask, shown
from taskrunner.model.record import record
from taskrunner.model.values import CatchUp, Overlap
from taskrunner.schedule import kinds
from taskrunner.tasks import columns, options
from taskrunner.tasks.taskfile import DETAILS, WHEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taskrunner.api.task_runner import TaskRunner
    from taskrunner.model.answers import Upcoming
    from taskrunner.model.values import Task
    from taskrunner.schedule.kinds import Schedule

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months", "s": "seconds"}
ENDS = {"succeeded": "succeeded", "failed": "failed", "any": "ended in any way"}
WORK = {
    "shell": "A line for the shell",
    "command": "A program and its words",
    "code": "Python code",
}
# The options that the form has, in its order; the others of a task stay as they are.
MORE = (
    *("timeout", "retries", "retry_delay", "overlap", "catch_up", "deadline"),
    *("group", "cwd", "on_failure", "description"),
)
CHOICES = {"overlap": [str(each) for each in Overlap], "catch_up": [str(each) for each in CatchUp]}
EMPTY: dict[str, str] = {
    "name": "",
    "kind": "every",
    "every": "1",
    "unit": "d",
    "cron": "",
    "on": "",
    "at_time": "",
    "date": "",
    "time": "",
    "after": "",
    "ends": "succeeded",
    "tz": "",
    "work": "shell",
    "text": "",
    "seen": "",  # the definition that the form was filled from, hashed
    **dict.fromkeys(MORE, ""),
}
LINE = re.compile(r"(?:stdin, line ([0-9]+): )?(.*)", re.S)
FIELDS = {"at": "date", "shell": "text", "command": "text", "code": "text"}  # of keys
SLOTS = 5
# The slots are listed, and a form, unlike a task file, leaves a task with its source.
UNTOLD = ("next slot ", "belongs to ")


@record
class Old:
    """A task as it is: the fields of the form, and the whole definition as a task file has it."""

    task: Task
    fields: dict[str, str]
    definition: dict[str, Any]

    @property
    def others(self) -> list[str]:
        """The options it has that the form does not."""
        known = {*WHEN, *WORK, *MORE, "anchor", "at_time", "tz", "enabled"}
        return sorted(set(self.definition) - known)


@record
class Checked:
    """The result of a check: faults by field ("" for the whole), else the consequences, and the next slots."""

    definition: dict[str, Any]
    faults: dict[str, list[str]]
    told: tuple[str, ...] = ()
    next: tuple[Upcoming, ...] = ()


def of_task(runner: TaskRunner, name: str) -> Old:
    """Return a task for the form; raises UnknownTask."""
    task = runner.task(name)
    text = runner.export(task.id, secrets=True).text
    found: dict[str, Any] = tomllib.loads(text)["tasks"][task.name]
    seen = json.dumps([task.id, {**found, "enabled": None}], sort_keys=True, default=str)
    work = next((each for each in WORK if each in found), "")
    written = found.get(work, "")
    fields = {
        **EMPTY,
        "name": task.name,
        "kind": str(task.kind),
        "seen": hashlib.sha256(seen.encode()).hexdigest(),
        "tz": found.get("tz", ""),
        "work": work,
        "text": shlex.join(written) if isinstance(written, list) else written,
        **{key: str(found[key]) for key in MORE if key in found},
        **_when(found),
    }
    return Old(task, fields, found)


def _when(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a schedule."""
    if "every" in found:
        number = re.fullmatch(r"([0-9]+)([a-z]+)", found["every"])
        if number and number[2] in UNITS:
            return {"every": number[1], "unit": number[2]}
        return {"every": found["every"], "unit": ""}
    if "at" in found:
        day, _, time = found["at"].replace(" ", "T").partition("T")
        return {"date": day, "time": time}
    if "after" in found:
        parent, _, ends = found["after"].partition(":")
        return {"after": parent, "ends": ends or "succeeded"}
    return {key: found[key] for key in ("cron", "on", "at_time") if key in found}


# ---- the definition that is typed


def typed(fields: Mapping[str, str], old: Old | None) -> dict[str, Any]:
    """Return the definition that the fields stand for, with what the form does not show of an old one."""
    found: dict[str, Any] = {} if old is None else dict(old.definition)
    kind = fields["kind"] if fields["kind"] in WHEN else "every"
    others = [key for key, schedule in DETAILS.items() if kind != schedule]
    for key in (*WHEN, "tz", "at_time", *others):
        found.pop(key, None)
    found[kind] = _schedule(kind, fields)
    if kind == "on" and fields["at_time"].strip():
        found["at_time"] = fields["at_time"].strip()
    if fields["tz"].strip() and kind in ("every", "cron", "on", "at"):
        found["tz"] = fields["tz"].strip()
    if fields["work"] in WORK:
        for key in (*options.WORK, "args"):
            found.pop(key, None)
        found[fields["work"]] = _work(fields["work"], fields["text"])
    for key in MORE:
        found.pop(key, None)
        if fields[key].strip():
            found[key] = fields[key].strip()
    return found


def _schedule(kind: str, fields: Mapping[str, str]) -> Any:
    if kind == "every":
        return f"{fields['every'].strip()}{fields['unit']}"
    if kind == "at":
        return f"{fields['date'].strip()}T{fields['time'].strip() or '00:00'}"
    if kind == "after":
        ends = fields["ends"]
        return f"{fields['after'].strip()}{'' if ends == 'succeeded' else f':{ends}'}"
    return fields[kind].strip() if kind in ("cron", "on") else True


def _work(kind: str, text: str) -> Any:
    text = text.replace("\r\n", "\n")
    if kind != "command":
        return text if kind == "code" else text.strip()
    try:
        return shlex.split(text)
    except ValueError:  # an open quote: the check of the words tells
        return []


# ---- check


def check(runner: TaskRunner, old: Old | None, fields: Mapping[str, str]) -> Checked:
    """Return all faults of the fields, or the consequences of saving them; writes nothing."""
    found = typed(fields, old)
    name = old.task.name if old is not None else fields["name"].strip()
    faults = {field: [text] for field, text in _own_faults(runner, old, name, fields)}
    keys, text = _file(name, found)
    told: tuple[str, ...] = ()
    try:
        plan = runner.apply(text=text, dry_run=True)
        told = tuple(each for each in plan.tasks[0].told if not each.startswith(UNTOLD))
    except (InputError, StateError) as exc:
        known = set(faults)  # a fault that is told already is not told again in other words
        for line in str(exc).split("\n"):
            field, fault = _fault(line, name, keys)
            if field not in known:
                faults.setdefault(field, []).append(fault)
    if faults:
        return Checked(found, faults)
    slots = runner.upcoming(schedule(runner, found), tz=found.get("tz"), count=SLOTS)
    if not slots and "at" in found and (old is None or old.definition.get("at") != found["at"]):
        return Checked(found, {"date": [f"{shown(found['at'])} is in the past: give a later time"]})
    return Checked(found, {}, told, tuple(slots))


def _own_faults(
    runner: TaskRunner, old: Old | None, name: str, fields: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Give the faults that no task file can have, each with its field."""
    if old is not None and fields["seen"] not in ("", old.fields["seen"]):
        yield (
            "",
            f"{shown(name)} was changed after this form was opened, and saving it again undoes that: look at the task first",
        )
    if old is None and not name:
        yield "name", "the task needs a name: such as backup"
    elif old is None and _is_there(runner, name):
        yield "name", f"there is already a task {shown(name)}: give this one another name"
    if fields["work"] == "command" and not fields["text"].strip():
        yield "text", "there is no command: write a program and its words"
    elif fields["work"] == "command":
        try:
            shlex.split(fields["text"])
        except ValueError as exc:
            yield "text", f"the words cannot be told apart ({exc}): close each quote"
    place = fields["cwd"].strip()
    if place and not place.startswith(("/", "~")):  # relative to nothing that a visitor can see
        yield "cwd", f"{shown(place)} is a relative path: write the whole path"


def _is_there(runner: TaskRunner, name: str) -> bool:
    try:
        return runner.task(name).name == name
    except UnknownTask:
        return False


def _file(name: str, found: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return a definition as the text of a task file, one key a line, and the keys of the lines."""
    keys = list(found)
    lines = [f"[tasks.{_toml(name)}]", *(f"{_toml(key)} = {_toml(found[key])}" for key in keys)]
    return ["name", *keys], "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):  # JSON leaves DEL as it is, which TOML does not take
        return json.dumps(value).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _fault(line: str, name: str, keys: list[str]) -> tuple[str, str]:
    """Return the field that a fault of a file belongs to, and the fault without its place."""
    found = LINE.fullmatch(line)
    assert found is not None
    number, text = int(found[1] or 0), found[2].removeprefix(f"{name}: ")
    key = keys[number - 1] if 0 < number <= len(keys) else ""
    field = FIELDS.get(key, key)
    return (field if field in EMPTY else ""), text


def schedule(runner: TaskRunner, found: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a definition that has been checked."""
    said = {key: found.get(key) for key in WHEN}
    whole = columns.schedule_of(None, said, found.get("at_time"))
    assert whole is not None
    if isinstance(whole, kinds.Every):
        anchor = found.get("anchor")
        return kinds.Every(
            whole.interval,
            None if anchor is None else runner.moment(anchor),
            from_finish=found.get("from_finish", False),
        )
    return whole


# ---- write


def save(runner: TaskRunner, old: Old | None, checked: Checked, name: str, who: str | None) -> str:
    """Write a definition that was checked and return the name of the task; raises what the library does."""
    found = checked.definition
    given: dict[str, Any] = {key: found[key] for key in (*MORE, "code") if key in found}
    work: dict[str, Any] = {key: found.get(key) for key in ("command", "shell")}
    when: dict[str, Any] = {"schedule": schedule(runner, found), "tz": found.get("tz")}
    if old is None:
        return runner.add(name, **work, **when, **given, by=who).name
    usual, before = runner.defaults(), old.definition
    changed = {k: given.get(k, usual[k]) for k in MORE if found.get(k) != before.get(k)}
    if any(found.get(key) != before.get(key) for key in WORK):
        changed |= work | {key: given[key] for key in ("code",) if key in given}
    if any(found.get(key) != before.get(key) for key in (*WHEN, "tz", *DETAILS)):
        changed |= when
    return runner.set(old.task.id, **changed, by=who).name if changed else old.task.name
