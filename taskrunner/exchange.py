"""What comes in from task files and crontabs, and goes out to them.

Texts are read and put into definitions here; what these change is for `plan`.
"""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from taskrunner import options, plan, taskfile
from taskrunner.answers import Exported, ImportedLine
from taskrunner.clocks import cron, crontab, crontab_names, proof
from taskrunner.clocks.crontab import Line
from taskrunner.entry import crontabs
from taskrunner.errors import InputError, StateError, TaskRunnerError, shown
from taskrunner.model import Progress, Task, untold
from taskrunner.opened import OpenHome
from taskrunner.plan import Draft
from taskrunner.record import record
from taskrunner.schedule import Cron
from taskrunner.taskfile import Definition, Found, Reading

STDIN = "-"
SUFFIX = ".toml"
MOST = 4 * taskfile.LARGEST  # bytes
STILL_THERE = "the lines are still in the crontab: cron runs them, too, until they are comments"

WINDOWS = (
    "lines end in CRLF, as on Windows: cron gives the CR to commands and settings as their last sign; "
    "the tasks are without it"
)

Place = str | os.PathLike[str]


def read(files: Sequence[Place], text: str | None, zone: str, profile: str | None) -> Found:
    """Return what task files define, and all that is wrong with them; raises InputError or StateError."""
    if not files:
        raise InputError("there is no task file: name one, a folder, or - for stdin")
    readings = [
        taskfile.read(content, place, source, zone=zone, profile=profile)
        for place, source, content in _contents(files, text)
    ]
    faults = [fault for reading in readings for fault in reading.faults]
    if not faults and profile is not None:
        _check_profile(readings, profile)
    return Found(
        [each for reading in readings for each in reading.found],
        faults,
        frozenset(name for reading in readings for name in reading.names),
        frozenset(reading.source for reading in readings),
    )


def _contents(files: Sequence[Place], text: str | None) -> list[tuple[str, str, str]]:
    """Return each file as it is named, its real path, and what is in it."""
    found: dict[str, tuple[str, str, str]] = {}
    for each in [os.fspath(file) for file in files]:
        if each == STDIN:
            found[STDIN] = ("stdin", STDIN, (text or "").removeprefix(crontab.MARK))
            continue
        for place in _listed(each) if os.path.isdir(each) else [each]:
            source = os.path.realpath(place)
            found[source] = (place, source, contents(place))
    return list(found.values())


def _listed(folder: str) -> list[str]:
    names = sorted(os.listdir(folder))
    found = [name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]
    return [os.path.join(folder, name) for name in found]


def contents(place: str) -> str:
    """Return the text of a task file; raises InputError or StateError."""
    return text_of(_bytes(place), f"the file {shown(place)}")


def text_of(data: bytes, what: str) -> str:
    """Return bytes as the text of a task file; raises InputError."""
    if len(data) > MOST:
        raise InputError(f"{what} has more than {MOST} bytes: split it")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        raise InputError(f"{what} is not UTF-8") from exc


def _bytes(place: str) -> bytes:
    try:
        with open(place, "rb") as file:
            return file.read(MOST + 1)
    except OSError as exc:
        raise StateError(f"the file {shown(place)} cannot be read: {exc.strerror}") from exc


def _check_profile(readings: Sequence[Reading], profile: str) -> None:
    known = {name for reading in readings for name in reading.profiles}
    if profile not in known:
        near = difflib.get_close_matches(profile[:40], known, n=1)
        have = f"they have {', '.join(sorted(known))}" if known else "they have none"
        advice = f"did you mean {near[0]}?" if near else have
        raise InputError(f"{shown(profile)} is no profile of these files: {advice}")


def owner(files: Sequence[Place]) -> Callable[[str], bool]:
    """Return whether a source is one of these files, or was one in one of these folders."""
    paths = [STDIN if os.fspath(each) == STDIN else os.path.realpath(each) for each in files]
    folders = {path for path in paths if os.path.isdir(path)}
    return lambda source: (
        source in paths or (source.endswith(SUFFIX) and os.path.dirname(source) in folders)
    )


def export(tasks: Sequence[Task], defaults: Mapping[str, Any], *, secrets: bool) -> Exported:
    """Return tasks as the text of a task file."""
    text, hiding = taskfile.write(tasks, options.usual(defaults), secrets=secrets)
    return Exported(text, tuple(hiding))


# ---- crontabs


@record
class Tab:
    """A crontab to import: what its tasks are kept under, its text, and whether its lines have a user."""

    source: str
    text: str
    system: bool = False


def tab(file: Place | None, text: str | None, *, system: bool) -> Tab:
    """Return the crontab of a file, of `text` for `-`, or without either our own, or the system's."""
    if file is None and not system:
        name, content = crontabs.user_crontab()
        return Tab(name, content)
    place = crontabs.CRONTAB if file is None else os.fspath(file)
    if place == STDIN:
        return Tab("crontab on stdin", text or "", system)
    return Tab(f"crontab {os.path.realpath(place)}", tab_text(_bytes(place)), system)


def tab_text(data: bytes) -> str:
    """Return bytes as the text of a crontab: those that are not UTF-8 stay in it; raises InputError."""
    if len(data) > MOST:
        raise InputError(f"a crontab has at most {MOST} bytes: split it")
    return data.decode(errors="surrogateescape")


