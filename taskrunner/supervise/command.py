"""Resolve a task and a run into a command: argv, environment, directory, limits.

Ticks and manual runs use the same function, so that a task always sees the same environment. It must not
know the store.
"""

import json
import os
import stat
import sys
from collections.abc import Iterator, Set
from datetime import datetime

from taskrunner import clock
from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import config, trust
from taskrunner.model.values import Command, Run, Task
from taskrunner.processes import account, rights

UMASK = 0o022
LARGEST_ENV_FILE = 1_000_000  # bytes
SHELL = "/bin/sh"
LAUNCHER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launcher.py")
ASSIGNMENT = "NAME=VALUE, with letters, digits and _ in the name and a value in UTF-8"


def resolve(task: Task, run: Run, settings: config.Config, started: datetime) -> Command:
    """Return the command for a run of a task; raises StateError when it cannot be resolved on this host."""
    _, folder = account.account(task.user)
    return Command(
        argv=argv(task),
        env=environment(task, run, settings, started),
        cwd=task.cwd or folder,
        stdin=task.stdin,
        umask=UMASK if task.umask is None else task.umask,
        user=task.user,
        nice=task.nice,
        limit=task.limit,
        timeout=None if task.timeout is None else task.timeout.total_seconds(),
        max_silence=None if task.max_silence is None else task.max_silence.total_seconds(),
        kill_after=task.kill_after.total_seconds(),
    )


def argv(task: Task) -> tuple[str, ...]:
    """Return the argv of a task: its own, or one that starts a shell or the launcher."""
    if task.shell is not None:
        return (SHELL, "-c", task.shell)
    return task.command or tuple(_launched(task))


def _launched(task: Task) -> Iterator[str]:
    """Yield the argv that runs a function or a text of Python (see `launcher`)."""
    yield from (_python(task), LAUNCHER)
    if task.django is not None:
        yield from ("--django", task.django)
    if task.python is not None:
        yield from ("--python", task.python)
        if task.args is not None:
            yield from ("--args", json.dumps(task.args, ensure_ascii=False))
        return
    if task.interpreter is not None:
        ours = (place for place in sys.path if os.path.isdir(os.path.join(place, "dateutil")))
        for place in list(ours)[:1]:
            yield from ("--dateutil", place)
    yield from ("--code-file", task.code_file) if task.code is None else ("--code", task.code)  # type: ignore[misc]


def own_python() -> str:
    """Return our own Python program; in a web server `sys.executable` may be the server."""
    known = os.path.basename(sys.executable or "").startswith(("python", "pypy"))
    return sys.executable if known else os.path.join(sys.prefix, "bin", "python3")


def _python(task: Task) -> str:
    """Return the interpreter of a task as a program."""
    given = task.interpreter or own_python()
    return os.path.join(given, "bin", "python") if os.path.isdir(given) else given


def activation(task: Task, path: str) -> dict[str, str]:
    """Return the variables that `activate` of a virtual environment sets; `path` is PATH without it."""
    given = task.interpreter
    if given is None or not os.path.isdir(given):
        return {}
    return {"VIRTUAL_ENV": given, "PATH": f"{os.path.join(given, 'bin')}:{path}"}


def environment(task: Task, run: Run, settings: config.Config, started: datetime) -> dict[str, str]:
    """Return the environment of the child: the base, the config's, the file's, the task's own, ours; later ones win."""
    user, folder = account.account(task.user)
    found = config.base_environment(settings, user, folder)
    found |= activation(task, found["PATH"])
    if task.env_file is not None:
        found |= read_env_file(task.env_file, account.owner(task.user))
    return (
        found
        | dict(task.env)
        | {
            "TASKRUNNER_TASK": task.name,
            "TASKRUNNER_RUN": str(run.id),
            "TASKRUNNER_SLOT": clock.iso(run.slot),
            "TASKRUNNER_STARTED": clock.iso(started),
            "TASKRUNNER_ATTEMPT": str(run.attempt),
            "TASKRUNNER_TRIGGER": run.trigger,
            "TASKRUNNER_COALESCED": str(run.coalesced),
            "TASKRUNNER_LAST_SUCCESS": clock.iso(task.last_success) if task.last_success else "",
        }
        | ({} if task.django is None else {"DJANGO_SETTINGS_MODULE": task.django})
    )


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


def places(program: str, path: str, folder: str) -> list[str]:
    """Return the files for a program name by a PATH and from a folder; the first is executed."""
    where = [""] if "/" in program else path.split(":")
    files = [os.path.join(folder, place, program) for place in where]
    return [file for file in files if os.path.isfile(file)]
