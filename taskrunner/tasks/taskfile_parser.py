"""Read the text of a task file into definitions, by merging the tables about each task."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from taskrunner.errors import InputError, shown
from taskrunner.model.record import field, mutable
from taskrunner.render import spelling
from taskrunner.schedule import describe, instants, zones
from taskrunner.schedule.kinds import After, At, Boot, Cron, Every, Manual, On, Schedule
from taskrunner.tasks import options, readers
from taskrunner.tasks.places import Path, lines
from taskrunner.tasks.taskfile import DETAILS, KEYS, WHEN, WORK, Definition, Fault, underscored

TIMING = (*WHEN, *DETAILS)
NO_DEFAULTS = {*TIMING, *WORK, "args", "now", "enabled", "description"}
FLAGS = ("boot", "manual", "from_finish", "now", "enabled")
TABLES = ("defaults", "tasks", "profiles")
LARGEST = 4_000_000  # characters of a file
MANY = 10  # longer lists of names are not shown in full
RELATIVE = re.compile(r"\s*(?:[+-]|now\s*$)", re.IGNORECASE)

# Options that replace others given before: a schedule another one, a policy its limit.
INSTEAD = (
    ({*TIMING}, {*WHEN}),
    ({*WORK, "args"}, {*WORK}),
    ({"catch_up_limit"}, {"catch_up"}),
    ({"max_instances"}, {"overlap"}),
)


@mutable
class Reading:
    """One file while it is read: its definitions, and all its faults."""

    text: str
    place: str
    source: str
    zone: str
    definitions: list[Definition] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    profiles: tuple[str, ...] = ()
    names: set[str] = field(default_factory=set)
    _lines: dict[Path, int] | None = None

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the table around it."""
        if self._lines is None:
            self._lines = lines(self.text)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def refuse(self, path: Path, text: str) -> None:
        """Record a fault at the line of a key."""
        self.faults.append(Fault(self.place, self.line(path), underscored(text)))


def read(text: str, place: str, source: str, *, zone: str, profile: str | None = None) -> Reading:
    """Return the definitions in the text of a task file, and all its faults.

    `place` is its name in messages, `source` its name in the database; `zone` is the default zone of tasks.
    """
    reading = Reading(text, place, source, zone)
    whole = _parsed(reading)
    for name in whole.keys() - set(TABLES):
        reading.refuse(
            (name,), f"{shown(name)} is not a table of a task file: {_near(name, TABLES)}"
        )
    profiles = _table(reading, whole, ("profiles",))
    reading.profiles = tuple(profiles)
    chosen = {}
    for name in profiles:
        here = _table(reading, profiles, ("profiles", name))
        for key in here.keys() - {"defaults", "tasks"}:
            sentence = f"{shown(key)} is not a table of a profile: write defaults or tasks"
            reading.refuse(("profiles", name, key), sentence)
        if name == profile:
            chosen = here
    _read_tasks(reading, whole, chosen, profile or "")
    return reading


def _parsed(reading: Reading) -> dict[str, Any]:
    if len(reading.text) > LARGEST:
        sentence = f"a task file has at most {LARGEST} characters: split it"
        reading.faults.append(Fault(reading.place, 1, sentence))
        return {}
    try:
        return tomllib.loads(reading.text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(exc))
        line = int(place[1]) if place else max(1, reading.text.count("\n"))
        why = re.sub(r" \(at [^()]*\)$", "", str(exc))
        reading.faults.append(Fault(reading.place, line, f"this is not valid TOML: {why}"))
        return {}
    except ValueError as exc:  # a number of thousands of digits
        reading.faults.append(Fault(reading.place, 1, f"this is not readable TOML: {exc}"))
        return {}


