"""The page mounted in a project: behind the login of Django, below any prefix, with forms that work."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("django")
pytest.importorskip("flask")

from taskrunner import Manual, State, TaskRunner
from tests.django.in_process import OPERATES, PASSWORD, SEES
from tests.history import ran
from tests.samples import wait_for
from tests.web.conftest import TOKEN
from tests.web.test_mounted import links

pytestmark = pytest.mark.xdist_group("django")
HTML = {"Accept": "text/html"}


@pytest.fixture
def runner(site):
    with TaskRunner(site.home) as made:
        made.add("backup", ["true"], Manual())
        yield made


def get(client, path, code=200):
    answer = client.get(path, headers=HTML)
    assert answer.status_code == code, answer.content.decode()
    return answer.content.decode()


def token(client):
    found = TOKEN.search(get(client, "/tasks/tasks"))
    return found[1] if found else ""


def test_who_is_not_logged_in_is_sent_to_the_login_and_back(site, runner):
    site.user("ann", *SEES)
    client = site.client()
    first = client.get("/tasks/runs?state=bad", headers=HTML)
    place = "/admin/login/?next=/tasks/runs%3Fstate%3Dbad"
    assert (first.status_code, first.headers["Location"]) == (302, place)
    form = get(client, place)
    sent = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    data = {"username": "ann", "password": PASSWORD, "csrfmiddlewaretoken": sent}
    done = client.post(place, {**data, "next": "/tasks/runs?state=bad"})
    assert (done.status_code, done.headers["Location"]) == (302, "/tasks/runs?state=bad")
    get(client, "/tasks/runs?state=bad")
    assert client.get("/tasks/changes").status_code == 200


def test_a_program_that_is_not_logged_in_is_refused(site, runner):
    for path in ("/tasks/changes", "/tasks/api/tasks", "/tasks/metrics"):
        assert site.client().get(path).status_code == 401
    assert site.client().post("/tasks/hold").status_code == 401


@pytest.mark.parametrize(
    ("permissions", "staff"), [((), True), (("view_task",), True), (OPERATES, False)]
)
def test_others_than_staff_with_both_permissions_see_nothing(site, runner, permissions, staff):
    client = site.client(site.user("nora", *permissions, staff=staff))
    for path in ("/tasks/", "/tasks/static/page.css", "/tasks/status"):
        assert "nora may not see this page" in get(client, path, 403)


def test_links_and_static_files_stay_below_the_mount(site, runner):
    client = site.client(site.user("ann", *OPERATES))
    pages = ("", "runs", "tasks", "tasks/backup", "agenda")
    found = set().union(*(links(get(client, f"/tasks/{each}")) for each in pages))
    assert found and all(each.startswith("/tasks/") for each in found), found
    assert client.get("/tasks/static/page.css").status_code == 200


def test_a_viewer_sees_and_does_nothing(site, runner):
    client = site.client(site.user("vera", *SEES))
    assert '<form class="act"' not in get(client, "/tasks/tasks/backup")
    sent = token(client)
    assert not sent or client.post("/tasks/hold", {"token": sent}).status_code == 403
    assert runner.held() is None


def test_an_operator_acts_in_their_own_name_and_defines_nothing(site, runner):
    client = site.client(site.user("ann", *OPERATES))
    sent = token(client)
    done = client.post("/tasks/tasks/backup/disable", {"token": sent, "back": "/tasks/backup"})
    assert (done.status_code, done.headers["Location"]) == (303, "/tasks/tasks/backup")
    assert "backup is disabled" in get(client, "/tasks/tasks/backup")
    assert runner.explain("backup").changes[-1].by == "ann"
    assert "Disabled by ann since" in get(client, "/tasks/tasks/backup")
    assert "ann may not define here" in get(client, "/tasks/tasks/new", 403)


def test_a_long_or_odd_name_of_a_user_is_recorded_as_in_the_admin(site, runner):
    for name in ("n" * 150, "a\u200bnn"):
        user = site.user(name, *OPERATES)
        recorded = name[:100] if name.isprintable() else f"user {user.pk}"
        client = site.client(user)
        for action in ("disable", "enable"):
            done = client.post(f"/tasks/tasks/backup/{action}", {"token": token(client)})
            assert done.status_code == 303, done.content.decode()
            assert runner.explain("backup").changes[-1].by == recorded
        assert runner.task("backup").enabled


def test_forms_work_when_each_answer_changes_the_session(site, runner):
    from django.test import override_settings

    signed = "django.contrib.sessions.backends.signed_cookies"
    with override_settings(SESSION_ENGINE=signed, SESSION_SAVE_EVERY_REQUEST=True):
        client = site.client(site.user("ann", *OPERATES))
        first, sent = client.cookies["sessionid"].value, token(client)

        def is_another():  # each second, as a signed cookie has the time of its signature
            return get(client, "/tasks/tasks") and client.cookies["sessionid"].value != first

        wait_for(is_another)
        done = client.post("/tasks/tasks/backup/disable", {"token": sent})
        assert done.status_code == 303, done.content.decode()


def test_a_forged_form_does_nothing(site, runner):
    ann, eve = (site.client(site.user(name, *OPERATES)) for name in ("ann", "eve"))
    ours, theirs = token(ann), token(eve)
    assert ours != theirs  # whoever knows a token of their own does not know that of another
    for fields, headers in (
        ({}, {}),
        ({"token": theirs}, {}),
        ({"token": ours}, {"Origin": "https://evil.example"}),
        ({"token": ours}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = ann.post("/tasks/tasks/backup/disable", fields, headers=headers)
        assert answer.status_code == 403, (fields, headers)
    assert runner.task("backup").enabled
    same = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert ann.post("/tasks/hold", {"token": ours}, headers=same).status_code == 303


def test_only_superusers_define_and_only_with_edit(site, runner):
    root = site.superuser("root")
    get(site.client(root), "/tasks/tasks/new", 403)
    site.use(site.home, EDIT=True)
    client = site.client(site.superuser("eva"))
    form = get(client, "/tasks/tasks/new")
    fields = dict(re.findall(r'name="(\w+)"[^>]*value="([^"]*)"', form))
    fields |= {"name": "clean", "kind": "manual", "work": "shell", "text": "true", "do": "save"}
    done = client.post("/tasks/tasks/new", fields)
    assert done.status_code == 303, done.content.decode()
    assert runner.task("clean").shell == "true"
    operator = site.client(site.user("olga", *OPERATES))
    get(operator, "/tasks/tasks/new", 403)


def test_cookies_of_both_live_side_by_side(site, runner):
    client = site.client(site.user("ann", *OPERATES))
    client.post("/tasks/tasks/backup/disable", {"token": token(client)})
    mine = next(value for name, value in client.cookies.items() if name.startswith("taskrunner-"))
    assert mine["path"] == "/tasks" and mine["httponly"] and mine["samesite"] == "Strict"
    assert "is disabled" in get(client, "/tasks/")
    get(client, "/admin/taskrunner/task/")
    get(client, "/tasks/")


def test_headers_conditions_and_methods_come_through(site, runner):
    client = site.client(site.user("ann", *SEES))

    def unchanged():  # for a moment after a change each look gives another tag
        first = client.get("/tasks/changes")
        again = client.get("/tasks/changes", headers={"If-None-Match": first.headers["ETag"]})
        return again if again.status_code == 304 else None

    first = client.get("/tasks/changes")
    assert wait_for(unchanged).content == b""
    assert "default-src 'none'" in first.headers["Content-Security-Policy"]
    assert first.headers["X-Frame-Options"] == "DENY"
    head = client.head("/tasks/", headers=HTML)
    assert (head.status_code, head.content) == (200, b"")
    assert client.get("/tasks/nowhere").status_code == 404
    assert client.get("/tasks/tasks/%C3%BC%20%2F").status_code == 404
    assert client.get("/tasks/", headers={"Host": "evil.example"}).status_code == 400


def test_a_login_of_the_page_itself_is_not_asked_for(site, runner):
    from taskrunner.web import users

    users.keep(str(site.home), None, users.with_password("mallory", users.Role.DEFINE, PASSWORD))
    client = site.client(site.user("ann", *SEES))
    page = get(client, "/tasks/")
    assert "ann" in page and "Log out" not in page
    assert client.get("/tasks/login", headers=HTML).status_code == 303
    assert client.get("/tasks/", headers={"Authorization": "Bearer nothing"}).status_code == 200


def test_below_a_script_name_and_behind_a_proxy(site, runner):
    from django.test import override_settings

    with override_settings(
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"), USE_X_FORWARDED_HOST=True
    ):
        client = site.client(site.user("ann", *OPERATES))
        outside = {
            "SCRIPT_NAME": "/shop",
            "HTTP_X_FORWARDED_HOST": "testserver",
            "HTTP_X_FORWARDED_PROTO": "https",
            "HTTP_ACCEPT": "text/html",
        }
        page = client.get("/tasks/tasks/backup", **outside)
        assert page.status_code == 200
        text = page.content.decode()
        assert all(each.startswith("/shop/tasks/") for each in links(text)), links(text)
        fields = {"token": TOKEN.search(text)[1]}
        done = client.post(
            "/tasks/tasks/backup/disable", fields, HTTP_ORIGIN="https://testserver", **outside
        )
        assert (done.status_code, done.headers["Location"]) == (303, "/shop/tasks/")


def test_it_works_under_asgi(site, runner):
    from asgiref.sync import sync_to_async
    from django.db import connections
    from django.test import AsyncClient

    async def visit():
        client = AsyncClient(enforce_csrf_checks=True)
        await client.aforce_login(ann)
        page = await client.get("/tasks/tasks/backup", headers=HTML)
        fields = {"token": TOKEN.search(page.content.decode())[1]}
        done = await client.post("/tasks/tasks/backup/disable", fields)
        await sync_to_async(connections.close_all)()  # those of the thread that asked the databases
        return page, done

    ann = site.user("ann", *OPERATES)
    with ThreadPoolExecutor(1) as thread:  # this one may have a loop already
        page, done = thread.submit(asyncio.run, visit()).result()
    assert page.status_code == 200
    found = links(page.content.decode())
    assert found and all(each.startswith("/tasks/") for each in found)
    assert (done.status_code, done.headers["Location"]) == (303, "/tasks/")
    assert not runner.task("backup").enabled


def test_a_large_output_is_read_while_it_is_sent(site, runner):
    large = b"0123456789abcde\n" * 200_000
    few = ran(runner._here().store, output=b"some")
    many = ran(runner._here().store, ended=runner.now(), output=large)
    client = site.client(site.user("ann", *SEES))
    assert client.get(f"/tasks/runs/{few}?raw").content == b"some"
    answer = client.get(f"/tasks/runs/{many}?raw")
    assert answer.streaming
    assert "attachment" in answer.headers["Content-Disposition"]
    assert b"".join(answer.streaming_content) == large


def test_an_output_that_was_pruned_is_a_sentence(site, runner):
    key = ran(runner._here().store, output=None, size=70_000)
    answer = site.client(site.user("ann", *SEES)).get(f"/tasks/runs/{key}?raw", headers=HTML)
    assert answer.status_code == 409 and "was pruned" in answer.content.decode()


def test_a_locked_store_is_a_sentence_soon(site, runner, monkeypatch):
    from taskrunner.store import connection
    from taskrunner.web import current

    client = site.client(site.user("ann", *OPERATES))
    sent = token(client)
    runner.close()
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 3600.0)
    monkeypatch.setattr(current, "PATIENCE", "1s")
    store = sqlite3.connect(site.home / "taskrunner.db", isolation_level=None)
    try:
        store.execute("BEGIN IMMEDIATE")
        done = client.post("/tasks/tasks/backup/disable", {"token": sent})
        assert done.status_code == 503 and "stayed busy" in done.content.decode()
        assert "backup" in get(client, "/tasks/tasks"), "others can read"
        store.execute("ROLLBACK")
        store.execute("PRAGMA locking_mode = exclusive")
        store.execute("BEGIN EXCLUSIVE")
        for path in ("/tasks/", "/tasks/runs", "/tasks/api/tasks"):
            assert "stayed busy" in get(client, path, 503), path
    finally:
        store.close()


def test_a_database_that_is_not_there_is_told_on_each_page(site, runner):
    client = site.client(site.user("ann", *SEES))
    assert "There is no database" not in get(client, "/tasks/")
    runner.close()
    for each in site.home.glob("taskrunner.db*"):
        each.unlink()
    for path in ("", "runs", "tasks", "agenda"):
        assert "There is no database in" in get(client, f"/tasks/{path}"), path


def test_commands_on_the_page_are_those_of_manage_and_refusals_name_no_option(site, runner):
    site.use(site.home, EDIT=True)
    client = site.client(site.superuser("root"))
    sent = token(client)
    task = runner.task("backup")
    ran(runner._here().store, State.RUNNING, runner.now(), task=task.id)
    for action in ("run", "remove"):
        done = client.post(f"/tasks/tasks/backup/{action}", {"token": sent})
        told = done.content.decode()
        assert (done.status_code, "--force" in told) == (409, False), told
    assert "<code>manage.py taskrunner list</code> shows all" in get(client, "/tasks/tasks/x", 404)
    asked = {"task": "x"}
    assert "`manage.py taskrunner list` shows all" in get(client, "/tasks/api/tasks/x", 404)
    assert (
        "<code>manage.py taskrunner list</code>"
        in client.get("/tasks/runs", asked).content.decode()
    )
    runner.disable("backup")
    assert "<code>manage.py taskrunner enable backup</code>" in get(client, "/tasks/tasks/backup")
    empty = {"token": sent, "name": "x", "kind": "every", "work": "command", "text": " "}
    refused = client.post("/tasks/tasks/new", empty)
    assert "write a program and its words" in refused.content.decode()
    assert "after --" not in refused.content.decode()
    runner.close()
    for each in site.home.glob("taskrunner.db*"):
        each.unlink()
    assert "<code>manage.py taskrunner restore FILE</code>" in get(client, "/tasks/")


def test_a_home_that_is_refused_is_a_sentence(site, runner):
    client = site.client(site.user("ann", *SEES))
    site.home.chmod(0o777)
    answer = client.get("/tasks/", headers=HTML)
    assert answer.status_code == 503
    assert "can be written by others" in answer.content.decode()


def test_the_admin_leads_to_the_page(site, runner):
    client = site.client(site.user("ann", *OPERATES))
    task = runner.task("backup")
    assert 'href="/tasks/tasks/backup"' in get(client, f"/admin/taskrunner/task/{task.id}/change/")
    assert 'href="/tasks/"' in get(client, "/admin/taskrunner/task/")


@pytest.mark.slow
def test_without_flask_the_project_is_told_what_to_install(project):
    project.write(
        "crm/urls.py",
        """
        from django.urls import include, path
        urlpatterns = [path("tasks/", include("taskrunner.django.urls"))]
        """,
    )
    told = project.python(
        """
        import sys
        from importlib import machinery, util

        found = util.find_spec
        util.find_spec = lambda name, *more: None if name == "flask" else found(name, *more)
        from django.core.management import execute_from_command_line
        execute_from_command_line(["manage.py", "check"])
        """
    )
    assert told.returncode != 0
    assert "pip install 'taskrunner-tick[django,page]'" in told.stderr
