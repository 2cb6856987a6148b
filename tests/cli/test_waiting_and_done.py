"""One-offs before and after their time, what waits, and one line per task."""

import shlex
from datetime import timedelta

import pytest

from taskrunner import At, Every, Manual, State, TaskRunner
from taskrunner.cli import main


@pytest.fixture
def say(home, capsys):
    def ask(*words):
        code = main.main(["--home", str(home), *words])
        out, err = capsys.readouterr()
        return code, out, err

    return ask


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def in_an_hour(runner):
    return At(runner.now() + timedelta(hours=1))


@pytest.fixture
def done(runner):
    """A home with a one-off that has run, and one that waits for its time."""
    runner.add("once", ["true"], in_an_hour(runner), now=True)
    runner.add("later", ["true"], in_an_hour(runner))
    runner.tick()
    runner.cancel("once")
    assert runner.task("once").done and not runner.task("later").done
    return runner


def test_a_one_off_that_is_done_is_listed_with_all_alone(done, say):
    assert "once" not in say("list")[1]
    assert say("list", "--all")[1].count("done") == 1
    assert '"once"' in say("list", "--json")[1]
    assert "once          task 1, done" in say("show", "once")[1]


def test_where_all_tasks_are_done_list_says_so(done, say):
    done.remove("later")
    assert say("list") == (
        0,
        "",
        "taskrunner: all 1 tasks are done: `taskrunner list --all` shows them\n",
    )


def test_what_waits_for_its_time_is_pending_in_history(done, say):
    out = say("history", "--state", "pending")[1]
    assert "later" in out and "waits for its time" in out and "once" not in out
    assert "later" not in say("history")[1]
    assert "later" not in say("history", "once", "--state", "pending")[1]
    assert '"later"' not in say("history", "--state", "pending", "--json")[1]  # it has no run yet


def test_list_shows_when_a_retry_is_made(runner, say):
    runner.add("again", ["false"], Manual(), now=True, retries=1, retry_delay="1h")
    runner.tick()
    (run,) = runner.history("again", state=State.PENDING)
    assert f"{run.ready:%Y-%m-%d %H:%M:%S}" in say("list")[1]


@pytest.mark.parametrize("verb", [("explain", "once"), ("set", "once", "--nice", "1")])
def test_what_is_advised_for_a_task_that_is_done_is_accepted(done, say, verb):
    told = "".join(say(*verb)[1:])
    (advice,) = [each for each in told.split("`") if each.startswith("taskrunner ")]
    words = shlex.split(advice.replace("WHEN", "tomorrow"))[1:]
    assert say(*words)[0] == 0
    assert done.task("once").enabled


def test_status_reports_each_task_that_fails_why_and_how_often(runner, say):
    runner.add("bad", shell="echo oops; exit 3", schedule=Manual())
    runner.add("worse", ["false"], Manual())
    for name in ("bad", "bad", "worse"):
        runner.run(name)
    lines = [line.split()[:4] for line in say("status")[1].splitlines()]
    assert ["failing", "2"] in lines
    assert ["bad", "failed", "2"] in [line[:3] for line in lines]
    assert ["worse", "failed", "1"] in [line[:3] for line in lines]
    assert "exit code 3; last line: oops" in say("status")[1]


def test_next_has_a_line_for_each_task(runner, say):
    for name, length in (("a", "1h"), ("b", "2h"), ("c", "3h")):
        runner.add(name, ["true"], Every(length))
    for text in (say("next")[1], say("status")[1].partition("next")[2]):
        assert [line.split()[0] for line in text.splitlines() if line.split()[:1]][1:4] == [
            "a",
            "b",
            "c",
        ]
    assert say("next", "a")[1].count("\n") == 6
    assert say("next", "-n", "2")[1].count("\n") == 3
