"""The library as a new user meets it: one class, values in and out, errors that name the fault."""

import ast
import dataclasses
import os
import subprocess
import sys
import threading
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import taskrunner
from taskrunner import (
    After,
    At,
    Boot,
    CatchUp,
    Cron,
    DuplicateTask,
    DurationError,
    Every,
    HomeRefused,
    InputError,
    Kind,
    Manual,
    MomentError,
    Overlap,
    Run,
    ScheduleError,
    State,
    StateError,
    StoreBusy,
    TaskBusy,
    TaskNameError,
    TaskRunner,
    TaskRunnerError,
    Trigger,
    UnknownRun,
    UnknownTask,
    ZoneError,
)
from taskrunner.cli import main
from taskrunner.model.values import End
from taskrunner.supervise import follow_up
from taskrunner.tasks import taskfile
from taskrunner.tasks.options import Options
from taskrunner.tick import by_hand
from tests.samples import NOON, ROOT, wait_for

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  that is the point
BERLIN = "Europe/Berlin"


def python(code, **env):
    """Run a script with the checkout on its path; its output, once it has ended well."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the package


def test_importing_the_package_imports_next_to_nothing():
    code = "import sys, taskrunner; print(*sorted(sys.modules))"
    loaded = set(python(code).split())
    assert "taskrunner" in loaded
    assert not loaded & {"sqlite3", "croniter", "dateutil", "argparse", "subprocess", "zoneinfo"}
    assert {name for name in loaded if name.startswith("taskrunner.")} == set()


def test_every_name_of_the_package_is_there():
    for name in taskrunner.__all__:
        assert getattr(taskrunner, name) is not None
    with pytest.raises(AttributeError, match="'Cronn'"):
        _ = taskrunner.Cronn


def test_the_marker_for_type_checkers_is_there_and_shipped():
    assert (ROOT / "taskrunner" / "py.typed").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["taskrunner"][0] == "py.typed"


def test_type_checkers_see_every_name_of_the_package():
    tree = ast.parse((ROOT / "taskrunner" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {name.asname for node in block.body for name in node.names}
    assert seen == set(taskrunner.__all__) - {"__version__"}


def test_dir_knows_every_name_of_the_package():
    assert set(taskrunner.__all__) <= set(dir(taskrunner))


# ---- the class


def test_making_one_makes_nothing_in_the_world(tmp_path):
    with TaskRunner(tmp_path / "none") as runner:
        assert runner.tasks() == []
        assert runner.history() == []
        assert runner.next() == []
        assert runner.tick().idle
        assert runner.dry_run()[1] == []
        assert runner.status().last_tick is None
    assert not (tmp_path / "none").exists()


def test_the_home_may_be_a_path_or_text(tmp_path):
    with TaskRunner(tmp_path / "one") as runner:
        runner.add("x", ["true"], Manual())
    with TaskRunner(str(tmp_path / "one")) as runner:
        assert [task.name for task in runner.tasks()] == ["x"]


def test_without_a_home_the_variable_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_HOME", str(tmp_path / "two"))
    with TaskRunner() as runner:
        runner.add("x", ["true"], Manual())
    assert (tmp_path / "two" / "taskrunner.db").exists()


def test_a_closed_one_opens_again_and_may_be_closed_twice(runner):
    runner.add("x", ["true"], Manual())
    runner.close()
    runner.close()
    assert runner.task("x").name == "x"


def test_an_error_inside_the_block_comes_out_of_it(home):
    def use():
        with TaskRunner(home) as runner:
            runner.add("x", ["true"], Manual())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    with TaskRunner(home) as runner:
        assert runner.task("x").enabled


def test_one_that_opened_before_the_store_was_made_sees_it(home):
    with TaskRunner(home) as first, TaskRunner(home) as second:
        assert first.tasks() == []
        second.add("x", ["true"], Manual())
        assert [task.name for task in first.tasks()] == ["x"]


def test_threads_share_one_runner(runner):
    runner.add("x", ["true"], Manual())
    found, faults = [], []

    def use(number):
        try:
            runner.add(f"t{number}", ["true"], Manual())
            found.append(runner.task("x").name)
        except Exception as exc:  # noqa: BLE001  shown by the assert below
            faults.append(exc)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert found == ["x"] * 8
    assert len(runner.tasks()) == 9


def test_a_tick_works_in_a_thread(runner, clock):
    runner.add("x", ["true"], Every("1h"))
    clock.forward(hours=1)
    visits = []
    thread = threading.Thread(target=lambda: visits.append(runner.tick()))
    thread.start()
    thread.join()
    assert [run.state for run in visits[0].runs] == [State.SUCCEEDED]


def test_a_fork_opens_the_store_again(home):
    code = f"""
