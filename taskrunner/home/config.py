"""The settings of one home: `taskrunner.toml` and the environment, read once into a frozen value.

Each plain setting can also be given as an environment variable, `TASKRUNNER_` and its name in capitals; the
variable wins. With `home` the only reader of the environment. It must not know tasks.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskrunner import clock
from taskrunner.errors import InputError, ZoneError, advice, shown
from taskrunner.home import channels, log_file, paths
from taskrunner.home.channels import Channel
from taskrunner.model.record import field, like, names_of, record
from taskrunner.schedule import durations, zones

if TYPE_CHECKING:
    from taskrunner.home.queues import Queue

SIZE = r"(?ai)([0-9]{1,12}) ?((?:k|m|g)?b?)"
UNITS = {"": 1, "b": 1} | {
    f"{sign}{b}": 1000**power for power, sign in enumerate("kmg", start=1) for b in ("", "b")
}
LARGEST_SIZE = 10**15  # bytes
# Settings that no single environment variable can hold.
TABLES = ("env", "defaults", "notify", "queues")
APART = ("notify", "queues")  # tables with a reader of their own
SURROGATE = r"[\ud800-\udfff]"  # what Python makes of bytes that are not UTF-8


@record
class Config:
    """The settings, with their defaults."""

    tz: str | None = None  # default time zone of tasks; null: the host's
    max_parallel: int = 16  # the most runs at a time on this machine, of all tasks together
    tick_period: timedelta = timedelta(seconds=60)  # expected time between two ticks
    synchronous: str = "full"  # full: claims and outcomes survive a power cut; normal: faster
    carrier: str = "inline"  # inline: the tick or daemon runs tasks itself; systemd: in units
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # PATH of tasks
    shell: str = "/bin/sh"  # SHELL of tasks
    lang: str = "C.UTF-8"  # LANG of tasks
    allow_network_home: bool = False  # allow a home on a network file system
    keep_age: timedelta = timedelta(days=90)  # delete runs that ended longer ago than this
    keep_runs: int = 100  # but keep the newest N runs of each task
    keep_output: int = 1_000_000_000  # bytes of output to keep; the oldest are deleted first
    log_to: str = "file"  # where to write the log: file (taskrunner.log), journal, syslog or none
    log_level: str = "info"  # lowest level to log: error, warning, info or debug
    metrics_textfile: str | None = None  # file for the metrics, for node_exporter
    env: Mapping[str, str] = field(default_factory=dict)  # environment variables of all tasks
    pass_env: tuple[str, ...] = ()  # variables that all tasks take from whoever starts a run
    defaults: Mapping[str, Any] = field(default_factory=dict)  # default options of tasks
    notify: Mapping[str, Channel] = field(default_factory=dict)  # channels for notifications
    queues: Mapping[str, "Queue"] = field(default_factory=dict)  # queues to other machines

    @property
    def queue_limits(self) -> dict[str, int]:
        """The most runs in each queue."""
        return {name: each.limit for name, each in self.queues.items()}


def _text(value: object) -> str:
    if not value or not _plain(value):
        raise InputError("a text that is not empty, in UTF-8 and without a NUL byte")
    return str(value)


def _count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise InputError("a whole number from 1 to 100000")
    return value


def _flag(value: object) -> bool:
    if value in (True, "true", "1"):
        return True
    if value in (False, "false", "0"):
        return False
    raise InputError("true or false")


def _length(value: object) -> timedelta:
    try:
        return durations.parse(_text(value))
    except InputError as exc:
        raise InputError("a duration such as 60s") from exc


def _durability(value: object) -> str:
    if value not in ("full", "normal"):
        raise InputError("full or normal")
    return str(value)


def _carrier(value: object) -> str:
    if value not in ("inline", "systemd"):
        raise InputError("inline or systemd")
    return str(value)


def _place(value: object) -> str:
    if not _plain(value) or not os.path.isabs(str(value)) or str(value).endswith("/"):
        raise InputError("the path of a file, from / on")
    return str(value)


def _plain(value: object) -> bool:
    """Whether a value is a text that can be in an environment: UTF-8 without a NUL byte."""
    return isinstance(value, str) and "\0" not in value and not re.search(SURROGATE, value)


def variable(name: object, value: object) -> bool:
    """Return whether these can be the name and the value of an environment variable.

    A name is letters, digits and _, as a shell takes it: any other could not be read back there.
    """
    named = isinstance(name, str) and name.isidentifier() and name.isascii()
    return named and _plain(value)


def variables(value: object) -> dict[str, str]:
    """Return a table of environment variables, checked; raises InputError."""
    if not isinstance(value, Mapping):
        raise InputError("a table of variables")
    for name, text in value.items():
        if not variable(name, text):
            raise InputError(
                "a table of variables with letters, digits and _ in the names and text as values, "
                f"in UTF-8 and without a NUL byte (see {shown(name)})"
            )
    return dict(value)


def names_to_pass(value: object) -> tuple[str, ...]:
    """Return names of variables, given as a list or as a text such as `A,B`; raises InputError."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, Sequence):
        raise InputError('a list of names of variables, such as ["DATABASE_URL"]')
    names = [each.strip() if isinstance(each, str) else each for each in listed]
    for name in names:
        if not variable(name, ""):
            raise InputError("names of variables, without values, such as DATABASE_URL")
        if name.startswith("TASKRUNNER_"):
            raise InputError(
                "names of variables that are not taskrunner's own: give DATABASE_URL, say"
            )
        if names.count(name) > 1:
            raise InputError(f"a list that has {name} once")
    return tuple(names)