def _table(reading: Reading, parent: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the table of that name; {} when it is missing or not a table."""
    value = parent.get(path[-1], {})
    if isinstance(value, dict):
        return value
    advice = " (tasks are tables of their own, such as [tasks.backup])" * (path[-1] == "tasks")
    reading.refuse(path, f"{path[-1]} is not a table{advice}")
    return {}


def _read_tasks(
    reading: Reading, whole: dict[str, Any], chosen: dict[str, Any], profile: str
) -> None:
    """Read the tasks of a file, then those of a profile."""
    tops: list[tuple[Path, dict[str, Any]]] = [((), whole), (("profiles", profile), chosen)]
    common = _layers(reading, tops, "defaults", allowed=set(KEYS) - NO_DEFAULTS)
    names: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for top, table in tops:
        for name in _table(reading, table, (*top, "tasks")):
            path = (*top, "tasks", name)
            names.setdefault(name, []).append((path, _table(reading, table.get("tasks", {}), path)))
    reading.names = {*names}
    for name, own in names.items():
        _read_task(reading, name, common, own)


def _layers(
    reading: Reading, tops: list[tuple[Path, dict[str, Any]]], key: str, allowed: set[str]
) -> list[tuple[Path, dict[str, Any]]]:
    """Return the tables of defaults, without keys that cannot be defaults."""
    found = []
    for top, table in tops:
        path = (*top, key)
        values = _table(reading, table, path)
        for name in values.keys() - allowed:
            reading.refuse(
                (*path, name), f"{shown(name)} cannot be a default: {_near(name, allowed)}"
            )
        known = {name: values[name] for name in values if name in allowed}
        found += [(path, known)] if known else []
    return found


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:40], known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    few = len(known) < MANY
    return f"known are {', '.join(sorted(known))}" if few else "see the help of taskrunner add"


def _read_task(
    reading: Reading,
    name: str,
    common: list[tuple[Path, dict[str, Any]]],
    own: list[tuple[Path, dict[str, Any]]],
) -> None:
    """Read one task, or record all its faults."""
    before, top = len(reading.faults), own[0][0]
    places: dict[str, Path] = {"": top}
    values: dict[str, Any] = {}
    for path, table in [*common, *own]:
        _check_keys(reading, name, path, table)
        _lay_over(values, places, path, table)
    if all(values.get(key, False) is False for key in options.PYTHON):
        for key in ("interpreter", "django"):  # a default applies only to tasks that can use it
            if places.get(key, ())[:-1] in [path for path, _ in common]:
                values.pop(key, None)
    try:
        readers.name(name)
    except InputError as exc:
        reading.refuse(top, str(exc))
    if len(reading.faults) > before and any(
        isinstance(values[key], dict) for key in values.keys() - {*KEYS}
    ):
        return  # it is another task, whose name lacks quotes
    definition = _definition(reading, name, values, places)
    if definition is not None and len(reading.faults) == before:
        reading.definitions.append(definition)


def _check_keys(reading: Reading, name: str, path: Path, table: dict[str, Any]) -> None:
    for key, value in table.items():
        if key in KEYS:
            continue
        advice = _near(key, KEYS)
        if isinstance(value, dict):  # [tasks.a.b] is the table b of a task a
            advice = f'a name with a dot needs quotes, such as [tasks."{name}.{key}"]'
        reading.refuse((*path, key), f"{name}: {shown(key)} is not an option of a task: {advice}")


def _lay_over(
    values: dict[str, Any], places: dict[str, Path], path: Path, table: dict[str, Any]
) -> None:
    """Merge the options of one table into those before; a contradicting option replaces them."""
    gone: set[str] = set()
    for group, marks in INSTEAD if values else ():
        if any(table[key] is not False for key in table.keys() & marks):
            gone |= group
    for key in gone & values.keys():
        del values[key]
    for key, value in table.items():
        before = values.get(key)
        both = key == "env" and isinstance(before, dict) and isinstance(value, dict)
        values[key] = {**before, **value} if both and isinstance(before, dict) else value
        places[key] = (*path, key)


def _definition(
    reading: Reading, name: str, values: dict[str, Any], places: dict[str, Path]
) -> Definition | None:
    """Return a definition, or None when its schedule is wrong; other faults are recorded."""

    def refuse(key: str, text: str) -> None:
        reading.refuse(places.get(key, places[""]), f"{name}: {text}")

    flags = _flags(values, refuse)
    given = _given(values, refuse)
    command, shell = _work(values, refuse)
    schedule, tz = _schedule(reading, values, flags, places, refuse)
    if schedule is None:
        return None
    return Definition(
        name,
        reading.source,
        schedule,
        command,
        shell,
        tz,
        bool(flags.get("now")),
        flags.get("enabled"),
        given,
        reading.place,
        Places(reading, places),
    )


class Places(Mapping[str, int]):
    """The lines of the keys of a task, found on demand."""

    def __init__(self, reading: Reading, places: dict[str, Path]) -> None:
        """Take the paths of the keys."""
        self._reading, self._places = reading, places

    def __getitem__(self, key: str) -> int:
        return self._reading.line(self._places[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _flags(values: dict[str, Any], refuse: Any) -> dict[str, bool]:
    found = {}
    for key in FLAGS:
        if key in values and not isinstance(values[key], bool):
            refuse(key, f"{key} {shown(values[key])}: it must be true or false")
        elif key in values:
            found[key] = values[key]
    return found


def _given(values: dict[str, Any], refuse: Any) -> dict[str, Any]:
    """Return the options of a task, each read; false means no value, whatever the default."""
    found: dict[str, Any] = {}
    for key, option in options.OPTIONS.items():
        if key in values:
            try:
                found[key] = _checked(key, values[key])
            except InputError as exc:
                value = "" if option.secret else f" {shown(values[key])}"
                refuse(key, f"{key}{value}: {exc}")
    return found


def _checked(key: str, value: Any) -> Any:
    """Return a value in the form of `options`; raises InputError for a wrong or ambiguous one."""
    if value is False and (key == "timeout" or options.OPTIONS[key].default is None):
        value = None
    if isinstance(value, float) and key not in ("retry_backoff", "long_after"):
        value = timedelta(seconds=value) if 0 < value < 1e10 else value
    if key == "umask" and isinstance(value, int):
        raise InputError('it must be text in octal, such as "022"')
    if key == "env" and isinstance(value, dict) and spelling.MASK in value.values():
        hidden = next(name for name, text in value.items() if text == spelling.MASK)
        raise InputError(
            f"{hidden} is {spelling.MASK}, which stands for a value that export did not show: write the value"
        )
    options.OPTIONS[key].read(value)
    return value


def _work(values: dict[str, Any], refuse: Any) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the command or the shell text; neither when a task runs Python."""
    given = [key for key in WORK if values.get(key, False) is not False]
    key = given[0] if given else ""
    if len(given) != 1:
        which = describe.join(options.WORK[each] for each in given) if given else "no command"
        advice = (
            "give one of them" if key else 'write command = ["program", "word"] or shell = "text"'
        )
        refuse(key, f"there is {which}: {advice}")
        return None, None
    try:
        if key in options.PYTHON:
            return None, None
        if key == "shell":
            return None, readers.shell(_not_none(values[key]))
        return readers.argv(_not_none(values[key])), None
    except InputError as exc:
        refuse(key, str(exc))
        return None, None


def _not_none(value: Any) -> Any:
    return str(value) if value is None else value


def _schedule(
    reading: Reading,
    values: dict[str, Any],
    flags: dict[str, bool],
    places: dict[str, Path],
    refuse: Any,
) -> tuple[Schedule | None, str | None]:
    """Return the schedule of a task and its zone; None for a wrong schedule."""
    given = [key for key in WHEN if values.get(key, False) is not False]
    if len(given) != 1:
        if given:
            text = f"{describe.join(given)} are {len(given)} schedules: give one of them"
        else:
            text = f"there is no schedule: give one of {', '.join(WHEN)}"
        refuse(given[0] if given else "", text)
        return None, None
    kind, tz = given[0], values.get("tz")
    if kind in ("after", "boot", "manual") and places.get("tz", ())[:-1] != places[kind][:-1]:
        tz = None  # it belongs to another schedule, or is a default for other kinds
    try:
        whole = _when(kind, values, flags, tz if isinstance(tz, str) else reading.zone)
        if tz is not None:
            readers.schedule(whole, tz)  # not every kind of schedule takes one
            zones.zone(tz)
    except InputError as exc:
        known = {"zone": "tz", "time of day": "at_time"}  # told by the words of the fault
        key = next((key for text, key in known.items() if text in str(exc) and key in values), kind)
        refuse(key, str(exc))
        return None, None
    return whole, tz


def _when(kind: str, values: dict[str, Any], flags: dict[str, bool], zone: str) -> Schedule:
    value = values[kind]
    for key, schedule in DETAILS.items():
        if kind != schedule and values.get(key, False) is not False:
            raise InputError(f"{key} {shown(values[key])} goes only with {schedule}")
    if kind in ("boot", "manual"):
        return Boot() if kind == "boot" else Manual()
    if kind == "every":
        anchor = values.get("anchor")
        start = None if anchor is None else instants.place_text(_moment(anchor), zone)
        return Every(_text(kind, value), start, from_finish=flags.get("from_finish", False))
    if kind == "on":
        given = values.get("at_time", False)
        return On(_text(kind, value), None if given is False else given)
    if kind == "at":
        return At(_moment(value))
    if kind == "cron":
        return Cron(_text(kind, value))
    parent, _, how = _text(kind, value).partition(":")
    return After(parent, how or "succeeded")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{key} {shown(value)} is not text: put it in quotes")
    return value


def _moment(value: Any) -> str:
    """Return an instant as ISO 8601, also from the type of TOML."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str):
        raise InputError(
            f"{shown(value)} is not a valid time: write one such as '2026-12-01 22:00'"
        )
    if RELATIVE.match(value):
        raise InputError(
            f"{shown(value)} is a different time whenever the file is applied: write one such as '2026-12-01 22:00'"
        )
    return value
