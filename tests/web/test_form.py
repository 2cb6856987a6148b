"""The form of a task: everything is checked before anything is written."""

import html
import re
import sqlite3
from contextlib import closing

import pytest

from taskrunner import After, At, Cron, Every, Manual, On, TaskRunner
from taskrunner.store import connection
from tests.web.conftest import form_token

pytest.importorskip("flask")

from taskrunner.web import form

pytestmark = pytest.mark.one_python

NEW = {"name": "new", "kind": "every", "every": "2", "unit": "h", "work": "shell", "text": "echo a"}


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def send(ask, path="/tasks/new", do="save", **fields):
    client = ask(define=True)
    token = form_token(client, path)
    return client.post(path, data={"token": token, "do": do, **fields})


def text(answer):
    return html.unescape(re.sub(r"<[^>]*>", " ", answer.get_data(as_text=True)))


def test_a_check_shows_the_next_five_slots_and_writes_nothing(ask, runner):
    answer = send(ask, do="check", **NEW)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200 and "nothing is written yet" in text(answer)
    assert len(re.findall(r"<tr>", page[page.index("<tbody") : page.index("</tbody")])) == 5
    assert 'value="new"' in page and "echo a" in page
    assert runner.tasks() == []


def test_a_check_shows_all_faults_each_at_its_field_and_keeps_what_was_typed(ask, runner):
    answer = send(
        ask, do="save", **{**NEW, "every": "", "timeout": "5", "retries": "many", "tz": "Mars/X"}
    )
    page = answer.get_data(as_text=True)
    assert answer.status_code == 400 and runner.tasks() == []
    for field in ("every", "timeout", "retries"):
        assert f'id="f-{field}-wrong"' in page, field
    assert 'value="many"' in page and 'value="Mars/X"' in page


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        ({"kind": "every", "every": "90", "unit": "m"}, "every 90m"),
        ({"kind": "every", "every": "7h30m", "unit": ""}, "every 7h30m"),
        ({"kind": "cron", "cron": "30 2 * * *", "tz": "Europe/Berlin"}, "cron 30 2 * * *"),
        (
            {"kind": "on", "on": "last day of mar", "at_time": "9:00"},
            "on last day of march at 09:00",
        ),
        ({"kind": "on", "on": "first monday"}, "on first monday at 00:00"),
        ({"kind": "at", "date": "2090-12-01", "time": "22:00"}, "at 2090-12-01T22:00:00"),
        ({"kind": "after", "after": "old", "ends": "failed"}, "after old:failed"),
        ({"kind": "boot"}, "boot "),
        ({"kind": "manual"}, "manual "),
    ],
)
def test_every_kind_of_schedule_can_be_typed(ask, runner, fields, schedule):
    runner.add("old", ["true"], Manual())
    answer = send(ask, **{**NEW, **fields})
    assert answer.status_code == 303 and answer.location == "/tasks/new"
    task = runner.task("new")
    assert f"{task.kind} {task.schedule}" == schedule
    assert task.tz == fields.get("tz") or "tz" not in fields


@pytest.mark.parametrize(
    ("work", "typed", "is_now"),
    [
        ("shell", "cd /srv &&\r\n make all", {"shell": "cd /srv &&\n make all"}),
        ("command", "/bin/echo 'a b' c", {"command": ("/bin/echo", "a b", "c")}),
        ("code", "if True:\r\n    print(1)\r\n", {"code": "if True:\n    print(1)\n"}),
    ],
)
def test_every_kind_of_work_can_be_typed(ask, runner, work, typed, is_now):
    assert send(ask, **{**NEW, "work": work, "text": typed}).status_code == 303
    task = runner.task("new")
    assert {key: getattr(task, key) for key in is_now} == is_now


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "old"}, "name"),
        ({"text": ""}, "text"),
        ({"work": "command", "text": "echo 'a"}, "text"),
        ({"work": "code", "text": "if x"}, "text"),
        ({"kind": "cron", "cron": "61 * * * *"}, "cron"),
        ({"kind": "cron", "cron": ""}, "cron"),
        ({"kind": "on", "on": "fifth monday", "at_time": "09:00"}, "on"),
        ({"kind": "on", "on": "last day", "at_time": "9am"}, "at_time"),
        ({"kind": "at", "date": "yesterday"}, "date"),
        ({"kind": "at", "date": "1999-01-01", "time": "12:00"}, "date"),
        ({"kind": "after", "after": "nobody"}, "after"),
        ({"tz": "Mars/X"}, "tz"),
        ({"overlap": "perhaps"}, "overlap"),
        ({"cwd": "not/absolute"}, "cwd"),
    ],
)
def test_a_fault_is_told_at_its_field(runner, fields, field):
    runner.add("old", ["true"], Manual())
    found = form.check(runner, None, {**form.EMPTY, **NEW, **fields}).faults
    assert list(found) == [field] and all(found[field])
    assert not any("stdin" in each for each in found[field])


