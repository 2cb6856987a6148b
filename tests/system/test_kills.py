"""Killed anywhere: what must hold when ticks, daemons and writers die by SIGKILL at any moment, a hundred times.

TASKRUNNER_TEST_LONG=1 kills a thousand times. Children write down that they were started, on their own; what the
store says is held against that.
"""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from datetime import timedelta

import pytest

from taskrunner import Every, Manual, State, TaskRunner, schema
from taskrunner.processes import alive
from tests.samples import ROOT, STORES, call, old_store, program, start, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]  # on a busy machine
LONG = bool(os.environ.get("TASKRUNNER_TEST_LONG"))
KILLS = 1000 if LONG else 100
STARTED = 10  # of the runs, at the least
LIMIT = 900  # seconds
SEED = os.environ.get("TASKRUNNER_TEST_SEED", "2026")
# A line of this length is written at once, also beside others (write(2) with O_APPEND).
NOTE = 'echo "$TASKRUNNER_RUN $TASKRUNNER_TASK $TASKRUNNER_SLOT $TASKRUNNER_ATTEMPT" >> "$LOG"'
COMMANDS = {
    "quick": NOTE,
    "slow": f"{NOTE}; sleep 0.2",
    "loud": f"{NOTE}; head -c 200000 /dev/zero",
    "failing": f"{NOTE}; exit 3",
}
WRITERS = (
    ("tick",),
    ("tick",),
    ("daemon", "--interval", "1s", "--grace", "1s"),
    ("add", "more", "--replace", "--manual", "--", "true"),
    ("set", "slow", "--priority", "3"),
    ("run", "slow", "--force"),
    ("prune",),
    ("history",),
    ("apply", "tasks.toml"),
    ("backup", "--keep", "3"),
)
CROWD = (("remove", "more"), ("remove", "one"), ("list",), ("status",))
TASKS = (
    '[tasks.one]\nmanual = true\ncommand = ["true"]\n[tasks.two]\nevery = "1h"\nshell = "exit 1"\n'
)


@pytest.fixture
def log(tmp_path):
    place = tmp_path / "log"
    place.touch()
    return place


