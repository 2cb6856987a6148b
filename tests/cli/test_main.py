"""The command line as a person or a script meets it: words in; data, sentences and exit codes out."""

import argparse
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskrunner import State, TaskRunner
from taskrunner.cli import main
from tests.samples import ROOT, call, program, start, wait_for

DONE, FAILED, USAGE, BUG, BUSY, REFUSED, INTERRUPTED = 0, 1, 2, 3, 75, 125, 130

# What a child may see differently from one run to the next.
OF_THE_RUN = {"_RUN", "_SLOT", "_STARTED", "_TRIGGER", "_COALESCED", "_LAST_SUCCESS"}

QUESTIONS = [
    ["list"],
    ["list", "--json"],
    ["next"],
    ["next", "--json"],
    ["history"],
    ["history", "--json"],
    ["status"],
    ["status", "--json"],
    ["tick"],
    ["tick", "-v"],
    ["tick", "--dry-run"],
    ["tick", "--dry-run", "--at", "2030-01-01"],
    ["next", "--cron", "* * * * *"],
]


@pytest.fixture(autouse=True)
def no_reports_left():
    """Reports of bugs go to /tmp; those of this process are cleared away."""
    yield
    for place in Path("/tmp").glob(f"taskrunner-report-{os.getpid()}-*"):
        place.unlink()


@pytest.fixture
def tell(home, capsys):
    """Do what a command line asks for, in this process; returns stdout, stderr and the exit code."""

    def tell(*words, home=home):
        code = main.main(["--home", str(home), *words])
        out, err = capsys.readouterr()
        return out, err, code

    return tell


@pytest.fixture
def runner(home):
    """The library's runner to the same home, to look behind the text."""
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def refuses(tell):
    """Check that a command line is refused with one sentence that holds the value; returns stderr."""

    def refuses(code, value, *words, **where):
        out, err, found = tell(*words, **where)
        assert (out, found) == ("", code), err
        one_sentence(err)
        assert value in err
        return err

    return refuses


def one_sentence(err):
    first, *more = err.splitlines()
    assert first.startswith("taskrunner: ")
    assert len(more) <= 1
    assert all(re.fullmatch(r"see taskrunner( \w+)? --help", line) for line in more)
    assert "usage:" not in err
    assert "Traceback" not in err


def report_in(err):
    """The report file that a sentence names, or one that does not exist."""
    return Path(*re.findall(r"/\S*taskrunner-report-\S+", err) or ["/nowhere"])


def running(runner, name="x"):
    return wait_for(lambda: runner.history(name, state="running"))


def environment(text):
    """Variables from the output of env(1), but for those that tell about one run."""
    pairs = (line.partition("=") for line in text.splitlines())
    own = {f"TASKRUNNER{name}" for name in OF_THE_RUN}
    return {name: value for name, _, value in pairs if name not in own}


# ---- a home without a store


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_asking_where_there_is_nothing_yet_creates_nothing(tell, tmp_path, words):
    place = tmp_path / "not" / "there"
    out, _, code = tell(*words, home=place)
    assert code == DONE
    assert not place.parent.exists()
    if words == ["tick"]:
        assert out == ""


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_asking_in_an_empty_home_leaves_it_empty(tell, home, words):
    assert tell(*words)[2] == DONE
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["show", "x"],
        ["set", "x", "--timeout", "1h"],
        ["next", "x"],
        ["enable", "x"],
        ["disable", "x"],
        ["remove", "x"],
        ["cancel", "x"],
        ["history", "x"],
        ["history", "--task", "x"],
        ["log", "x"],
        ["tick", "--task", "x"],
        ["tick", "--dry-run", "--task", "x"],
    ],
    ids=" ".join,
)
def test_an_unknown_task_is_named_and_nothing_is_created(refuses, home, words):
    refuses(FAILED, "no task 'x'", *words)
    assert list(home.iterdir()) == []


def test_running_an_unknown_task_is_our_own_error(refuses, home):
    refuses(REFUSED, "no task 'x'", "run", "x")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("verb", ["log", "cancel"])
def test_an_unknown_run_is_named(refuses, verb):
    refuses(FAILED, "no run 7", verb, "7")


def test_add_makes_the_home_private(tell, tmp_path):
    place = tmp_path / "deep" / "er"
    assert tell("add", "x", "--manual", "--", "true", home=place)[2] == DONE
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "taskrunner.db").stat().st_mode) == 0o600


