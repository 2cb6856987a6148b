"""The verbs apply, export and import, as a person types them."""

import io
import json
import os
import sys

import pytest

from taskrunner.cli import main
from tests.samples import call

GOOD = '[tasks.a]\nmanual = true\ncommand = ["true"]\n'


@pytest.fixture
def tell(home, capsys):
    def tell(*words):
        code = main.main(["--home", str(home), *map(str, words)])
        out, err = capsys.readouterr()
        return out, err, code

    return tell


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "t.toml"
    place.write_text(GOOD)
    return place


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_apply_reports_what_is_new_and_then_that_nothing_changed(tell, file):
    out, err, code = tell("apply", file)
    assert "a     added  only by hand; no slot of its own\n" in out
    assert (err, code) == ("taskrunner: 1 added\n", 0)
    assert tell("apply", file) == ("", "taskrunner: nothing changed: 1 unchanged\n", 0)
    assert tell("apply", file, "--quiet") == ("", "", 0)


def test_a_dry_run_says_so_and_shows_what_is_unchanged_too(tell, file):
    assert tell("apply", file, "--dry-run")[1] == (
        "taskrunner: 1 added; nothing is written in a dry run\n"
    )
    tell("apply", file)
    out, err, _ = tell("apply", file, "--dry-run")
    assert "a     unchanged" in out
    assert err == "taskrunner: nothing to change: 1 unchanged\n"


def test_apply_as_a_document(tell, file):
    document = json.loads(tell("apply", file, "--json")[0])
    assert document == {
        "version": 1,
        "dry_run": False,
        "tasks": [
            {
                "task": "a",
                "action": "add",
                "consequences": ["only by hand", "no slot of its own"],
            }
        ],
    }


def test_apply_reads_from_stdin(tell, monkeypatch):
    stdin(monkeypatch, GOOD.encode())
    assert tell("apply", "-")[2] == 0
    stdin(monkeypatch, b"\xff")
    assert tell("apply", "-") == ("", "taskrunner: the text on stdin is not UTF-8\n", 2)


def test_a_task_file_may_begin_with_a_mark_and_end_its_lines_as_windows_does(
    tell, file, monkeypatch
):
    data = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    file.write_bytes(data)
    assert tell("apply", file)[2] == 0
    stdin(monkeypatch, data.replace(b"[tasks.", b"[tasks.other-"))
    assert tell("apply", "-", "--dry-run")[2] == 0
    file.write_bytes(data + b"nice = 99\r\n")
    assert f"{file}, line 4: a: nice" in tell("apply", file)[1]


def test_faults_have_the_exit_code_of_bad_input_or_of_this_machine(tell, file):
    file.write_text(GOOD + "nice = 99\n")
    out, err, code = tell("apply", file)
    assert (out, code) == ("", 2)
    assert err == f"taskrunner: {file}, line 4: a: nice '99': it must be a number from -20 to 19\n"
    file.write_text(GOOD + 'user = "nonesuch"\n')
    assert tell("apply", file)[2] == 1


def test_a_pipe_in_a_folder_of_task_files_is_refused_and_not_waited_for(tell, file, tmp_path):
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "good.toml").symlink_to(file)
    os.mkfifo(tmp_path / "many" / "pipe.toml")
    sentence = f"the file '{tmp_path}/many/pipe.toml' cannot be read: it is not a regular file"
    assert tell("apply", tmp_path / "many") == ("", f"taskrunner: {sentence}\n", 1)
    (tmp_path / "many" / "pipe.toml").unlink()
    assert tell("apply", tmp_path / "many")[2] == 0


def test_apply_warns_of_a_program_that_is_not_found(tell, file):
    file.write_text(GOOD.replace('true"', 'nonesuch"'))
    assert "taskrunner: the program 'nonesuch' is not found" in tell("apply", file)[1].replace(
        "a: ", ""
    )


def test_export_gives_back_what_apply_took(tell, file):
    tell("apply", file)
    assert tell("export") == (GOOD, "", 0)
    assert tell("export", "a") == (GOOD, "", 0)
    assert tell("export", "b")[2] == 1
    document = json.loads(tell("export", "--json")[0])
    assert document["tasks"][0]["name"] == "a"


def test_export_of_nothing_says_so(tell):
    assert tell("export") == ("", "taskrunner: there are no tasks yet\n", 0)


def test_secrets_are_hidden_and_told_or_written_to_a_private_file(tell, tmp_path):
    tell("add", "a", "--manual", "--env", "TOKEN=geheim", "--", "true")
    out, err, _ = tell("export")
    assert "geheim" not in out
    assert "values that look secret are *** in a" in err
    place = tmp_path / "all.toml"
    place.write_text("old")
    place.chmod(0o644)
    assert tell("export", "--with-secrets", place) == ("", "", 0)
    assert "geheim" in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o600
    assert tell("export", "--with-secrets", tmp_path / "no" / "x")[2] == 1


def test_a_file_of_secrets_is_not_written_through_a_link(tell, tmp_path, file):
    tell("apply", file)
    place, other = tmp_path / "link", tmp_path / "other"
    other.write_text("mine")
    place.symlink_to(other)
    out, err, code = tell("export", "--with-secrets", place)
    assert (out, code) == ("", 1)
    assert str(place) in err
    assert other.read_text() == "mine"
    assert place.is_symlink()


def test_export_for_cron(tell):
    tell("add", "a", "--cron", "0 2 * * *", "--tz", "UTC", "--", "date", "+%F")
    assert "0 2 * * *  date +\\%F\n" in tell("export", "--crontab")[0]


def test_import_shows_a_line_for_each_entry(tell, tmp_path):
    place = tmp_path / "tab"
    place.write_text("30 2 * * * dump\nhello\n")
    out, err, code = tell("import", "crontab", place, "--dry-run")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["1", "dump"], ["2", "-"]]
    assert "identical" in out
    assert (
        err
        == f"taskrunner: crontab {place}: 1 added, 1 left alone; nothing is written in a dry run\n"
    )
    assert code == 0


def test_import_as_a_document(tell, tmp_path):
    place = tmp_path / "tab"
    place.write_text("30 2 * * * dump\n")
    out, err, _ = tell("import", "crontab", place, "--json")
    document = json.loads(out)
    assert document["lines"][0] == {
        "line": 1,
        "action": "add",
        "task": "dump",
        "schedule": document["lines"][0]["schedule"],
        "command": "dump",
        "differing": 0,
        "notes": ["the program 'dump' is not found on the PATH that the task will see"],
    }
    assert err == (
        "taskrunner: the lines are still in the crontab: cron also runs them until they are comments\n"
    )


def test_import_fails_when_every_line_was_left_alone(tell, tmp_path):
    place = tmp_path / "tab"
    place.write_text("61 * * * * x\n")
    assert tell("import", "crontab", place)[2] == 1
    assert tell("import", "crontab", place, "--json", "--dry-run")[2] == 1
    place.write_text("61 * * * * x\n@daily true\n")
    assert tell("import", "crontab", place)[2] == 0


def test_only_a_crontab_can_be_imported(tell):
    assert tell("import", "yaml")[2] == 2


def test_the_real_program_applies_and_exports(home, file):
    assert call(home, "apply", str(file))[2] == 0
    assert call(home, "export") == (GOOD, "", 0)
