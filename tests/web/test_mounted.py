"""The page below a prefix: mounted in another application, and behind a web server."""

from __future__ import annotations

import re

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from taskrunner import Manual, TaskRunner
from taskrunner.web import users
from taskrunner.web.app import create_app
from taskrunner.web.guard import Visitor
from taskrunner.web.users import Role
from tests.web.conftest import TOKEN
from tests.web.serving import UnixConnection, answer, served

pytestmark = pytest.mark.one_python

HTML = {"Accept": "text/html"}
PASSWORD = "correct horse battery"
# What the web server of docs/how-to/serve-the-page.md adds.
FORWARDED = {
    "Host": "tasks.example.org",
    "X-Forwarded-Host": "tasks.example.org",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Prefix": "/tasks",
}


@pytest.fixture
def ann(home):
    users.keep(str(home), None, users.with_password("ann", Role.OPERATE, PASSWORD))
    return home


def links(text: str) -> set[str]:
    """The addresses of this server that a page names."""
    found = re.findall(r'(?:href|src|action|data-changes)="([^"#]+)', text)
    return {each for each in found if not each.startswith(("http", "data:"))}


def test_a_mounted_page_logs_in_and_its_links_stay_below_the_mount(ann):
    outer = DispatcherMiddleware(lambda *_: [], {"/admin/tasks": create_app(ann, operate=True)})
    client = Client(outer)
    first = client.get("/admin/tasks/", headers={"Accept": "text/html"})
    assert (first.status_code, first.location) == (303, "/admin/tasks/login")
    form = client.get("/admin/tasks/login").get_data(as_text=True)
    token = TOKEN.search(form)[1]
    data = {"token": token, "name": "ann", "password": PASSWORD, "next": "/admin/tasks/"}
    done = client.post("/admin/tasks/login", data=data)
    assert (done.status_code, done.location) == (303, "/admin/tasks/")
    assert "Path=/admin/tasks;" in done.headers["Set-Cookie"] + ";"
    page = client.get("/admin/tasks/").get_data(as_text=True)
    found = links(form) | links(page)
    assert found
    assert all(each.startswith("/admin/tasks/") for each in found), found


def test_behind_a_web_server_links_and_cookies_are_those_of_outside(ann, tmp_path):
    path = str(tmp_path / "page")
    words = ("--listen", f"unix:{path}", "--proxied", "--host", "tasks.example.org", "--operate")
    with served(ann, *words):

        def ask(place, method="GET", body=None, **more):
            return answer(UnixConnection(path), place, method, body, FORWARDED | more)

        code, headers, _ = ask("/runs", Accept="text/html")
        assert (code, headers["Location"]) == (303, "/tasks/login?next=/runs")
        _, _, form = ask("/login")
        assert all(each.startswith("/tasks/") for each in links(form)), links(form)
        body = f"token={TOKEN.search(form)[1]}&name=ann&password={PASSWORD}".replace(" ", "+")
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        ours = {"Origin": "https://tasks.example.org", "Sec-Fetch-Site": "same-origin"}
        code, headers, _ = ask("/login", "POST", body.encode(), **kind, **ours)
        assert (code, headers["Location"]) == (303, "/tasks/")
        cookie = headers["Set-Cookie"]
        assert "Secure" in cookie and "Path=/tasks" in cookie
        code, _, page = ask("/", Cookie=cookie.partition(";")[0])
        assert code == 200
        assert all(each.startswith("/tasks/") for each in links(page)), links(page)
        code, _, _ = ask("/login", "POST", body.encode(), **kind, Origin="https://evil.example")
        assert code == 403


def test_forwarded_headers_are_not_believed_unasked(ann, ask):
    client = ask()
    headers = {**FORWARDED, "Host": "localhost", "Accept": "text/html"}
    assert client.get("/", headers=headers).location == "/login"
    forged = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert client.get("/", headers=forged).status_code == 400


def test_a_forwarded_host_has_to_be_known_too(ann, ask):
    client = ask(proxied=True)
    assert client.get("/", headers=FORWARDED).status_code == 400
    assert (
        client.get("/", headers={**FORWARDED, "X-Forwarded-Host": "localhost"}).status_code == 401
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "//evil.example",
        "///evil",
        "/\\evil",
        "https://evil.example",
        "evil",
        "/a/../b",
        "/a//b",
        "/a?b",
        "/a b",
        "/<",
    ],
)
def test_a_forwarded_prefix_leads_to_no_other_host(ask, prefix):
    client = ask(proxied=True)
    headers = {"X-Forwarded-Prefix": prefix}
    answer = client.get("/", headers=headers)
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert "is not the path of a page: send one such as /tasks" in answer.get_data(as_text=True)
    assert client.head("/", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("prefix", "base"), [("/tasks/", "/tasks"), ("/a.b/~c-d_1", "/a.b/~c-d_1"), ("/", "")]
)
def test_a_forwarded_prefix_is_where_links_begin(ask, prefix, base):
    page = ask(proxied=True).get("/", headers={"X-Forwarded-Prefix": prefix})
    found = links(page.get_data(as_text=True))
    assert f"{base}/runs" in found
    assert all(each.startswith(f"{base}/") and not each.startswith("//") for each in found), found


@pytest.mark.slow
def test_attempts_to_log_in_are_counted_for_each_address_behind_a_web_server(ann, ask):
    client = ask(proxied=True, hosts=["tasks.example.org"])

    def attempt(address: str) -> int:
        headers = {**FORWARDED, "X-Forwarded-For": address}
        token = TOKEN.search(client.get("/login", headers=headers).get_data(as_text=True))[1]
        data = {"token": token, "name": "ann", "password": "wrong"}
        return client.post("/login", data=data, headers=headers).status_code

    assert [attempt("192.0.2.1") for _ in range(6)] == [403] * 5 + [429]
    assert attempt("192.0.2.2") == 403


# ---- an application that tells who asks


def told(environ):
    role = {"vera": Role.SEE, "ann": Role.OPERATE, "eva": Role.DEFINE}
    name = environ.get("REMOTE_USER")
    return Visitor(name, role.get(name, Role.NONE), session=f"{name} 1")


@pytest.fixture
def mounted(home):
    with TaskRunner(home) as runner:
        runner.add("backup", ["true"], Manual())
    return Client(create_app(home, operate=True, visitor=told))


def test_an_application_tells_who_asks_and_there_is_no_login(mounted):
    def get(path, name, code=200):
        answer = mounted.get(path, environ_overrides={"REMOTE_USER": name}, headers=HTML)
        assert answer.status_code == code
        return answer.get_data(as_text=True)

    assert "nora may not see here" in get("/", "nora", 403)
    assert "vera" in get("/", "vera") and "Log out" not in get("/", "vera")
    assert "eva may not define here" in get("/tasks/new", "eva", 403)  # as the page does not
    assert get("/login", "vera", 303)


def test_the_token_of_a_form_is_that_of_one_visitor(mounted):
    def post(name, token):
        user = {"REMOTE_USER": name}
        answer = mounted.post("/hold", data={"token": token}, environ_overrides=user)
        return answer.status_code

    def token(name):
        user = {"REMOTE_USER": name}
        page = mounted.get("/tasks/backup", environ_overrides=user).get_data(as_text=True)
        return TOKEN.search(page)[1]

    assert post("ann", token("eva")) == 403
    assert post("vera", token("ann")) == 403
    assert post("ann", token("ann")) == 303


def test_the_application_checks_the_name_of_the_host(mounted):
    answer = mounted.get("/", environ_overrides={"REMOTE_USER": "ann"}, headers={"Host": "a.b"})
    assert answer.status_code == 200