@pytest.fixture
def runner(home, log, tmp_path, monkeypatch):
    """A home with tasks that are due each second, and beside it a task file to be applied."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.toml").write_text(TASKS)
    with TaskRunner(home) as made:
        for name, shell in COMMANDS.items():
            options = {"env": {"LOG": str(log)}, "timeout": "20s", "kill_after": "1s"}
            options |= {"retries": int(name == "failing"), "retry_delay": "1s"}
            made.add(name, shell=shell, schedule=Every("1s"), **options)
        yield made
        stop_children(made)


def stop_children(runner):
    """End the children that a supervisor left behind; they are in sessions of their own."""
    for _, process in runner._here().store.processes.with_runs():
        if process.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def settle(runner):
    """Let ticks come until nothing is live any more."""
    for name in COMMANDS:
        runner.disable(name)  # what is open is not decided any more; what was claimed is

    def quiet():
        runner.tick()
        return not runner.status().running and not runner.status().pending

    wait_for(quiet)


def started(log):
    """How many runs wrote that they were started."""
    return len(log.read_text().splitlines())


def check(runner, home, log):
    """Hold the store against what the children wrote."""
    runs = [run for run in runner.history(limit=None) if run.task in COMMANDS]
    lines = [line.split() for line in log.read_text().splitlines()]
    begun = Counter(int(number) for number, *_ in lines)
    assert set(begun.values()) <= {1}, "a run was started twice"
    by_hand = {run.id for run in runs if run.trigger == "manual"}
    slots = Counter(tuple(rest) for number, *rest in lines if int(number) not in by_hand)
    assert set(slots.values()) <= {1}, "a slot was started twice"
    known = {run.id: run for run in runs}
    assert set(begun) <= set(known), "a run was started that has no row"
    for number in begun:
        assert known[number].started is not None, f"run {number} ran, and its row does not know"
    for run in runs:
        if run.state in (State.SUCCEEDED, State.FAILED) and run.exit_code is not None:
            assert run.id in begun, f"run {run.id} is called {run.state} and was never started"
    for name in COMMANDS:
        every_slot_has_a_row(runner, name, [run for run in runs if run.task == name])
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM processes").fetchone() == (0,)


def every_slot_has_a_row(runner, name, runs):
    """The slots of a second each, up to the last that was decided, are in one row each."""
    task = runner.task(name)
    rows = [run for run in runs if run.trigger in ("schedule", "catch-up")]
    last = task.anchor + (task.evaluated - task.anchor) // timedelta(seconds=1) * timedelta(
        seconds=1
    )
    spans = sorted((run.first_slot, run.slot, run.coalesced) for run in rows)
    at = task.anchor  # which lies before the moment it was added: no slot of its own
    for first, slot, count in spans:
        assert first == at + timedelta(seconds=1), f"{name}: no row between {at} and {first}"
        assert (slot - first).total_seconds() + 1 == count
        at = slot
    assert at == last or not spans


def test_killed_at_random_no_slot_is_lost_or_run_twice(runner, home, log):
    print("repeat it with TASKRUNNER_TEST_SEED=" + SEED)  # shown by pytest when the test fails
    dice = random.Random(SEED)
    killed = Counter()
    end = time.monotonic() + LIMIT
    while killed.total() < KILLS or killed["at work"] <= KILLS / 4 or started(log) <= STARTED:
        assert time.monotonic() < end, (killed, started(log))
        some = [start(home, *dice.choice(WRITERS)) for _ in range(dice.randint(1, 3))]
        time.sleep(0.03 + 0.25 * dice.random())
        for process in some:
            killed["at work" if process.poll() is None else "after its end"] += 1
            process.kill()
        for process in some:
            process.communicate()
    settle(runner)
    check(runner, home, log)


# ---- at chosen points: the n-th of a system call

TRACE = ("strace", "-f", "-qq", "-o", "/dev/null")


def killed_at(home, syscall, number, *words):
    """Run the program, killed as it enters a system call for the n-th time; True when it came to that."""
    inject = f"inject={syscall}:signal=SIGKILL:when={number}"
    argv = (*TRACE, "-e", f"trace={syscall}", "-e", inject, *program(home, *words))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=100, check=False)
    return done.returncode != 0


@pytest.fixture
def traced(needs):
    needs("strace", shutil.which("strace"), "strace is not installed")


@pytest.mark.parametrize(
    "syscall", ["fdatasync", "pwrite64", "vfork,clone,clone3", "rename,unlink"]
)
def test_a_tick_killed_at_each_of_its_calls_leaves_no_slot_behind(
    traced, runner, home, log, syscall
):
    counts = range(1, 60 if LONG else 7)
    died = 0
    for number in counts:
        wait_for(lambda: any(task.next <= runner.now() for task in runner.tasks()))
        died += killed_at(home, syscall, number, "tick")
        assert call(home, "tick")[2] == 0
    assert died >= 2
    settle(runner)
    check(runner, home, log)


@pytest.mark.parametrize(
    "words",
    [
        ("add", "new", "--every", "1d", "--", "true"),
        ("set", "quick", "--timeout", "5s"),
        ("prune",),
        ("remove", "failing", "--force"),
    ],
    ids=lambda words: words[0],
)
def test_a_writer_killed_at_each_of_its_writes_leaves_all_or_nothing(
    traced, runner, home, log, words
):
    call(home, "tick")
    for number in range(1, 8):
        before = [(task.name, task.timeout) for task in runner.tasks()]
        died = killed_at(home, "pwrite64,fdatasync", number, *words)
        with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        after = [(task.name, task.timeout) for task in runner.tasks()]
        if not died:
            break
        assert after == before or number > 1  # a commit that had reached the log stands
    assert call(home, "tick")[2] == 0


def whole(place):
    with closing(sqlite3.connect(place)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def numbers(most):
    """Which call of a kind is the last in turn: each, or in short some."""
    return range(1, most, 1 if LONG else 5)


@pytest.mark.parametrize("file", STORES, ids=lambda file: file.stem)
def test_an_upgrade_killed_at_each_of_its_calls_leaves_the_old_store_or_the_new(
    traced, tmp_path, file
):
    died = 0
    for number in numbers(120):
        home = tmp_path / str(number)
        old_store(home, file)
        killed = killed_at(home, "pwrite64,rename,fdatasync,openat", number, "list")
        died += killed
        assert whole(home / "taskrunner.db")
        with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            assert found in (int(file.stem.split("-")[1]), len(schema.STEPS))
        with TaskRunner(home) as runner:
            assert (len(runner.tasks()), len(runner.history(limit=None))) == (6, 7)
        for kept in (home / "backups").glob("*.db"):
            assert whole(kept)
    assert died > 10


@pytest.mark.parametrize("syscall", ["pwrite64,fdatasync", "openat,rename,unlink"])
def test_an_apply_killed_at_each_of_its_calls_leaves_all_or_nothing(traced, runner, home, syscall):
    before, died = {task.name for task in runner.tasks()}, 0
    for number in numbers(260 if "openat" in syscall else 40):
        died += killed_at(home, syscall, number, "apply", "tasks.toml")
        assert whole(home / "taskrunner.db")
        after = {task.name for task in runner.tasks()} - before
        assert after in (set(), {"one", "two"})
        if after:
            runner.remove("one")
            runner.remove("two")
    assert died >= 3


@pytest.mark.parametrize("syscall", ["pwrite64,fdatasync,fsync", "openat,rename,unlink"])
def test_a_copy_killed_while_it_is_made_is_whole_or_not_there(traced, runner, home, syscall):
    died = 0
    for number in numbers(260 if "openat" in syscall else 100):
        died += killed_at(home, syscall, number, "backup", "--keep", "1000")
        for place in (home / "backups").glob("*.db"):
            assert whole(place)
    assert died >= 3 and call(home, "tick")[2] == 0


@pytest.mark.parametrize("syscall", ["pwrite64,fdatasync,fsync", "openat,rename,unlink,link"])
def test_a_restore_killed_at_each_of_its_calls_leaves_the_one_store_or_the_other(
    traced, runner, home, tmp_path, syscall
):
    copy = runner.backup(tmp_path / "copy.db").place
    before, died = {task.name for task in runner.tasks()}, 0
    for number in numbers(280 if "openat" in syscall else 140):
        runner.add("later", ["true"], Manual(), replace=True)
        died += killed_at(home, syscall, number, "restore", copy)
        assert whole(home / "taskrunner.db")
        assert {task.name for task in runner.tasks()} in (before, before | {"later"})
        for place in (home / "backups").glob("*.db"):
            assert whole(place)
    assert died >= 5 and call(home, "tick")[2] == 0


def test_a_store_killed_while_it_is_made_is_whole(traced, home):
    for number in range(1, 30, 1 if LONG else 4):
        killed_at(
            home, "pwrite64,rename,fdatasync", number, "add", f"t{number}", "--manual", "--", "true"
        )
        _, err, code = call(home, "list")
        assert code == 0, err
    assert call(home, "add", "last", "--manual", "--", "true")[2] == 0
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_fifty_ticks_at_once_run_each_slot_once_and_none_complains(runner, home, log):
    wait_for(lambda: all(task.next <= runner.now() for task in runner.tasks()))
    ticks = [start(home, "tick") for _ in range(50)]
    for process in ticks:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
    settle(runner)
    check(runner, home, log)


def test_ticks_beside_writers_and_readers_meet_no_locked_store(runner, home, log):
    end = time.monotonic() + (60 if LONG else 8)
    words = [w for w in (*WRITERS, *CROWD) if w[0] not in ("run", "daemon")]
    wanted = {"tick", "add", "set", "remove", "prune", "history", "apply", "backup"}
    running, done, longest = {}, Counter(), Counter()

    def over():
        return time.monotonic() >= end and wanted <= done.keys()

    while running or not over():
        for process in [process for process in running if process.poll() is not None]:
            verb, since = running.pop(process)
            longest[verb] = max(longest[verb], time.monotonic() - since)
            done[verb] += well(process)
        if len(running) < 8 and not over():
            chosen = random.choice(words)
            running[start(home, *chosen)] = chosen[0], time.monotonic()
        time.sleep(0.02)
    print(dict(done), {verb: round(seconds, 1) for verb, seconds in longest.items()})
    assert max(longest.values()) < 60, longest  # nobody starves
    settle(runner)
    check(runner, home, log)


def well(process):
    """Whether a process has ended well; it says nothing about the store but what a person brought about."""
    _, err = process.communicate()
    assert process.returncode in (0, 1) and not re.search("locked|busy|Traceback|bug", err), err
    assert process.returncode == 0 or re.search(
        "there is no task|nothing was pruned|is not removed", err
    ), err
    return process.returncode == 0 or "pruned" in err


def test_no_child_of_a_killed_supervisor_is_forgotten(home, tmp_path):
    with TaskRunner(home) as runner:
        runner.add("x", ["sleep", "300"], Every("1h"), now=True, timeout="1h")
        with start(home, "tick") as supervisor:
            wait_for(lambda: runner.status().running)
            wait_for(lambda: runner._here().store.processes.with_runs()[0][1].pid)
            supervisor.kill()
        runner.tick()
        ((_, process),) = runner._here().store.processes.with_runs()
        assert alive.group_lives(process.pid)
        runner.cancel("x")
        assert not alive.group_lives(process.pid)
