"""The guard of the page: the names it answers to, login, roles, forged requests, headers of answers.

Every request passes here before a route sees it. Without a word of the route it refuses: reading
needs the role `see`, and changing something needs a form token and the role `operate`.
"""

import functools
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from flask import Flask, abort, current_app, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from taskrunner.errors import InputError, shown
from taskrunner.model.record import like, record
from taskrunner.web import addresses, users
from taskrunner.web.users import Role, User

SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("static", "login", "logout", "machine.status")  # each of these looks at the visitor itself
LASTING = timedelta(hours=12)  # a session
LARGEST_BODY = 256 * 1024  # bytes
LONGEST_FIELD = 64 * 1024  # characters of one field of a form
LOGINS, PER = 5, 60.0  # attempts to log in, in so many seconds, of one address
MOST_ADDRESSES = 10_000  # whose attempts are remembered
TOKEN_FIELD, TOKEN_HEADER = "token", "X-Form-Token"

Route = TypeVar("Route", bound=Callable[..., Any])


@record
class Visitor:
    """Who asks: a name, None without a login, what they may do here, and a text that tells their session from others."""

    name: str | None
    role: Role
    bearer: bool = False
    session: str = ""


def install(
    app: Flask,
    *,
    most: Role,
    hosts: Iterable[str],
    users_file: str | None,
    outside: Callable[[dict[str, Any]], Visitor] | None = None,
) -> None:
    """Let an application answer only what its rules allow.

    `most` is the role that nobody exceeds; `users_file` the path given for the file of users, None for the one in the
    home when it is there. `outside` is the login of an application that this one is mounted in: it tells who asks from
    the WSGI environment. Raises InputError for a host that is no name.
    """
    app.config |= {
        "MOST": most,
        "OUTSIDE": outside,
        "USERS": users_file,
        "MAX_CONTENT_LENGTH": LARGEST_BODY,
        "MAX_FORM_MEMORY_SIZE": LARGEST_BODY,
        "PERMANENT_SESSION_LIFETIME": LASTING,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        # Cookies know no port: the pages of two homes on one host must not log each other out.
        "SESSION_COOKIE_NAME": f"taskrunner-{hmac.digest(b'', app.config['HOME'].encode(), 'sha256').hex()[:8]}",
    }
    app.secret_key = users.key(app.config["HOME"])
    app.session_interface = Sessions()
    app.extensions["attempts"] = Attempts()
    app.extensions["had_users"] = users.find(app.config["HOME"], users_file) is not None
    app.before_request(_check)
    app.after_request(_with_headers)
    app.add_url_rule("/login", "login", _login, methods=["GET", "POST"])
    app.add_url_rule("/logout", "logout", _logout, methods=["POST"])
    app.context_processor(
        lambda: {"may": may, "who": who, "form_token": form_token, "logs_out": outside is None}
    )
    if outside is None:
        app.wsgi_app = addresses.only_known_hosts(app.wsgi_app, hosts)  # type: ignore[method-assign]


# ---- for routes and templates


def visitor() -> Visitor:
    """Return who asks."""
    found: Visitor = g.visitor
    return found


def may(role: str) -> bool:
    """Return whether who asks may `see`, `operate` or `define`."""
    return visitor().role >= users.ROLES[role]


def who() -> str | None:
    """Return the name of who asks, None without a login."""
    return visitor().name


def needs_role(role: str) -> Callable[[Route], Route]:
    """Return a decorator for a route that needs the role `operate` or `define`; others get 403."""

    def decorate(route: Route) -> Route:
        @functools.wraps(route)
        def checked(*args: Any, **named: Any) -> Any:
            require(role)
            return route(*args, **named)

        return checked  # type: ignore[return-value]

    return decorate


def require(role: str) -> None:
    """Refuse the request with 403 unless who asks may do that."""
    if may(role):
        return
    if current_app.config["OUTSIDE"] is not None:
        abort(403, f"{who() or 'nobody'} may not {role} here")
    if current_app.config["MOST"] < users.ROLES[role]:
        abort(403, f"this page does not let anybody {role}: start it with --{role}")
    abort(
        403, f"{who()} may not {role}: `taskrunner page --user {who()} --may {role}` would allow it"
    )


def form_token() -> str:
    """Return the token that each form sends back in its field `token`: another site cannot know it."""
    whose = visitor().session or session.get("id") or "nobody"
    key = current_app.secret_key
    assert isinstance(key, bytes)
    return hmac.digest(key, f"form {whose}".encode(), "sha256").hex()


# ---- before each request


def _check() -> ResponseReturnValue | None:
    g.visitor = Visitor(None, Role.NONE)
    g.visitor = _visitor()
    if request.method not in SAFE:
        _check_not_forged()
    if request.endpoint in OPEN:
        return None
    if current_app.config["OUTSIDE"] is not None:
        require("see")
    if not may("see"):
        return _ask_to_log_in()
    if request.method not in SAFE:
        require("operate")
    return None


