"""Limits that the kernel keeps: set before the program starts, and named where the system tells."""

import os
import subprocess
import sys

import pytest

from taskrunner import Manual, State, TaskRunner as Door
from taskrunner.errors import InputError
from taskrunner.processes import spawn

pytestmark = pytest.mark.one_python


@pytest.fixture
def runner(home):
    with Door(home) as made:
        yield made


@pytest.fixture(params=["prlimit", "sh"])
def way(request, monkeypatch):
    """Both ways to set them."""
    if request.param == "prlimit":
        if spawn.find("prlimit") is None:
            pytest.skip("prlimit is not installed")
    else:
        monkeypatch.setattr(spawn, "find", lambda name: None)


def ulimit(runner, flag, **options):
    runner.add("x", shell=f"ulimit -S{flag}", schedule=Manual(), **options)
    run = runner.run("x")
    return run.state, runner.output(run).decode().strip()


@pytest.mark.parametrize(
    ("limit", "flag", "shown"),
    [
        ("memory=512MB", "v", "500000"),  # in kB of 1024 bytes
        ("memory=512M,cpu=10m,files=1024,processes=64", "v", "500000"),
        ("cpu=10m", "t", "600"),
        ("files=123", "n", "123"),
        ("processes=64", "p", "64"),
    ],
)
def test_a_limit_is_in_force_when_the_program_starts(way, runner, limit, flag, shown):
    assert ulimit(runner, flag, limit=limit) == (State.SUCCEEDED, shown)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_each_kind_of_sh_sets_the_same_limits(shell, needs):
    """They have two options for the number of processes, and one of them means something else in another sh."""
    needs(shell, spawn.find(shell), f"{shell} is not here")
    limit = {"memory": 512_000_000, "cpu": 600, "files": 123, "processes": 64}
    _, *words = spawn._limited_by_shell(limit)
    kind = [shell, "sh"] if shell == "busybox" else [shell]
    program = ["cat", "/proc/self/limits"]
    told = subprocess.run(
        [*kind, *words, *program], capture_output=True, text=True, check=True
    ).stdout
    found = {line[:26].strip(): line[26:].split()[:2] for line in told.splitlines()}
    assert found["Max address space"] == ["512000000", "512000000"]
    assert found["Max cpu time"] == ["600", "601"]
    assert found["Max open files"] == ["123", "123"]
    assert found["Max processes"] == ["64", "64"]


@pytest.mark.slow
def test_a_program_past_its_cpu_time_is_killed_and_the_reason_says_so(way, runner):
    runner.add("x", ["/bin/sh", "-c", "while :; do :; done"], Manual(), limit="cpu=1s")
    run = runner.run("x")
    assert run.state is State.FAILED
    assert run.reason == "killed by SIGXCPU, over its limit of 1s of CPU time"


@pytest.mark.slow
def test_a_program_that_does_not_heed_the_end_of_its_cpu_time_is_named_too(way, runner):
    runner.add("x", shell="trap '' XCPU; while :; do :; done", schedule=Manual(), limit="cpu=1s")
    run = runner.run("x")
    assert (run.state, run.signal) == (State.FAILED, 9)
    assert run.reason == "killed by SIGKILL, over its limit of 1s of CPU time"


def test_a_kill_from_elsewhere_is_not_taken_for_a_limit(way, runner):
    runner.add("x", shell="kill -9 $$", schedule=Manual(), limit="cpu=1s")
    assert runner.run("x").reason == "killed by SIGKILL"


@pytest.mark.skipif(os.geteuid() != 0, reason="root is not bound by the number of processes")
def test_more_processes_than_allowed_are_refused_to_the_program(way, runner):
    options = {"limit": "processes=1", "user": "games", "cwd": "/"}
    runner.add("x", shell="true & true & wait", schedule=Manual(), **options)
    run = runner.run("x")
    assert run.state is State.FAILED and b"fork" in runner.output(run)


def test_a_program_that_asks_for_too_much_memory_is_refused_it(way, runner):
    code = "import sys\ntry: bytearray(10**9)\nexcept MemoryError: sys.exit(9)"
    runner.add(
        "x", ["/usr/bin/env", sys.executable, "-c", code], Manual(), limit={"memory": "500MB"}
    )
    assert runner.run("x").exit_code == 9


def test_limits_are_shown_as_they_are_typed(runner, home, capsys):
    from taskrunner.cli import main

    words = ["add", "x", "--manual", "--limit", "memory=512MB,cpu=90s,files=10", "--", "true"]
    assert main.main(["--home", str(home), *words]) == 0
    assert runner.task("x").limit == {"memory": 512_000_000, "cpu": 90, "files": 10}
    main.main(["--home", str(home), "show", "x"])
    assert "limit         memory=512MB,cpu=1m30s,files=10\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("memory", "it must be limits such as memory=512MB"),
        ("disk=1GB", "it must be limits such as .*; it has 'disk'"),
        ("memory=much", "memory of it, 'much', must be a size such as 64kB"),
        ("cpu=soon", "cpu of it, 'soon', must be a duration such as 10m"),
        ({"files": 0}, "files of it, '0', must be a number from 1 to 1000000"),
        ({"processes": True}, "processes of it, 'True', must be a number from 1"),
    ],
)
def test_an_invalid_limit_is_refused(runner, limit, said):
    with pytest.raises(InputError, match=said):
        runner.add("x", ["true"], Manual(), limit=limit)
