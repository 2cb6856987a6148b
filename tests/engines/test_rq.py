"""What a worker of RQ makes of a command, beside what this machine makes of it: one by one the same."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from taskrunner.engines import rq
from taskrunner.model.carried import Stage, Standing
from taskrunner.model.values import Command, Outcome
from taskrunner.processes import bounded_output
from taskrunner.processes.children import Children
from tests.engines.redis_box import PATIENCE, given, until

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow]

LOOP = "while sleep 0.1; do :; done"
BYTES = "printf '\\377\\000\\303('"
# A worker that has no room for temporary files; its words follow, with those of its interpreter.
NO_FILES = """
import errno, os, runpy, sys, tempfile
def full(**_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
tempfile.TemporaryFile = full
sys.argv = sys.argv[3:]
runpy.run_module("rq.cli", run_name="__main__", alter_sys=True)
"""
SPOKEN = ("exit_code", "signal", "error", "timed_out", "silent")
# Commands with the values that their runs have here and there.
CASES: dict[str, tuple[list[str], dict[str, object]]] = {
    "ok": (["sh", "-c", "echo out; echo err >&2"], {}),
    "seven": (["sh", "-c", "exit 7"], {}),
    "200": (["sh", "-c", "exit 200"], {}),
    "term": (["sh", "-c", "kill -TERM $$"], {}),
    "kill": (["sh", "-c", "kill -KILL $$"], {}),
    "missing": (["no-such-program"], {}),
    "line": (["echo a; echo b"], {}),
    "not-a-program": (["/etc/passwd"], {}),
    "no-folder": (["true"], {"cwd": "/no/such"}),
    "stdin": (["cat"], {"stdin": "grüße\n"}),
    "umask": (["sh", "-c", "umask"], {"umask": 0o077}),
    "nice": (["nice"], {"nice": 7}),
    "limit": (["sh", "-c", "ulimit -n"], {"limit": {"files": 50}}),
    "no-limit": (["no-such-program"], {"limit": {"files": 50}}),
    "not-utf8": (["sh", "-c", BYTES], {}),
    "odd": (["printf", "<%s>", "$HOME", "%n", "", "ünï", "\udcff", "two\nlines"], {}),
    "slow": (["sleep", "100"], {"timeout": 1.0}),
    # On a busy machine the shell needs a while to set its trap. Whether it calls its sleep terminated is up to it.
    "polite": (
        ["sh", "-c", f"exec 2>/dev/null; trap 'echo bye; exit 3' TERM; {LOOP}"],
        {"timeout": 4.0},
    ),
    "stubborn": (["sh", "-c", f"trap '' TERM; {LOOP}"], {"timeout": 4.0, "kill_after": 1.0}),
    "silent": (["sh", "-c", f"echo first; {LOOP}"], {"max_silence": 4.0}),
    "much": (["sh", "-c", "seq 2500000"], {"max_output": 1_000_000}),  # 19 MB
}


@pytest.fixture(scope="module")
def stands(shared) -> dict[str, Standing]:
    """How the run of each case ended on a worker; they are handed over together."""
    queue = shared.queue()
    names = {name: f"taskrunner-cases-{name}" for name in CASES}
    for name, (argv, values) in CASES.items():
        queue.enqueue(names[name], given(*argv, **values), 60, 10)
    found: dict[str, Standing] = {}

    def ended() -> bool:
        found.update(queue.look(list(names.values())) or {})
        return all(each.stage is Stage.ENDED for each in found.values())

    until(ended, every=0.2)
    assert queue.forget(names.values())
    return {name: found[names[name]] for name in CASES}


def locally(argv: list[str], **values: object) -> tuple[Outcome, bytes]:
    """Execute a command as a child of ours."""
    limit = values.pop("max_output", 10_000_000)
    command = Command(
        **{"argv": tuple(argv), "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/", **values}
    )
    with tempfile.TemporaryFile(buffering=0) as file:
        children = Children()
        ended = children.start(0, command, file.fileno())
        if not isinstance(ended, Outcome):
            while not (found := children.wait(1.0)):
                pass
            ended = found[0][1]
        children.close()
        kept = bounded_output.excerpt(file.fileno(), limit)
        return ended, b"".join(bounded_output.pieces(file.fileno(), kept))


@pytest.mark.parametrize("name", CASES)
def test_a_command_ends_as_it_would_here(name, stands):
    argv, values = CASES[name]
    outcome, output = locally(argv, **values)
    there = stands[name]
    assert {each: getattr(there.outcome, each) for each in SPOKEN} == {
        each: getattr(outcome, each) for each in SPOKEN
    }
    assert there.output == output
    assert there.host == os.uname().nodename


def test_a_large_output_is_cut_in_the_middle(stands):
    there = stands["much"]
    assert there.written == sum(len(f"{number}\n") for number in range(1, 2_500_001))
    assert there.output.startswith(b"1\n2\n") and there.output.endswith(b"2499999\n2500000\n")
    assert there.cut_at == 500_000
    assert there.left_out == there.written - 1_000_000


def test_the_times_are_those_of_redis(stands, shared):
    seconds, _ = shared.redis.time()
    assert 0 <= seconds - stands["slow"].at.timestamp() < 300
    took = (stands["slow"].at - stands["slow"].since).total_seconds()
    assert 1 <= took < 30


def finished(queue, name: str) -> Standing:
    """Wait for the end of one run."""
    return until(lambda: (found := (queue.look([name]) or {}).get(name)) and found.stage in (Stage.ENDED, Stage.GONE) and found)  # fmt: skip


def test_the_environment_is_put_together_there(shared, tmp_path):
    queue, place = shared.queue(), tmp_path / "env"
    place.write_text("FROM=file\nBOTH=file\nBASE=file\n")
    place.chmod(0o600)
    values = {"env_file": str(place), "env": {"BOTH": "task", "TOKEN": "a b"}, "base": {"PATH": "/usr/bin:/bin", "BASE": "config", "LANG": "C"}}  # fmt: skip
    queue.enqueue("taskrunner-env", given("env", **values), 60, 10)
    found = finished(queue, "taskrunner-env")
    said = dict(line.split("=", 1) for line in found.output.decode().splitlines())
    started = said.pop("TASKRUNNER_STARTED")
    assert said == {
        "PATH": "/usr/bin:/bin",
        "LANG": "C",
        "BASE": "file",
        "FROM": "file",
        "BOTH": "task",
        "TOKEN": "a b",
        "HOME": os.path.expanduser(f"~{said['USER']}"),
        "USER": said["USER"],
        "LOGNAME": said["USER"],
    }
    assert started == found.since.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_an_environment_file_that_is_missing_there_is_told_as_here(shared):
    queue = shared.queue()
    queue.enqueue("taskrunner-no-env", given("true", env_file="/no/such"), 60, 10)
    found = finished(queue, "taskrunner-no-env")
    why = (
        "could not start: the environment file '/no/such' cannot be read: No such file or directory"
    )
    assert found.outcome == Outcome(error=why)


def test_a_machine_that_has_no_room_for_an_output_does_not_start_the_command(own, tmp_path):
    queue, place = own.queue(), tmp_path / "started"
    queue.ask_server_id()
    queue.enqueue("taskrunner-full", given("touch", str(place)), 60, 10)
    own.worker("one", "--burst", prefix=(sys.executable, "-c", NO_FILES)).wait(PATIENCE)
    found = finished(queue, "taskrunner-full")
    assert found.outcome == Outcome(error="could not start: No space left on device")
    assert (found.output, found.host) == (b"", os.uname().nodename)
    assert not place.exists()


def test_our_interpreter_and_launcher_are_those_of_the_other_machine(shared):
    queue = shared.queue()
    words = ["THEIRS", "LAUNCHER", "--code", "import sys; print(sys.executable)"]
    queue.enqueue("taskrunner-code", given(*words, python="THEIRS", launcher="LAUNCHER"), 60, 10)
    found = finished(queue, "taskrunner-code")
    assert found.outcome.exit_code == 0, found.output
    assert found.output.decode().split("\n")[0] == rq.sys.executable


def test_what_a_command_leaves_behind_is_ended_with_it(shared, tmp_path):
    queue, place = shared.queue(), tmp_path / "pid"
    line = f"trap '' TERM; sleep 100 & echo $! > {place}"
    queue.enqueue("taskrunner-left", given("sh", "-c", line, kill_after=1.0), 60, 10)
    assert finished(queue, "taskrunner-left").outcome.exit_code == 0
    until(lambda: not Path(f"/proc/{place.read_text().strip()}").exists())


def test_the_command_dies_with_the_process_that_performs_it(shared, tmp_path):
    queue, place = shared.queue(), tmp_path / "pid"
    queue.enqueue(
        "taskrunner-horse", given("sh", "-c", f"echo $$ $PPID > {place}; exec sleep 100"), 60, 10
    )
    until(lambda: place.exists() and place.read_text().split())
    command, horse = map(int, place.read_text().split())
    os.kill(horse, 9)
    until(lambda: not Path(f"/proc/{command}").exists())
    found = finished(queue, "taskrunner-horse")
    assert found.stage is Stage.GONE
    assert found.note == f"its process on {os.uname().nodename} was killed"
    queue.forget(["taskrunner-horse"])
