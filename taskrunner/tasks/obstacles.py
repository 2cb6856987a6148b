"""Obstacles on this host to starting a task, found without starting it.

It looks with the environment and in the directory that the task will have. It must not know the store.
"""

import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import channels, config, notify_rules
from taskrunner.model.values import Task
from taskrunner.processes import account, executable, rights
from taskrunner.supervise import command
from taskrunner.tasks import modules, python

# A word that a text for the shell begins with, after variables of its own, and that is no syntax.
FIRST = re.compile(r"\s*(?:[A-Za-z_]\w*=[\w./:@%+-]*\s+)*([\w./+-]+)(?=[\s;&|<>]|$)", re.ASCII)


def obstacles(task: Task, settings: config.Config) -> list[str]:
    """Return what on this host will keep a task from starting as it stands, one sentence each."""
    try:
        user, folder = account.account(task.user)
    except StateError as exc:
        return [str(exc)]
    found: list[str] = []
    if task.env_file is not None:
        found += _env_file_warnings(task.env_file, account.owner(task.user))
    path = _path(task, settings)
    # What is closed to the task's user is not there for him.
    with rights.of(account.owner(task.user)):
        found = [*_folder_warnings(task, user, folder), *found]
        found += _program_warnings(task, path, task.cwd or folder)
        found += _python_warnings(task, settings, task.cwd or folder)
    return found


def _folder_warnings(task: Task, user: str, folder: str) -> Iterator[str]:
    """Give what keeps the directory of a task from being entered."""
    place = task.cwd or folder
    try:
        os.stat(os.path.join(place, "."))
    except PermissionError:
        yield f"{user} has no access to the directory {shown(place)}"
    except OSError:
        if task.cwd is None:
            yield f"the task starts in the home of {user}, {shown(folder)}, which does not exist: give --cwd"
        else:
            yield f"the directory {shown(task.cwd)} does not exist"


def untold(task: Task, settings: config.Config) -> list[str]:
    """Return what on this host will keep people from being told of a task that runs, one sentence each."""
    found = notify_rules.unknown_channels(task.on_failure, task.notify, settings.notify)
    for whom in dict.fromkeys(notify_rules.targets(task.on_failure, task.notify)):
        names, to = notify_rules.recipients(whom)
        if to and channels.mailer(settings.notify, to) is None:
            found.append(channels.no_mailer(to))
        elif not names and not to:
            found += command_warnings(whom, settings)
    return found


def command_warnings(text: str, settings: config.Config) -> Iterator[str]:
    """Give what is wrong with the program that a command for messages begins with, as the sender looks for it."""
    user, folder = account.account(None)
    program = _first_word(text)
    if program is None:
        return
    path = config.base_environment(settings, user, folder)["PATH"]
    found = command.places(program, path, folder if os.path.isdir(folder) else "/")
    if not found:
        where = "" if "/" in program else " on the PATH of tasks"
        yield f"no notification is sent by the command {shown(text)}: the program {shown(program)} is not found{where}"
    elif not any(os.access(file, os.X_OK) for file in found):
        yield f"no notification is sent by the command {shown(text)}: {shown(found[0])} is not executable"


def _env_file_warnings(place: str, uid: int) -> Iterator[str]:
    """Give what keeps an environment file from being read; what is in it may change until then."""
    try:
        fault = command.untrusted(place, os.stat(place), uid)
    except FileNotFoundError:
        yield f"the environment file {shown(place)} does not exist"
    except OSError as exc:
        yield f"the environment file {shown(place)} cannot be read: {exc.strerror}"
    else:
        if fault is not None:
            yield f"the environment file {shown(place)} is not read: {fault}"


def _program_warnings(task: Task, path: str, folder: str) -> Iterator[str]:
    """Give what is wrong with the program of a task where the task will look for it."""
    program = command.argv(task)[0] if task.shell is None else _first_word(task.shell)
    if program is None:
        return
    place = executable.chosen(program, path, folder)
    where = "" if "/" in program else " on the PATH that the task will see"
    if place is None and (closed := _closed_to_all(task.user, program)):
        yield f"{task.user} has no access to {shown(closed)}, which holds the program {shown(program)}"
    elif place is None:
        more = _for_the_shell(task.command) or _elsewhere(program)
        what = "interpreter" if program == task.interpreter else "program"
        yield f"the {what} {shown(program)} is not found{where}{more}"
    elif os.path.isdir(place):
        yield f"the program {shown(program)} is not found{where}: {shown(place)} is a directory"
    elif not os.stat(place).st_mode & 0o111:
        yield f"the program {shown(place)} is not executable: run chmod +x on it"
    elif closed := _closed_to(task.user, place, stat.S_IXOTH):
        yield f"{task.user} has no access to {shown(closed)}, which holds the program {shown(program)}"
    elif why := executable.fault(place):
        yield f"the program {shown(place)} cannot be executed: {why}"
    elif (asked := executable.asked_of_env(place)) and not executable.chosen(asked, path, folder):
        yield (
            f"the program {shown(place)} cannot be executed: its first line has env look for {shown(asked)}, "
            "which is not on the PATH that the task will see"
        )


