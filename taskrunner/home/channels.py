"""Channels for notifications, as the tables `[notify.NAME]` of the configuration describe them.

Each key is checked on its own, then all together; nothing is opened or sent here. A value may be secret, so a message
never contains any part of an address. It must not know the store.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from taskrunner.errors import InputError, advice, shown
from taskrunner.schedule import durations

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,49}"
# The events of a task that can be announced.
EVENTS = (
    "start",  # a run starts
    "success",  # a slot succeeded
    "first-success",  # for the first time ever
    "failure",  # the last attempt of a slot failed, timed out or was lost
    "recovery",  # a slot succeeded, after a failure that was announced
    "missed",  # a slot was too late to be run
    "lost",  # a run was lost; also a failure
    "late",  # a run starts later than `late_after` after its slot
    "long",  # a run takes longer than `long_after` times its usual duration
)
USUAL = ("failure", "recovery", "missed", "late", "long")  # when a rule names no event
PINGED = ("start", "success", "failure")  # all that a ping can say
ALWAYS, NEVER = timedelta(0), None  # of `repeat`
MASK = "***"
OWN = ""  # the name of the channel that is a task's own command, or addresses of its own
SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail")


class Channel:
    """One way to notify people; `on` and `tasks` are its rules for all tasks, `more` the settings of its kind."""

    # No dataclass: every tick that works imports this, and most homes have none.
    __slots__ = ("digest", "kind", "more", "name", "on", "repeat", "tasks", "time_limit")

    def __init__(self, name: str, kind: str, found: Mapping[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.on: tuple[str, ...] = found.get("on", ())
        self.tasks: tuple[str, ...] = found.get("tasks", ("*",))
        self.repeat: timedelta | None = found.get("repeat", timedelta(days=1))
        self.time_limit: timedelta = found.get("time_limit", timedelta(seconds=30))
        self.digest: int = found.get("digest", 5)
        self.more: Mapping[str, Any] = {k: v for k, v in found.items() if k not in COMMON}

    @property
    def usual(self) -> tuple[str, ...]:
        """The events of a rule that names none."""
        return PINGED if self.kind == "ping" else USUAL


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError("a text of one line")
    return value


def _long_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InputError("a text that is not empty")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise InputError("a text or a list of texts")
    return tuple(_text(each) for each in found)


def _events(value: Any) -> tuple[str, ...]:
    found = _texts(value) if value != [] else ()
    for each in found:
        if each not in EVENTS:
            raise InputError(f"a list of events, known are {', '.join(EVENTS)}")
    return found


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InputError("a table of header names and texts")
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise InputError("a table of header names, made of letters, digits and -, and texts")
        _text(text)
    return dict(value)


def _url(value: Any) -> str:
    found = _text(value)
    if not re.match(r"https?://[^/?#\s]+", found) or " " in found:
        raise InputError("an address that begins with https:// or http://")
    return found


def _address(value: Any) -> tuple[str, ...]:
    for each in _texts(value):
        if not re.fullmatch(r"[^\s,;<>]+", bare(each)) or bare(each).startswith("-"):
            raise InputError("a mail address such as ops@example.org, or a list of such")
    return _texts(value)


def bare(address: str) -> str:
    """Return an address without the name of its owner: `Ops <ops@example.org>` is ops@example.org."""
    found = re.fullmatch(r"[^<>]*<([^<>]*)>\s*", address)
    return found[1] if found else address


def _server(value: Any) -> str:
    if not re.fullmatch(
        r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", _text(value)
    ):
        raise InputError("a server such as mail.example.org or mail.example.org:587")
    return str(value)


def one_of(*known: str) -> Callable[[Any], str]:
    """Return a reader that accepts only these words."""

    def read(value: Any) -> str:
        if value not in known:
            raise InputError(f"one of {', '.join(known)}")
        return str(value)

    return read


def _repeat(value: Any) -> timedelta | None:
    if value in ("always", "never"):
        return ALWAYS if value == "always" else NEVER
    return _length(value, "a duration such as 6h, or always or never")


def _length(value: Any, what: str = "a duration such as 30s") -> timedelta:
    try:
        return durations.parse(_text(value))
    except InputError as exc:
        raise InputError(what) from exc


def _limit(value: Any) -> timedelta:
    found = _length(value)
    if found > timedelta(minutes=10):
        raise InputError("a duration of at most 10m")
    return found


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise InputError("a whole number from 1 to 1000")
    return value


Readers = Mapping[str, Callable[[Any], Any]]
COMMON: Readers = {
    "kind": _text,
    "on": _events,
    "tasks": _texts,
    "repeat": _repeat,
    "time_limit": _limit,
    "digest": _count,
}
WEB: Readers = {"url": _url, "url_file": _text, "url_env": _text, "ca_file": _text}
KINDS: Mapping[str, Readers] = {
    "command": {"command": _texts, "shell": _long_text},
    "mail": {
        "to": _address,
        "from": _address,
        "sendmail": _text,
        "smtp": _server,
        "user": _text,
        "tls": one_of("starttls", "tls", "none"),
        "ca_file": _text,
        "password_file": _text,
        "password_env": _text,
    },
    "webhook": {**WEB, "template": _long_text, "headers": _headers},
    "ping": WEB,
}
# Of each of these exactly one, or at most one.
ONE = {"command": ("command", "shell"), "webhook": ("url", "url_file", "url_env")}
ONE["ping"] = ONE["webhook"]
AT_MOST_ONE = {"mail": (("sendmail", "smtp"), ("password_file", "password_env"))}
WITH_SMTP = ("tls", "ca_file", "user", "password_file", "password_env")


class Channels(dict[str, Channel]):
    """Channels by their names, and the mistakes in those that cannot be used: only a sender needs these."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.mistakes: dict[str, str] = {}