def test_a_relative_home_is_taken_from_the_current_folder(tell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tell("add", "x", "--manual", "--", "true", home="here")[2] == DONE
    assert (tmp_path / "here" / "taskrunner.db").exists()


def test_the_home_can_be_named_before_and_after_the_verb_and_by_a_variable(
    home, capsys, monkeypatch
):
    assert main.main(["add", "x", "--manual", "--home", str(home), "--", "true"]) == DONE
    monkeypatch.setenv("TASKRUNNER_HOME", str(home))
    assert main.main(["show", "x"]) == DONE
    assert "only by hand" in capsys.readouterr().out


def test_a_home_with_signs_that_mean_something_in_a_uri_works(tell, tmp_path):
    place = tmp_path / "ä %20?x#y"
    assert tell("add", "x", "--manual", "--", "true", home=place)[2] == DONE
    assert tell("run", "x", home=place)[2] == DONE


def test_an_empty_home_is_refused(refuses):
    refuses(USAGE, "--home", "list", home="")


# ---- homes and stores that cannot be used


def test_a_home_that_cannot_be_made_is_named(refuses, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "home"
    refuses(FAILED, str(place), "add", "x", "--manual", "--", "true", home=place)


def test_a_home_that_is_a_file_is_refused(refuses, tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    refuses(FAILED, str(place), "list", home=place)


def test_a_home_that_others_can_write_is_refused_with_the_cure(refuses, home):
    home.chmod(0o777)
    for words in (["add", "x", "--manual", "--", "true"], ["list"], ["tick"]):
        assert f"chmod go-w {home}" in refuses(FAILED, str(home), *words)
    refuses(REFUSED, str(home), "run", "x")
    assert list(home.iterdir()) == []


def test_a_store_that_others_can_write_is_refused(tell, refuses, home):
    tell("add", "x", "--manual", "--", "true")
    (home / "taskrunner.db").chmod(0o622)
    refuses(FAILED, "taskrunner.db", "list")


def test_a_store_newer_than_this_program_is_refused_and_left_alone(tell, refuses, home):
    tell("add", "x", "--manual", "--", "true")
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("PRAGMA user_version = 4711")
    store.close()
    before = (home / "taskrunner.db").read_bytes()
    for words in (["list"], ["tick"], ["add", "y", "--manual", "--", "true"]):
        refuses(FAILED, "4711", *words)
    refuses(REFUSED, "4711", "run", "x")
    assert (home / "taskrunner.db").read_bytes() == before


def test_a_store_that_is_none_is_refused_and_left_alone(tell, refuses, home):
    tell("add", "x", "--manual", "--", "true")
    for name in ("taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "taskrunner.db").write_bytes(b"what is this? " * 500)
    for words in (["list"], ["tick"], ["add", "y", "--manual", "--", "true"]):
        refuses(FAILED, str(home / "taskrunner.db"), *words)
    refuses(REFUSED, str(home / "taskrunner.db"), "run", "x")
    assert (home / "taskrunner.db").read_bytes() == b"what is this? " * 500


def test_a_store_that_was_emptied_is_not_taken_for_a_new_one(tell, refuses, home):
    tell("add", "x", "--manual", "--", "true")
    for name in ("taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "taskrunner.db").write_bytes(b"")
    refuses(FAILED, "taskrunner.db", "list")


def test_a_store_that_stays_busy_is_a_code_of_its_own(tell, refuses, home, monkeypatch):
    tell("add", "x", "--manual", "--", "true")
    monkeypatch.setattr("taskrunner.store.connection.BUSY_TIMEOUT", 0.05)
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        refuses(BUSY, "taskrunner.db", "disable", "x")
        assert tell("list")[2] == DONE
    finally:
        other.close()


@pytest.mark.parametrize("folder", ["output", "supervisors"])
@pytest.mark.parametrize("words", [["tick"], ["run", "x"]], ids=["tick", "run"])
def test_a_store_that_is_put_back_without_its_folders_works(tell, home, runner, folder, words):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    runner.close()
    (home / folder).rmdir()
    assert tell(*words) == ("", "", DONE)
    assert runner.history("x")[0].state is State.SUCCEEDED


def test_a_setting_that_is_wrong_is_named_with_its_file(refuses, home):
    (home / "taskrunner.toml").write_text("max_parallel = 0\n")
    refuses(USAGE, "taskrunner.toml", "list")


def test_a_zone_of_the_settings_that_is_wrong_is_named_with_its_file(refuses, home):
    (home / "taskrunner.toml").write_text('tz = "Mars/Phobos"\n')
    refuses(USAGE, "taskrunner.toml", "add", "x", "--every", "1d", "--", "true")


# ---- add: what is refused, and that nothing is half-written

EVERY = ["--every", "1d"]
TRUE = ["--", "true"]
BAD_ADDS = [
    # names
    ("''", ["", *EVERY, *TRUE]),
    ("'12'", ["12", *EVERY, *TRUE]),
    ("'a/b'", ["a/b", *EVERY, *TRUE]),
    (r"'a\nb'", ["a\nb", *EVERY, *TRUE]),
    ("'a b'", ["a b", *EVERY, *TRUE]),
    ("'.x'", [".x", *EVERY, *TRUE]),
    ("'é'", ["é", *EVERY, *TRUE]),
    ("'²'", ["²", *EVERY, *TRUE]),
    ("'a:b'", ["a:b", *EVERY, *TRUE]),
    ("a" * 101, ["a" * 101, *EVERY, *TRUE]),
    # schedules
    ("--every --cron --on --at --after --boot --manual", ["x", *TRUE]),
    ("--every '1d' and --cron '* * * * *'", ["x", *EVERY, "--cron", "* * * * *", *TRUE]),
    ("--boot and --manual", ["x", "--manual", "--boot", *TRUE]),
    ("'UTC'", ["x", "--manual", "--tz", "UTC", *TRUE]),
    ("''", ["x", "--every", "", *TRUE]),
    ("'0s'", ["x", "--every", "0s", *TRUE]),
    ("'1D'", ["x", "--every", "1D", *TRUE]),
    ("'1d12h'", ["x", "--every", "1d12h", *TRUE]),
    ("'9999999s'", ["x", "--every", "9999999s", *TRUE]),
    ("'٣h'", ["x", "--every", "٣h", *TRUE]),
    ("'61 * * * *'", ["x", "--cron", "61 * * * *", *TRUE]),
    ("'* * * *'", ["x", "--cron", "* * * *", *TRUE]),
    ("--boot", ["x", "--cron", "@reboot", *TRUE]),
    ("'0 0 30 2 *'", ["x", "--cron", "0 0 30 2 *", *TRUE]),
    ("'someday'", ["x", "--at", "someday", *TRUE]),
    ("2020-01-01", ["x", "--at", "2020-01-01", *TRUE]),
    ("'2026-02-30'", ["x", "--at", "2026-02-30", *TRUE]),
    ("'later'", ["x", *EVERY, "--anchor", "later", *TRUE]),
    ("--anchor", ["x", "--manual", "--anchor", "2026-01-01", *TRUE]),
    ("--from-finish", ["x", "--cron", "* * * * *", "--from-finish", *TRUE]),
    ("'Mars/Phobos'", ["x", *EVERY, "--tz", "Mars/Phobos", *TRUE]),
    ("'europe/berlin'", ["x", *EVERY, "--tz", "europe/berlin", *TRUE]),
    ("'soon'", ["x", "--after", "y:soon", *TRUE]),
    # commands
    ("--shell", ["x", *EVERY]),
    ("--shell", ["x", *EVERY, "--"]),
    ("--shell", ["x", *EVERY, "--", ""]),
    ("' '", ["x", *EVERY, "--shell", " "]),
    ("'x'", ["x", *EVERY, "--shell", "true", *TRUE]),
    ("'true'", ["x", *EVERY, "true"]),
    # options
    ("'1.5h'", ["x", *EVERY, "--timeout", "1.5h", *TRUE]),
    ("not UTF-8", ["x", *EVERY, "--on-failure", "echo \udcff", *TRUE]),
    ("not UTF-8", ["x", *EVERY, "--notify", "failure=echo \udcff", *TRUE]),
    ("'1mo'", ["x", *EVERY, "--timeout", "1mo", *TRUE]),
    ("'none'", ["x", *EVERY, "--kill-after", "none", *TRUE]),
    ("'sometimes'", ["x", *EVERY, "--overlap", "sometimes", *TRUE]),
    ("'first'", ["x", *EVERY, "--catch-up", "first", *TRUE]),
    ("--catch-up-limit", ["x", *EVERY, "--catch-up-limit", "5", *TRUE]),
    ("'0'", ["x", *EVERY, "--catch-up", "all", "--catch-up-limit", "0", *TRUE]),
    ("--max-instances", ["x", *EVERY, "--max-instances", "2", *TRUE]),
    ("'FOO'", ["x", *EVERY, "--env", "FOO", *TRUE]),
    ("'=x'", ["x", *EVERY, "--env", "=x", *TRUE]),
    ("'A-B=x'", ["x", *EVERY, "--env", "A-B=x", *TRUE]),
    ("'8'", ["x", *EVERY, "--umask", "8", *TRUE]),
    ("'20'", ["x", *EVERY, "--nice", "20", *TRUE]),
    ("--nice ''", ["x", *EVERY, "--nice", "", *TRUE]),
    ("--overlap ''", ["x", *EVERY, "--overlap", "", *TRUE]),
    ("--env ''", ["x", *EVERY, "--env", "", *TRUE]),
    ("'-x' is not an option of add", ["-x", *EVERY, *TRUE]),
    ("--frobnicate", ["x", *EVERY, "--frobnicate", *TRUE]),
    ("--ever", ["x", "--ever", "1d", *TRUE]),
    (r"\udcff", ["x", *EVERY, "--", "printf", "\udcff"]),
    (r"\udcff", ["x", *EVERY, "--shell", "echo \udcff"]),
]


@pytest.mark.parametrize(("value", "words"), BAD_ADDS, ids=lambda part: str(part)[:50])
def test_a_bad_add_says_what_is_wrong_and_makes_no_home(refuses, tmp_path, value, words):
    place = tmp_path / "none"
    refuses(USAGE, value, "add", *words, home=place)
    assert not place.exists()


@pytest.mark.parametrize(("value", "words"), BAD_ADDS[:20:4], ids=lambda part: str(part)[:50])
def test_a_bad_add_beside_others_writes_no_row_and_no_event(tell, runner, value, words):
    tell("add", "other", "--manual", "--", "true")
    tell("add", *words)
    assert [task.name for task in runner.tasks()] == ["other"]
    assert len(runner._here().store.events.all()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'y'", ["x", "--after", "y", *TRUE]),
        ("x after x", ["x", "--after", "x", *TRUE]),
        ("'no-such-user'", ["x", *EVERY, "--user", "no-such-user", *TRUE]),
    ],
    ids=["parent", "circle", "user"],
)
def test_an_add_that_does_not_fit_this_host_makes_no_home(refuses, tmp_path, value, words):
    place = tmp_path / "none"
    refuses(FAILED, value, "add", *words, home=place)
    assert not place.exists()


def test_a_name_that_looks_like_an_option_is_named_in_the_sentence(refuses):
    refuses(USAGE, "-x", "add", "-x", *EVERY, *TRUE)


def test_a_variable_that_is_not_utf8_is_refused(refuses):
    refuses(USAGE, r"\udcff", "add", "x", *EVERY, "--env", "A=\udcff", *TRUE)


@pytest.mark.parametrize("kind", ["--manual", "--boot"])
def test_a_bad_zone_is_refused_also_where_it_is_not_needed(refuses, kind):
    refuses(USAGE, "'Mars/Phobos'", "add", "x", kind, "--tz", "Mars/Phobos", *TRUE)


def test_an_empty_timeout_does_not_turn_the_timeout_off(tell, runner):
    _, err, code = tell("add", "x", "--manual", "--timeout", "", *TRUE)
    assert (code, err) == (
        USAGE,
        "taskrunner: --timeout '' is empty: leave it out for its default\n",
    )
    assert runner.tasks() == []


def test_a_name_that_is_taken_is_refused(tell, refuses, runner):
    tell("add", "x", "--manual", "--", "true")
    refuses(FAILED, "'x'", "add", "x", "--every", "1d", "--", "false")
    assert runner.task("x").command == ("true",)


# ---- add: what it does


def test_add_prints_the_id_on_stdout_and_the_rest_on_stderr(tell):
    out, err, code = tell("add", "x", "--every", "1h", "--", "true")
    assert (out, code) == ("1\n", DONE)
    assert err.startswith("taskrunner: x: every hour; next ")
    assert tell("add", "y", "--manual", "--", "true")[0] == "2\n"


def test_in_one_file_the_id_of_a_new_task_comes_before_what_is_said_of_it(home):
    words = program(home, "add", "x", "--every", "1h", "--", "true")
    both = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert both.stdout.startswith("1\ntaskrunner: x: every hour; next ")


def test_add_can_be_quiet(tell, runner):
    assert tell("add", "x", "--every", "1h", "--quiet", "--", "true") == ("", "", DONE)
    assert runner.task("x").id == 1


def test_what_follows_the_dashes_is_the_tasks_to_the_letter(tell, runner):
    words = ["/bin/echo", "--every", "2h", "--", "-v", "", "a  b", "ünï", "--help"]
    tell("add", "x", "--every", "1h", "--", *words)
    assert runner.task("x").command == tuple(words)


def test_options_may_come_before_the_name_and_with_an_equals_sign(tell, runner):
    _, err, code = tell("add", "--every=1h", "--timeout=5m", "x", "--nice", "-5", "--", "true")
    assert code == DONE, err
    task = runner.task("x")
    assert (task.schedule, task.timeout.total_seconds(), task.nice) == ("1h", 300, -5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--", "no-such-program"], "'no-such-program'"),
        (["--", "/no/such/program"], "'/no/such/program'"),
        (["--cwd", "/no/such/folder", "--", "true"], "'/no/such/folder'"),
        (["--env-file", "/no/such/file", "--", "true"], "'/no/such/file'"),
        (["--env", "PATH=/nowhere", "--", "true"], "'true'"),
    ],
    ids=["program", "path", "cwd", "env-file", "own PATH"],
)
def test_add_warns_of_what_is_not_there_yet_and_adds(tell, words, told):
    out, err, code = tell("add", "x", "--manual", *words)
    assert (out, code) == ("1\n", DONE)
    assert told in err
    assert told in tell("add", "y", "--manual", "--quiet", *words)[1]


def test_add_warns_of_a_user_without_a_home_folder(tell, needs):
    needs("root", os.geteuid() == 0, "only root can add tasks for others")
    folder = Path("~nobody").expanduser()
    needs("nobody", not folder.exists(), "here nobody has a home folder")
    assert str(folder) in tell("add", "x", "--manual", "--user", "nobody", "--", "true")[1]


def test_add_warns_of_an_interval_that_cron_cannot_tick(tell):
    assert "daemon" in tell("add", "x", "--every", "10s", "--", "true")[1]


def test_replace_changes_nothing_the_second_time(tell, runner):
    words = ["add", "x", "--every", "3h", "--replace", "--env", "A=1", "--", "true"]
    assert tell(*words)[0] == "1\n"
    before = runner.task("x")
    assert tell(*words)[0] == "1\n"
    assert runner.task("x") == before


def test_replace_keeps_the_place_in_time_and_takes_the_rest(tell, runner):
    tell("add", "x", "--every", "3h", "--env", "A=1", "--", "true")
    before = runner.task("x")
    tell("add", "x", "--every", "3h", "--replace", "--", "false")
    after = runner.task("x")
    assert (after.next, after.anchor, after.created) == (before.next, before.anchor, before.created)
    assert (after.command, after.env) == (("false",), {})


def test_replace_with_another_schedule_starts_anew(tell, runner):
    tell("add", "x", "--every", "3h", "--", "true")
    tell("add", "x", "--every", "5h", "--replace", "--", "true")
    task = runner.task("x")
    assert (task.schedule, task.next - task.anchor) == ("5h", timedelta(hours=5))


def test_a_one_off_in_the_past_runs_only_with_now(tell, runner):
    _, err, code = tell("add", "x", "--at", "2020-01-01", "--now", "--", "true")
    assert (code, err) == (DONE, "taskrunner: x: due at once\n")
    assert tell("tick") == ("", "", DONE)
    assert runner.history("x")[0].state is State.SUCCEEDED
    assert not runner.task("x").enabled


# ---- set


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'12'", ["--name", "12"]),
        ("'1.5h'", ["--timeout", "1.5h"]),
        ("'61 * * * *'", ["--cron", "61 * * * *"]),
        ("'Mars/Phobos'", ["--tz", "Mars/Phobos"]),
        ("--max-instances", ["--max-instances", "3"]),
        ("--shell", ["--"]),
        ("'FOO'", ["--env", "FOO"]),
        ("2020-01-01", ["--at", "2020-01-01", "--nice", "3"]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_bad_set_changes_nothing(tell, refuses, runner, value, words):
    tell("add", "x", "--every", "1h", "--", "true")
    before, events = runner.task("x"), runner._here().store.events.all()
    refuses(USAGE, value, "set", "x", *words)
    assert runner.task("x") == before
    assert runner._here().store.events.all() == events


def test_set_keeps_the_day_of_the_month_or_the_time_of_day_that_is_not_given(tell, refuses, runner):
    tell("add", "review", "--on", "first monday", "--at-time", "09:00", "--", "true")
    tell("set", "review", "--on", "last friday")
    assert runner.task("review").schedule == "last friday at 09:00"
    tell("set", "review", "--at-time", "10:30")
    assert runner.task("review").schedule == "last friday at 10:30"
    tell("set", "review", "--on", "last day at 11:00")
    assert runner.task("review").schedule == "last day at 11:00"
    tell("set", "review", "--cron", "0 9 * * *")
    refuses(USAGE, "--at-time '10:30' goes only with --on", "set", "review", "--at-time", "10:30")
    tell("set", "review", "--on", "last day")
    assert runner.task("review").schedule == "last day at 00:00"


def test_set_renames_and_followers_keep_following(tell, runner):
    tell("add", "x", "--manual", "--", "true")
    tell("add", "y", "--after", "x:any", "--", "true")
    assert tell("set", "x", "--name", "z")[2] == DONE
    assert tell("run", "z")[2] == DONE
    wait_for(lambda: [run.state for run in runner.history("y")] == [State.SUCCEEDED])
    assert tell("show", "x")[2] == FAILED


def test_set_to_a_name_that_is_taken_is_refused(tell, refuses, runner):
    tell("add", "x", "--manual", "--", "true")
    tell("add", "y", "--manual", "--", "true")
    refuses(FAILED, "'y'", "set", "x", "--name", "y")
    assert runner.task("x").name == "x"


def test_set_to_a_name_that_is_taken_gives_no_advice_that_set_cannot_take(tell, refuses):
    tell("add", "x", "--manual", "--", "true")
    tell("add", "y", "--manual", "--", "true")
    assert "--replace" not in refuses(FAILED, "'y'", "set", "x", "--name", "y")


def test_an_empty_text_takes_an_option_back(tell, runner):
    tell("add", "x", "--manual", "--nice", "5", "--env", "A=1", "--cwd", "/", "--", "true")
    assert tell("set", "x", "--nice", "", "--env", "", "--cwd", "")[2] == DONE
    task = runner.task("x")
    assert (task.nice, task.env, task.cwd) == (None, {}, None)


@pytest.mark.parametrize(
    ("flag", "value"), [("--catch-up", "all"), ("--kill-after", "5s"), ("--overlap", "queue")]
)
def test_an_empty_text_brings_back_a_default_that_is_not_none(tell, flag, value):
    tell("add", "x", "--manual", flag, value, "--", "true")
    before = tell("show", "x")[0]
    assert tell("set", "x", flag, "")[2] == DONE
    assert tell("show", "x")[0] != before


def test_an_empty_timeout_brings_back_the_default(tell, runner):
    tell("add", "x", "--manual", "--timeout", "5m", "--", "true")
    tell("set", "x", "--timeout", "")
    assert runner.task("x").timeout.total_seconds() == 3600


def test_an_empty_input_is_an_input_and_can_be_taken_back(tell, runner):
    assert tell("add", "x", "--manual", "--stdin", "", *TRUE)[2] == DONE
    assert runner.task("x").stdin == ""
    tell("set", "x", "--stdin", "")
    assert runner.task("x").stdin is None


def test_set_says_that_the_task_is_disabled(tell):
    tell("add", "x", "--every", "1h", "--", "true")
    tell("disable", "x")
    assert "disabled: `taskrunner enable x`" in tell("set", "x", "--nice", "1")[1]


@pytest.fixture
def retired(tell):
    """A one-off that has run, and is disabled for that."""
    tell("add", "x", "--at", "2020-01-01", "--now", "--", "true")
    tell("tick")


def test_an_instant_counted_from_now_is_a_whole_second_and_not_sooner(tell, runner):
    """Cut to the second, `+1s` would often be over before it is checked."""
    now = datetime.now(UTC)
    tell("add", "x", "--at", "+5s", "--", "true")
    due = runner.task("x").next
    assert due.microsecond == 0 and due >= now + timedelta(seconds=5)


@pytest.mark.usefixtures("retired")
def test_a_one_off_with_a_new_instant_comes_due_or_says_why_not(tell, refuses, runner):
    assert "`taskrunner set x --at WHEN`" in refuses(FAILED, "2020-01-01", "enable", "x")
    _, err, _ = tell("set", "x", "--at", "+1h")
    assert runner.task("x").enabled or "disabled" in err


@pytest.mark.usefixtures("retired")
def test_a_one_off_that_is_replaced_comes_due_or_says_why_not(tell, runner):
    _, err, _ = tell("add", "x", "--replace", "--at", "+1h", "--", "true")
    assert runner.task("x").enabled or "disabled" in err


def test_now_for_a_disabled_task_does_not_promise_what_will_not_be(tell, runner):
    tell("add", "x", "--every", "1h", "--", "true")
    tell("disable", "x")
    _, err, code = tell("set", "x", "--now")
    tell("tick")
    assert runner.history("x") or code != DONE or "disabled" in err


# ---- which tasks, by name or id


@pytest.mark.parametrize("key", ["x", "1"])
def test_names_and_ids_are_taken_everywhere(tell, runner, key):
    tell("add", "x", "--every", "1h", "--now", "--", "echo", "hi")
    for words in (["show"], ["next"], ["disable"], ["enable"], ["tick", "--task"], ["history"]):
        _, err, code = tell(*words, key)
        assert code == DONE, err
    assert tell("run", key)[0] == "hi\n"
    assert tell("set", key, "--nice", "1")[2] == DONE
    assert tell("remove", key)[2] == DONE
    assert runner.tasks() == []


@pytest.mark.parametrize("key", ["9" * 30, "²", "\udcff"], ids=["huge", "superscript", "surrogate"])
@pytest.mark.parametrize("verb", ["show", "log", "cancel", "history", "run"])
def test_a_key_that_is_out_of_this_world_is_unknown(tell, verb, key):
    tell("add", "x", "--manual", "--", "true")
    _, err, code = tell(verb, key)
    assert code == (REFUSED if verb == "run" else FAILED), err
    assert "bug" not in err


def test_the_history_of_an_empty_name_is_not_that_of_all_tasks(tell):
    tell("add", "x", "--manual", "--", "true")
    tell("run", "x")
    assert tell("history", "")[2] == FAILED


# ---- a task that cannot be evaluated any more


@pytest.fixture
def broken(tell, home):
    """A sound task x, and a task y whose zone is gone, as after a change of the host's zone data."""
    tell("add", "x", "--every", "1h", "--", "true")
    tell("add", "y", "--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--", "true")
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("UPDATE tasks SET tz = 'Mars/Phobos' WHERE name = 'y'")
    store.close()


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "words", [["list"], ["history"], ["run", "y"], ["disable", "y"], ["remove", "y"], ["tick"]]
)
def test_beside_a_broken_task_life_goes_on(tell, words):
    assert tell(*words)[2] == DONE


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "words",
    [["status"], ["next"], ["show", "y"], ["tick", "--dry-run", "--at", "+3d"]],
    ids=lambda words: words[0],
)
def test_one_broken_task_does_not_hide_the_others(tell, words):
    _, err, code = tell(*words)
    assert code == DONE, err


@pytest.mark.usefixtures("broken")
def test_set_either_changes_a_broken_task_or_refuses_to(tell, runner):
    _, err, code = tell("set", "y", "--timeout", "5m")
    changed = runner.task("y").timeout == timedelta(minutes=5)
    assert changed == (code == DONE), err


# ---- enable, disable, remove


def test_disable_turns_what_waits_into_skipped_and_enable_makes_up_for_nothing(tell, runner):
    tell("add", "x", "--manual", "--overlap", "queue", "--", "sleep", "30")
    runner.run("x", detach=True)
    running(runner)
    runner.run("x", detach=True)
    assert tell("disable", "x")[2] == DONE
    assert [run.state for run in runner.history("x")] == [State.SKIPPED, State.RUNNING]
    assert "disabled" in runner.history("x")[0].reason
    assert tell("cancel", "x")[2] == DONE
    tell("enable", "x")
    assert len(runner.history("x")) == 2


def test_a_disabled_task_does_not_come_due(tell, runner):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    tell("disable", "x")
    tell("tick")
    assert runner.history() == []
    assert tell("next", "x") == ("", "taskrunner: no runs are scheduled for x\n", DONE)


def test_a_one_off_that_has_passed_cannot_be_enabled(tell, refuses):
    tell("add", "x", "--at", "2020-01-01", "--now", "--", "true")
    tell("tick")
    refuses(FAILED, "2020-01-01", "enable", "x")


def test_remove_is_refused_while_a_run_is_live_unless_forced(tell, refuses, runner):
    tell("add", "x", "--manual", "--", "sleep", "30")
    runner.run("x", detach=True)
    (run,) = running(runner)
    refuses(FAILED, "; --force removes the task and cancels that run", "remove", "x")
    assert runner.task("x").enabled
    assert tell("remove", "x", "--force")[2] == DONE
    assert runner.history("x")[0].id == run.id
    assert runner.history("x")[0].state is State.CANCELLED


def test_history_can_be_read_by_name_after_a_removal_and_the_name_is_free(tell, runner):
    tell("add", "x", "--manual", "--", "echo", "old")
    tell("run", "x")
    assert tell("remove", "x")[2] == DONE
    out, _, code = tell("history", "x")
    assert code == DONE
    assert "succeeded" in out
    assert tell("log", "x")[0] == "old\n"
    assert tell("show", "x")[2] == FAILED
    assert tell("add", "x", "--manual", "--", "echo", "new")[0] == "3\n"
    assert "succeeded" in tell("history", "x")[0]


def test_remove_names_the_tasks_that_never_come_due_any_more(tell):
    tell("add", "x", "--manual", "--", "true")
    tell("add", "y", "--after", "x", "--", "true")
    assert "y ran after x" in tell("remove", "x")[1]


def test_one_bad_name_among_several_is_named(tell, refuses):
    tell("add", "x", "--manual", "--", "true")
    err = tell("disable", "x", "nope")[1]
    assert "'nope'" in err


# ---- what the child sees


def add_and_run(tell, *words):
    """The output of a task made from these words."""
    _, err, code = tell("add", "x", "--manual", *words)
    assert code == DONE, err
    return tell("run", "x")[0]


def test_env_is_seen_and_beats_the_file(tell, tmp_path):
    (tmp_path / "vars").write_text("# a comment\n\nexport A=file\nB='two words'\nC=c\n")
    out = add_and_run(
        tell, "--env-file", str(tmp_path / "vars"), "--env", "A=flag", "--env", "D==", "--", "env"
    )
    seen = environment(out)
    assert (seen["A"], seen["B"], seen["C"], seen["D"]) == ("flag", "two words", "c", "=")


def test_the_env_file_is_read_at_each_run(tell, tmp_path):
    place = tmp_path / "vars"
    place.write_text("A=1\n")
    assert add_and_run(tell, "--env-file", str(place), "--shell", 'echo "$A"') == "1\n"
    place.write_text("A=2\n")
    assert tell("run", "x")[0] == "2\n"
    place.write_text("what is this\n")
    out, err, code = tell("run", "x")
    assert (out, code) == ("", REFUSED)
    assert "line 1" in err


def test_stdin_is_the_text_or_nothing(tell):
    assert add_and_run(tell, "--stdin", "a\nb", "--", "cat") == "a\nb"
    tell("add", "y", "--manual", "--", "cat")
    assert tell("run", "y") == ("", "", DONE)


def test_cwd_umask_and_nice_are_seen(tell, tmp_path):
    shell = "pwd; umask; nice"
    out = add_and_run(
        tell, "--cwd", str(tmp_path), "--umask", "027", "--nice", "7", "--shell", shell
    )
    assert out.split() == [str(tmp_path), "0027", str(min(19, os.nice(0) + 7))]


def test_a_relative_cwd_is_that_of_the_one_who_adds(tell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    assert add_and_run(tell, "--cwd", "sub", "--", "pwd") == f"{tmp_path}/sub\n"


def test_user_is_seen(tell, needs):
    needs("root", os.geteuid() == 0, "only root can run tasks as others")
    shell = "id -un; echo $USER $LOGNAME"
    out = add_and_run(tell, "--user", "nobody", "--cwd", "/", "--shell", shell)
    assert out == "nobody\nnobody nobody\n"


def test_a_task_sees_the_same_environment_from_run_and_from_tick(tell, runner, home, monkeypatch):
    monkeypatch.setenv("EDITOR", "of the person")
    tell("add", "x", "--every", "1h", "--now", "--env", "A=1", "--", "env")
    tell("run", "x")
    _, err, code = call(home, "tick")
    assert (err, code) == ("", DONE)
    by_tick, by_hand = (environment(runner.output(run).decode()) for run in runner.history("x"))
    assert by_tick == by_hand
    assert by_hand["A"] == "1"
    assert "EDITOR" not in by_hand


def test_an_empty_environment_variable_is_one(tell):
    assert add_and_run(tell, "--env", "A=", "--shell", 'echo "[$A]"') == "[]\n"


# ---- run


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--", "true"], 0, ""),
        (["--shell", "exit 7"], 7, "exit code 7"),
        (["--shell", "kill -9 $$"], 137, "SIGKILL"),
        (["--timeout", "1s", "--", "sleep", "9"], 124, "timeout of 1s"),
        (["--", "no-such-program"], 127, "'no-such-program'"),
        (["--", "/etc/passwd"], 126, "'/etc/passwd'"),
        (["--cwd", "/no/such", "--", "true"], 125, "'/no/such'"),
    ],
    ids=lambda part: part if isinstance(part, int) else "",
)
def test_run_passes_on_how_the_task_ended(tell, words, code, told):
    tell("add", "x", "--manual", *words)
    out, err, found = tell("run", "x")
    assert (out, found) == ("", code)
    assert told in err
    assert bool(err) == bool(told)


def test_run_shows_the_output_and_only_that_on_stdout(tell):
    tell("add", "x", "--manual", "--shell", "echo out; echo err >&2; exit 1")
    out, err, _ = tell("run", "x")
    assert out == "out\nerr\n"
    assert err == "taskrunner: run 2 of x failed: exit code 1\n"


def test_run_works_on_a_disabled_task(tell):
    tell("add", "x", "--manual", "--", "echo", "hi")
    tell("disable", "x")
    assert tell("run", "x")[0] == "hi\n"


def test_run_is_refused_while_another_run_is_live_unless_forced(tell, refuses, runner):
    tell("add", "x", "--manual", "--shell", '[ "$A" ] || exec sleep 30; echo "$A"')
    runner.run("x", detach=True)
    running(runner)
    tell("set", "x", "--env", "A=forced")
    refuses(REFUSED, "; --force starts it beside that run", "run", "x")
    assert tell("run", "x", "--force")[0] == "forced\n"
    tell("cancel", "x")


def test_a_forced_run_is_started_side_by_side_also_when_detached(tell, runner):
    tell("add", "x", "--manual", "--", "sleep", "300")
    runner.run("x", detach=True)
    running(runner)
    tell("run", "x", "--force", "--detach")
    try:
        wait_for(lambda: len(runner.history("x", state="running")) == 2)
    finally:
        tell("cancel", "x")


def test_run_detach_prints_the_id_and_does_not_wait(tell, runner):
    tell("add", "x", "--manual", "--shell", "sleep 0.3; echo done")
    assert tell("run", "x", "--detach") == ("2\n", "", DONE)
    wait_for(lambda: runner.history("x")[0].state is State.SUCCEEDED)
    assert tell("log", "2")[0] == "done\n"


def test_run_slot_does_an_older_slot_again(tell, runner):
    tell(
        "add",
        "x",
        "--cron",
        "0 2 * * *",
        "--tz",
        "Europe/Berlin",
        "--shell",
        "echo $TASKRUNNER_SLOT",
    )
    assert tell("run", "x", "--slot", "2026-07-01 02:00")[0] == "2026-07-01T00:00:00Z\n"
    assert tell("run", "x", "--slot", "2026-07-01T02:00Z")[0] == "2026-07-01T02:00:00Z\n"
    assert [run.trigger for run in runner.history("x")] == ["manual", "manual"]


def test_run_slot_that_is_not_an_instant_is_refused(tell, refuses):
    tell("add", "x", "--manual", "--", "true")
    refuses(REFUSED, "'someday'", "run", "x", "--slot", "someday")


def test_run_slot_that_has_not_come_is_refused(tell, refuses, runner):
    tell("add", "x", "--manual", "--", "true")
    refuses(REFUSED, "'2099-01-01'", "run", "x", "--slot", "2099-01-01")
    assert runner.history() == []


def test_a_run_whose_output_cannot_be_shown_goes_on(tell, home, runner):
    tell("add", "x", "--manual", "--shell", "echo out; sleep 0.1; echo more; exit 3")
    with open("/dev/full", "w") as full:
        err, code = with_stdout(home, full, "run", "x")
    assert code == 3
    assert err.splitlines() == [
        "taskrunner: stdout cannot be written: No space left on device; `taskrunner log` shows the output",
        "taskrunner: run 2 of x failed: exit code 3",
    ]
    assert runner.output(runner.history("x")[0]) == b"out\nmore\n"


def test_ctrl_c_cancels_the_run(tell, home, runner):
    tell("add", "x", "--manual", "--shell", "echo started; exec sleep 30")
    with start(home, "run", "x") as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == INTERRUPTED
    one_sentence(err)
    assert "terminal" in err
    assert runner.history("x")[0].state is State.CANCELLED


def test_a_reader_that_goes_away_does_not_cost_the_run_its_outcome(tell, home, runner):
    tell("add", "x", "--manual", "--shell", "seq 1 50000; sleep 0.5; seq 1 50000; exit 3")
    with start(home, "run", "x") as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        process.communicate(timeout=100)
    time.sleep(0.8)
    tell("tick")
    (run,) = runner.history("x")
    assert (run.state, run.exit_code, process.returncode) == (State.FAILED, 3, 3)


# ---- cancel


def test_cancel_by_id_and_by_name(tell, runner):
    tell("add", "x", "--manual", "--", "sleep", "30")
    for key in ("1", "x"):
        runner.run("x", detach=True)
        (run,) = running(runner)
        out, err, code = tell("cancel", key)
        assert (out, code) == ("", DONE)
        assert f"run {run.id} of x cancelled" in err
        assert runner.history("x")[0].state is State.CANCELLED


@pytest.mark.parametrize("key", ["1", "x"])
def test_cancel_of_what_has_ended_is_refused(tell, refuses, key):
    tell("add", "x", "--manual", "--", "true")
    tell("run", "x")
    refuses(FAILED, "nothing to cancel", "cancel", key)


# ---- tick


def test_tick_is_silent_also_when_a_task_fails(tell, runner):
    tell("add", "x", "--every", "1h", "--now", "--shell", "echo loud; echo louder >&2; exit 3")
    assert tell("tick") == ("", "", DONE)
    (run,) = runner.history("x")
    assert (run.state, run.exit_code) == (State.FAILED, 3)
    assert tell("tick") == ("", "", DONE)


def test_tick_reports_when_asked(tell):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    out, err, _ = tell("tick", "-v")
    assert "1 ended" in out
    assert "x" in out
    assert err == ""


def test_tick_task_runs_only_that_and_only_if_due(tell, runner):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    tell("add", "y", "--every", "1h", "--now", "--", "true")
    tell("add", "z", "--every", "1h", "--", "true")
    assert tell("tick", "--task", "x") == ("", "", DONE)
    assert tell("tick", "--task", "z") == ("", "", DONE)
    assert [run.task for run in runner.history()] == ["x"]


def content(home):
    return {place: place.read_bytes() for place in home.rglob("*") if place.is_file()}


@pytest.mark.parametrize("more", [[], ["-v"], ["--json"], ["--at", "2031-01-01"], ["--task", "x"]])
def test_a_dry_run_writes_nothing(tell, home, runner, more):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    runner.close()
    before = content(home)
    out, _, code = tell("tick", "--dry-run", *more)
    assert code == DONE
    assert "x" in out
    # The index of the log may come and go with any reader; it holds nothing of its own.
    after = {k: v for k, v in content(home).items() if not k.name.endswith("-shm") and v}
    assert after == {k: v for k, v in before.items() if not k.name.endswith("-shm") and v}


def test_a_dry_run_decides_what_the_tick_then_does(tell, runner):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    out = tell("tick", "--dry-run")[0]
    assert "run" in out.splitlines()[1].split()
    tell("tick")
    assert len(runner.history("x")) == 1
    assert tell("tick", "--dry-run") == ("", "taskrunner: nothing would be started\n", DONE)


def test_at_and_json_go_only_with_a_dry_run(refuses):
    refuses(USAGE, "'2030-01-01'", "tick", "--at", "2030-01-01")
    refuses(USAGE, "--json", "tick", "--json")
    refuses(USAGE, "'someday'", "tick", "--dry-run", "--at", "someday")


def test_a_tick_that_finds_another_at_work_is_quiet(tell, home, monkeypatch):
    from taskrunner.home import lock

    tell("add", "x", "--every", "1h", "--now", "--", "true")
    monkeypatch.setattr("taskrunner.tick.visit.LOCK_WAIT", 0.05)
    with lock.held(str(home / "tick.lock"), wait=1):
        assert tell("tick") == ("", "", DONE)


# ---- history, log, next


@pytest.fixture
def past(tell):
    """Three runs: of x a success and a failure, of y a success."""
    tell("add", "x", "--manual", "--shell", "echo $TASKRUNNER_RUN; exit ${A:-0}")
    tell("add", "y", "--manual", "--", "true")
    tell("run", "x")
    tell("set", "x", "--env", "A=1")
    tell("run", "x")
    tell("run", "y")


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ([], ["5", "4", "3"]),
        (["x"], ["4", "3"]),
        (["--task", "x"], ["4", "3"]),
        (["-n", "1"], ["5"]),
        (["--limit=2"], ["5", "4"]),
        (["--state", "failed"], ["4"]),
        (["x", "--state", "succeeded"], ["3"]),
        (["--since", "1h"], ["5", "4", "3"]),
        (["--since", "1mo"], ["5", "4", "3"]),
        (["--until", "2020-01-01"], []),
        (["--until", "1h"], []),
        (["--since", "2020-01-01T00:00Z", "--until", "now"], ["5", "4", "3"]),
    ],
    ids=" ".join,
)
def test_history_filters(tell, words, runs):
    out, err, code = tell("history", *words)
    assert code == DONE, err
    assert [line.split()[0] for line in out.splitlines()[1:]] == runs
    assert bool(err) == (not runs)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'bogus'", ["--state", "bogus"]),
        ("'1x'", ["--since", "1x"]),
        ("'whenever'", ["--until", "whenever"]),
        ("'0'", ["-n", "0"]),
        ("'-1'", ["-n", "-1"]),
        ("'many'", ["--limit", "many"]),
    ],
    ids=str,
)
def test_history_refuses_what_it_does_not_understand(refuses, value, words):
    refuses(USAGE, value, "history", *words)


