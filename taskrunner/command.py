"""A task and a run, resolved into the command that is executed: argv, environment, directory, limits.

One function for ticks and for `run` by hand, so that a task sees the same environment from both. It must not
know the store.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from taskrunner import clock, config
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model import Command, Run, Task

UMASK = 0o022
LARGEST_ENV_FILE = 1_000_000  # bytes
SHELL = "/bin/sh"


def resolve(task: Task, run: Run, settings: config.Config, started: datetime) -> Command:
    """Return what is executed for a run of a task; raises StateError when it cannot be resolved on this host."""
    _, folder = account(task.user)
    return Command(
        argv=task.command if task.shell is None else (SHELL, "-c", task.shell),
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


def environment(task: Task, run: Run, settings: config.Config, started: datetime) -> dict[str, str]:
    """Return what the child sees: the base, the config's, the file's, the task's own, ours; later ones win."""
    user, folder = account(task.user)
    found = config.base_environment(settings, user, folder)
    if task.env_file is not None:
        found |= read_env_file(task.env_file)
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
    )


def warnings(task: Task, settings: config.Config) -> list[str]:
    """Return what on this host will keep a task from starting as it stands, one sentence each."""
    try:
        user, folder = account(task.user)
    except StateError as exc:
        return [str(exc)]
    found = []
    if task.cwd is None and not os.path.isdir(folder):
        found.append(
            f"the task starts in the home of {user}, {shown(folder)}, which does not exist: give --cwd"
        )
    elif task.cwd is not None and not os.path.isdir(task.cwd):
        found.append(f"the directory {shown(task.cwd)} does not exist")
    if task.env_file is not None and not os.path.exists(task.env_file):
        found.append(f"the environment file {shown(task.env_file)} does not exist")
    if task.command:
        found += _program_warnings(task, settings, task.cwd or folder)
    return found


def _program_warnings(task: Task, settings: config.Config, folder: str) -> Iterator[str]:
    """Give what is wrong with the program of a task where the task will look for it."""
    program = task.command[0]
    path = dict(task.env).get("PATH") or settings.env.get("PATH") or settings.path
    places = [""] if "/" in program else path.split(":")
    files = [os.path.join(folder, place, program) for place in places]
    files = [file for file in files if os.path.isfile(file)]
    if not files:
        where = "" if "/" in program else " on the PATH that the task will see"
        yield f"the program {shown(program)} is not found{where}"
    elif not any(os.access(file, os.X_OK) for file in files):
        yield f"the program {shown(files[0])} is not executable: run chmod +x on it"


@lru_cache(maxsize=64)
def account(user: str | None) -> tuple[str, str]:
    """Return the name and home folder of a user, of our own for None; raises StateError."""
    try:
        entry = pwd.getpwuid(os.geteuid()) if user is None else pwd.getpwnam(user)
    except KeyError as exc:
        raise StateError(f"there is no user {shown(user or os.geteuid())} on this host") from exc
    return entry.pw_name, entry.pw_dir


def owner(user: str | None) -> int:
    """Return the user id that the output of a task belongs to: our own unless we are root and may change it."""
    own = os.geteuid()
    if user is None or own != 0:
        return own
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:  # the run cannot start either, and says so
        return own


def read_env_file(place: str) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE lines; raises StateError that names file and line."""
    try:
        with open(place, "rb", opener=_without_waiting) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            text = file.read(LARGEST_ENV_FILE + 1).decode() if regular else None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise StateError(f"the environment file {shown(place)} cannot be read: {why}") from exc
    if text is None or len(text) > LARGEST_ENV_FILE:
        raise StateError(f"the environment file {shown(place)} is no plain file of at most 1 MB")
    try:
        return dict(_assignments(text))
    except InputError as exc:
        raise StateError(f"the environment file {shown(place)}, {exc}") from exc


def _without_waiting(place: str, flags: int) -> int:
    """Open a file that may turn out to be a pipe, which would keep us, and all our children, waiting."""
    return os.open(place, flags | os.O_NONBLOCK)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            yield assignment(stripped.removeprefix("export "), quoted=True)
        except InputError as exc:
            raise InputError(f"line {number}: {exc}") from exc


def assignment(text: str, *, quoted: bool = False) -> tuple[str, str]:
    """Return name and value of NAME=VALUE, without a pair of quotes round the value; raises InputError."""
    name, sign, value = text.partition("=")
    if not sign or not config.variable(name, value):
        raise InputError(
            f"{shown(text)} is not NAME=VALUE, with letters, digits and _ in the name "
            "and a value in UTF-8"
        )
    if quoted and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value