def test_options_that_contradict_each_other_are_a_fault_of_the_whole(runner):
    fields = {**form.EMPTY, **NEW, "deadline": "1h", "group": "db:2"}
    runner.add("old", ["true"], Manual(), group="db:1")
    assert list(form.check(runner, None, fields).faults) in ([""], ["group"])


@pytest.mark.parametrize(
    "schedule",
    [
        Every("7h30m"),
        Every("1d", from_finish=True),
        Cron("@daily", "Europe/Berlin"),
        On("last workday", "09:00", "Europe/Berlin"),
        After("old", "any"),
    ],
)
def test_a_task_that_is_saved_as_it_is_stays_as_it_is(ask, runner, schedule):
    runner.add("old", ["true"], Manual())
    before = runner.add(
        "same", ["echo", "a b"], schedule, env={"API_KEY": "secret"}, umask="077", retries=2
    )
    fields = form.of_task(runner, "same").fields
    assert send(ask, "/tasks/same/edit", **fields).status_code == 303
    assert runner.task("same") == before
    assert len(runner.explain("same").changes) == 1  # that it was added


def test_a_change_keeps_what_the_form_does_not_show(ask, runner):
    runner.add("same", ["echo"], Every("1d"), env={"API_KEY": "secret"}, umask="077", retries=2)
    fields = form.of_task(runner, "same").fields
    page = ask(define=True).get("/tasks/same/edit").get_data(as_text=True)
    assert "secret" not in page and "env, umask" in page
    answer = send(
        ask, "/tasks/same/edit", **{**fields, "retries": "", "work": "shell", "text": "ls"}
    )
    assert answer.status_code == 303
    task = runner.task("same")
    assert (task.env, task.umask, task.retries, task.shell) == (
        {"API_KEY": "secret"},
        0o77,
        0,
        "ls",
    )
    assert task.schedule == "1d" and task.anchor is not None


def test_a_one_off_that_has_passed_can_still_be_changed_in_other_ways(ask, runner):
    at = runner.now().replace(year=runner.now().year + 1)
    runner.add("once", ["echo"], At(at))
    fields = form.of_task(runner, "once").fields
    assert send(ask, "/tasks/once/edit", **{**fields, "retries": "1"}).status_code == 303
    assert runner.task("once").retries == 1


def test_a_function_of_python_stays_while_its_schedule_changes(ask, runner):
    runner.add("py", schedule=Every("1d"), python="json:dumps", args=[1])
    fields = form.of_task(runner, "py").fields
    page = ask(define=True).get("/tasks/py/edit").get_data(as_text=True)
    assert "json:dumps" in page
    assert send(ask, "/tasks/py/edit", **{**fields, "unit": "w"}).status_code == 303
    task = runner.task("py")
    assert (task.schedule, task.python, task.args) == ("1w", "json:dumps", [1])


def test_a_form_does_not_undo_unseen_what_another_has_changed_meanwhile(ask, runner):
    runner.add("same", ["echo"], Every("1d"))
    fields = form.of_task(runner, "same").fields
    runner.set("same", timeout="2h")
    answer = send(ask, "/tasks/same/edit", **{**fields, "retries": "1"})
    assert answer.status_code == 400 and "was changed after this form was opened" in text(answer)
    assert (runner.task("same").retries, str(runner.task("same").timeout)) == (0, "2:00:00")
    seen = re.search(r'name="seen" value="(\w+)"', answer.get_data(as_text=True))[1]
    answer = send(ask, "/tasks/same/edit", **{**fields, "retries": "1", "seen": seen})
    assert answer.status_code == 303
    assert (runner.task("same").retries, str(runner.task("same").timeout)) == (1, "1:00:00")


def test_a_form_is_no_bar_to_a_task_that_was_only_disabled_meanwhile(ask, runner):
    runner.add("same", ["echo"], Every("1d"))
    fields = form.of_task(runner, "same").fields
    runner.disable("same")
    assert send(ask, "/tasks/same/edit", **{**fields, "retries": "1"}).status_code == 303


def test_a_form_is_kept_while_the_database_is_locked(ask, runner, home, monkeypatch):
    runner.add("same", ["echo"], Every("1d"))
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.1)
    with closing(sqlite3.connect(home / "taskrunner.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = send(ask, **NEW)
    assert answer.status_code == 503 and "busy" in text(answer)
    assert "echo a" in answer.get_data(as_text=True)


def test_a_form_with_fields_missing_or_unknown_is_no_bug(ask, runner):
    assert send(ask, name="new", kind="nope", unit="x", work="y", extra="z").status_code == 400
    assert runner.tasks() == []