def test_a_count_that_is_none_says_what_would_be_right(refuses):
    assert "whole number" in refuses(USAGE, "'0'", "history", "-n", "0")


@pytest.mark.usefixtures("past")
def test_log_shows_the_run_of_an_id_or_the_newest_of_a_name(tell):
    assert tell("log", "x") == ("4\n", "", DONE)
    assert tell("log", "3") == ("3\n", "", DONE)
    out, err, _ = tell("log", "3", "-v")
    assert out == "3\n"
    assert "run 3 of x, succeeded" in err


def test_log_of_a_task_without_runs_is_refused(tell, refuses):
    tell("add", "x", "--manual", "--", "true")
    refuses(FAILED, "x has no runs", "log", "x")


def test_log_passes_bytes_on_as_they_are(tell, home):
    tell("add", "x", "--manual", "--shell", r"printf '\033[31m\377\000\r\n'")
    tell("run", "x", "--detach")
    wait_for(lambda: "succeeded" in tell("history")[0])
    with start(home, "log", "x", text=False) as process:
        out, _ = process.communicate(timeout=100)
    assert out == b"\033[31m\xff\x00\r\n"


def test_log_follow_ends_with_the_run(tell, home, runner, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    tell("add", "x", "--manual", "--shell", f"echo one; read _ < {go}; echo two")
    tell("run", "x", "--detach")
    running(runner)
    with start(home, "log", "-f", "x") as follower:
        assert follower.stdout.readline() == "one\n"
        go.write_text("\n")
        rest, err = follower.communicate(timeout=100)
    assert (rest, err, follower.returncode) == ("two\n", "", DONE)


def test_log_follow_can_be_left_without_harm_to_the_run(tell, home, runner):
    tell("add", "x", "--manual", "--shell", "echo one; exec sleep 30")
    tell("run", "x", "--detach")
    running(runner)
    with start(home, "log", "-f", "x") as follower:
        assert follower.stdout.readline() == "one\n"
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=100)
    assert (err, follower.returncode) == ("taskrunner: interrupted\n", INTERRUPTED)
    assert running(runner)
    tell("cancel", "x")


