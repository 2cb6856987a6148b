"""Obstacles on this host to starting a task, found without starting it.

It uses the environment and the directory of the task. It must not know the store.
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
from taskrunner.processes import account, env_file, executable, rights
from taskrunner.supervise import command
from taskrunner.tasks import modules, python

# The first word of a shell text, after assignments, that is not syntax.
FIRST = re.compile(r"\s*(?:[A-Za-z_]\w*=[\w./:@%+-]*\s+)*([\w./+-]+)(?=[\s;&|<>]|$)", re.ASCII)


def obstacles(task: Task, settings: config.Config) -> list[str]:
    """Return the obstacles on this host to starting a task, one sentence each; none for one that a queue carries."""
    if task.queue is not None:  # its program, directory and files are those of another machine
        return []
    try:
        user, folder = account.account(task.user)
    except StateError as exc:
        return [str(exc)]
    found: list[str] = []
    if task.env_file is not None:
        found += _env_file_warnings(task.env_file, account.owner(task.user))
    path = _path(task, settings)
    # Files without access for the task's user count as missing.
    with rights.of(account.owner(task.user)):
        found = [*_folder_warnings(task, user, folder), *found]
        found += _program_warnings(task, path, task.cwd or folder)
        found += _python_warnings(task, settings, task.cwd or folder)
    return found


def _folder_warnings(task: Task, user: str, folder: str) -> Iterator[str]:
    """Yield problems with the directory of a task."""
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
    """Return the obstacles on this host to the notifications of a task, one sentence each."""
    found = notify_rules.unknown_channels(task.on_failure, task.notify, settings.notify)
    for whom in dict.fromkeys(notify_rules.targets(task.on_failure, task.notify)):
        names, to = notify_rules.recipients(whom)
        if to and channels.mailer(settings.notify, to) is None:
            found.append(channels.no_mailer(to))
        elif not names and not to:
            found += command_warnings(whom, settings)
    return found


def command_warnings(text: str, settings: config.Config) -> Iterator[str]:
    """Yield problems with the program of a notification command, as the sender searches it."""
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
    """Yield problems with reading an environment file; its contents are not checked."""
    try:
        fault = env_file.untrusted(place, os.stat(place), uid)
    except FileNotFoundError:
        yield f"the environment file {shown(place)} does not exist"
    except OSError as exc:
        yield f"the environment file {shown(place)} cannot be read: {exc.strerror}"
    else:
        if fault is not None:
            yield f"the environment file {shown(place)} is not read: {fault}"


def _program_warnings(task: Task, path: str, folder: str) -> Iterator[str]:
    """Yield problems with the program of a task, as the task searches it."""
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
    """Return the folder or file that denies a user access to a program with an absolute path, or None."""
    if user is None or not os.path.isabs(program):
        return None
    with rights.of(os.geteuid()), suppress(OSError):
        return _closed_to(user, program, stat.S_IXOTH)
    return None


def _for_the_shell(words: Sequence[str]) -> str:
    """Return a question whether the words are a shell command, "" when they do not look like one."""
    if not words or not executable.is_line(tuple(words)):
        return ""
    line = words[0] if len(words) == 1 else " ".join(map(_word, words))
    return f"; is this a shell command? write --shell {shlex.quote(line)}"


def _word(word: str) -> str:
    """Return a word quoted for the shell; an assignment keeps its name outside the quotes."""
    found = executable.ASSIGNMENT.match(word)
    return shlex.quote(word) if found is None else found[0] + shlex.quote(word[found.end() :])


def _path(task: Task, settings: config.Config) -> str:
    """Return the PATH that a task will see."""
    user, folder = account.account(task.user)
    found = config.base_environment(settings, user, folder)
    found |= command.activation(task, found["PATH"])
    with suppress(StateError):  # it is reported already
        found |= (
            env_file.read_env_file(task.env_file, account.owner(task.user))
            if task.env_file is not None
            else {}
        )
    return {**found, **task.env}["PATH"]


def _elsewhere(program: str) -> str:
    """Return a hint when the caller's PATH has a program that the task's has not."""
    mine = (
        [] if "/" in program else command.places(program, ":".join(os.get_exec_path()), os.getcwd())
    )
    return f"; you have it as {mine[0]}: write that, or set --env PATH" if mine else ""


def _first_word(text: str) -> str | None:
    """Return the program at the beginning of a shell text, None when uncertain."""
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
    """Yield problems with the Python of a task that are visible without starting it."""
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
    """Return the first folder above a file that a user may not enter, or the file if its mode lacks that bit.

    Links are followed. None when there is none, and when we are that user.
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
