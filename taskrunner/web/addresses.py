"""The names and the prefix that the page answers to, refused before anything else, and the headers of each answer.

It must not know Flask, users or routes.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from taskrunner.errors import InputError, shown

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104  compared only, nothing listens on them
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.I | re.A)
# Its parts have letters, digits and signs that mean nothing in an address; `..` is none, and neither is an empty one.
PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~@+-]+)*", re.A)
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that, browsers send "Origin: null" also for our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def only_known_hosts(application: Any, hosts: Iterable[str]) -> Any:
    """Return a WSGI application that answers to its own names alone, by plain text to others.

    Else a page of another site whose name leads to our address (DNS rebinding) could read ours.
    """
    known = {*LOOPBACK, *map(_checked, hosts)}

    def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        given = environ.get("HTTP_HOST", "")
        name = _host(given)
        if name in known or (not known.isdisjoint(EVERY_ADDRESS) and _is_address(name)):
            answer: Iterable[bytes] = application(environ, start_response)
            return answer
        sentence = f"{shown(given)} is not a name of this page: start it with --host NAME"
        return _refused(sentence, environ, start_response)

    return checked


def only_safe_prefixes(application: Any) -> Any:
    """Return a WSGI application that refuses a prefix of a web server in front which is no path on this host.

    Each link begins with the prefix: with `//evil.example` all of them would lead to another host.
    """

    def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_X_FORWARDED_PREFIX"):
            given = environ.get("SCRIPT_NAME", "")
            prefix = given.rstrip("/")
            if not PREFIX.fullmatch(prefix) or given.startswith("//"):
                sentence = f"X-Forwarded-Prefix {shown(given)} is not the path of a page: send one such as /tasks"
                return _refused(sentence, environ, start_response)
            environ["SCRIPT_NAME"] = prefix
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return checked


def _refused(sentence: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with a sentence, without a template: links in it would need the very name that is refused."""
    text = f"{sentence}\n".encode()
    kind = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    headers = [*HEADERS.items(), ("Cache-Control", "no-store")]
    start_response("400 Bad Request", kind + headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


def _host(given: str) -> str | None:
    """Return the name in a Host header, without the port."""
    found = HOST.fullmatch(given)
    return None if found is None else found[1].lower()


def _checked(given: str) -> str:
    name = _host(given)
    if name is None or name != given.lower():
        raise InputError(
            f"{shown(given)} is not a name of a host: give one such as tasks.example.org, without a port"
        )
    return name


def _is_address(name: str | None) -> bool:
    """Whether a name is an address in digits: no other site can have that for its name."""
    try:
        return name is not None and bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False