def test_next_answers_for_a_schedule_in_no_store(tell, home):
    words = ["--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28T00:00Z"]
    out, _, code = tell("next", *words, "-n", "3")
    assert code == DONE
    # 29 March has no 02:30 in Berlin: cron(8) runs such tasks right after the change, at 03:00.
    assert [line[:29].split() for line in out.splitlines()[1:]] == [
        ["Sat", "2026-03-28", "02:30:00", "CET"],
        ["Sun", "2026-03-29", "03:00:00", "CEST"],
        ["Mon", "2026-03-30", "02:30:00", "CEST"],
    ]
    assert list(home.iterdir()) == []


def test_next_shows_five_unless_told(tell):
    assert len(tell("next", "--cron", "* * * * *")[0].splitlines()) == 6
    assert len(tell("next", "--cron", "* * * * *", "-n", "2")[0].splitlines()) == 3
    hour = ["--from", "2030-01-01T00:00Z", "--until", "2030-01-01T01:00Z"]
    assert len(tell("next", "--cron", "*/10 * * * *", *hour)[0].splitlines()) == 8


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'x'", ["x", "--cron", "* * * * *"]),
        ("--tz", ["--tz", "UTC"]),
        ("'soon'", ["--until", "soon"]),
        ("'10001'", ["-n", "10001"]),
        ("'Mars/Phobos'", ["--cron", "* * * * *", "--tz", "Mars/Phobos"]),
        ("'1d12h'", ["--every", "1d12h"]),
        ("--every '1d' and --cron", ["--cron", "* * * * *", "--every", "1d"]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_next_refuses_what_it_does_not_understand(refuses, value, words):
    refuses(USAGE, value, "next", *words)


# ---- daemon


@pytest.mark.parametrize(
    "words", [["--interval", "0s"], ["--interval", "fast"], ["--grace", "1.5s"]], ids=" ".join
)
def test_the_daemon_refuses_bad_lengths_and_makes_no_home(refuses, tmp_path, words):
    refuses(USAGE, repr(words[1]), "daemon", *words, home=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ends_well_at_a_signal(home, runner, number):
    with start(home, "daemon", "--interval", "1s") as process:
        wait_for((home / "heartbeat").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
    assert (out, err, process.returncode) == ("", "", DONE)


# ---- words that make no sense


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("unknown verb 'frobnicate': the help lists all\nsee taskrunner --help", ["frobnicate"]),
        ("unknown verb 'lst': did you mean list?", ["lst"]),
        ("unknown verb ''", [""]),
        ("unknown verb 'nope'", ["--home", "/x", "nope"]),
        ("'--frob'", ["--frob", "list"]),
        ("'--js'", ["list", "--js"]),
        ("'extra'", ["list", "extra"]),
        ("list", ["list", "--", "x"]),
        ("'-x'", ["list", "-x"]),
        (r"'a\nb'", ["list", "a\nb"]),
        ("does not know '--retry': did you mean", ["add", "x", "--every", "1h", "--retry", "3"]),
        (": --every needs LENGTH, an interval: 30m,", ["add", "x", "--every"]),
        (": -n/--limit: 'x' is not a valid count", ["history", "-n", "x"]),
        (": -n/--limit needs N, number of runs", ["history", "-n"]),
        (": install does not know 'x': use one of cron, systemd, page", ["install", "x"]),
        (": import does not know 'x': use crontab\n", ["import", "x"]),
        (": --color 'x': use one of auto, always, never\n", ["list", "--color", "x"]),
        (
            ": --crontab and --json exclude each other: give one\n",
            ["export", "--json", "--crontab"],
        ),
        (": --json takes no value, and was given '3'\n", ["list", "--json=3"]),
        (": --until '1h' goes only with --since\n", ["explain", "x", "--until", "1h"]),
    ],
    ids=str,
)
def test_words_that_make_no_sense_are_refused(refuses, value, words):
    refuses(USAGE, value, *words)


def test_a_word_with_a_line_break_keeps_to_one_line(refuses):
    refuses(USAGE, r"\n", "frob\nnicate")


@pytest.mark.parametrize("words", [["-v"], ["--", "list"]], ids=" ".join)
def test_words_without_a_verb_are_refused_without_a_dump(refuses, words):
    refuses(USAGE, "verb", *words)


def test_no_words_at_all_give_the_help(capsys):
    assert main.main([]) == DONE
    assert "tick" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"), [(["help"], "what happened:"), (["help", "add"], "--every")]
)
def test_help_is_also_a_word(capsys, words, told):
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == DONE
    assert told in capsys.readouterr().out


