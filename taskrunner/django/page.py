"""The page of taskrunner in the project: the application of `taskrunner page`, behind the login of Django.

It is called as a WSGI application within one view, so it works under WSGI and ASGI alike.
"""

import io
from collections.abc import Generator, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from django.conf import settings as project
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import salted_hmac
from django.views.decorators.csrf import csrf_exempt

from taskrunner.django import settings, users
from taskrunner.django.project import COMMAND, by_manage
from taskrunner.django.router import LABEL
from taskrunner.django.streams import streamed
from taskrunner.errors import TaskRunnerError

if find_spec("flask") is None or find_spec("waitress") is None:
    raise ImproperlyConfigured(
        "taskrunner.django.urls needs Flask, which is not installed: pip install 'taskrunner-tick[django,page]'"
    )

from taskrunner.web.app import create_app
from taskrunner.web.guard import Visitor
from taskrunner.web.users import Role

OPERATES = ("run_task", "cancel_run", "change_task")
AT_ONCE = 1024 * 1024  # bytes of an answer; a larger one is read while it is sent
VISITOR = "taskrunner.visitor"  # in the WSGI environment, where no header of a request can come


# The page has a token of its own in each form, bound to the user and their password, and looks at Origin and Sec-Fetch-Site.
@csrf_exempt
def page(request: HttpRequest, place: str = "") -> HttpResponseBase:
    """Answer with a page, if the user may see it."""
    role = _role(request.user)
    if not role:
        return _refused(request)
    wanted = settings.read()
    try:
        application = _application(wanted.home, wanted.edit, project.SECRET_KEY)
    except TaskRunnerError as exc:
        return _text(by_manage(str(exc)), 503)
    # Not the key of the session: with signed cookies it may change with each answer.
    whose = f"{request.user.pk} {request.user.get_session_auth_hash()}"
    visitor = Visitor(users.author(request), role, session=whose)
    return _called(request, application, _environment(request, place, visitor))


def _role(user: Any) -> Role:
    """Return what a user may do, by permissions of Django."""
    if not (user.is_active and user.is_staff) or not users.has(user, users.SEES):
        return Role.NONE
    if users.may_define(user):
        return Role.DEFINE
    return Role.OPERATE if users.has(user, OPERATES) else Role.SEE


def _refused(request: HttpRequest) -> HttpResponse:
    """Send a browser to the login; refuse a program, and whoever is logged in already."""
    if request.user.is_authenticated:
        needed = " and ".join(f"{LABEL}.{name}" for name in users.SEES)
        name = request.user.get_username()
        return _text(f"{name} may not see this page: it needs staff with {needed}", 403)
    if request.method not in ("GET", "HEAD") or "text/html" not in request.headers.get(
        "Accept", ""
    ):
        return _text("log in first", 401)
    try:
        login = reverse("admin:login")
    except NoReverseMatch:  # the project has no admin
        login = None
    return redirect_to_login(request.get_full_path(), login)


def _text(sentence: str, code: int) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=code, content_type="text/plain; charset=utf-8")


@lru_cache(maxsize=8)
def _application(home: str, edit: bool, secret: str) -> Any:
    """Return the page of a home; its cookies and tokens are signed by a key that all processes of the project share."""
    made = create_app(
        home,
        operate=True,
        define=edit,
        visitor=lambda environ: environ[VISITOR],
        program=COMMAND,
    )
    made.secret_key = salted_hmac(
        "taskrunner.django.page", home, secret, algorithm="sha256"
    ).digest()
    return made


def _environment(request: HttpRequest, place: str, visitor: Visitor) -> dict[str, Any]:
    """Return a request of Django as the environment of a WSGI application that is mounted where the view is."""
    mounted = request.path[: len(request.path) - len(place)].rstrip("/")
    body = request.body
    kept = {
        key: value
        for key, value in request.META.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "REMOTE_ADDR", "QUERY_STRING")
    }
    return {
        "SERVER_NAME": "localhost",
        "SERVER_PORT": request.get_port(),
        "SERVER_PROTOCOL": "HTTP/1.1",
        **kept,
        "HTTP_HOST": request.get_host(),  # checked against ALLOWED_HOSTS
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _latin(mounted),
        "PATH_INFO": _latin(f"/{place}"),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        VISITOR: visitor,
    }


def _latin(text: str) -> str:
    """Return a path as WSGI has it: its bytes as characters."""
    return text.encode(errors="surrogateescape").decode("latin-1")


def _called(request: HttpRequest, application: Any, environ: dict[str, Any]) -> HttpResponseBase:
    """Return the answer of a WSGI application as one of Django."""
    begun: list[Any] = []
    answer = application(environ, lambda status, headers, _=None: begun.append((status, headers)))
    pieces = _closing(answer)
    first, whole = _beginning(pieces)
    status, headers = begun[-1]
    code = int(status[:3])
    made: HttpResponseBase
    if whole:
        made = HttpResponse(b"".join(first), status=code)
    else:
        made = streamed(request, _joined(first, pieces), status=code)
    del made.headers["Content-Type"]
    for name, value in headers:
        if name.lower() == "set-cookie":
            made.cookies.load(value)
        elif name.lower() != "content-length":  # that of HEAD is for a body which is not there
            made.headers[name] = value
    return made


def _closing(answer: Any) -> Generator[bytes, None, None]:
    """Yield the pieces of an answer, and close it at the end."""
    try:
        yield from answer
    finally:
        if hasattr(answer, "close"):
            answer.close()


def _beginning(pieces: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """Return the first pieces of an answer, and whether these are all."""
    found, size = [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > AT_ONCE:
            return found, False
    return found, True


def _joined(first: list[bytes], rest: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    try:
        yield from first
        yield from rest
    finally:
        rest.close()
