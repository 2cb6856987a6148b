"""Queues to other machines, as the tables `[queues.NAME]` of the configuration describe them.

Nothing is opened or sent here. An address may hold a password, so a message never contains it. It must not know the
store, nor the engines.
"""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from taskrunner.errors import InputError, advice, shown
from taskrunner.home import program
from taskrunner.home.channels import one_of
from taskrunner.model.record import record

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,49}"
ENGINES = ("rq",)
URL = r"(?:rediss?://[^/?#\s]+|unix://(?:[^@/\s]*@)?/[^?#\s]+)\S*"
LOCAL = r"localhost|127(?:\.[0-9]+){3}|::1"
MASK = "***"


@record
class Queue:
    """One queue: the address of its server, or the variable that holds it, and at most `limit` of our runs in it."""

    name: str
    engine: str
    url: str | None = None  # None when the variable is not set
    url_env: str | None = None
    queue: str = "default"  # its name at the server
    limit: int = 500

    def unusable(self) -> str | None:
        """Return the sentence for a queue that cannot be used at all on this host, None when it can."""
        if self.url is None:
            return (
                f"the variable {self.url_env} with the address of the queue {self.name} is not set"
            )
        return self.missing()

    def missing(self) -> str | None:
        """Return the sentence for an engine that is not installed, None when it is."""
        if find_spec("rq") is not None and find_spec("redis") is not None:
            return None
        return f"the queue {self.name} needs RQ: install it with `{program.adding('rq')}`"


def read(value: Any, where: str, variables: Mapping[str, str]) -> dict[str, Queue]:
    """Return the queues of a configuration; raises InputError that says where a mistake is.

    `variables` are those of the environment, which may hold addresses.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"queues in {where} must be tables such as [queues.heavy]")
    return {name: _queue(name, table, where, variables) for name, table in value.items()}


def _queue(name: str, table: Any, where: str, variables: Mapping[str, str]) -> Queue:
    place = f"the queue {shown(name)} in {where}"
    if not re.fullmatch(NAME, name):
        raise InputError(f"{place}: use letters, digits and . _ - for its name")
    if not isinstance(table, Mapping):
        raise InputError(f"{place} must be a table: [queues.{name}]")
    for key in table:
        if key not in READERS:
            told = advice(key, READERS, f"known are {', '.join(READERS)}")
            raise InputError(f"{place}: {shown(key)} is not a setting of a queue: {told}")
    if "engine" not in table:
        raise InputError(f"{place} has no engine: it must be one of {', '.join(ENGINES)}")
    if ("url" in table) == ("url_env" in table):
        raise InputError(f"{place}: give one of url, url_env")
    settings = {key: _setting(place, key, each) for key, each in table.items()}
    settings["queue"] = settings.pop("name", Queue.queue)
    if "url_env" in settings:
        settings["url"] = _from_variable(place, settings["url_env"], variables)
    return Queue(name=name, **settings)


def _from_variable(place: str, name: str, variables: Mapping[str, str]) -> str | None:
    text = variables.get(name)
    try:
        return _url(text) if text else None
    except InputError as exc:
        raise InputError(f"{place}: the variable {name} must be {exc}") from exc


def _setting(place: str, key: str, value: Any) -> Any:
    try:
        return READERS[key](value)
    except InputError as exc:
        raise InputError(f"{place}: {key} must be {exc}") from exc


def _url(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(URL, value):
        raise InputError(
            "an address such as redis://HOST:PORT/NUMBER, rediss://... or unix:///PATH"
        )
    return value


def _variable(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", value):
        raise InputError("the name of an environment variable such as REDIS_URL")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(NAME, value):
        raise InputError("a name of letters, digits and . _ -")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise InputError("a whole number from 1 to 100000")
    return value


READERS: Mapping[str, Callable[[Any], Any]] = {
    "engine": one_of(*ENGINES),
    "url": _url,
    "url_env": _variable,
    "name": _name,
    "limit": _count,
}


def masked(url: str) -> str:
    """Return an address with *** for its passwords, before the host and among the parameters."""
    without = re.sub(r"([?&#])([^=&#]*)=[^&]*", _masked_parameter, url)
    return re.sub(r"^([a-z]+://[^:@/]*):.*@", rf"\1:{MASK}@", without)


def _masked_parameter(parameter: re.Match[str]) -> str:
    whole, sign, name = parameter[0], parameter[1], parameter[2]
    is_password = unquote_plus(name).lower().endswith("password")
    return f"{sign}{name}={MASK}" if is_password else whole


def exposed(url: str) -> list[str]:
    """Return what an address lacks when others could listen: encryption, password; nothing for this host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # it cannot be used
        return []
    if parts.scheme == "unix" or re.fullmatch(LOCAL, host):
        return []
    lacks = [] if parts.scheme == "rediss" else ["encryption"]
    has_password = parts.password or "password" in parse_qs(parts.query)
    return lacks if has_password else [*lacks, "password"]
