"""Positions in a TOML text: the line of each table and key, which `tomllib` does not give."""

import tomllib
from typing import Any

CLOSES = ('"""', "'''", "]", "}")  # the end of a value of several lines

Path = tuple[str, ...]


def lines(text: str) -> dict[Path, int]:
    """Return the line of each table and key of a TOML text, up to the first fault."""
    found: dict[Path, int] = {}
    top: Path = ()
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if pending:
            pending += "\n" + line
            if not any(mark in line for mark in CLOSES):
                continue
        else:
            pending, start = line, number
        path = _path(pending)
        if path is None:
            continue
        above = () if pending.lstrip().startswith("[") else top
        for length in range(1, len(path) + 1):
            found.setdefault((*above, *path[:length]), start)
        if path and not above:
            top = path if pending.lstrip().startswith("[") else top
        pending = ""
    return found


def _path(statement: str) -> Path | None:
    """Return the path in one statement of TOML, () for none, None when it is not complete."""
    try:
        value: Any = tomllib.loads(statement)
    except (ValueError, RecursionError):
        return None
    left = statement.partition("=")[0] if not statement.lstrip().startswith("[") else statement
    found = []
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        found.append(key)
        if isinstance(value, list) and statement.lstrip().startswith("[["):
            break
        if not statement.lstrip().startswith("[") and not _more(left, len(found)):
            break
    return tuple(found)


def _more(left: str, known: int) -> bool:
    """Return whether a dotted key on the left of = has more parts than those."""
    try:
        value: Any = tomllib.loads(f"{left}= 0")
    except ValueError:  # a quoted key with = in it
        return False
    for _ in range(known):
        ((_, value),) = value.items()
    return isinstance(value, dict)
