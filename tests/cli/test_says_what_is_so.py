"""Answers that say what is so: why nothing starts, what a verb needs, what could not be printed."""

import os
import subprocess
import sys

import pytest

from taskrunner import Every, InputError, Manual, TaskRunner
from taskrunner.cli import main
from tests.samples import ROOT, call


@pytest.fixture
def three(home):
    """A home with a task that is due in an hour, one that is disabled, and one by hand."""
    with TaskRunner(home) as runner:
        runner.add("later", ["true"], Every("1h"))
        runner.add("off", ["true"], Every("1h"), now=True)
        runner.disable("off")
        runner.add("hand", ["true"], Manual())
    return home


@pytest.mark.parametrize("words", [("tick", "--dry-run"), ("tick", "-v")], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("later", "later is not due until 20"),
        ("off", "off is disabled; `taskrunner enable off`"),
        ("hand", "hand is not due: only by hand"),
    ],
)
def test_a_tick_of_one_task_says_why_it_is_not_run(three, words, name, why):
    out, err, code = call(three, *words, "--task", name)
    assert code == 0
    assert why in out + err


@pytest.mark.parametrize(
    "words", [("-v",), ("-v", "--task", "later"), ("--dry-run",)], ids=" ".join
)
def test_a_tick_under_a_hold_says_so(three, words):
    with TaskRunner(three) as runner:
        runner.hold()
    out, err, code = call(three, "tick", *words)
    assert code == 0
    assert "scheduled runs are paused by" in out + err
    assert "`taskrunner resume`" in out + err
    assert "0 decided" not in out


def test_a_dry_run_of_one_task_reports_what_is_later_of_that_task_alone(three):
    with TaskRunner(three) as runner:
        runner.add("other", ["true"], Every("1h"))
    _, err, _ = call(three, "tick", "--dry-run", "-v", "--task", "later")
    assert "later: later at" in err
    assert "other" not in err


def test_a_tick_with_nothing_due_still_says_that(three):
    assert call(three, "tick", "-v")[0] == "nothing is due\n"


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("log", "log shows one run and was given none: name a task or the id of a run"),
        ("show", "show needs NAME, "),
        ("run", "run needs NAME, "),
        ("cancel", "cancel needs RUN, id of a run"),
        ("add", "add needs NAME, 1 to 100 letters"),
        ("explain", "explain needs NAME, "),
        ("restore", "restore needs FILE, "),
        ("install", "install needs WHAT, cron or systemd"),
    ],
)
def test_a_verb_without_its_name_says_what_it_needs(home, verb, said):
    out, err, code = call(home, verb)
    assert (out, code) == ("", 125 if verb == "run" else 2)
    assert err.startswith(f"taskrunner: {said}")
    assert verb == "log" or err.endswith(f"see taskrunner {verb} --help\n")


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["next", "--every", "1h"], ["add", "--help"]]
)
def test_what_cannot_be_printed_is_an_error(home, words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "taskrunner", "--home", str(home), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "taskrunner: stdout cannot be written: No space left on device\n"


def test_the_version_is_printed_as_before(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("taskrunner ")


@pytest.mark.parametrize(
    ("given", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_forced_by_a_variable_and_forbidden_by_another(
    three, monkeypatch, given, coloured
):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with TaskRunner(three) as runner:
        runner.add("bad", ["false"], Manual())
        runner.run("bad")
    assert ("\x1b[" in call(three, "history")[0]) is coloured
    assert "\x1b[" not in call(three, "history", "--color", "never")[0]


def test_an_error_about_code_names_the_task(home):
    with TaskRunner(home) as runner:
        with pytest.raises(InputError, match="the task 'x': --code cannot be run, line 1"):
            runner.add("x", None, Manual(), code="y = = 1")
        runner.add("x", None, Manual(), code="y = 1")
        with pytest.raises(InputError, match="the task 'x': --code cannot be run, line 1"):
            runner.set("x", code="y = = 1")
