"""Find the function of a Python task without importing it, as an import can run any code.

It must not know tasks.
"""

import ast
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

from taskrunner.errors import shown


def missing(function: str, first: Sequence[str], interpreter: str | None) -> str | None:
    """Return which part of a function MODULE:NAME is missing, None when none is or that is unknown.

    It is searched in the folders `first`, then on the path of its interpreter, None for this Python.
    """
    module, _, name = function.partition(":")
    others, sure = (sys.path, True) if interpreter is None else _packages(interpreter)
    path: Sequence[str] | None = [*first, *others]
    spec, parts = None, module.split(".")
    if parts[0] in sys.stdlib_module_names:
        return None
    for number in range(1, len(parts) + 1):
        spec = _found(".".join(parts[:number]), path, own=interpreter is None)
        if spec is None:
            where = shown(first[0]) if number == 1 else shown(".".join(parts[: number - 1]))
            return (
                f"there is no module {shown(module)}, neither in {where} nor on the path of its Python"
                if sure
                else None
            )
        path = spec.submodule_search_locations
        if path is None and number < len(parts):
            return f"there is no module {shown(module)}: {shown(spec.name)} is not a package"
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    first_name = name.partition(".")[0]
    names = _names_in(spec.origin)
    if names is None or first_name in names:
        return None
    return f"the module {shown(module)} has no {shown(first_name)}: {spec.origin} defines none"


def _found(name: str, path: Sequence[str] | None, *, own: bool) -> ModuleSpec | None:
    """Find a module without importing anything; for another Python only in folders."""
    for finder in sys.meta_path if own else [PathFinder]:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # noqa: BLE001, S112  a finder of somebody else
            continue
        if spec is not None:
            return spec
    return None


def _packages(interpreter: str) -> tuple[list[str], bool]:
    """Return the package folders of an interpreter's virtual environment, and whether they are complete."""
    folder = (
        interpreter if os.path.isdir(interpreter) else os.path.dirname(os.path.dirname(interpreter))
    )
    config = os.path.join(folder, "pyvenv.cfg")
    found, sure = [], os.path.isfile(config)
    try:
        versions = os.listdir(os.path.join(folder, "lib"))
        for place in (os.path.join(folder, "lib", each, "site-packages") for each in versions):
            found.append(place)
            sure = sure and not any(each.endswith(".pth") for each in os.listdir(place))
        with open(config, encoding="utf-8", errors="replace") as file:
            sure = sure and not re.search(
                r"(?im)^include-system-site-packages\s*=\s*true", file.read()
            )
    except OSError:
        sure = False
    return found, sure and bool(found)


def _names_in(place: str) -> set[str] | None:
    """Return the names that a module defines, by its text; None when it may define others too."""
    try:
        with open(place, "rb") as file:
            text = file.read()
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((each.asname or each.name).partition(".")[0] for each in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    odd = "*" in found or "__getattr__" in found or b"globals()" in text or b"setattr(" in text
    return None if odd else found
