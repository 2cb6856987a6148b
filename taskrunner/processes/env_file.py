"""Files of environment variables, NAME=VALUE lines, and the rules by which they are trusted.

It must not know the commands.
"""

import os
import stat
from collections.abc import Iterator, Set

from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import config, trust
from taskrunner.processes import rights

LARGEST_ENV_FILE = 1_000_000  # bytes
ASSIGNMENT = "NAME=VALUE, with letters, digits and _ in the name and a value in UTF-8"


def read_env_file(place: str, uid: int | None = None) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE lines for a task of user `uid`, our own for None.

    Raises StateError that names file and line, but no contents.
    """
    uid = os.geteuid() if uid is None else uid
    try:
        with open(_opened_for(place, uid), "rb") as file:
            found = os.fstat(file.fileno())
            fault = untrusted(place, found, uid)
            regular = stat.S_ISREG(found.st_mode) and fault is None
            text = file.read(LARGEST_ENV_FILE + 1).decode("utf-8-sig") if regular else None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise StateError(f"the environment file {shown(place)} cannot be read: {why}") from exc
    if fault is not None:
        raise StateError(f"the environment file {shown(place)} is not read: {fault}")
    if text is None or len(text) > LARGEST_ENV_FILE:
        raise StateError(
            f"the environment file {shown(place)} is not a regular file of at most 1 MB"
        )
    try:
        return dict(_assignments(text))
    except InputError as exc:
        raise StateError(f"the environment file {shown(place)}, {exc}") from exc


def untrusted(place: str, found: os.stat_result, uid: int) -> str | None:
    """Return why an open file must not be read for a task of a user, None when it may be.

    Otherwise a user whose tasks root starts could read any file that root can read, by a link.
    """
    if not stat.S_ISREG(found.st_mode):
        return None  # the caller reports that
    ours = {0, os.geteuid()}
    fault = trust.fault(found, {*ours, uid})
    if fault is None and uid not in ours and found.st_uid != uid:
        return _astray(place, ours)
    return fault


def _astray(place: str, ours: Set[int]) -> str | None:
    """Return a message when other users could lead us to another file, else None."""
    by = trust.foreign_on_the_way(os.path.abspath(place), ours)
    if by is None:
        return None
    return f"it is not of the task's user, and others can change {shown(by)}, which leads to it"


def _opened_for(place: str, uid: int) -> int:
    """Open a file with the rights of a task's user; else with ours, if nobody else can change the path to it.

    It may be a pipe: opening that must not block us and all our children.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        with rights.of(uid):
            return os.open(place.encode(), flags)
    except PermissionError:
        ours = {0, os.geteuid()}
        if uid in ours:
            raise
        fault = _astray(place, ours)
        if fault is not None:
            raise StateError(f"the environment file {shown(place)} is not read: {fault}") from None
    return os.open(place.encode(), flags)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            yield assignment(stripped.removeprefix("export "), quoted=True)
        except InputError as exc:  # the line may hold a secret
            raise InputError(f"line {number}: it is not {ASSIGNMENT}") from exc


def assignment(text: str, *, quoted: bool = False) -> tuple[str, str]:
    """Return name and value of NAME=VALUE, without a pair of quotes round the value; raises InputError."""
    name, sign, value = text.partition("=")
    if not sign or not config.variable(name, value):
        raise InputError(f"{shown(text)} is not {ASSIGNMENT}")
    if quoted and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value