def read(value: Any, where: str) -> Channels:
    """Return the channels of a configuration, with a sentence for each mistake that says where it is."""
    found = Channels()
    if not isinstance(value, Mapping):
        found.mistakes[OWN] = f"notify in {where} must be tables such as [notify.ops]"
        return found
    for name, table in value.items():
        try:
            found[name] = _channel(name, table, where)
        except InputError as exc:
            found.mistakes[name] = str(exc)
    return found


def mistakes(known: Mapping[str, Channel]) -> Mapping[str, str]:
    """Return the mistakes in channels that cannot be used, by their names."""
    return known.mistakes if isinstance(known, Channels) else {}


def unknown(name: str, known: Mapping[str, Channel]) -> str:
    """Return the sentence about a channel that is not among the known ones."""
    return (
        f"there is no channel {shown(name)} in taskrunner.toml: it has {', '.join(known) or 'none'}"
    )


def _channel(name: str, table: Any, where: str) -> Channel:
    place = f"the channel {shown(name)} in {where}"
    if not re.fullmatch(NAME, name):
        raise InputError(f"{place}: use letters, digits and . _ - for its name")
    if not isinstance(table, Mapping):
        raise InputError(f"{place} must be a table: [notify.{name}]")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        what = "has no kind: it" if kind is None else f"kind {shown(kind)}"
        raise InputError(f"{place}: {what} must be one of {', '.join(KINDS)}")
    found = {key: _setting(place, kind, key, each) for key, each in table.items()}
    _agree(place, kind, found)
    return Channel(name, kind, found)


def _setting(place: str, kind: str, key: str, value: Any) -> Any:
    if key == "password":
        raise InputError(
            f"{place}: a password is not allowed in the configuration: put it into a file of mode 0600 "
            "and give password_file, or give password_env"
        )
    reader = {**COMMON, **KINDS[kind]}.get(key)
    if reader is None:
        known = ", ".join([*KINDS[kind], *COMMON])
        meant = advice(key, [*KINDS[kind], *COMMON], f"known are {known}")
        raise InputError(f"{place}: {shown(key)} is not a setting of {kind}: {meant}")
    try:
        return reader(value)
    except InputError as exc:
        raise InputError(f"{place}: {key} must be {exc}") from exc


def _agree(place: str, kind: str, found: Mapping[str, Any]) -> None:
    """Raise InputError for settings that are missing or contradict each other."""
    one = ONE.get(kind, ())
    if one and sum(key in found for key in one) != 1:
        raise InputError(f"{place}: give one of {', '.join(one)}")
    for keys in AT_MOST_ONE.get(kind, ()):
        if all(key in found for key in keys):
            raise InputError(f"{place}: give {' or '.join(keys)}, not both")
    if kind == "mail":
        _agree_on_mail(place, found)
    if kind == "ping" and not set(found.get("on", ())) <= set(PINGED):
        raise InputError(f"{place}: a ping can send only {', '.join(PINGED)}")


def _agree_on_mail(place: str, found: Mapping[str, Any]) -> None:
    if "to" not in found:
        raise InputError(f"{place}: to is missing: give a mail address")
    alone = [key for key in WITH_SMTP if key in found]
    if alone and "smtp" not in found:
        raise InputError(f"{place}: {alone[0]} goes only with smtp")
    if ("user" in found) != ("password_file" in found or "password_env" in found):
        raise InputError(f"{place}: user and password_file (or password_env) go together")
    if "user" in found and found.get("tls") == "none" and not local(found["smtp"]):
        raise InputError(f"{place}: with tls none the password would be sent in clear text")


def local(server: str) -> bool:
    """Return whether a server is this host."""
    return re.sub(r":[0-9]+$", "", server) in ("localhost", "127.0.0.1", "[::1]")


def masked(address: str) -> str:
    """Return an address without its path, query and login, any of which may be secret."""
    scheme, _, rest = address.partition("://")
    host, _, more = rest.partition("/")
    host, _, query = host.rpartition("@")[2].partition("?")
    return f"{scheme}://{host}/{MASK if more or query else ''}"


def mailer(known: Mapping[str, Channel], to: tuple[str, ...]) -> Channel | None:
    """Return the channel for mail to addresses: the first mail channel, else this host's; None without both."""
    for each in known.values():
        if each.kind == "mail":
            return Channel(OWN, "mail", {**each.more, "to": to, "time_limit": each.time_limit})
    return Channel(OWN, "mail", {"to": to}) if local_mailer() else None


def local_mailer() -> str | None:
    """Return the program of this host that sends mail, None when there is none."""
    return next((place for place in SENDMAIL if os.access(place, os.X_OK)), None)


def no_mailer(to: tuple[str, ...]) -> str:
    """Return the advice for mail to addresses on a host that cannot send it."""
    return (
        f"this host cannot send mail to {', '.join(to)}: install a sendmail program, or write into taskrunner.toml "
        f'the lines [notify.mail] and kind = "mail" and to = "{bare(to[0])}" and smtp = "mail.example.org:587"'
    )
