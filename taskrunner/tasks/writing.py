"""Write tasks as the text of a task file."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from taskrunner.errors import InputError
from taskrunner.model.values import Kind, Task
from taskrunner.render import documents, page, spelling
from taskrunner.tasks import options
from taskrunner.tasks.taskfile import KEYS

BARE = re.compile(r"[A-Za-z0-9_-]+")


def write(
    tasks: Iterable[Task], usual: Mapping[str, Any], *, secrets: bool = False
) -> tuple[str, list[str]]:
    """Return tasks as the text of a task file, and the names of those with hidden secret values.

    `usual` are the default options; `secrets` shows secret values.
    """
    parts, hiding = [], []
    for task in tasks:
        values = _values(task, usual)
        if "env" in values and not secrets:
            masked = spelling.masked(task.env)
            hiding += [task.name] if masked != task.env else []
            values["env"] = masked
        body = [f"{key} = {_written(key, values[key])}" for key in KEYS if key in values]
        parts.append("\n".join([f"[tasks.{_key(task.name)}]", *body]) + "\n")
    return "\n".join(parts), hiding


def definition(name: str, given: Mapping[str, Any]) -> str:
    """Return the text of a task file with one task; a key without a value is left out."""
    body = [
        f"{_key(key)} = {_written(key, value)}" for key, value in given.items() if value is not None
    ]
    return "\n".join([f"[tasks.{_key(name)}]", *body]) + "\n"


def _values(task: Task, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys and values of a task for a file."""
    ours = options.defaults()
    found: dict[str, Any] = {task.kind: task.schedule or True}
    if task.kind is Kind.ON:
        found["on"], _, found["at_time"] = task.schedule.partition(" at ")
    if task.kind in (Kind.CRON, Kind.EVERY, Kind.ON, Kind.AT):
        found["tz"] = task.tz
    if task.anchor is not None:
        found["anchor"] = documents.instant(task.anchor)
    found |= {"from_finish": True} if task.from_finish else {}
    found |= {} if task.enabled else {"enabled": False}
    found |= {"command": task.command} if task.command else {}
    found |= {} if task.shell is None else {"shell": task.shell}
    for name, option in options.OPTIONS.items():
        value = _whole(name, vars(task))
        # A task after another has a different default, unless the settings give one for all.
        own = name == "overlap" and task.kind is Kind.AFTER
        if own or not value == _whole(name, ours) == _whole(name, usual):
            found[name] = _typed(option, task)
    return found


def _whole(name: str, values: Mapping[str, Any]) -> Any:
    """Return the value of an option; a group has two."""
    return (values["group"], values["group_limit"]) if name == "group" else values[name]


def _typed(option: options.Option, task: Task) -> Any:
    """Return an option as written in a file; false for one without a value."""
    found = options.written(option, task)
    if found is None:
        return "none" if option.name == "timeout" else False
    return found


def _written(key: str, value: Any) -> str:
    """Return a value as TOML; a shell text of several lines as a multi-line string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        items = value.items() if key == "args" else sorted(value.items())  # their order matters
        pairs = ", ".join(f"{_key(name)} = {_written(key, each)}" for name, each in items)
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_written(key, each) for each in value)}]"
    if value is None:
        raise InputError(f"{key} has no value: leave it out")
    plain = value.replace("\n", "").isprintable() and "'''" not in value
    if key in ("shell", "code") and "\n" in value and plain and value[-1] != "'":
        return f"'''\n{value}'''"
    return _quoted(str(value))


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    """Return a basic string of TOML with all invisible characters escaped; JSON has the same escapes."""
    plain = json.dumps(text, ensure_ascii=False)
    return page.UNSEEN.sub(lambda found: f"\\U{ord(found.group()):08x}", plain)
