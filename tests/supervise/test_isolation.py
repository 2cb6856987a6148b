"""Whatever is raised for one run concerns that run alone: it ends without its output, the others go on."""

import os
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace

import pytest

from taskrunner import Manual, State, host
from taskrunner.model.values import Outcome, Process
from taskrunner.notify import log_lines
from taskrunner.processes import alive, output
from taskrunner.store.runs import Runs
from taskrunner.supervise import (
    follow_up,
    outcomes,
    reconcile,
    spool,
    starts,
    supervisor,
    watched_runs,
)
from taskrunner.tick import visit
from taskrunner.upkeep import retention
from tests.samples import MINUTE, ROOT, program

BAD = 5  # the id of the bad run: three tasks have those before the three runs
LIMIT = 4444  # the --max-output of the bad task, by which functions that know no task tell it
WHAT = "seven by nothing"


class Odd(Exception):
    """What nobody expects."""


def is_bad(value):
    """Whether an argument is, or has in it, the bad run or its task."""
    if isinstance(value, list | tuple):
        return any(map(is_bad, value))
    found = [getattr(value, name, None) for name in ("name", "task", "max_output")]
    names = {each for each in found if isinstance(each, str | int)}
    run = getattr(value, "run", None)
    return value == LIMIT or bool({"bad", LIMIT} & names) or (run is not None and is_bad(run))


@pytest.fixture
def spoil(monkeypatch):
    """Lets a function raise for the bad run: `spoil(owner, name)`; `times` of them only."""

    def make(owner, name, times=1000):
        whole, left = getattr(owner, name), [times]

        def raises(*args, **named):
            if left[0] and any(map(is_bad, (*args, *named.values()))):
                left[0] -= 1
                raise Odd(WHAT)
            return whole(*args, **named)

        monkeypatch.setattr(owner, name, raises)

    return make


@pytest.fixture
def three(runner, home):
    """Three tasks that say something; the second is the bad one."""
    for name in ("first", "bad", "last"):
        limit = LIMIT if name == "bad" else 100_000
        runner.add(name, shell=f"echo {name}", schedule=Manual(), now=True, max_output=limit)
    return runner


def check(runner, home, *, told=True):
    """The others have succeeded, the bad one has ended with a note, and nothing is left to do."""
    found = {run.task: run for run in runner.history()}
    for name in ("first", "last"):
        assert found[name].state is State.SUCCEEDED
        assert runner.output(found[name]) == f"{name}\n".encode()
    assert found["bad"].finished is not None
    assert not told or WHAT in found["bad"].reason
    assert runner.tick().idle
    assert not list((home / "supervisors").iterdir())
    return found["bad"]


@pytest.mark.parametrize(
    "place",
    [
        (outcomes, "gather"),
        (outcomes.verdict, "judge"),
        (follow_up, "_next_attempt"),
        (log_lines, "ended"),
    ],
    ids=lambda place: place[1],
)
def test_a_run_that_cannot_be_recorded_ends_with_a_note(three, home, spoil, place):
    spoil(*place)
    three.tick()
    bad = check(three, home)
    assert place[1] != "gather" or (bad.exit_code, three.output(bad)) == (0, b"")


def test_a_run_that_the_store_never_takes_keeps_no_other_from_its_end(three, home, spoil):
    spoil(Runs, "finish")
    three.tick()
    found = {run.task: run.state for run in three.history()}
    assert found == {
        "first": State.SUCCEEDED,
        "bad": State.RUNNING,
        "last": State.SUCCEEDED,
    }
    assert WHAT in (home / "taskrunner.log").read_text()
    three.tick()


def test_a_trigger_in_the_store_is_one_run_s_fault_too(three, home):
    with closing(sqlite3.connect(home / "taskrunner.db")) as other, other:
        other.execute(
            f"CREATE TRIGGER odd BEFORE INSERT ON outputs WHEN new.run_id = {BAD} "
            f"BEGIN SELECT raise(ABORT, '{WHAT}'); END"
        )
    other.close()
    three.tick()
    bad = check(three, home)
    assert (bad.state, bad.exit_code, three.output(bad)) == (State.SUCCEEDED, 0, b"")


