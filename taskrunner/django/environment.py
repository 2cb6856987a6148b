"""The file `django.env` in the home: the variables of PASS_ENV for the tasks of the project, wherever they are started.

Values never enter the database. It must not know tasks.
"""

import os
from contextlib import suppress

from taskrunner.django.settings import Settings
from taskrunner.errors import StateError, shown
from taskrunner.home import config, paths

NAME = "django.env"
HEAD = "# The variables of PASS_ENV, written when the application starts to serve, by the project "


def place(wanted: Settings) -> str | None:
    """Return the path of the file, None when no variable is passed on."""
    return paths.path(wanted.home, NAME) if wanted.pass_env else None


def missing(wanted: Settings) -> list[str]:
    """Return the names in PASS_ENV whose variables are not set here, or cannot be a line of the file."""
    return [name for name in wanted.pass_env if not _fits(name, os.environ.get(name))]


def _fits(name: str, value: str | None) -> bool:
    return value is not None and "\n" not in value and config.variable(name, value)


def write(wanted: Settings, project: str) -> None:
    """Write the file, with the variables that are set; raises StateError for that of another project, and OSError."""
    file = place(wanted)
    if file is None:
        return
    check(wanted, project)
    paths.check(wanted.home)
    paths.create(wanted.home)
    left = {*missing(wanted)}
    lines = [
        f'{name}="{os.environ[name]}"\n'
        for name in dict.fromkeys(wanted.pass_env)
        if name not in left
    ]
    fresh = f"{file}.{os.getpid()}"
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # of a process with our number that was killed here
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as out:
            out.write(f"{HEAD}{project}\n{''.join(lines)}")
        os.replace(fresh, file)
    except OSError:  # the disk is full, say: half a file of secrets must not stay
        os.unlink(fresh)
        raise


def prepare(wanted: Settings, project: str) -> None:
    """Write the file when there is none yet, so that a task can be tried before the application serves.

    A file that is there has the variables of a serving process, which may differ from those of a command.
    """
    file = place(wanted)
    if file is not None and os.path.lexists(file):
        check(wanted, project)
    else:
        write(wanted, project)


def check(wanted: Settings, project: str) -> None:
    """Raise StateError when the file belongs to another project: its tasks would get our variables."""
    file = place(wanted)
    try:
        with open(file or os.devnull, encoding="utf-8", errors="replace") as text:
            head = text.readline().rstrip("\n")
    except OSError:
        return
    if head.startswith(HEAD) and head != f"{HEAD}{project}":
        raise StateError(
            f"{shown(file)} has the variables of the project {shown(head.removeprefix(HEAD))}: "
            "two projects with PASS_ENV need a HOME each"
        )