def _visitor() -> Visitor:
    """Return who asks, by a token, a session, or because nobody needs to log in."""
    most, outside = current_app.config["MOST"], current_app.config["OUTSIDE"]
    if outside is not None:
        found: Visitor = outside(request.environ)
        return like(found, role=min(found.role, most))
    known = _users()
    given = request.headers.get("Authorization", "")
    if given:
        scheme, _, token = given.partition(" ")
        user = users.of_token(known or [], token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            abort(
                401,
                "the token of the Authorization header is not known here: `taskrunner page --token NAME` makes one",
            )
        return Visitor(user.name, min(user.role, most), bearer=True)
    if known is None:
        return Visitor(None, most)
    user = _of_session(known)
    return Visitor(None, Role.NONE) if user is None else Visitor(user.name, min(user.role, most))


def _users() -> list[User] | None:
    """Return all users, None when there never was a file of them: one that is removed lets nobody in."""
    if current_app.config["OUTSIDE"] is not None:
        return None
    place = users.find(current_app.config["HOME"], current_app.config["USERS"])
    if place is None:
        return [] if current_app.extensions["had_users"] else None
    current_app.extensions["had_users"] = True
    return users.load(place)


def _of_session(known: list[User]) -> User | None:
    name, proof = session.get("name"), session.get("proof")
    for user in known:
        if user.kind == "user" and user.name == name and user.proof == proof:
            return user
    return None


def _ask_to_log_in() -> ResponseReturnValue:
    """Send a browser that asks for a page to the login; refuse a program."""
    if request.method not in SAFE or "text/html" not in request.headers.get("Accept", ""):
        abort(401, "log in first, or send a token: `taskrunner page --token NAME` makes one")
    place = request.full_path.removesuffix("?")
    return redirect(url_for("login", next=None if place == "/" else place), 303)


def _check_not_forged() -> None:
    """Refuse what another site made a browser send."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _ours(origin)):
        abort(
            403,
            f"the request came from another site, {shown(origin or site)}: use a form of this page",
        )
    if visitor().bearer:
        return
    _check_fields()
    given = request.headers.get(TOKEN_HEADER) or request.form.get(TOKEN_FIELD, "")
    if not hmac.compare_digest(given.encode(errors="replace"), form_token().encode()):
        abort(403, "the form has no valid token: load the page again, then repeat it")


def _ours(origin: str) -> bool:
    return origin.lower().partition("://")[2] == request.host.lower()


def _check_fields() -> None:
    for name, text in request.form.items(multi=True):
        if len(text) > LONGEST_FIELD:
            raise InputError(
                f"the field {shown(name)} has {len(text)} characters: give at most {LONGEST_FIELD}"
            )


def _with_headers(response: Response) -> Response:
    for name, value in addresses.HEADERS.items():
        response.headers.setdefault(name, value)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response


# ---- sessions and login


class Sessions(SecureCookieSessionInterface):
    """Flask's signed cookies, below the prefix the application is mounted at, and only over TLS where there is any."""

    def get_cookie_path(self, app: Flask) -> str:  # noqa: ARG002  the signature is Flask's
        """Return the part of the host the cookie is for."""
        return request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        """Return whether the browser sends the cookie over TLS alone."""
        return request.is_secure


class Attempts:
    """The attempts to log in of the last minute, by address; shared by all threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Count one attempt, and return 0; or return the seconds until the next is allowed."""
        with self._lock:
            times = self._of.setdefault(address, deque())
            self._of.move_to_end(address)
            while times and times[0] <= now - PER:
                times.popleft()
            if len(times) >= LOGINS:
                return times[0] + PER - now
            times.append(now)
            while len(self._of) > MOST_ADDRESSES:
                self._of.popitem(last=False)
            return 0.0


def _login() -> ResponseReturnValue:
    target, known = _local(request.values.get("next", "")), _users()
    if known is None:
        return redirect(target, 303)
    if request.method in SAFE:
        return render_template("login.html", fault=None, name="", next=target)
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    wait = current_app.extensions["attempts"].wait(request.remote_addr or "", time.monotonic())
    if wait:
        fault = f"more than {LOGINS} attempts in a minute: try again in {wait:.0f} s"
        return _refuse_login(fault, name, target, 429, wait)
    user = users.of_password(known, name, password)
    if user is None:
        return _refuse_login("the name or the password is wrong", name, target, 403)
    session.clear()
    session.permanent = True
    session.update(name=user.name, proof=user.proof, id=secrets.token_hex(16))
    return redirect(target, 303)


def _refuse_login(
    fault: str, name: str, target: str, code: int, wait: float | None = None
) -> ResponseReturnValue:
    headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
    shown_name = name if users.NAME.fullmatch(name) else ""
    return render_template("login.html", fault=fault, name=shown_name, next=target), code, headers


def _logout() -> ResponseReturnValue:
    session.clear()
    return redirect(url_for("login"), 303)


def _local(place: str) -> str:
    """Return where to go after the login: a place of this application, whatever was given."""
    inner = place.startswith("/") and place[1:2] not in ("/", "\\") and place.isprintable()
    root = request.script_root
    if inner and root and (place == root or place.startswith(f"{root}/")):
        return place
    return f"{root}{place}" if inner else f"{root}/"