@pytest.mark.parametrize(
    "place",
    [
        (supervisor.command, "resolve"),
        (starts.policy, "too_late"),
        (starts.announce, "started"),
        (log_lines, "started"),
    ],
    ids=lambda place: place[1],
)
def test_a_run_that_cannot_be_prepared_is_one_failed_row(three, home, spoil, place):
    spoil(*place)
    three.tick()
    bad = check(three, home)
    assert bad.state is State.FAILED
    assert bad.reason == f"could not start: Odd: {WHAT}"


def test_an_output_that_cannot_be_bounded_ends_no_supervisor(three, home, spoil):
    spoil(watched_runs.bounded_output, "bound")
    three.set("bad", shell="echo bad; sleep 0.3; echo bad")
    three.tick()
    check(three, home, told=False)
    assert (home / "taskrunner.log").read_text().count("could not be bounded") <= 1


@pytest.fixture
def left(three, home, clock):
    """The three runs when their supervisor is dead: running in the store, with an output each."""
    here = three._here()
    visit.Tick(here, "test").claim_under_lock()
    runs = here.store.runs.live()
    for run in runs:
        with open(home / "output" / f"gone-{run.id}.1", "w") as file:
            file.write(f"{run.task}\n")
    inode = {run.id: (home / "output" / f"gone-{run.id}.1").stat().st_ino for run in runs}
    with here.store.transaction():
        here.store.runs.start(
            [
                Process(run.id, f"gone-{run.id}", "another boot", f"gone-{run.id}.1", inode[run.id])
                for run in runs
            ],
            here.now(),
        )
    return three


@pytest.mark.parametrize(
    "place",
    [
        (output, "gather"),
        (output, "rescue"),
        (reconcile.Survey, "_why_lost"),
        (reconcile, "settle"),
        (follow_up, "_next_attempt"),
    ],
    ids=lambda place: place[1],
)
def test_a_run_that_cannot_be_reconciled_ends_and_the_others_do(left, home, spoil, place):
    spoil(*place, times=1)
    left.tick()
    found = {run.task: run for run in left.history()}
    assert {run.state for run in found.values()} == {State.LOST}
    assert WHAT in found["bad"].reason
    assert {name: left.output(run) for name, run in found.items()} == {
        "first": b"first\n",
        "bad": b"",
        "last": b"last\n",
    }
    assert left.tick().idle
    assert not list((home / "output").iterdir())


def test_a_run_that_cannot_be_looked_after_is_not_ended_while_it_may_live(left, spoil):
    here = left._here()
    with here.store.transaction():
        here.store.connection.run("UPDATE processes SET boot_id = ?", (host.boot_id(),))
        here.store.connection.run(
            "UPDATE processes SET pid = ?, pid_started = ?, pid_namespace = ?",
            (
                os.getpid(),
                alive.started_ticks(os.getpid()),
                alive.pid_namespace(),
            ),
        )
    spoil(reconcile.Survey, "_why_lost")
    with here.store.transaction():
        assert reconcile.Survey(here, here.now()).reconcile() == []
    assert {run.state for run in here.store.runs.live()} == {State.RUNNING}


