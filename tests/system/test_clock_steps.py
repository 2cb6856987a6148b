"""The clock of the machine is set while real daemons and ticks are at work: forth and back, by seconds, hours, years.

libfaketime gives each program a wall clock that we set in a file; the time since the boot goes on as it is, as with
a clock that is set. Children write down that they were started, on their own.
"""

import glob
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import Every, State, TaskRunner
from tests.samples import call, start, wait_for

pytestmark = pytest.mark.system
LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
NOTE = 'echo "$TASKRUNNER_TASK $TASKRUNNER_SLOT $TASKRUNNER_ATTEMPT" >> "$LOG"'


class Faked:
    """A wall clock that is off by so many seconds, for programs that we start and for us."""

    def __init__(self, folder):
        self.file, self.off = folder / "clock", 0
        self.step()
        self.env = {
            "LD_PRELOAD": LIBRARIES[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, **length):
        """Set the clock by a length, as timedelta takes it."""
        self.off += timedelta(**length).total_seconds()
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.off:+.0f}\n")
        new.rename(self.file)

    def now(self):
        return datetime.now(UTC) + timedelta(seconds=self.off)


@pytest.fixture
def clock(tmp_path, needs):
    needs("faketime", LIBRARIES, "libfaketime is not installed")
    return Faked(tmp_path)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def runner(home, clock, log):
    """A home with a task of each second and one that takes a while."""
    with TaskRunner(home, clock=clock.now) as made:
        # There are no slots before the anchor: it lies before any moment that we step back to.
        each_second = Every("1s", anchor=clock.now() - timedelta(days=10))
        made.add("often", shell=NOTE, schedule=each_second, env={"LOG": str(log)})
        made.add(
            "long",
            shell=f"{NOTE}; sleep 6",
            schedule=each_second,
            env={"LOG": str(log)},
            timeout="30s",
        )
        yield made


@pytest.fixture
def daemon(runner, home, clock):
    """A daemon by that clock."""
    with start(home, "daemon", "--interval", "1s", "--grace", "20s", env=clock.env) as process:
        wait_for(lambda: runner.history("long"))
        yield process
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=100)
        assert (process.returncode, err) == (0, "")


def goes_on(runner, clock):
    """Wait until a slot of this moment, or of a later one, has run by the clock."""
    moment, known = clock.now(), runner.history("often")[0].id

    def ran():
        runs = runner.history("often", state="succeeded")
        return any(run.id > known and run.slot >= moment for run in runs)

    wait_for(ran)


def nothing_twice(log, runner):
    """Hold what was started against the store: each slot once, each with its row, none lost or timed out."""
    started = Counter(log.read_text().splitlines())
    assert set(started.values()) == {1}
    runs = [run for run in runner.history(limit=None) if run.started is not None]
    assert len(runs) == started.total()
    assert {run.state for run in runs} <= {State.SUCCEEDED, State.RUNNING, State.CANCELLED}
    for task in runner.tasks():
        rows = [run for run in runner.history(task.name, limit=None) if run.trigger != "manual"]
        assert len({run.slot for run in rows}) == len(rows)


def test_steps_while_runs_are_in_progress_run_nothing_twice_and_end_nothing(
    runner, daemon, clock, log
):
    steps = [
        {"seconds": 7},
        {"seconds": -5},
        {"hours": 2},
        {"minutes": -1 / 20},
        {"hours": -5},  # more than a clock change: what came before was wrong
        {"days": 800},
        {"days": -800},
        {"hours": 30},
    ]
    for length in steps:
        wait_for(lambda: runner.history("long", state="running"))
        clock.step(**length)
        goes_on(runner, clock)
    nothing_twice(log, runner)
    events = [event.what for event in runner._here().store.events.all()]
    print(Counter(events), len(log.read_text().splitlines()), "runs over", len(steps), "steps")
    assert events.count("step back") >= 3 and events.count("gap") >= 3
    for task in runner.tasks():
        assert abs(task.next - clock.now()) < timedelta(minutes=5), "parked"


def test_a_machine_that_slept_makes_up_once_and_stops_nobody_for_it(runner, daemon, clock, log):
    wait_for(lambda: runner.history("long", state="running"))
    daemon.send_signal(signal.SIGSTOP)
    before = len(runner.history("often", limit=None))
    clock.step(hours=9)
    daemon.send_signal(signal.SIGCONT)
    goes_on(runner, clock)
    nothing_twice(log, runner)
    rows = runner.history("often", limit=None)[: -before or None]
    caught = [run for run in rows if run.coalesced > 9000]
    assert len(caught) == 1 and caught[0].trigger == "catch-up"


def test_one_tick_years_ahead_leaves_nothing_pruned_and_nothing_parked(runner, home, clock):
    (home / "taskrunner.toml").write_text('keep_age = "1d"\nkeep_runs = 1\n')
    runner.disable("long")
    for _ in range(3):
        wait_for(lambda: runner.task("often").next <= clock.now())
        runner.tick()
    before = [run.id for run in runner.history(limit=None)]
    clock.step(days=3000)
    with start(home, "tick", env=clock.env) as process:
        assert process.communicate(timeout=100) == ("", "")
    assert before == [run.id for run in runner.history(limit=None)][-len(before) :]
    clock.step(days=-3000)
    for _ in range(2):
        with start(home, "tick", env=clock.env) as process:
            assert process.communicate(timeout=100) == ("", "")
    assert before == [run.id for run in runner.history(limit=None)][-len(before) :]
    assert abs(runner.task("often").next - clock.now()) < timedelta(minutes=5)
    goes_on_by_hand(runner, clock)
    out, _, _ = call(home, "doctor")
    assert "which is in the future" not in out


def goes_on_by_hand(runner, clock):
    moment = clock.now()
    wait_for(lambda: runner.task("often").next <= clock.now())
    runner.tick()
    assert runner.history("often")[0].slot >= moment - timedelta(seconds=1)
