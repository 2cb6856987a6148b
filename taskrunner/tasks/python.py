"""Functions and texts of Python as tasks: their spelling, and the folder of a function's module.

Nothing is imported or executed here: the interpreter that will run them may be another one. It must not know
tasks.
"""

import json
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

from taskrunner.errors import InputError, shown

LONGEST = 100_000  # bytes of a text passed as one argument; the kernel allows 128 KiB (execve(2))
DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
FUNCTION = re.compile(rf"{DOTTED}:{DOTTED}")
MODULE = re.compile(DOTTED)
PROGRAM = re.compile(r"(?:python|pypy)[0-9.]*t?")
PACKAGES = re.compile(r"/(?:site|dist)-packages(?:/|$)")


# ---- options


def spelling(value: Any) -> str | None:
    """Return the spelling of a function, as in entry points of packages, checked; raises InputError."""
    if value is None or (isinstance(value, str) and FUNCTION.fullmatch(value)):
        return value
    near = ""
    if isinstance(value, str) and MODULE.fullmatch(value) and "." in value:
        near = f"; did you mean {':'.join(value.rsplit('.', 1))}?"
    raise InputError(f"it must be a function as MODULE:NAME, such as app.tasks:clean{near}")


def settings(value: Any) -> str | None:
    """Return the name of a module of settings, checked; raises InputError."""
    if value is None or (isinstance(value, str) and MODULE.fullmatch(value)):
        return value
    raise InputError("it must be a module of settings, such as crm.settings")


def arguments(value: Any) -> list[Any] | dict[str, Any] | None:
    """Return the arguments of a function, given as JSON or as a list or dict of JSON values.

    Raises InputError.
    """
    if value is None:
        return None
    try:
        found = json.loads(value if isinstance(value, str) else json.dumps(value, allow_nan=False))
        text = json.dumps(found, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as exc:
        raise InputError(f"it is not valid JSON: {exc}") from exc
    if not isinstance(found, list | dict):
        raise InputError('it must be a JSON list or object, such as [1, 2] or {"days": 7}')
    _word(text)
    return found


def written_arguments(args: Any) -> Any:
    """Return arguments for a task file: as JSON when they contain null, which TOML lacks."""
    return args if _in_toml(args) else json.dumps(args, ensure_ascii=False)


def _in_toml(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_in_toml, value.values()))
    return all(map(_in_toml, value)) if isinstance(value, list) else value is not None


def code(value: Any) -> str | None:
    """Return a text of Python, without empty lines at its beginning and common indentation.

    Raises InputError.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InputError("it must be Python code that is not blank")
    return textwrap.dedent(_word(value)).lstrip("\n")


def _word(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InputError("it is not UTF-8") from exc
    if size > LONGEST or "\0" in text:
        raise InputError(
            f"it must be at most {LONGEST} bytes without a NUL: more belongs into a file"
        )
    return text


def check(text: str) -> None:
    """Raise InputError, with the line, for a text that this Python cannot compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "<code>", "exec", dont_inherit=True)
        except SyntaxError as exc:
            raise InputError(f"line {exc.lineno or 1}: {exc.msg}") from exc
        except (ValueError, MemoryError, RecursionError, OverflowError) as exc:
            raise InputError(f"it cannot be compiled: {exc}") from exc


def is_program(value: Any) -> bool:
    """Return whether an interpreter is given as a program on PATH, such as `python3.12`."""
    return isinstance(value, str) and PROGRAM.fullmatch(value) is not None


# ---- a function object


def spelled(function: Callable[..., Any]) -> str:
    """Return the spelling of a function that another process can import; raises InputError for others."""
    place = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(place, str) or not isinstance(name, str):
        raise InputError(f"{shown(function)} is not a function that can be imported")
    why = ""
    if "<lambda>" in name:
        why = "it is a lambda"
    elif "." in name:
        why = "it is defined inside a function" if "<locals>" in name else "it is part of a class"
    elif place == "__main__":
        why = "it is in the main script, which cannot be imported"
    if why:
        raise InputError(
            f"{place}:{name} cannot be a task: {why}; define it with a name at the top of a module"
        )
    return f"{place}:{name}"


def folder(function: Callable[..., Any]) -> str | None:
    """Return the folder that the module of a function is imported from, None when any directory works."""
    return folder_of(function.__module__)


def folder_of(place: str) -> str | None:
    """Return the folder that a module, which is imported here, comes from; None when any directory works."""
    file = getattr(sys.modules.get(place), "__file__", None)
    if file is None:
        return None
    path = os.path.abspath(file)
    levels = place.count(".") + 1 + os.path.basename(path).startswith("__init__.")
    for _ in range(levels):
        path = os.path.dirname(path)
    return None if PACKAGES.search(path) or path.startswith(sys.base_prefix) else path