import os
from taskrunner import TaskRunner, Manual
with TaskRunner({str(home)!r}) as runner:
    runner.add("x", ["true"], Manual())
    pid = os.fork()
    if not pid:
        runner.add("child", ["true"], Manual())
        os._exit(0 if len(runner.tasks()) == 2 else 9)
    assert os.waitpid(pid, 0)[1] == 0
    print(*[task.name for task in runner.tasks()])
"""
    assert python(code) == "child x\n"


# ---- time is an argument


def test_the_clock_that_is_given_is_the_only_one(runner, clock):
    runner.add("x", ["true"], Every("1h"))
    assert runner.now() == NOON
    assert runner.task("x").created == NOON
    clock.forward(hours=1)
    runner.tick()
    (run,) = runner.history()
    assert (run.slot, run.started) == (NOON + timedelta(hours=1),) * 2


def test_a_clock_in_another_zone_gives_the_same_instant(home):
    with TaskRunner(home, clock=lambda: NOON.astimezone(ZoneInfo(BERLIN))) as runner:
        task = runner.add("x", ["true"], Every("1h"))
    assert task.created == NOON
    assert task.created.tzinfo is UTC


def test_a_clock_without_zone_raises_and_nothing_is_made(tmp_path):
    runner = TaskRunner(tmp_path / "none", clock=lambda: NAIVE)
    with pytest.raises(MomentError, match="aware"):
        runner.add("x", ["true"], Every("1d"))
    with pytest.raises(MomentError):
        runner.tick()
    assert not (tmp_path / "none").exists()


NAIVE_CALLS = {
    "At": lambda runner: At(NAIVE),
    "Every": lambda runner: Every("1d", anchor=NAIVE),
    "Cron.next_after": lambda runner: Cron("* * * * *", tz="UTC").next_after(NAIVE),
    "Every.next_after": lambda runner: Every("1h", anchor=NOON, tz="UTC").next_after(NAIVE),
    "Boot.next_after": lambda runner: At(NOON).next_after(NAIVE),
    "upcoming since": lambda runner: runner.upcoming(Cron("* * * * *"), since=NAIVE),
}
NAIVE_RAW = {
    "history since": lambda runner: runner.history(since=NAIVE),
    "history until": lambda runner: runner.history(until=NAIVE),
    "next until": lambda runner: runner.next(until=NAIVE),
    "upcoming until": lambda runner: runner.upcoming(Cron("* * * * *"), until=NAIVE),
    "run slot": lambda runner: runner.run("x", slot=NAIVE),
    "dry_run at": lambda runner: runner.dry_run(at=NAIVE),
}


@pytest.mark.parametrize("what", NAIVE_CALLS)
def test_a_naive_datetime_raises(runner, what):
    with pytest.raises(MomentError, match="2026-01-01"):
        NAIVE_CALLS[what](runner)


@pytest.mark.parametrize("what", NAIVE_RAW)
def test_a_naive_datetime_raises_our_error_everywhere(runner, what):
    runner.add("x", ["true"], Every("1h"))
    with pytest.raises(MomentError, match="2026-01-01"):
        NAIVE_RAW[what](runner)


# ---- schedules


def test_schedules_answer_in_utc_and_none_when_never_again():
    cron = Cron("30 2 * * *", tz=BERLIN)
    # 29 March 2026: at 02:00 clocks go to 03:00, which is 01:00 UTC.
    assert cron.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )
    assert cron.next_after(NOON.astimezone(ZoneInfo("Asia/Tokyo"))).tzinfo is UTC
    assert At(NOON).next_after(NOON) is None
    assert Boot().next_after(NOON) is None
    assert Manual().next_after(NOON) is None
    assert After("x").next_after(NOON) is None


def test_an_interval_without_anchor_is_completed_by_add_and_has_no_slots_before(runner):
    bare = Every("1d")
    with pytest.raises(ScheduleError, match="anchor"):
        bare.next_after(NOON)
    task = runner.add("x", ["true"], bare, tz=BERLIN)
    assert (task.anchor, task.tz, task.next) == (NOON, BERLIN, NOON + timedelta(days=1))
    assert bare == Every("1d")


def test_an_interval_may_be_a_timedelta(runner):
    task = runner.add("x", ["true"], Every(timedelta(hours=7, minutes=30)))
    assert (task.schedule, task.next) == ("7h30m", NOON + timedelta(hours=7, minutes=30))


def test_a_zone_given_twice_must_agree(runner):
    cron = Cron("0 2 * * *", tz=BERLIN)
    assert runner.add("x", ["true"], cron, tz=BERLIN).tz == BERLIN
    with pytest.raises(InputError, match=r"'UTC'.*'Europe/Berlin'"):
        runner.add("y", ["true"], cron, tz="UTC")
    assert [task.name for task in runner.tasks()] == ["x"]


def test_a_zone_comes_from_the_schedule_the_call_or_the_settings(home, clock):
    (home / "taskrunner.toml").write_text('tz = "Asia/Tokyo"\n')
    with TaskRunner(home, clock=clock) as runner:
        assert runner.add("a", ["true"], Cron("0 2 * * *", tz=BERLIN)).tz == BERLIN
        assert runner.add("b", ["true"], Cron("0 2 * * *"), tz=BERLIN).tz == BERLIN
        assert runner.add("c", ["true"], Cron("0 2 * * *")).tz == "Asia/Tokyo"


def test_a_wall_time_without_offset_is_one_in_the_zone_given(runner):
    task = runner.add("x", ["true"], At("2027-01-01 10:00"), tz=BERLIN)
    assert task.next == datetime(2027, 1, 1, 9, tzinfo=UTC)


def test_reboot_is_not_an_expression():
    with pytest.raises(ScheduleError, match="Boot"):
        Cron("@reboot")


def test_schedules_are_values():
    assert Cron("0  2 * * *", tz=BERLIN) == Cron("0 2 * * *", tz=BERLIN)
    assert len({Boot(), Boot(), Manual(), Every("1h"), Every("1h")}) == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        Boot().kind = "x"


# ---- add and set


def test_each_flag_of_add_is_a_keyword():
    """`--env-file` is env_file; what is a schedule, or only for people, is not."""
    import argparse
    import inspect

    (verbs,) = (
        action
        for action in main.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    flags = {action.dest for action in verbs.choices["add"]._actions}
    flags -= {"help", "h", "home", "verbose", "json", "quiet", "color"}
    flags -= {*taskfile.WHEN, *taskfile.DETAILS}
    known = set(inspect.signature(TaskRunner.add).parameters) - {"self", "given"}
    known |= set(Options.__annotations__)
    assert flags <= known
    assert known - flags == {"command", "schedule", "by"}  # the last is for programs


def test_options_are_taken_as_text_or_as_values(runner):
    as_text = runner.add(
        *("a", ["true"], Manual()),
        timeout="5m",
        kill_after="1s",
        deadline="1h",
        umask="027",
        nice="3",
        overlap="allow",
        max_instances="2",
        catch_up="all",
        catch_up_limit="7",
    )
    as_values = runner.add(
        *("b", ["true"], Manual()),
        timeout=timedelta(minutes=5),
        kill_after=timedelta(seconds=1),
        deadline=timedelta(hours=1),
        umask=0o27,
        nice=3,
        overlap=Overlap.ALLOW,
        max_instances=2,
        catch_up=CatchUp.ALL,
        catch_up_limit=7,
    )
    assert dataclasses.replace(as_text, id=as_values.id, name="b") == as_values


def test_the_defaults_are_those_of_the_contract(runner):
    task = runner.add("x", ("true",), Every("1h"))
    assert task.timeout == timedelta(hours=1)
    assert (task.overlap, task.catch_up) == ("skip", "last")
    assert (task.cwd, task.stdin, task.user, task.env) == (None, None, None, {})


@pytest.mark.parametrize("value", [None, "none"])
def test_no_timeout_can_be_said_in_two_ways(runner, value):
    assert runner.add("x", ["true"], Manual(), timeout=value).timeout is None


BAD = {
    "name": (TaskNameError, lambda r: r.add("a/b", ["true"], Manual())),
    "name int": (TaskNameError, lambda r: r.add(3, ["true"], Manual())),
    "name None": (TaskNameError, lambda r: r.add(None, ["true"], Manual())),
    "no schedule": (InputError, lambda r: r.add("x", ["true"])),
    "no command": (InputError, lambda r: r.add("x", [], Manual())),
    "text as command": (InputError, lambda r: r.add("x", "true", Manual())),
    "bytes as word": (InputError, lambda r: r.add("x", [b"true"], Manual())),
    "NUL": (InputError, lambda r: r.add("x", ["a\0b"], Manual())),
    "both": (InputError, lambda r: r.add("x", ["true"], Manual(), shell="true")),
    "option": (InputError, lambda r: r.add("x", ["true"], Manual(), retry=3)),
    "timeout": (InputError, lambda r: r.add("x", ["true"], Manual(), timeout="soon")),
    "timeout 0": (InputError, lambda r: r.add("x", ["true"], Manual(), timeout=timedelta(0))),
    "timeout number": (InputError, lambda r: r.add("x", ["true"], Manual(), timeout=60)),
    "env number": (InputError, lambda r: r.add("x", ["true"], Manual(), env={"A": 1})),
    "env list": (InputError, lambda r: r.add("x", ["true"], Manual(), env=["A=1"])),
    "umask true": (InputError, lambda r: r.add("x", ["true"], Manual(), umask=True)),
    "stdin bytes": (InputError, lambda r: r.add("x", ["true"], Manual(), stdin=b"x")),
    "zone": (ZoneError, lambda r: r.add("x", ["true"], Every("1d"), tz="Mars/Phobos")),
    "length": (DurationError, lambda r: r.add("x", ["true"], Every("1d12h"))),
    "past": (ScheduleError, lambda r: r.add("x", ["true"], At(NOON))),
    "never": (ScheduleError, lambda r: r.add("x", ["true"], Cron("0 0 30 2 *"))),
    "state": (InputError, lambda r: r.history(state="bogus")),
    "moment": (MomentError, lambda r: r.moment("soon")),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_value_error_of_ours_and_writes_nothing(tmp_path, clock, what):
    kind, call = BAD[what]
    with TaskRunner(tmp_path / "none", clock=clock) as runner, pytest.raises(kind) as caught:
        call(runner)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TaskRunnerError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists()


CLUMSY = {
    "schedule text": lambda r: r.add("y", ["true"], "1d"),
    "schedule timedelta": lambda r: r.add("y", ["true"], timedelta(days=1)),
    "shell list": lambda r: r.add("y", shell=["true"], schedule=Manual()),
    "command number": lambda r: r.add("y", 3, Manual()),
    "env surrogate": lambda r: r.add("y", ["true"], Manual(), env={"A": "\udcff"}),
    "env name": lambda r: r.add("y", ["true"], Manual(), env={"A B": "x"}),
    "count": lambda r: r.next(count=-1),
    "limit": lambda r: r.history(limit="x"),
    "zone of a manual task": lambda r: r.add("y", ["true"], Manual(), tz="Mars/Phobos"),
}


@pytest.mark.parametrize("what", CLUMSY)
def test_clumsy_input_is_refused_as_input(runner, what):
    runner.add("x", ["true"], Every("1d"))
    with pytest.raises(InputError):
        CLUMSY[what](runner)


@pytest.mark.parametrize("option", ["cwd", "env_file"])
def test_a_place_may_be_a_path(runner, option):
    task = runner.add("x", ["true"], Manual(), **{option: Path("/tmp")})
    assert getattr(task, option) == "/tmp"


def test_errors_about_the_store_are_not_value_errors(runner):
    runner.add("x", ["true"], Manual())
    for kind, call in {
        DuplicateTask: lambda: runner.add("x", ["true"], Manual()),
        UnknownTask: lambda: runner.task("y"),
        UnknownRun: lambda: runner.run_of(7),
        StateError: lambda: runner.cancel("x"),
    }.items():
        with pytest.raises(kind) as caught:
            call()
        assert not isinstance(caught.value, ValueError)
        assert isinstance(caught.value, StateError)


def test_the_tree_of_errors():
    assert issubclass(InputError, TaskRunnerError | ValueError)
    for kind in (ScheduleError, DurationError, MomentError, ZoneError, TaskNameError):
        assert issubclass(kind, InputError)
    for kind in (UnknownTask, UnknownRun, DuplicateTask, TaskBusy, HomeRefused):
        assert issubclass(kind, StateError)
        assert not issubclass(kind, InputError)
    assert not issubclass(StoreBusy, StateError)


def test_replace_is_idempotent_and_keeps_the_place_in_time(runner, clock):
    first = runner.add("x", ["true"], Every("3h"), replace=True)
    clock.forward(hours=1)
    assert runner.add("x", ["true"], Every("3h"), replace=True) == first
    clock.forward(hours=1)
    again = runner.add("x", ["false"], Every("3h"), replace=True)
    assert (again.id, again.next, again.command) == (first.id, first.next, ("false",))
    other = runner.add("x", ["false"], Every("5h"), replace=True)
    assert (other.id, other.next) == (first.id, NOON + timedelta(hours=7))


def test_two_who_add_the_same_task_at_once_make_one(runner, monkeypatch):
    first = runner.add("x", ["true"], Manual(), replace=True)
    find, before = type(runner)._find, iter([None])  # the other one adds it when we have looked
    monkeypatch.setattr(type(runner), "_find", lambda self, name: next(before, find(self, name)))
    assert runner.add("x", ["true"], Manual(), replace=True) == first


def test_set_changes_what_is_given_and_nothing_else(runner):
    before = runner.add("x", ["true"], Every("3h"), env={"A": "1"})
    after = runner.set("x", timeout="5m", rename="y")
    assert after == dataclasses.replace(before, name="y", timeout=timedelta(minutes=5))
    with pytest.raises(UnknownTask):
        runner.task("x")


def test_set_with_a_new_schedule_counts_from_now_on(runner, clock):
    runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"))
    clock.forward(hours=5)
    task = runner.set("x", schedule=Cron("30 * * * *"))
    assert (task.next, task.tz) == (NOON + timedelta(hours=5, minutes=30), "UTC")
    runner.tick()
    assert [run.state for run in runner.history()] == [State.MISSED]


@pytest.mark.parametrize("how", ["set", "zone", "replace", "apply"])
def test_slots_that_no_tick_has_seen_are_missed_and_not_forgotten_when_the_schedule_changes(
    runner, clock, tmp_path, how
):
    runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"))
    runner.add("then", ["true"], After("x"))
    clock.forward(hours=5, minutes=10)
    match how:
        case "set":
            runner.set("x", schedule=Cron("30 * * * *"))
        case "zone":
            runner.set("x", tz="Asia/Kolkata")
        case "replace":
            runner.add("x", ["true"], Cron("30 * * * *", tz="UTC"), replace=True)
        case "apply":
            file = tmp_path / "tasks.toml"
            file.write_text(
                '[tasks.x]\ncommand = ["true"]\ncron = "30 * * * *"\ntz = "UTC"\n'
                '[tasks.then]\ncommand = ["true"]\nafter = "x"\n'
            )
            runner.apply(file)
    (run,) = runner.history("x")
    assert (run.state, run.first_slot, run.slot, run.coalesced) == (
        State.MISSED,
        NOON + timedelta(hours=1),
        NOON + timedelta(hours=5),
        5,
    )
    assert run.reason.startswith("no tick had handled it when ")
    assert runner.history("then")[0].state is State.SKIPPED
    assert runner.task("x").enabled and runner.task("x").next > clock()
    runner.set("x", schedule=Cron("0 1 * * *"))
    assert len(runner.history("x")) == 1


def test_a_one_off_that_was_due_and_gets_another_instant_comes_due_again(runner, clock):
    runner.add("x", ["true"], At(NOON + timedelta(hours=1)))
    clock.forward(hours=2)
    runner.set("x", schedule=At(NOON + timedelta(hours=3)))
    assert [run.state for run in runner.history()] == [State.MISSED]
    assert runner.task("x").enabled
    clock.forward(hours=1)
    runner.tick()
    assert [run.state for run in runner.history()] == [State.SUCCEEDED, State.MISSED]


def test_a_task_is_found_by_name_and_by_id(runner):
    task = runner.add("x", ["true"], Manual())
    assert runner.task("x") == runner.task("1") == runner.task(task.id) == task


def test_history_takes_an_id_as_task_does(runner):
    runner.add("x", ["true"], Manual())
    runner.run("x")
    assert len(runner.history(1)) == 1


@pytest.mark.parametrize("key", [10**30, "9" * 30, "²"])
def test_a_key_out_of_this_world_is_unknown(runner, key):
    runner.add("x", ["true"], Manual())
    with pytest.raises(UnknownTask):
        runner.task(key)
    with pytest.raises((UnknownTask, UnknownRun)):
        runner.run_of(key)


# ---- records and words


def test_words_compare_print_and_format_as_text():
    assert State.FAILED == "failed"
    assert f"{State.TIMED_OUT}" == str(State.TIMED_OUT) == "timed_out"
    assert Trigger.CATCH_UP == "catch-up"
    assert {"skip": 1}[Overlap.SKIP] == 1
    assert list(State) == [
        *("pending", "running", "succeeded", "failed", "timed_out", "cancelled", "lost"),
        *("skipped", "missed"),
    ]
    assert list(Trigger) == ["schedule", "catch-up", "retry", "manual", "after"]
    assert list(Kind) == ["cron", "every", "on", "at", "after", "boot", "manual"]
    assert list(CatchUp) == ["last", "all", "none"]
    assert list(Overlap) == ["skip", "queue", "replace", "allow"]


def test_records_are_frozen(runner):
    runner.add("x", ["true"], Manual())
    run = runner.run("x")
    for record, name in ((run, "state"), (runner.task("x"), "name"), (runner.status(), "held")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, "x")


def test_a_run_has_the_fields_of_the_design(runner):
    runner.add("x", shell="echo hi; exit 3", schedule=Manual())
    run = runner.run("x")
    fields = "id task slot state reason attempt trigger coalesced started finished exit_code"
    fields += " signal output_size cpu_seconds peak_memory"
    assert set(fields.split()) <= {entry.name for entry in dataclasses.fields(Run)}
    assert (run.id, run.task, run.slot, run.state) == (2, "x", NOON, State.FAILED)
    assert (run.reason, run.attempt, run.trigger, run.coalesced) == ("exit code 3", 1, "manual", 1)
    assert (run.exit_code, run.signal, run.output_size) == (3, None, 3)
    assert run.slot.tzinfo is run.started.tzinfo is UTC
    assert run.duration == 0  # our clock stands still
    assert run.late is None  # started by hand
    assert run == runner.history("x")[0] == runner.run_of(2) == runner.run_of("x")
    assert runner.output(run) == b"hi\n"


# ---- the clock


def test_a_tick_returns_what_it_decided_and_what_came_of_it(runner, clock):
    runner.add("good", ["true"], Every("1h"))
    runner.add("bad", ["false"], Every("1h"))
    assert runner.tick().runs == []
    clock.forward(hours=1)
    visit = runner.tick()
    assert visit.at == NOON + timedelta(hours=1)
    assert sorted(decision.task for decision in visit.decisions) == ["bad", "good"]
    assert {run.task: run.state for run in visit.runs} == {"good": "succeeded", "bad": "failed"}
    assert all(run.finished for run in visit.runs)
    assert runner.tick().idle


def test_a_dry_run_reports_the_same_and_writes_nothing(runner, clock):
    runner.add("x", ["true"], Every("1h"))
    later = NOON + timedelta(hours=3)
    at, (decision,) = runner.dry_run(at=later)
    assert (at, decision.action, decision.span.count) == (later, "run", 3)
    assert runner.history() == []
    clock.forward(hours=3)
    (real,) = runner.tick().decisions
    assert real == decision


def test_one_task_can_be_ticked_alone(runner, clock):
    runner.add("x", ["true"], Every("1h"))
    runner.add("y", ["true"], Every("1h"))
    clock.forward(hours=1)
    assert [run.task for run in runner.tick(task="y").runs] == ["y"]
    with pytest.raises(UnknownTask):
        runner.tick(task="z")


def test_status_reports_the_state_of_the_home(runner, clock):
    runner.add("bad", ["false"], Every("1h"))
    clock.forward(hours=1)
    runner.tick(caller="tests")
    status = runner.status()
    assert (status.last_tick, status.clock, status.held) == (clock(), "tests", None)
    assert [task.name for task in status.failing] == ["bad"]
    assert (status.running, status.pending, status.problems) == ([], [], [])
    assert [item.slot for item in status.next] == [clock() + timedelta(hours=1)]
    clock.forward(minutes=30)
    assert len(runner.status().problems) == 1


def test_next_merges_the_tasks_soonest_first(runner):
    runner.add("a", ["true"], Every("1h"))
    runner.add("b", ["true"], Every("90m"))
    runner.add("off", ["true"], Every("1m"))
    runner.disable("off")
    told = [(item.task, int((item.slot - NOON).total_seconds() / 60)) for item in runner.next()]
    assert told == [("a", 60), ("b", 90), ("a", 120), ("a", 180), ("b", 180)]
    assert len(runner.next("a", count=2)) == 2
    assert len(runner.next("a", until=NOON + timedelta(hours=8))) == 8
    assert runner.next("off") == []


# ---- history


@pytest.fixture
def past(runner, clock):
    """An hourly task that failed once and succeeded twice, and another that ran once."""
    runner.add("x", shell="exit $CODE", schedule=Every("1h"), env={"CODE": "1"})
    runner.add("y", ["true"], Manual())
    for _ in range(3):
        clock.forward(hours=1)
        runner.tick()
        runner.set("x", env={"CODE": "0"})
    runner.run("y")
    return runner


def test_history_is_newest_first_and_of_one_task_or_all(past):
    assert [run.id for run in past.history()] == [6, 5, 4, 3]
    assert [run.id for run in past.history("x")] == [5, 4, 3]
    assert [run.id for run in past.history("x", limit=2)] == [5, 4]
    assert [run.id for run in past.history(limit=1)] == [6]


@pytest.mark.parametrize("state", ["failed", State.FAILED])
def test_history_of_one_state(past, state):
    assert [run.id for run in past.history("x", state=state)] == [3]


def test_history_since_and_until(past):
    two = NOON + timedelta(hours=2)
    assert [run.id for run in past.history(since=two)] == [6, 5, 4]
    assert [run.id for run in past.history(until=two)] == [4, 3]
    assert [run.id for run in past.history(since=two, until=two)] == [4]
    berlin = two.astimezone(ZoneInfo(BERLIN))
    assert [run.id for run in past.history(since=berlin, until=berlin)] == [4]


def test_history_outlives_its_task_and_an_unknown_name_is_refused(past):
    past.remove("x")
    assert len(past.history("x")) == 3
    with pytest.raises(UnknownTask, match="'z'"):
        past.history("z")


# ---- runs by hand


def test_a_run_that_stands_in_the_way_is_named(home):
    with TaskRunner(home) as runner:
        runner.add("x", ["sleep", "30"], Manual())
        asked = runner.run("x", detach=True)
        assert asked.state is State.PENDING
        wait_for(lambda: runner.history(state="running"))
        with pytest.raises(TaskBusy, match="run 2"):
            runner.run("x")
        with pytest.raises(TaskBusy, match="run 2"):
            runner.remove("x")
        (run,) = runner.cancel("x", reason="the test says so")
        assert run.state is State.CANCELLED
        assert run.reason.startswith("the test says so")


def test_an_echo_that_raises_does_not_cost_the_run_its_outcome(home):
    with TaskRunner(home) as runner:
        runner.add("x", shell="echo hi; sleep 0.3", schedule=Manual())

        def echo(block):
            if block:
                raise OSError("no more")

        with pytest.raises(OSError, match="no more"):
            runner.run("x", echo=echo)
        (run,) = runner.history("x")
        assert run.state in (State.SUCCEEDED, State.CANCELLED)


def test_what_comes_after_a_task_queues_unless_it_or_the_settings_say_otherwise(home, clock):
    with TaskRunner(home, clock=clock) as runner:
        runner.add("a", ["true"], Manual())
        runner.add("b", ["true"], After("a"))
        runner.add("c", ["true"], After("a"), overlap="skip")
        assert [runner.task(name).overlap for name in "abc"] == ["skip", "queue", "skip"]
        text = runner.export().text
        assert text.count('overlap = "queue"') == text.count('overlap = "skip"') == 1
    (home / "taskrunner.toml").write_text('[defaults]\noverlap = "skip"\n')
    with TaskRunner(home, clock=clock) as runner:
        assert runner.add("d", ["true"], After("a")).overlap == "skip"


def test_the_newest_of_two_quick_successes_is_followed(runner):
    runner.add("a", ["true"], Manual())
    runner.add("b", ["true"], After("a"))
    store = runner._here().store
    here = runner._here()
    for second in range(2):  # without a moment in which b could start
        slot = NOON - timedelta(seconds=2 - second)
        with store.transaction():
            run, _ = by_hand.request(here, runner.task("a"), by_hand.Asked(slot, force=True), NOON)
            follow_up.finish(here, End(run, State.SUCCEEDED, "", NOON))
    newest, older = runner.history("b")  # one waits at a time, and that is the newest
    assert (newest.state, older.state) == (State.PENDING, State.SKIPPED)
    assert newest.slot == NOON - timedelta(seconds=1)
