"""Import from task files and crontabs, and export to them.

Texts are read into definitions here; `plan` finds the changes.
"""

import difflib
import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner.clocks import install_cron
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.answers import Exported, ImportedLine
from taskrunner.model.values import Task
from taskrunner.tasks import crontab, options, taskfile_parser, writing
from taskrunner.tasks.crontab_lines import Tab
from taskrunner.tasks.taskfile import Defined
from taskrunner.tasks.taskfile_parser import LARGEST, Reading

STDIN = "-"
SUFFIX = ".toml"
MOST = 4 * LARGEST  # bytes
STILL_THERE = "the lines are still in the crontab: cron also runs them until they are comments"
WINDOWS = (
    "lines end in CRLF, as on Windows: cron gives the CR to commands and settings as their last character;  "
    "the tasks are without it"
)

Place = str | os.PathLike[str]
Opener = Callable[[str, int], int]


def read(files: Sequence[Place], text: str | None, zone: str, profile: str | None) -> Defined:
    """Return the definitions in task files, and all faults; raises InputError or StateError."""
    if not files:
        raise InputError("there is no task file: name one, a folder, or - for stdin")
    readings = [
        taskfile_parser.read(content, place, source, zone=zone, profile=profile)
        for place, source, content in _contents(files, text)
    ]
    faults = [fault for reading in readings for fault in reading.faults]
    if not faults and profile is not None:
        _check_profile(readings, profile)
    return Defined(
        [each for reading in readings for each in reading.definitions],
        faults,
        frozenset(name for reading in readings for name in reading.names),
        frozenset(reading.source for reading in readings),
    )


def _contents(files: Sequence[Place], text: str | None) -> list[tuple[str, str, str]]:
    """Return the given name, the real path and the text of each file."""
    texts: dict[str, tuple[str, str, str]] = {}
    for each in [os.fspath(file) for file in files]:
        if each == STDIN:
            texts[STDIN] = ("stdin", STDIN, (text or "").removeprefix(crontab.MARK))
            continue
        in_folder = os.path.isdir(each)
        for place in _listed(each) if in_folder else [each]:
            source = os.path.realpath(place)
            texts[source] = (place, source, contents(place, _plain if in_folder else None))
    return list(texts.values())


def _listed(folder: str) -> list[str]:
    names = sorted(os.listdir(folder))
    files = [name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]
    return [os.path.join(folder, name) for name in files]


def contents(place: str, opener: Opener | None = None) -> str:
    """Return the text of a task file; raises InputError or StateError."""
    return text_of(_bytes(place, opener), f"the file {shown(place)}")


def text_of(data: bytes, what: str) -> str:
    """Return bytes as the text of a task file; raises InputError."""
    if len(data) > MOST:
        raise InputError(f"{what} has more than {MOST} bytes: split it")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        raise InputError(f"{what} is not UTF-8") from exc


def _plain(place: str, flags: int) -> int:
    """Open a file without waiting: another user may have put a pipe into a folder."""
    fd = os.open(place, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return fd


def _bytes(place: str, opener: Opener | None = None) -> bytes:
    try:
        with open(place, "rb", opener=opener) as file:
            return file.read(MOST + 1)
    except OSError as exc:
        raise StateError(f"the file {shown(place)} cannot be read: {exc.strerror}") from exc


def _check_profile(readings: Sequence[Reading], profile: str) -> None:
    known = {name for reading in readings for name in reading.profiles}
    if profile not in known:
        near = difflib.get_close_matches(profile[:40], known, n=1)
        have = f"they have {', '.join(sorted(known))}" if known else "they have none"
        advice = f"did you mean {near[0]}?" if near else have
        raise InputError(f"{shown(profile)} is not a profile of these files: {advice}")


def owner(files: Sequence[Place]) -> Callable[[str], bool]:
    """Return a test whether a source is one of these files, or was in one of these folders."""
    paths = [STDIN if os.fspath(each) == STDIN else os.path.realpath(each) for each in files]
    folders = {path for path in paths if os.path.isdir(path)}
    return lambda source: (
        source in paths or (source.endswith(SUFFIX) and os.path.dirname(source) in folders)
    )


def export(tasks: Sequence[Task], defaults: Mapping[str, Any], *, secrets: bool) -> Exported:
    """Return tasks as the text of a task file."""
    text, hiding = writing.write(tasks, options.usual(defaults), secrets=secrets)
    return Exported(text, tuple(hiding))


# ---- crontabs


def tab(file: Place | None, text: str | None, *, system: bool) -> Tab:
    """Return the crontab of a file, or `text` for `-`; by default our own, or the system's."""
    if file is None and not system:
        name, content = install_cron.user_crontab()
        return Tab(name, content)
    place = install_cron.CRONTAB if file is None else os.fspath(file)
    if place == STDIN:
        return Tab("crontab on stdin", text or "", system)
    return Tab(f"crontab {os.path.realpath(place)}", tab_text(_bytes(place)), system)


def tab_text(data: bytes) -> str:
    """Return bytes as the text of a crontab, invalid UTF-8 as surrogates; raises InputError."""
    if len(data) > MOST:
        raise InputError(f"a crontab has at most {MOST} bytes: split it")
    return data.decode(errors="surrogateescape")


def comment_out(
    tab: Tab, lines: Sequence[ImportedLine], folder: str, moment: datetime
) -> list[str]:
    """Comment out the imported lines in our own crontab, and return a report."""
    moved = {each.line: each.task for each in lines if each.task and each.action != "remove"}
    if not moved:
        return []
    new = crontab.commented_out(tab.text, moved)
    kept = install_cron.replace_user_crontab(folder, tab.text, new, moment)
    return [
        f"{len(moved)} line{'s' * (len(moved) != 1)} of the {tab.source} commented out",
        *kept,
    ]


def remarks(tab: Tab) -> list[str]:
    """Return remarks about a crontab as a whole."""
    told = [WINDOWS] if "\r\n" in tab.text else []
    place = tab.source.removeprefix("crontab ")
    if not tab.system and (
        place == install_cron.CRONTAB or os.path.dirname(place) == install_cron.CRON_FOLDER
    ):
        told.append(f"{place} is a crontab of the system, whose lines have a user: give --system")
    return told


def advice(lines: Sequence[ImportedLine], *, commented: bool) -> list[str]:
    """Return the next steps for a person who has imported a crontab."""
    told = []
    if any(each.action != "leave" for each in lines) and not commented:
        told.append(STILL_THERE)
    if commented:
        told.append("`taskrunner doctor` tells whether a clock calls taskrunner")
    return told