def size(value: object) -> int:
    """Return a number of bytes, given as a number or as a text such as `64kB`, `10MB`, `1GB`."""
    found = re.fullmatch(SIZE, value) if isinstance(value, str) else None
    if found is not None:
        value = int(found[1]) * UNITS[found[2].lower()]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
        raise InputError("a size such as 64kB, 10MB or 1GB")
    return value


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError("a table of options of a task")
    return dict(value)


READERS: Mapping[str, Callable[[Any], object]] = {
    "tz": _text,
    "max_parallel": _count,
    "tick_period": _length,
    "synchronous": _durability,
    "carrier": _carrier,
    "path": _text,
    "shell": _text,
    "lang": _text,
    "allow_network_home": _flag,
    "keep_age": _length,
    "keep_runs": _count,
    "keep_output": size,
    "log_to": channels.one_of(*log_file.PLACES),
    "log_level": channels.one_of(*log_file.LEVELS),
    "metrics_textfile": _place,
    "env": variables,
    "pass_env": names_to_pass,
    "defaults": _table,
}


def load(folder: str) -> Config:
    """Return the settings of a home; raises InputError that names the file or the variable."""
    place = paths.path(folder, paths.CONFIG)
    given = _read(place)
    config = Config()
    channels_given = given.pop("notify", None)  # no value of theirs appears in a message
    if channels_given is not None:
        config = like(config, notify=channels.read(channels_given, place))
    queues_given = given.pop("queues", None)  # an address of one may hold a password
    if queues_given is not None:
        from taskrunner.home import queues  # few homes have any

        config = like(config, queues=queues.read(queues_given, place, os.environ))
    for name, value in given.items():
        config = _with(config, name, value, f"{name} in {place}")
    for name in names_of(Config):
        variable = f"TASKRUNNER_{name.upper()}"
        if name not in TABLES and os.environ.get(variable):
            config = _with(config, name, os.environ[variable], variable)
    return config


def _read(place: str) -> dict[str, Any]:
    """Return the contents of the file, {} without one: most homes have none."""
    try:
        with open(place, "rb", opener=paths.without_waiting) as file:
            import tomllib

            return tomllib.loads(file.read().decode("utf-8-sig"))  # some editors put a mark first
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise InputError(f"{shown(place)} cannot be read: {why}") from exc


def _with(config: Config, name: str, value: object, where: str) -> Config:
    if name not in READERS:
        known = f"known are {', '.join([*READERS, *APART])}"
        raise InputError(f"{where} is not a setting: {advice(name, [*READERS, *APART], known)}")
    try:
        return like(config, **dict[str, Any]({name: READERS[name](value)}))
    except InputError as exc:
        raise InputError(f"{where} is {shown(value)}: it must be {exc}") from exc


def own_variables() -> dict[str, str]:
    """Return the settings in our environment, for a process of ours that does not inherit it."""
    names = [f"TASKRUNNER_{name.upper()}" for name in names_of(Config) if name not in TABLES]
    found = {name: os.environ.get(name, "") for name in (*names, "TZ")}
    return {name: value for name, value in found.items() if value.isprintable() and value}


def default_zone(config: Config) -> str:
    """Return the zone of tasks that name none: the setting, else $TZ, else the host's.

    Raises ZoneError that names the source of a bad one.
    """
    name, where = _chosen_zone(config)
    try:
        zones.zone(name)
    except ZoneError as exc:
        raise ZoneError(f"the zone of {where} cannot be used: {exc}") from exc
    return name


def _chosen_zone(config: Config) -> tuple[str, str]:
    """Return a zone, not yet checked, and its source."""
    if config.tz:
        return config.tz, "TASKRUNNER_TZ" if os.environ.get("TASKRUNNER_TZ") else paths.CONFIG
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name or name == clock.LOCALTIME:
        return clock.local_zone(), "this host"
    return clock.zone_of_file(name) or name, "$TZ"


def colour_wanted(*, terminal: bool) -> bool:
    """Return whether to use colours: on a terminal, unless an environment variable decides.

    NO_COLOR forbids them, else FORCE_COLOR demands them everywhere (no-color.org, force-color.org).
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "") not in ("", "0", "false"):
        return True
    return terminal and os.environ.get("TERM") != "dumb"


def inherited() -> dict[str, str]:
    """Return our environment, for a process of ours that continues with it."""
    return dict(os.environ)


def variable_named(name: str) -> str | None:
    """Return an environment variable of ours that a setting names, None when it is not set or empty."""
    return os.environ.get(name) or None


def notify_socket() -> str | None:
    """Return the socket of our service manager (sd_notify(3)); None without one."""
    return os.environ.get("NOTIFY_SOCKET") or None


def watchdog() -> float | None:
    """Return after how many seconds without a sign of life we are killed (sd_watchdog_enabled(3)); None for never."""
    text = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    good = meant and text.isascii() and text.isdigit() and len(text) < 20
    return int(text) / 1e6 or None if good else None


def inside_run() -> bool:
    """Return whether we were started by a run of a task."""
    return bool(os.environ.get("TASKRUNNER_RUN"))


def passed(names: Sequence[str]) -> dict[str, str]:
    """Return those of some variables that are set here, for a run that we start."""
    return {name: os.environ[name] for name in names if name in os.environ}


def calling_environment() -> dict[str, str]:
    """Return the environment of our caller."""
    return dict(os.environ)


def base_environment(config: Config, user: str, folder: str) -> dict[str, str]:
    """Return the small fixed environment that every run starts from, then the variables of the config."""
    base = {
        "PATH": config.path,
        "HOME": folder,
        "USER": user,
        "LOGNAME": user,
        "SHELL": config.shell,
        "LANG": config.lang,
    }
    return base | dict(config.env)
