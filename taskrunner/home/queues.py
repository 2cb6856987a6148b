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
from taskrunner.home import extras
from taskrunner.home.channels import one_of
from taskrunner.model.record import record

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,49}"
ENGINES = ("rq",)
URL = r"(?:rediss?://[^/?#\s]+|unix://(?:[^@/\s]*@)?/[^?#\s]+)\S*"
SENTINEL = r"(?i)[^:/?#]*sentinel[^:/?#]*://.*|rediss?://[^/?#]*,.*"
DATABASE = r"(?:/[0-9]*)?"
PARAMETERS = (
    *("db", "username", "password", "client_name", "protocol", "health_check_interval"),
    *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "retry_on_timeout"),
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    *("ssl_ca_path", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers"),
)
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
    mistake: str | None = None  # in its settings, as a sentence

    def unusable(self) -> str | None:
        """Return the sentence for a queue that cannot be used at all on this host, None when it can."""
        if self.mistake is not None:
            return self.mistake
        if self.url is None:
            return (
                f"the variable {self.url_env} with the address of the queue {self.name} is not set"
            )
        return self.missing()

    def missing(self) -> str | None:
        """Return the sentence for an engine that is not installed, None when it is."""
        if find_spec("rq") is not None and find_spec("redis") is not None:
            return None
        return f"the queue {self.name} needs RQ: install it with `{extras.adding('rq')}`"


def read(value: Any, where: str, variables: Mapping[str, str]) -> dict[str, Queue]:
    """Return the queues of a configuration, each with the sentence for a mistake in it, which affects its runs only.

    `variables` are those of the environment, which may hold addresses. Raises InputError for another value than tables.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"queues in {where} must be tables such as [queues.heavy]")
    found: dict[str, Queue] = {}
    for name, table in value.items():
        try:
            found[name] = _queue(name, table, where, variables)
        except InputError as exc:
            found[name] = Queue(name, ENGINES[0], mistake=str(exc))
    return found


def _queue(name: str, table: Any, where: str, variables: Mapping[str, str]) -> Queue:
    if not re.fullmatch(NAME, name):
        raise InputError(
            f"the queue {shown(name)} in {where}: use letters, digits and . _ - for its name"
        )
    place = f"the queue {name} in {where}"
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
    if isinstance(value, str) and re.fullmatch(SENTINEL, value):
        raise InputError(
            "the address of one Redis: Sentinel is not supported, as a failover can forget which runs have begun"
        )
    if not isinstance(value, str) or not re.fullmatch(URL, value):
        raise InputError(
            "an address such as redis://HOST:PORT/NUMBER, rediss://... or unix:///PATH"
        )
    _check_parts(value)
    return value


def _check_parts(url: str) -> None:
    """Refuse a database and parameters that would be overlooked; the message has nothing of them, as they may be of a password."""
    try:
        found = urlsplit(url)
    except ValueError:  # of a host such as [::1, which is told when it is used
        return
    if found.scheme != "unix" and not re.fullmatch(DATABASE, found.path):
        raise InputError(
            "an address that ends with the number of a database, as redis://HOST:PORT/0; write / in a password as %2F"
        )
    for name in parse_qs(found.query, keep_blank_values=True):
        if name not in PARAMETERS:
            told = advice(name, PARAMETERS, f"known are {', '.join(PARAMETERS)}")
            raise InputError(f"an address with known parameters only: {told}")


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
    """Return what an address lacks when others could listen, such as encryption; nothing for this host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # it cannot be used
        return []
    if parts.scheme == "unix" or re.fullmatch(LOCAL, host):
        return []
    asked = parse_qs(parts.query)
    lacks = [] if parts.scheme == "rediss" else ["encryption"]
    if "none" in asked.get("ssl_cert_reqs", []):
        lacks.append("check of its certificate")
    has_password = parts.password or "password" in asked
    return lacks if has_password else [*lacks, "password"]
