"""What goes wrong while the page is open: one sentence with the right code, and the page is alive afterwards."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys

import pytest

from taskrunner import Every, InputError, StateError, TaskRunner, schema
from taskrunner.store import connection
from taskrunner.web import one_file

pytestmark = pytest.mark.one_python

READERS = ("/", "/api/runs", "/api/tasks", "/api/status")


@pytest.fixture
def client(ask, home):
    """A page that may do everything, over a home with a task; nobody needs to log in."""
    with TaskRunner(home) as runner:
        runner.add("good", ["true"], Every("1h"))
        runner.tick()
    made = ask(define=True)
    made.token = form_token_of(made)
    return made


def form_token_of(client) -> str:
    """The token of the forms of who is not logged in."""
    from taskrunner.web import guard

    with client:
        client.get("/login")
        return guard.form_token()


def write(client):
    """Something that writes."""
    return client.post("/api/tasks/good/disable", headers={"X-Form-Token": client.token})


def refused(answer, code: int) -> str:
    text = answer.get_data(as_text=True)
    assert answer.status_code == code, text
    assert "Traceback" not in text
    if code == 503:
        assert answer.headers["Retry-After"] == "5"
    return answer.get_json()["error"] if answer.is_json else text


def test_a_database_that_is_gone_reads_as_an_empty_one(client, home):
    for name in ("taskrunner.db", "taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    for path in READERS:
        assert client.get(path).status_code == 200, path
    assert "good" in refused(write(client), 404)
    assert client.get("/api/tasks").get_json()["tasks"] == []
    assert "There is no database in" in client.get("/").get_data(as_text=True)


def test_a_home_that_is_gone_reads_as_an_empty_one(client, home):
    home.rename(home.parent / "moved")
    for path in READERS:
        assert client.get(path).status_code == 200, path
    (home.parent / "moved").rename(home)
    assert client.get("/api/tasks/good").status_code == 200


def test_a_locked_database_is_503_for_who_writes(client, home, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.1)
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "busy" in refused(write(client), 503)
    for path in READERS:
        assert client.get(path).status_code == 200, path
    other.execute("ROLLBACK")
    other.close()
    assert write(client).status_code == 200


def test_a_database_of_a_newer_program_is_503(client, home):
    place = home / "taskrunner.db"
    set_version(place, 999)
    for path in READERS:
        assert "newer" in refused(client.get(path), 503), path
    assert client.get("/status").status_code == 503
    set_version(place, len(schema.STEPS))
    assert client.get("/api/tasks/good").status_code == 200


def set_version(place, number: int) -> None:
    db = sqlite3.connect(place)
    db.execute(f"PRAGMA user_version = {number}")
    db.commit()
    db.close()


def test_a_damaged_database_is_503(client, home):
    place = home / "taskrunner.db"
    whole = place.read_bytes()
    place.write_bytes(b"not a database" * 1000)
    for path in READERS:
        assert "damaged" in refused(client.get(path), 503), path
    place.write_bytes(whole)
    (home / "taskrunner.db-wal").unlink(missing_ok=True)
    assert client.get("/api/tasks").status_code == 200


def test_a_home_that_others_can_write_is_503(client, home):
    home.chmod(0o777)
    for path in READERS:
        assert "chmod go-w" in refused(client.get(path), 503), path
    home.chmod(0o700)
    assert client.get("/").status_code == 200


def test_a_bad_setting_is_told(client, home):
    (home / "taskrunner.toml").write_text("max_parallel = 'many'\n")
    assert "max_parallel" in refused(client.get("/api/runs"), 400)
    (home / "taskrunner.toml").unlink()
    assert client.get("/").status_code == 200


def test_a_disk_mounted_for_reading_only_is_shown_and_not_written(ask, home, needs):
    needs("root", os.geteuid() == 0, "only root can mount")
    with TaskRunner(home) as runner:
        runner.add("good", ["true"], Every("1h"))
    code = (
        "import subprocess, sys\n"
        f"home = {str(home)!r}\n"
        "subprocess.run(['mount', '--bind', home, home], check=True)\n"
        "from taskrunner.web.app import create_app\nfrom taskrunner.web import guard\n"
        "client = create_app(home, define=True).test_client()\n"
        "with client:\n    client.get('/login'); token = guard.form_token()\n"
        "assert client.get('/api/tasks/good').status_code == 200\n"
        "subprocess.run(['mount', '-o', 'remount,ro,bind', home], check=True)\n"
        "read = client.get('/api/tasks/good')\n"
        "wrote = client.post('/api/tasks/good/disable', headers={'X-Form-Token': token})\n"
        "print(read.status_code, wrote.status_code, wrote.get_json()['error'])\n"
        "subprocess.run(['mount', '-o', 'remount,rw,bind', home], check=True)\n"
        "print(client.post('/api/tasks/good/disable', headers={'X-Form-Token': token}).status_code)\n"
    )
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=os.getcwd())
    needs(
        "root", "permission denied" not in done.stderr.lower(), "this machine lets root not mount"
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("200 503 ") and "mounted for reading only" in first, done.stderr
    assert second == "200"


def test_a_fault_of_ours_is_one_sentence_and_a_report(client, monkeypatch, capsys):
    def broken(self):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(TaskRunner, "status", broken)
    said = refused(client.get("/api/status"), 500)
    assert "bug in taskrunner" in said
    assert "secret detail" not in said
    told = capsys.readouterr().err
    assert "RuntimeError: a secret detail" in told
    assert told.count("\n") == 1
    os.unlink(told.rpartition(" is in ")[2].strip())
    client.get("/api/status")
    assert capsys.readouterr().err == "", "the same fault is told once an hour"
    monkeypatch.undo()
    assert client.get("/api/status").status_code == 200


def test_a_page_of_an_error_that_cannot_be_made_is_plain_text(client, monkeypatch):
    from taskrunner.web import app

    def broken(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(app, "render_template", broken)
    answer = client.get("/no/such/page")
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert "no such page" in refused(answer, 404)


def test_a_large_body_is_413_and_a_long_field_400(client):
    answer = client.post("/api/hold", data=b"x" * 300_000, headers={"X-Form-Token": client.token})
    assert "at most 256 kB" in refused(answer, 413)
    data = {"token": client.token, "name": "x" * 70_000}
    assert "name" in refused(client.post("/login", data=data), 400)


def test_a_request_without_a_token_is_refused_before_anything_is_done(client, home):
    assert "no valid token" in refused(client.post("/api/tasks/good/disable"), 403)
    assert "no valid token" in refused(client.delete("/api/tasks/good"), 403)
    wrong = {"X-Form-Token": "0" * 64}
    assert "no valid token" in refused(client.put("/api/tasks/good", headers=wrong), 403)
    with TaskRunner(home) as runner:
        assert runner.task("good").enabled


@pytest.mark.parametrize("path", ["/", "/no/such/page", "/api/runs", "/status"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "NONSENSE"])
def test_no_method_leads_to_a_traceback(client, path, method):
    answer = client.open(path, method=method)
    assert answer.status_code < 500
    assert "Traceback" not in answer.get_data(as_text=True)


# ---- one file


def test_the_front_page_is_written_as_one_file(client, home, tmp_path):
    place = tmp_path / "page.html"
    one_file.write(str(home), str(place))
    text = place.read_text()
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    for pattern in ("<form", 'href="(?!#)', "src="):  # a sign leads to its drawing inside the file
        assert not re.search(pattern, text), "it leads to no server"
    assert place.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named(client, home, tmp_path):
    (tmp_path / "file").touch()
    for folder in ("file", "no"):
        with pytest.raises(InputError, match=f"/{folder}' is not a folder; create it first"):
            one_file.write(str(home), str(tmp_path / folder / "page.html"))
    assert not (tmp_path / "no").exists(), "a slip in a path makes no folder"
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="/folder' cannot be written: Is a directory"):
        one_file.write(str(home), str(tmp_path / "folder"))


def test_one_file_of_a_database_that_is_refused_is_not_written(client, home, tmp_path):
    from taskrunner.errors import StoreNewer

    set_version(home / "taskrunner.db", 999)
    with pytest.raises(StoreNewer):
        one_file.write(str(home), str(tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()


def test_a_database_without_a_task_says_so(client, home):
    assert "There is no task yet" not in client.get("/").get_data(as_text=True)
    with TaskRunner(home) as runner:
        runner.remove("good")
    assert "There is no task yet" in client.get("/").get_data(as_text=True)