def test_a_file_that_cannot_be_swept_up_keeps_no_tick_from_its_work(left, home, monkeypatch):
    (home / "output" / "older.1").mkdir()
    (home / "output" / "older.2").touch()
    remove = os.unlink

    def unlink(place, **named):
        if str(place).endswith("older.2"):
            raise Odd(WHAT)
        remove(place, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    left.tick()
    assert {run.state for run in left.history()} == {State.LOST}


@pytest.fixture
def spooled(left):
    """The same, when their ends are in the spool."""
    here = left._here()
    for run, process in here.store.processes.with_runs():
        ended = Outcome(exit_code=0)
        size = len(run.task) + 1
        each = outcomes.Ended(
            run.id, process.supervisor, here.now(), ended, size, False, None, None, True
        )
        spool.put(here.folder, each)
    return left


@pytest.mark.parametrize(
    ("place", "state"),
    [
        ((output, "gather"), State.SUCCEEDED),
        ((outcomes.verdict, "judge"), State.FAILED),
        ((follow_up, "_next_attempt"), State.SUCCEEDED),
        ((log_lines, "ended"), State.SUCCEEDED),
        ((spool, "_still_open"), State.LOST),
    ],
    ids=["gather", "of", "_next_attempt", "ended", "_still_open"],
)
def test_an_end_in_the_spool_that_cannot_be_taken_up_concerns_that_run_alone(
    spooled, home, spoil, place, state, monkeypatch
):
    if place[1] == "_still_open":
        whole = spool._still_open

        def raises(here, each):
            if each.run == BAD:
                raise Odd(WHAT)
            return whole(here, each)

        monkeypatch.setattr(spool, "_still_open", raises)
    else:
        spoil(*place)
    spooled.tick()
    bad = check(spooled, home, told=state is not State.LOST)
    assert bad.state is state
    assert not list((home / "spool").glob("*.json"))


def test_a_run_that_cannot_be_pruned_keeps_no_other(three, home, clock):
    three.tick()
    clock.at += 10 * MINUTE
    for name in ("first", "bad", "last"):
        three.run(name)  # the last run of each stays
    with closing(sqlite3.connect(home / "taskrunner.db")) as other, other:
        other.execute(
            f"CREATE TRIGGER odd BEFORE DELETE ON runs WHEN old.id = {BAD} "
            f"BEGIN SELECT raise(ABORT, '{WHAT}'); END"
        )
    other.close()
    here = three._here()
    few = replace(here.config, keep_runs=0)
    retention.step(replace(here, config=few), here.now() + few.keep_age * 2, by_age=True)
    assert [run.id for run in three.history()] == [9, 8, 7, BAD]


def test_an_output_that_cannot_be_removed_keeps_no_other(three, home, clock, monkeypatch):
    for number in (7001, 7002, 7003):
        (home / "output" / f"{number}.log").write_text("left")
    three.tick()
    remove = os.unlink

    def unlink(place, **named):
        if str(place).endswith("7002.log"):
            raise Odd(WHAT)
        remove(place, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    here = three._here()
    retention.step(here, here.now() + 100_000 * retention.LEFTOVER, by_age=True)
    left = {place.name for place in (home / "output").glob("700*.log")}
    assert left == {"7002.log"}


# ---- a fault that comes again each minute is told once an hour


def ticks_that_raise(home, folder, error):
    """Three ticks in which an exception comes up; returns what each has said, and its exit code."""
    (folder / "sitecustomize.py").write_text(
        "import os\nfrom taskrunner.tick import idle_check, visit\n"
        f"def fail(*args, **named): raise {error}\n"
        "idle_check.idle = lambda *args: False\n"
        "visit.full = fail\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    found = []
    for words in (["tick"], ["tick"], ["tick", "--verbose"]):
        done = subprocess.run(program(home, *words), env=env, capture_output=True, text=True)
        found.append((done.stderr, done.returncode))
    return found


def test_a_bug_that_comes_again_each_minute_is_reported_once_an_hour(runner, home, tmp_path):
    runner.add("x", ["true"], Manual())
    runner.close()
    first, *others = ticks_that_raise(home, tmp_path, "KeyError(os.getpid())")
    assert "this is a bug in taskrunner: KeyError" in first[0]
    os.unlink(first[0].rpartition(" ")[2].strip())
    assert first[1] == 3
    assert others == [("", 3), ("", 3)]
