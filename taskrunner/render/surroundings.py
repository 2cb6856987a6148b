"""The environment of a task as text and JSON, and its differences from the caller's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskrunner.render.page import visible
from taskrunner.render.spelling import MASK, masked

if TYPE_CHECKING:
    from taskrunner.model.answers import Environment


def variables(found: Environment, *, secrets: bool) -> str:
    """Return variables as lines that a shell can read, by name."""
    shown = found.variables if secrets else _hidden(found, found.variables)
    return "\n".join(_line(name, shown[name]) for name in sorted(shown))


def _hidden(found: Environment, values: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values hidden that are passed, or whose names look secret."""
    passed = {name: MASK for name in found.passed if name in values}
    return masked(values) | passed


def _line(name: str, value: str) -> str:
    return f"{name}={value if value == MASK else visible(shlex.quote(value))}"


def differences(found: Environment, caller: Mapping[str, str], *, secrets: bool) -> str:
    """Return the variables only the caller has, with -, and those only the task has, with +, by name."""
    return "\n".join(
        f"{sign}{_line(name, value if secrets else _hidden(found, {name: value})[name])}"
        for sign, name, value in _different(found.variables, caller)
    )


def _different(
    task: Mapping[str, str], caller: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    for name in sorted(task.keys() | caller.keys()):
        if name in caller and caller[name] != task.get(name):
            yield "-", name, caller[name]
        if name in task and caller.get(name) != task[name]:
            yield "+", name, task[name]


def missing_places(task: Mapping[str, str], caller: Mapping[str, str]) -> list[str]:
    """Return the folders on the caller's PATH that are missing on that of the task."""
    known = task.get("PATH", "").split(":")
    mine = caller.get("PATH", "").split(":")
    return list(dict.fromkeys(folder for folder in mine if folder and folder not in known))


def environment_sentence(found: Environment) -> str:
    """Return a sentence with the program, directory, user and umask of a task."""
    program = found.program or f"{found.command[0]}, which is not found"
    return f"{found.task} starts {program} in {found.cwd} as {found.user}, with umask {found.umask:03o}"


def environment_document(
    found: Environment, caller: Mapping[str, str] | None, *, secrets: bool
) -> dict[str, Any]:
    """Return the environment of a task for a document, with `caller` also the differences."""
    task = found.variables if secrets else _hidden(found, found.variables)
    made: dict[str, Any] = {
        "task": found.task,
        "command": list(found.command),
        "program": found.program,
        "cwd": found.cwd,
        "user": found.user,
        "umask": f"{found.umask:03o}",
        "environment": dict(task),
    }
    if caller is not None:
        theirs = caller if secrets else _hidden(found, caller)
        names = {name for _, name, _ in _different(found.variables, caller)}
        made["differing"] = {
            name: {"task": task.get(name), "caller": theirs.get(name)} for name in sorted(names)
        }
    return made
