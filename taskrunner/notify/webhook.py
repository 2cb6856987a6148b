"""Web channels: a webhook, and the ping of a monitoring service (dead man's switch) in the protocol of healthchecks.

A redirect is followed only if it keeps method, message and encryption. Runs in a process of
its own, which gets only its input.
"""

import json
import os
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from string import Template
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener
from uuid import NAMESPACE_URL, uuid5

from taskrunner.errors import StateError
from taskrunner.home import channels
from taskrunner.notify import secret

READ = 2000  # bytes of an answer
AGENT = "taskrunner"
KEEPING = (307, 308)  # redirects that keep the method and the message, RFC 9110


class Redirects(HTTPRedirectHandler):
    """Follows redirects that keep the message, never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, _: str, headers: Any, newurl: str
    ) -> Request:
        """Return the request to the new address; raises HTTPError."""
        safe = urlsplit(newurl).scheme == "https" or urlsplit(req.full_url).scheme == "http"
        if code not in KEEPING or not safe:
            why = f"it has moved to {channels.masked(newurl)}: write its new address"
            raise HTTPError(req.full_url, code, why, headers, fp)
        same = urlsplit(newurl).netloc == urlsplit(req.full_url).netloc
        kept = {k: v for k, v in req.header_items() if k in ("Content-type", "User-agent") or same}
        return Request(newurl, req.data, kept, method=req.get_method())  # noqa: S310  http or https


def post(
    more: Mapping[str, Any], address: str, body: str, headers: Mapping[str, str], patience: float
) -> str:
    """Send a body to an address and return the answer; raises StateError, without secrets."""
    context = ssl.create_default_context(cafile=more.get("ca_file"))
    opener = build_opener(Redirects, HTTPSHandler(context=context))
    wanted = {"User-Agent": AGENT, **headers}
    try:
        request = Request(address, body.encode(), wanted, method="POST")  # noqa: S310  http or https
        with opener.open(request, timeout=patience) as answer:
            return str(answer.read(READ).decode(errors="replace"))
    except (OSError, HTTPException, ValueError) as exc:
        parts = urlsplit(address)
        hidden = (address, f"{parts.path}?{parts.query}", parts.path.strip("/"), parts.query)
        raise StateError(secret.without(_why(exc), *hidden, *headers.values())) from exc


def _why(exc: Exception) -> str:
    if isinstance(exc, HTTPError):
        return f"HTTP {exc.code} {exc.msg}"
    reason = exc.reason if isinstance(exc, URLError) else exc
    if isinstance(reason, TimeoutError):
        return "there was no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return f"{reason}" or type(reason).__name__


def _address(more: Mapping[str, Any]) -> str:
    found = secret.read(more, "url") or ""
    if not found.startswith(("https://", "http://")):
        raise StateError("its address does not begin with https:// or http://")
    return found


# ---- a webhook


def send(more: Mapping[str, Any], content: Mapping[str, Any], patience: float) -> None:
    """Send a message as JSON, or by the template of the channel; raises StateError."""
    headers = {"Content-Type": "application/json", **more.get("headers", {})}
    kind = next(text for name, text in reversed(headers.items()) if name.lower() == "content-type")
    if "template" in more:
        body = filled(more["template"], content, is_json="json" in kind)
    else:
        body = json.dumps(content["document"], ensure_ascii=False)
    post(more, _address(more), body, headers, patience)


def filled(template: str, content: Mapping[str, Any], *, is_json: bool) -> str:
    """Return a template with the parts of a message in place of `$names`; raises StateError."""
    parts = {"output": content["output"], "text": content["text"], **content["variables"]}
    if is_json:
        parts = {name: json.dumps(text)[1:-1] for name, text in parts.items()}
    try:
        found = Template(template).substitute(Parts(parts))
        if is_json:
            json.loads(found)
    except KeyError as exc:
        raise StateError(f"its template has ${exc.args[0]}, which no message has") from exc
    except ValueError as exc:
        raise StateError(f"its template does not produce valid JSON: {exc}") from exc
    return found


NAMES = (
    *("event", "summary", "text", "host", "home", "task", "run", "slot", "started", "finished"),
    *("attempt", "trigger", "coalesced", "state", "reason", "exit_code", "signal", "duration"),
    *("last_success", "output"),
)


class Parts(dict[str, str]):
    """The parts of a message; a part missing in this message is empty, an unknown part is an error."""

    def __missing__(self, name: str) -> str:
        if name in NAMES:
            return ""
        raise KeyError(name)


# ---- a ping


def ping(more: Mapping[str, Any], content: Mapping[str, Any], patience: float) -> None:
    """Ping a monitoring service about the start or end of a run; raises StateError."""
    name = content["variables"].get("task", "")
    address = _address(more).replace("{task}", quote(name, safe=""))
    body = content["output"] if content["slot_of"] else content["text"]
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    said = post(more, pinged(address, content), body, headers, patience)
    if said.startswith("OK (") or "not found" in said:  # the status is 200 in all cases
        raise StateError(f"the server said {said.strip()[:100]}")


def pinged(address: str, content: Mapping[str, Any]) -> str:
    """Return the address of one ping: the event in its path, the slot as `rid`."""
    parts = urlsplit(address)
    queries = [parts.query] if parts.query else []
    if content["slot_of"]:
        # The same for all pings about one slot, and unique to it.
        queries.append(
            f"rid={uuid5(NAMESPACE_URL, os.uname().nodename + ' ' + content['slot_of'])}"
        )
    path = parts.path.rstrip("/") + _suffix(content)
    return urlunsplit((parts.scheme, parts.netloc, path, "&".join(queries), ""))


def _suffix(content: Mapping[str, Any]) -> str:
    if not content["slot_of"]:
        return "/log"  # this changes no state there
    if content["event"] == "start":
        return "/start"
    run = content["document"]["run"]
    if run["state"] == "succeeded":
        return ""
    return f"/{run['exit_code']}" if run["state"] == "failed" and run["exit_code"] else "/fail"
