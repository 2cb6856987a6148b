"""Processes that a run leaves behind in a session of their own, where nothing of ours reaches them."""

import os
import signal

import pytest

from taskrunner import Manual, State, TaskRunner
from taskrunner.processes import alive
from tests.samples import wait_for

# Each notes its number once it has a session of its own, and its parent goes on only then.
LEAVES = "setsid sh -c 'echo $$ >{{0}}/pid{{1}}; exec sleep 300' {} & until [ -s {{0}}/pid{{1}} ]; do sleep 0.05; done; "
AWAY, HOLDS = LEAVES.format("<&- >&- 2>&-"), LEAVES.format("")


@pytest.fixture
def runner(home):
    """A taskrunner with the real clock: a run is known by its number and the instant it was started at."""
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def tidy(tmp_path):
    """Where the processes write their ids, to be ended."""
    yield tmp_path
    end_all(tmp_path)


def end_all(folder):
    for place in folder.glob("pid*"):
        number = int(place.read_text())
        alive.kill(number)
        wait_for(lambda number=number: alive.started_ticks(number) is None)
        place.unlink()


@pytest.mark.parametrize(
    ("shell", "state", "words"),
    [
        (AWAY.format("{0}", 1) + "sleep 300", State.TIMED_OUT, "left 1 process running"),
        (
            AWAY.format("{0}", 1) + AWAY.format("{0}", 2) + "sleep 300",
            State.TIMED_OUT,
            "left 2 processes running",
        ),
        (
            HOLDS.format("{0}", 1) + "sleep 0.2",
            State.SUCCEEDED,
            "exit code 0; left 1 process running",
        ),
        ("sleep 300", State.TIMED_OUT, None),
        ("true", State.SUCCEEDED, None),
    ],
    ids=["timeout", "two", "end", "none-at-timeout", "none"],
)
def test_processes_left_behind_by_a_run_are_reported(runner, tidy, shell, state, words):
    shell = shell.format(tidy)
    for timeout in ("1s", "10s", "60s"):  # a machine that stalls gets more
        end_all(tidy)
        runner.add("a", shell=shell, schedule=Manual(), timeout=timeout, replace=True)
        run = runner.run("a")
        if len(list(tidy.glob("pid*"))) == shell.count("setsid"):
            break
    assert run.state is state
    assert ("left" in run.reason) == (words is not None)
    assert words is None or run.reason.endswith(words)


def test_the_processes_of_another_run_are_not_counted(runner, tidy):
    runner.add("a", shell=HOLDS.format(tidy, "$TASKRUNNER_RUN") + "sleep 0.2", schedule=Manual())
    assert runner.run("a").reason.endswith("left 1 process running")
    assert runner.run("a").reason.endswith("left 1 process running")
    assert len(list(tidy.glob("pid*"))) == 2
    os.kill(int(next(tidy.glob("pid*")).read_text()), signal.SIGCONT)