# ---- help


def parsers():
    """Each verb with its parser."""
    whole = main.parser()
    (verbs,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    return verbs


@pytest.mark.parametrize("verb", main.VERBS)
def test_the_help_of_a_verb_has_an_example_and_each_option_a_text(verb):
    verbs = parsers()
    parser = verbs.choices[verb]
    assert re.search(rf"^  .*\btaskrunner {verb}\b", parser.epilog, re.M)
    assert next(choice.help for choice in verbs._choices_actions if choice.dest == verb)
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_example_is_understood(verb):
    """Only the words are checked: what they do is tested above."""
    import shlex

    whole_lines = re.sub(r"\\\n +", "", parsers().choices[verb].epilog)
    for line in whole_lines.splitlines():
        if not (match := re.match(r"  (?:[*0-9/ ]+/\S+/)?taskrunner (\S.*?)(?:   .*)?$", line)):
            continue
        words = shlex.split(match[1])
        for end in ("--", ">"):
            words = words[: words.index(end)] if end in words else words
        _, left = main.parser().parse_known_args(words)
        assert left == []


@pytest.mark.parametrize("verb", main.VERBS)
def test_options_and_names_are_taken_in_any_order(verb):
    actions = parsers().choices[verb]._actions
    plain = [word for each in actions if not each.option_strings for word in sample(each)]
    given = [
        each
        for each in actions
        if each.option_strings and not {"-h", "--help"} & {*each.option_strings}
    ]
    for option in given:
        group = [option.option_strings[-1], *sample(option)]
        usual = read(verb, *plain, *group)
        for cut in range(len(plain) + 1):
            words = [*plain[:cut], *group, *plain[cut:]]
            assert read(verb, *words) == usual, words


def sample(action):
    """Words that an argument takes; those of verbs that are lists have two."""
    if action.nargs == 0:
        return []
    if action.option_strings and action.nargs == "?":
        return ["5"]
    word = next(iter(action.choices)) if action.choices else "5"
    return [word] * (2 if action.nargs in ("+", "*") else 1)


def read(verb, *words):
    args = main.Arguments()
    main._read([verb, *words], args)
    return {**vars(args), "do": None}


def test_what_need_not_have_a_value_leaves_the_name_alone():
    assert read("history", "--watch", "backup")["tasks"] == ["backup"]
    assert read("history", "--watch", "backup")["watch"] == "2"
    assert read("history", "--watch", "5", "backup")["watch"] == "5"


def test_a_command_after_the_dashes_is_intact_whatever_stands_before(tell, runner):
    words = ["sh", "-c", "x", "--every", "2h", "--json"]
    assert tell("add", "--every", "1h", "x", "--json", "--", *words)[2] == DONE
    assert tell("set", "--timeout", "5m", "x", "--nice", "5", "--", *words[1:])[2] == DONE
    assert runner.task("x").command == tuple(words[1:])


@pytest.mark.parametrize("words", [["--help"], ["add", "--help"], ["--version"]], ids=" ".join)
def test_help_and_version_are_data(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (DONE, "")
    assert "taskrunner" in out


# ---- where text goes


@pytest.mark.usefixtures("past")
def test_no_colours_and_no_cut_when_piped(tell, home):
    tell("add", "wide", "--manual", "--", "echo", "w" * 300)
    for words in (["list"], ["history"], ["show", "x"], ["status"]):
        out, _, code = call(home, *words)
        assert code == DONE
        assert "\033" not in out
        assert "…" not in out
    assert "w" * 300 in call(home, "list")[0]


def on_terminal(home, *words, **env):
    """What the program prints on a terminal of 60 columns (script(1))."""
    inner = " ".join(f"'{word}'" for word in program(home, *words))
    done = subprocess.run(
        ["script", "-qec", f"stty cols 60; {inner}", "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60", **env},
        timeout=100,
    )
    return done.stdout.replace("\r\n", "\n")


@pytest.mark.usefixtures("past")
def test_a_terminal_gets_colours_and_a_cut_unless_no_color_is_set(tell, home, needs):
    import shutil

    needs("script", shutil.which("script"), "script(1) makes the terminal for this test")
    tell("add", "wide", "--manual", "--", "echo", "w" * 300)
    assert "\033[31mfailed\033[0m" in on_terminal(home, "history")
    assert "…" in on_terminal(home, "list")
    plain = on_terminal(home, "history", NO_COLOR="1")
    assert "failed" in plain
    assert "\033" not in plain


def test_a_terminal_that_knows_only_ascii_is_not_a_bug(tell, home, monkeypatch):
    tell("add", "x", "--manual", "--shell", "echo ü")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    out, err, code = call(home, "list")
    report_in(err).unlink(missing_ok=True)
    assert (err, code) == ("", DONE)
    assert "echo \\u00fc" in out
    out, _, _ = call(home, "list", "--json")
    assert json.loads(out)["tasks"][0]["shell"] == "echo ü"


def test_a_bad_zone_of_the_environment_is_named_with_its_variable(tell, monkeypatch):
    tell("add", "x", "--manual", "--", "true")
    monkeypatch.setenv("TZ", "Mars/Phobos")
    for words in (["list"], ["show", "x"], ["add", "y", "--every", "1d", "--tz", "UTC", *TRUE]):
        _, err, code = tell(*words)
        assert code == DONE
        assert err.count("$TZ cannot be used: 'Mars/Phobos'") == 1
    _, err, code = tell("add", "z", "--every", "1d", *TRUE)
    assert (code, err.count("$TZ")) == (USAGE, 1)


def with_stdout(home, where, *words):
    """Run the program with a stdout of its own kind; stderr and exit code."""
    process = start(home, *words, stdout=where)
    with process:
        _, err = process.communicate(timeout=100)
    report_in(err).unlink(missing_ok=True)
    return err, process.returncode


@pytest.mark.parametrize("words", [["list"], ["history"], ["log", "1"], ["add", "--help"]])
@pytest.mark.usefixtures("past")
def test_a_reader_that_has_seen_enough_is_not_an_error(home, words):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        err, _ = with_stdout(home, writer, *words)
    finally:
        os.close(writer)
    assert err == ""


@pytest.mark.usefixtures("past")
def test_a_full_disk_behind_stdout_is_a_sentence_and_no_bug(home):
    with open("/dev/full", "w") as full:
        err, code = with_stdout(home, full, "list")
    assert (err, code) == (
        "taskrunner: stdout cannot be written: No space left on device\n",
        FAILED,
    )


@pytest.mark.parametrize("words", [["nonsense"], ["run", "x"]], ids=" ".join)
@pytest.mark.usefixtures("past")
def test_a_full_disk_behind_stderr_changes_no_exit_code(home, words):
    with open("/dev/full", "w") as full, start(home, *words, stderr=full) as process:
        process.communicate(timeout=100)
    assert process.returncode == (USAGE if words == ["nonsense"] else 1)


@pytest.mark.parametrize("words", ["list", "add q --manual -- true"])
@pytest.mark.usefixtures("past")
def test_a_stdout_that_is_closed_is_not_a_bug(home, words):
    argv = " ".join(f"'{word}'" for word in program(home))
    done = subprocess.run(
        f"{argv} {words} >&-",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    report_in(done.stderr).unlink(missing_ok=True)
    assert "bug" not in done.stderr
    assert done.returncode in (DONE, FAILED)


# ---- bugs of ours, and interruptions


@pytest.mark.parametrize(
    ("words", "code"), [(["list"], BUG), (["run", "x"], REFUSED)], ids=["list", "run"]
)
def test_a_bug_is_one_sentence_and_a_report(tell, monkeypatch, words, code):
    def broken(self):
        raise ZeroDivisionError("seven by nothing")

    monkeypatch.setattr("taskrunner.api.task_runner.TaskRunner._here", broken)
    out, err, found = tell(*words)
    assert (out, found) == ("", code)
    one_sentence(err)
    assert "ZeroDivisionError: seven by nothing" in err
    report = report_in(err)
    assert "Traceback" in report.read_text()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_an_interruption_has_its_code(tell, monkeypatch):
    def interrupted(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr("taskrunner.api.task_runner.TaskRunner.tasks", interrupted)
    assert tell("list") == ("", "taskrunner: interrupted\n", INTERRUPTED)


# ---- two terminals


def test_two_adds_of_one_name_at_once_add_one(home, runner):
    both = [start(home, "add", "x", "--manual", "--", "true") for _ in range(3)]
    ended = []
    for process in both:
        with process:
            ended.append((process.communicate(timeout=100)[0], process.returncode))
    assert sorted(ended) == [("", FAILED), ("", FAILED), ("1\n", DONE)]
    assert len(runner.tasks()) == 1


@pytest.mark.parametrize("words", [["tick"], ["list"], ["tick", "-v"]], ids=" ".join)
def test_the_real_program_creates_nothing_either(tmp_path, words):
    assert call(tmp_path / "none", *words)[2] == DONE
    assert not (tmp_path / "none").exists()


def test_two_ticks_at_once_run_a_slot_once(tell, home, runner):
    tell("add", "x", "--every", "1h", "--now", "--", "sleep", "0.2")
    both = [start(home, "tick") for _ in range(3)]
    for process in both:
        with process:
            assert (*process.communicate(timeout=100), process.returncode) == ("", "", DONE)
    assert [run.state for run in runner.history("x")] == [State.SUCCEEDED]


def test_tasks_of_one_kind_are_listed_apart(home, capsys):
    for words in (["once", "--at", "+1d"], ["daily", "--every", "1d"]):
        assert main.main(["--home", str(home), "add", *words, "--quiet", "--", "true"]) == 0
    assert main.main(["--home", str(home), "list", "--kind", "at"]) == 0
    out = capsys.readouterr().out
    assert "once" in out and "daily" not in out
    assert main.main(["--home", str(home), "list", "--kind", "often"]) == 2
    assert "'often' is not a kind of schedule: use one of cron, every" in capsys.readouterr().err


def test_at_now_is_the_next_tick(tell, runner):
    tell("add", "x", "--at", "now", "--", "true")
    wait_for(lambda: runner.task("x").next <= datetime.now(UTC))
    tell("tick")
    assert [run.state for run in runner.history("x")] == [State.SUCCEEDED]


def test_since_says_which_lengths_there_are(refuses):
    assert "such as 7d" in refuses(USAGE, "'foo'", "history", "--since", "foo")


def test_an_instant_back_in_time_is_typed_as_any_other(tell):
    tell("add", "x", "--cron", "0 * * * *", "--", "true")
    for words in (
        ["next", "--cron", "0 * * * *", "--from", "-2h"],
        ["history", "--since", "-2h", "--until", "-1h30m"],
        ["explain", "x", "--at", "-2h"],
        ["tick", "--dry-run", "--at", "-2h"],
    ):
        joined = [*words[:-2], f"{words[-2]}={words[-1]}"]
        apart, together = tell(*words), tell(*joined)
        assert apart[2] == DONE and apart[1:] == together[1:], words
        assert len(apart[0].splitlines()) == len(together[0].splitlines())


def test_a_length_back_in_time_where_none_can_be_is_named(refuses):
    assert "'-5m' is not a valid length" in refuses(
        USAGE, "-5m", "add", "x", "--every", "-5m", "--", "true"
    )


def test_cancel_ends_what_it_can_and_says_what_it_cannot(tell, runner):
    for name in ("idle", "busy"):
        tell("add", name, "--manual", "--", "sleep", "30")
    runner.run("busy", detach=True)
    wait_for(lambda: runner.history("busy", state="running"))
    out, err, code = tell("cancel", "idle", "99", "busy")
    assert code == FAILED and "run 3 of busy cancelled" in err + out
    assert "no run of idle is running or pending" in err and "there is no run 99" in err
    assert runner.history("busy")[0].state is State.CANCELLED


@pytest.mark.parametrize(
    ("anchor", "said"),
    [
        (
            "2026-03-29 02:30",
            "does not exist in Europe/Berlin, as clocks go forward: 2026-03-29 03:00",
        ),
        ("2026-10-25 02:30", "comes twice in Europe/Berlin"),
    ],
)
def test_an_anchor_that_clocks_do_not_show_once_is_reported(tell, anchor, said):
    options = ("--every", "1d", "--tz", "Europe/Berlin", "--anchor", anchor)
    _, err, code = tell("add", "x", *options, "--", "true")
    assert (code, said in err) == (0, True)
    _, err, code = tell("next", *options, "-n", "1")
    assert (code, said in err) == (0, True)


# ---- a number names one thing


def test_tasks_and_runs_take_their_ids_from_one_sequence(tell):
    assert tell("add", "a", "--manual", "--", "echo", "a")[0] == "1\n"
    tell("run", "a")
    assert tell("add", "b", "--manual", "--", "echo", "b")[0] == "3\n"
    assert tell("run", "b", "--detach")[0] == "4\n"


@pytest.fixture
def pair(tell):
    """The tasks 1 and 2, and a run of each: 3 and 4."""
    for name in ("a", "b"):
        tell("add", name, "--manual", "--shell", f"echo of {name}")
    for name in ("a", "b"):
        tell("run", name)


@pytest.mark.usefixtures("pair")
def test_a_number_of_a_task_or_a_run_is_taken_where_it_has_a_meaning(tell):
    assert tell("log", "2")[0] == tell("log", "4")[0] == "of b\n"
    assert [line.split()[0] for line in tell("history", "2")[0].splitlines()[1:]] == ["4"]
    assert [line.split()[0] for line in tell("history", "4")[0].splitlines()[1:]] == ["4"]
    assert [line.split()[0] for line in tell("history", "1,4")[0].splitlines()[1:]] == ["4", "3"]
    assert tell("explain", "2")[0].startswith("b: ")
    assert tell("explain", "4")[0].startswith("b: ")
    assert tell("show", "2")[0].splitlines()[0].split(maxsplit=1)[1] == "task 2, enabled"
    assert tell("show", "4")[0].splitlines()[0].split(maxsplit=1)[1] == "run 4, succeeded"
    assert tell("run", "2")[0] == "of b\n"


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("verb", ["run", "remove", "enable", "disable", "next", "stats"])
def test_a_run_is_not_taken_for_its_task(refuses, runner, verb):
    code = REFUSED if verb == "run" else FAILED
    assert "4 is a run of b, not a task: write b" in refuses(code, "4", verb, "4")
    assert len(runner.tasks()) == 2 and len(runner.history()) == 2


def test_cancel_of_a_tasks_id_ends_its_runs_and_no_others(tell, runner):
    for name in ("a", "b"):
        tell("add", name, "--manual", "--", "sleep", "30")
        runner.run(name, detach=True)
    wait_for(lambda: len(runner.history(state="running")) == 2)
    out, err, code = tell("cancel", str(runner.task("a").id))
    assert code == DONE and "of a cancelled" in out + err
    assert runner.history("a")[0].state is State.CANCELLED
    assert runner.history("b")[0].state is State.RUNNING
    tell("cancel", "b")


def test_a_number_of_neither_is_refused(tell, refuses):
    tell("add", "a", "--manual", "--", "true")
    for verb in ("log", "cancel", "explain", "history", "show"):
        assert "there is no run 9, and no task" in refuses(FAILED, "9", verb, "9")


def test_cancel_calls_off_a_one_off_that_waits_for_its_time(tell, runner):
    tell("add", "once", "--at", "+1h", "--", "true")
    out, err, code = tell("cancel", "once")
    assert code == DONE and "once cancelled: cancelled by" in out + err
    task, (run,) = runner.task("once"), runner.history("once")
    assert not task.enabled and task.next is None
    assert run.state is State.CANCELLED and run.started is None
    assert tell("enable", "once")[2] == DONE  # its slot is free
    assert runner.task("once").next == run.slot
    assert tell("cancel", "once")[2] == DONE


def test_cancel_withdraws_a_run_that_was_asked_for_and_not_started(tell, runner):
    tell("add", "x", "--every", "1h", "--now", "--", "true")
    assert tell("cancel", "x")[2] == DONE
    assert runner.task("x").requested is None and runner.task("x").next is not None
    assert runner.tick().runs == []
    assert "taskrunner disable x" in tell("cancel", "x")[1]


@pytest.mark.parametrize("names", [["x"], []])
def test_next_looks_back_too(tell, names):
    tell("add", "x", "--cron", "0 6 * * *", "--tz", "Etc/UTC", "--", "true")
    out, err, code = tell("next", *names, "--from", "yesterday", "--until", "today 23:59", "--json")
    assert (code, err) == (0, "")
    slots = [each["slot"] for each in json.loads(out)["next"]]
    assert len(slots) == 2 and all(each.endswith("T06:00:00Z") for each in slots)
    out, _, _ = tell("next", *names, "--from", "yesterday", "-n", "1")
    assert " ago" in out


@pytest.mark.parametrize("when", ["+30m", "now", "tomorrow 09:00"])
def test_a_one_off_by_hand_takes_each_way_to_give_an_instant(tell, when):
    _, err, code = tell("next", "--at", when, "--tz", "UTC")
    assert code == 0 and "bug" not in err


def test_the_many_names_of_utc_are_reported_as_one(tell):
    out, err, _ = tell("add", "x", "--at", "tomorrow 09:00", "--tz", "Etc/UTC", "--", "true")
    assert "09:00 (UTC)" in err and "Etc/" not in err
    out, _, _ = tell("history", "--since", "yesterday", "--until", "18:00")
    assert out == ""