def _closed_to_all(user: str | None, program: str) -> str | None:
    """Return what keeps a user from a program that is given by its whole path and is there, None else."""
    if user is None or not os.path.isabs(program):
        return None
    with rights.of(os.geteuid()), suppress(OSError):
        return _closed_to(user, program, stat.S_IXOTH)
    return None


def _for_the_shell(words: Sequence[str]) -> str:
    """Return the question whether words that name no program are a line for the shell, "" when they do not look so."""
    if not words or not executable.is_line(tuple(words)):
        return ""
    line = words[0] if len(words) == 1 else " ".join(map(_word, words))
    return f"; is this a shell command? write --shell {shlex.quote(line)}"


def _word(word: str) -> str:
    """Return a word as it is to be written in a line for the shell; an assignment keeps its name outside of quotes."""
    found = executable.ASSIGNMENT.match(word)
    return shlex.quote(word) if found is None else found[0] + shlex.quote(word[found.end() :])


def _path(task: Task, settings: config.Config) -> str:
    """Return the PATH that a task will see."""
    user, folder = account.account(task.user)
    found = config.base_environment(settings, user, folder)
    found |= command.activation(task, found["PATH"])
    with suppress(StateError):  # it is told of already
        found |= (
            command.read_env_file(task.env_file, account.owner(task.user))
            if task.env_file is not None
            else {}
        )
    return {**found, **task.env}["PATH"]


def _elsewhere(program: str) -> str:
    """Return where who asks has a program that the task has not."""
    mine = (
        [] if "/" in program else command.places(program, ":".join(os.get_exec_path()), os.getcwd())
    )
    return f"; you have it as {mine[0]}: write that, or set --env PATH" if mine else ""


def _first_word(text: str) -> str | None:
    """Return the program that a text for the shell begins with, None when that cannot be told for sure."""
    found = FIRST.match(text)
    if (
        found is None
        or found[1] in executable.BUILTINS
        or "PATH=" in text
        or f"{found[1]}()" in text
    ):
        return None
    return found[1]


def _python_warnings(task: Task, settings: config.Config, folder: str) -> Iterator[str]:
    """Give what will keep the Python of a task from running, as far as can be seen without starting it."""
    if task.python is not None:
        given = task.env.get("PYTHONPATH", settings.env.get("PYTHONPATH", ""))
        first = [folder, *(place for place in given.split(":") if place)]
        if (gone := modules.missing(task.python, first, task.interpreter)) is not None:
            yield gone
    file = task.code_file
    if file is not None and not os.path.isfile(file):
        yield f"the file {shown(file)} does not exist"
    if task.code is not None and task.interpreter is not None:
        try:
            python.check(task.code)
        except InputError as exc:
            yield f"the code does not compile for this Python, {exc}; {shown(task.interpreter)} may take it"
    by_us = not task.command and task.shell is None
    if by_us and (closed := _closed_to(task.user, command.LAUNCHER, stat.S_IROTH)):
        yield f"{task.user} has no access to {shown(closed)}, which holds the launcher of Python tasks"


def _closed_to(user: str | None, place: str, bit: int) -> str | None:
    """Return the first folder above a file that a user may not look into, or the file without that bit for him.

    It is the file that a link leads to. None when there is none, and where we are that user ourselves.
    """
    if user is None:
        return None
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    above = [os.path.realpath(place)]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    for each in reversed(above if entry.pw_uid else []):
        found = os.stat(each)
        shift = 6 if found.st_uid == entry.pw_uid else 3 if found.st_gid in groups else 0
        needed = stat.S_IXOTH if stat.S_ISDIR(found.st_mode) else bit
        if not found.st_mode >> shift & needed:
            return each
    return None