def drafts_of_crontab(
    here: OpenHome, found: Tab, moment: datetime, progress: Progress = untold
) -> tuple[list[Draft], list[ImportedLine]]:
    """Return the tasks that the lines of a crontab become, and what becomes of each line."""
    lines, left = crontab.read(found.text, system=found.system, halves=crontabs.halves())
    told = [_left(each.number, each.text.strip(), each.why) for each in left]
    own = {each.number for each in cron.lines_that_call(found.text, users=found.system)}
    told += [
        _left(n.number, n.command, "it calls taskrunner itself") for n in lines if n.number in own
    ]
    reading = Importing(here, found.source, moment, here.store.tasks())
    for number, line in enumerate(lines):
        progress("lines compared with cron", number, len(lines))
        told += [] if line.number in own else [reading.take(line)]
    return reading.made, sorted(told, key=lambda each: each.line)


class Importing:
    """The lines of one crontab on their way into tasks: which names are taken, which tasks are there already."""

    def __init__(
        self, here: OpenHome, source: str, moment: datetime, tasks: Sequence[Task]
    ) -> None:
        """Take the tasks of a home."""
        self._here, self._source, self._moment = here, source, moment
        self._usual = options.usual(here.config.defaults)
        self._there = [task for task in tasks if task.source == source]
        self._taken = {task.name for task in tasks}
        self.made: list[Draft] = []

    def take(self, line: Line) -> ImportedLine:
        """Make a line a task, unless it is one or cannot be one, and return what became of it."""
        try:
            made = _defined(self._here, line, self._source, self._taken)
            draft = plan.draft(self._here, made, self._usual, self._moment)
        except TaskRunnerError as exc:
            return _left(line.number, line.command, str(exc))
        known = next((task for task in self._there if _same(task, draft)), None)
        if known is not None:
            self._there.remove(known)
            return _told(line, "keep", known.name, draft, self._moment)
        self._taken.add(draft.given.name)
        self.made.append(draft)
        return _told(line, "add", draft.given.name, draft, self._moment)


def _unproved(line: Line, draft: Draft) -> list[str]:
    """Return a sentence when what a task runs is not what cron runs."""
    found = proof.work(line.text, users=line.user is not None, halves=crontabs.halves())
    shell = draft.values["shell"]
    if found == (draft.values["command"][-1] if shell is None else shell, draft.values["stdin"]):
        return []
    return [f"its command is not cron's, which is {shown(found[0])}"]


def _defined(here: OpenHome, line: Line, source: str, taken: set[str]) -> Definition:
    """Return the definition that a line becomes; raises what is wrong with it."""
    command, shell = crontab.work(line)
    env = crontab.environment(line)
    if env.get("PATH") == here.config.path:
        del env["PATH"]  # what it sees anyway
    given: dict[str, Any] = {"env": env, "timeout": None}  # cron has no timeout
    given |= {"stdin": line.stdin} if line.stdin is not None else {}
    given |= {"description": line.description} if line.description else {}
    given |= {"user": line.user} if line.user not in (None, crontabs.own_name()) else {}
    home = line.settings.get("HOME", "")
    given |= {"cwd": home} if os.path.isabs(home) else {}
    name = crontab_names.name(line.command, taken)
    return Definition(name, source, crontab.schedule(line), command, shell, given=given)


def _same(task: Task, draft: Draft) -> bool:
    """Whether a task is what a line has become before, whatever was changed of it since."""
    whole, values = draft.whole, draft.values
    return (task.kind, task.schedule, task.tz) == (
        whole.kind,
        whole.text,
        getattr(whole, "tz", None),
    ) and all(getattr(task, key) == values[key] for key in ("command", "shell", "user", "stdin"))


def _left(number: int, text: str, why: str) -> ImportedLine:
    return ImportedLine(number, "leave", None, None, text, None, (why,))


def _told(line: Line, action: str, name: str, draft: Draft, moment: datetime) -> ImportedLine:
    """Return what is told of a line that is a task, with the proof of its slots and its command."""
    differing, whole = None, draft.whole
    notes = (*_unproved(line, draft), *crontab.notes(line))
    if isinstance(whole, Cron) and whole.tz is not None:
        differing, first = proof.differences(whole.text, whole.tz, moment)
        notes += (f"slots that are not cron's: {', '.join(first)}",) if differing else ()
    return ImportedLine(line.number, action, name, whole.describe(), line.command, differing, notes)


def comment_out(
    found: Tab, lines: Sequence[ImportedLine], folder: str, moment: datetime
) -> list[str]:
    """Turn the lines that are tasks now into comments in our own crontab, and return what was done."""
    moved = {each.line: each.task for each in lines if each.task is not None}
    if not moved:
        return []
    new = crontab.commented_out(found.text, moved)
    kept = crontabs.replace_user_crontab(folder, found.text, new, moment)
    return [
        f"{len(moved)} line{'s' * (len(moved) != 1)} of the {found.source} made comments",
        *kept,
    ]


def remarks(found: Tab) -> list[str]:
    """Return what is to be known of a crontab as a whole."""
    return [WINDOWS] if "\r\n" in found.text else []


def advice(lines: Sequence[ImportedLine], *, commented: bool) -> list[str]:
    """Return what is left to do for a person who has imported a crontab."""
    told = []
    if any(each.action != "leave" for each in lines) and not commented:
        told.append(STILL_THERE)
    if commented:
        told.append("`taskrunner doctor` tells whether a clock calls taskrunner")
    return told
