"""The command line with which cron or systemd calls taskrunner: written for an entry, and read from one.

It must not know where cron and systemd keep their entries.
"""

import os
import re
import site
import stat
import sys
from collections.abc import Sequence

from taskrunner.errors import InputError, shown
from taskrunner.model.record import record

NAME = "taskrunner"
UNFIT = re.compile(
    r"[\x00-\x1f\x7f\\]"
)  # characters of a path that a crontab or a unit cannot hold
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERBS = ("tick", "daemon")
PACKAGE = "taskrunner-tick"  # as package indexes call it
INSTALL = f"install it with `pipx install {PACKAGE}` or `uv tool install {PACKAGE}`"
# Folders where programs are unpacked for one call and removed later without notice, with the installer.
FLEETING = (
    (re.compile(r"/(?:archive|environments|builds)-v[0-9]+/"), "uv (uvx, uv tool run)"),
    (re.compile(r"/pipx/\.cache/|/\.cache/pipx/|/\.cache/[0-9a-f]{15}/"), "pipx run"),
)


@record
class Call:
    """A command line that calls taskrunner: the program's own file, the home it names, and the verb."""

    program: str
    home: str | None
    verb: str


def own() -> tuple[str, ...]:
    """Return the words that start this very program, independent of directory and PATH.

    A shim, such as pyenv puts on PATH, is not used: it depends on the working directory.
    """
    python = interpreter()
    script_of_environment = os.path.join(os.path.dirname(python), NAME)
    for script in (os.path.abspath(sys.argv[0]), script_of_environment):
        if os.path.basename(script) == NAME and _starts(script):
            return (script,)
    module = (python, "-P", "-m", NAME)
    if FOLDER in (*site.getsitepackages(), site.getusersitepackages()):
        return module
    return ("/usr/bin/env", f"PYTHONPATH={FOLDER}", *module)  # a checkout that is not installed


def interpreter() -> str:
    """Return our own Python program.

    In a web server such as uWSGI `sys.executable` may be the server, or the Python below our virtual environment.
    """
    given = sys.executable or ""
    known = os.path.basename(given).startswith(("python", "pypy"))
    below = sys.prefix != sys.base_prefix and not given.startswith(os.path.join(sys.prefix, ""))
    return given if known and not below else os.path.join(sys.prefix, "bin", "python3")


def _starts(script: str) -> bool:
    in_shims = os.path.basename(os.path.dirname(script)) == "shims"
    return not in_shims and os.path.isfile(script) and os.access(script, os.X_OK)


def named(text: str, command: str) -> str:
    """Return a sentence whose advice, such as `taskrunner list`, names the command line as `command`."""
    return text.replace("`taskrunner ", f"`{command} ")


def fleeting(program: Sequence[str]) -> tuple[str, str] | None:
    """Return a file of a program that its installer will remove, and the installer's name; None without one."""
    for word in program:
        for place in (word, os.path.realpath(word)) if os.path.isabs(word) else ():
            for pattern, whose in FLEETING:
                if pattern.search(place):
                    return word, whose
    return None


def words(program: Sequence[str], home: str | None, *verb: str) -> tuple[str, ...]:
    """Return the command line of a verb; raises InputError for a path that no clock's entry can hold."""
    found = (*program, *(() if home is None else ("--home", home)), *verb)
    for word in found:
        if UNFIT.search(word):
            sentence = f"{shown(word)} cannot be used in a clock's entry: use a path without \\ and control characters"
            raise InputError(sentence)
    return found


def read(line: Sequence[str], verbs: Sequence[str] = VERBS) -> Call | None:
    """Return the call in a command line, None when it is not taskrunner with one of some verbs, those of the clock."""
    for at, word in enumerate(line):
        module = word == NAME and line[at - 1 : at] == ["-m"]
        rest = list(line[at + 1 : at + 8])
        verb = next((each for each in rest if each in verbs), None)
        if (module or os.path.basename(word) == NAME) and verb is not None:
            found = _assigned(line[:at], "TASKRUNNER_HOME") or _home(rest)
            return Call(_file(line[:at], word, module), found, verb)
    return None


def _file(before: Sequence[str], word: str, module: bool) -> str:
    """Return the file that must exist: the script, or the interpreter that runs the module."""
    if not module:
        return word
    return next((each for each in before[::-1] if "python" in os.path.basename(each)), word)


def _assigned(before: Sequence[str], name: str) -> str | None:
    values = [each.partition("=")[2] for each in before if each.startswith(f"{name}=")]
    return values[-1] if values else None


def _home(rest: Sequence[str]) -> str | None:
    for at, word in enumerate(rest):
        if word == "--home":
            return next(iter(rest[at + 1 : at + 2]), None)
        if word.startswith("--home="):
            return word.partition("=")[2]
    return None


def changeable_by(file: str) -> int | None:
    """Return the user id that can change a file which root is to run, 0 for everybody, None when only root can."""
    for place in (file, os.path.realpath(file)):
        for each in (place, os.path.dirname(place)):
            try:
                found = os.stat(each)
            except OSError:
                continue
            if found.st_uid != 0:
                return found.st_uid
            if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
                return 0
    return None
