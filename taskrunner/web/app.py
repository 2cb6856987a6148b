"""The application object: the routes, the home of each request, and errors as one sentence with the right code."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flask import Flask, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from taskrunner import errors, host
from taskrunner.api.task_runner import find_home
from taskrunner.render import documents
from taskrunner.report_error import is_new, of_the_machine, report
from taskrunner.web import addresses, api, codes, current, guard, machine, pages
from taskrunner.web.users import Role

RETRY_AFTER = "5"  # seconds
SENTENCES = {
    404: "there is no such page: {path}",
    405: "{method} is not possible at {path}",
    413: f"the request is too large: send at most {guard.LARGEST_BODY // 1024} kB",
}


def create_app(
    home: str | os.PathLike[str] | None = None,
    *,
    operate: bool = False,
    define: bool = False,
    hosts: Iterable[str] = (),
    users: str | os.PathLike[str] | None = None,
    proxied: bool = False,
    visitor: Callable[[dict[str, Any]], guard.Visitor] | None = None,
    program: str = "taskrunner",
) -> Flask:
    """Return the page of a home as a WSGI application: for `taskrunner page`, another server, or to be mounted.

    It shows only, unless `operate` (run, cancel, enable, disable, hold, resume) or `define` (also add, change and remove
    tasks, which is to run any command). `hosts` are further names it answers to, beside those of loopback. `users` is
    the file of users, by default `page.users` in the home when it is there. `proxied` believes the
    X-Forwarded-For, -Proto, -Host and -Prefix of the one proxy in front. `visitor` is for an application that the page
    is mounted in: it tells from the WSGI environment who asks. Then the page has no login, and the application checks
    the Host header. `program` is what advice calls the command line, such as `manage.py taskrunner`. Raises InputError or HomeRefused.
    """
    app = Flask("taskrunner.web")
    app.config |= {"HOME": find_home(home), "PROGRAM": program}
    most = Role.DEFINE if define else Role.OPERATE if operate else Role.SEE
    guard.install(
        app,
        most=most,
        hosts=hosts,
        users_file=None if users is None else os.fspath(users),
        outside=visitor,
    )
    app.register_blueprint(pages.pages)
    app.register_blueprint(machine.machine)
    app.register_blueprint(api.api)
    app.register_error_handler(errors.TaskRunnerError, _known)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _unexpected)
    app.teardown_appcontext(current.close)
    if proxied:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            addresses.only_safe_prefixes(app.wsgi_app), x_host=1, x_prefix=1
        )
    return app


def _known(exc: errors.TaskRunnerError) -> ResponseReturnValue:
    return _answer(codes.code(exc), str(exc))


def _refused(exc: HTTPException) -> ResponseReturnValue:
    code = exc.code or 500
    if code < 400:  # a redirection
        return exc
    text = SENTENCES.get(code)
    if text is None or exc.description != type(exc).description:
        said = exc.description or exc.name
    else:
        said = text.format(path=errors.shown(request.path), method=request.method)
    return _answer(code, said)


def _unexpected(exc: Exception) -> ResponseReturnValue:
    """Report a bug where the developers find it, and tell the visitor one sentence without its details."""
    report(partial(_due, current.home()))
    return _answer(
        500, of_the_machine(exc) or "this is a bug in taskrunner; the page's own messages tell more"
    )


def _due(home: str, text: str) -> bool:
    return is_new(home, text, host.now_ms())


def _answer(code: int, text: str) -> ResponseReturnValue:
    """Return a refusal: as JSON for a program, as a page for a browser."""
    text = current.advised(text)
    headers = {"Retry-After": RETRY_AFTER} if code == 503 else {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if machine.asks():
        body = documents.document(error=text, status=code)
        return f"{body}\n", code, {**headers, "Content-Type": "application/json"}
    try:
        return render_template("error.html", code=code, text=text), code, headers
    except Exception:  # noqa: BLE001  whatever is wrong with the page of an error: its sentence arrives
        return f"{text}\n", code, {**headers, "Content-Type": "text/plain; charset=utf-8"}
