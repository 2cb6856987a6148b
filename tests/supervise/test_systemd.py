"""One contract for all carriers of runs, the tick itself, systemd and a queue: the same decisions, the same history.

All tasks of the contract are claimed by one tick, once under each carrier; then each test looks at one of them. The
side of systemd runs in a box of its own (tests/system/systemd_box.py), that of the queue has a Redis and workers
(tests/engines/redis_box.py).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from taskrunner import Manual, TaskRunner
from taskrunner.errors import InputError
from taskrunner.model.values import Command, Outcome
from taskrunner.supervise import carriers
from taskrunner.supervise.systemd import begin, end, record_end, transient
from tests.engines import redis_box
from tests.samples import ROOT, imported_by
from tests.system import systemd_box

HOST = os.uname().nodename
ODD = ["a b", "$HOME", "$$", "%n", "%%", "it's", '"', "\\", "", "ünï", "two\nlines"]
VALUES = {
    "PLAIN": "x",
    "QUOTES": '"it\'s" \\ $HOME `x` %n',
    "LINES": "one\n two \n",
    "ESCAPE": "\x1b[31mred\r",
    "SPACES": "  x  ",
    "EMPTY": "",
    "PASSWORD": "hunter2-hunter2",
    "LD_LIBRARY_PATH": "/nowhere",
    "PYTHONHOME": "/nowhere",
    "INVOCATION_ID": "mine",
}
SPIN = "while :; do :; done"  # only where time of the CPU is what it is about
LOOP = "while sleep 0.1; do :; done"

# What each task is added with, and how its run ends: state, exit code, signal, and words of the reason.
CASES: dict[str, tuple[list[str], tuple[str, int | None, int | None, str]]] = {
    "ok": (["--shell", "echo out; echo err >&2"], ("succeeded", 0, None, "exit code 0")),
    "seven": (["--shell", "exit 7"], ("failed", 7, None, "exit code 7")),
    "200": (["--shell", "exit 200"], ("failed", 200, None, "exit code 200")),
    "203": (["--shell", "exit 203"], ("failed", 203, None, "exit code 203")),
    "ok-seven": (["--ok-codes", "7", "--shell", "exit 7"], ("succeeded", 7, None, "")),
    "noop": (["--noop-codes", "9", "--shell", "exit 9"], ("succeeded", 9, None, "nothing to do")),
    "term": (["--shell", "kill -TERM $$"], ("failed", None, 15, "killed by SIGTERM")),
    "hup": (["--shell", "kill -HUP $$"], ("failed", None, 1, "killed by SIGHUP")),
    "int": (["--shell", "kill -INT $$"], ("failed", None, 2, "killed by SIGINT")),
    "pipe": (["--shell", "kill -PIPE $$"], ("failed", None, 13, "killed by SIGPIPE")),
    "kill": (["--shell", "kill -KILL $$"], ("failed", None, 9, "killed by SIGKILL")),
    "usr1": (["--shell", "kill -USR1 $$"], ("failed", None, 10, "killed by SIGUSR1")),
    "real-time": (["--shell", "kill -36 $$"], ("failed", None, 36, "killed by")),
    "slow": (
        ["--timeout", "1s", "--", "sleep", "100"],
        ("timed_out", None, 15, "stopped at its timeout of 1s (killed by SIGTERM)"),
    ),
    # All runs begin at once, and until a trap is set that may take its time.
    "polite": (
        ["--timeout", "10s", "--shell", f"trap 'exit 3' TERM; {LOOP}"],
        ("timed_out", 3, None, "stopped at its timeout of 10s (exit code 3)"),
    ),
    "stubborn": (
        ["--timeout", "10s", "--kill-after", "2s", "--shell", f"trap '' TERM; {LOOP}"],
        ("timed_out", None, 9, "stopped at its timeout of 10s (killed by SIGKILL)"),
    ),
    "missing": (["--", "no-such-program"], ("failed", 127, None, "no program 'no-such-program'")),
    "no-folder": (
        ["--cwd", "/no/such", "--", "true"],
        ("failed", None, None, "the directory '/no/such'"),
    ),
    "not-a-program": (["--", "/etc/passwd"], ("failed", 126, None, "Permission denied")),
    "no-variables": (["--env-file", "/no/such", "--", "true"], ("failed", None, None, "/no/such")),
    "arguments": (["--", "printf", "<%s>", *ODD], ("succeeded", 0, None, "")),
    "environment": (
        [
            *(word for pair in VALUES.items() for word in ("--env", "=".join(pair))),
            "--",
            "env",
            "-0",
        ],
        ("succeeded", 0, None, ""),
    ),
    "input": (["--stdin", "two\nlines\n", "--", "cat"], ("succeeded", 0, None, "")),
    "no-input": (["--shell", "readlink /proc/self/fd/0; cat"], ("succeeded", 0, None, "")),
    "folder": (["--cwd", "/usr", "--", "pwd"], ("succeeded", 0, None, "")),
    "mask": (["--umask", "027", "--shell", "umask"], ("succeeded", 0, None, "")),
    "nice": (["--nice", "5", "--", "nice"], ("succeeded", 0, None, "")),
    "files": (
        ["--limit", "files=77", "--shell", "ulimit -Sn; ulimit -Hn"],
        ("succeeded", 0, None, ""),
    ),
    "memory": (["--limit", "memory=200MB", "--shell", "ulimit -v"], ("succeeded", 0, None, "")),
    "cpu": (
        ["--limit", "cpu=1s", "--shell", SPIN],
        ("failed", None, 24, "over its limit of 1s of CPU time"),
    ),
    "descriptors": (["--shell", "ls /proc/$$/fd"], ("succeeded", 0, None, "")),
    "signals": (
        ["--", "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"],
        ("succeeded", 0, None, ""),
    ),
    "session": (
        [
            "--shell",
            "read pid name state parent group session rest </proc/$$/stat; echo $((group - $$)) $((session - $$))",
        ],
        ("succeeded", 0, None, ""),
    ),
    "large": (["--shell", "yes taskrunner | head -c 200000"], ("succeeded", 0, None, "")),
    "bounded": (
        ["--max-output", "10kB", "--shell", "echo first; yes | head -c 200000; echo last"],
        ("succeeded", 0, None, ""),
    ),
    "expected": (["--expect", "^done$", "--", "echo", "done"], ("succeeded", 0, None, "")),
    "unexpected": (
        ["--expect", "^done$", "--", "echo", "no"],
        ("failed", 0, None, "its output does not match '^done$'"),
    ),
    "rejected": (
        ["--reject", "rror", "--", "echo", "Error"],
        ("failed", 0, None, "matches 'rror'"),
    ),
    "again": (
        ["--retries", "1", "--retry-delay", "1s", "--shell", '[ "$TASKRUNNER_ATTEMPT" = 2 ]'],
        ("succeeded", 0, None, ""),
    ),
}
CHAINS = {
    "then": (["--after", "ok", "--", "true"], ("succeeded", 0, None, "")),
    "then-not": (["--after", "seven", "--", "true"], None),
    "then-failed": (["--after", "seven:failed", "--", "true"], ("succeeded", 0, None, "")),
    "then-last": (["--after", "again", "--", "true"], ("succeeded", 0, None, "")),
}
# Files in the homes of both that differ from run to run.
OWN = ("TASKRUNNER_RUN", "TASKRUNNER_SLOT", "TASKRUNNER_STARTED", "TASKRUNNER_LAST_SUCCESS")


@dataclass
class Side:
    """A home under one carrier: where words are said, and what came of all the tasks."""

    name: str
    say: Callable[..., str]
    program: Callable[..., str]
    home: str
    path: Callable[[str], Path]
    over: Callable[[], object] = lambda: True  # whether no tick is resident
    stop: Callable[[], object] = lambda: None

    def all_runs(self) -> dict[str, list[dict]]:
        """All runs by their tasks, oldest first."""
        found: dict[str, list[dict]] = {}
        for run in json.loads(self.say("history", "-n", "500", "--json"))["runs"][::-1]:
            found.setdefault(run["task"], []).append(run)
        return found

    def runs(self, task: str) -> list[dict]:
        return self.all_runs().get(task, [])

    def output(self, task: str) -> str:
        return self.say("log", task)

    def ended(self, *tasks: str, count: int = 1) -> bool:
        """Whether so many runs of each task have ended, and nothing carries them any more."""
        runs = self.all_runs()
        done = [
            len(runs.get(task, [])) >= count and all(run["finished"] for run in runs[task])
            for task in tasks
        ]
        return all(done) and bool(self.over())

    def is_up(self, task: str) -> bool:
        """Whether a run has begun; what it writes is seen at once where the machine is the same."""
        if self.name == "queue":
            return bool(self.runs(task)) and self.runs(task)[-1]["reason"] == f"on {HOST}"
        return bool(self.runs(task)) and "up" in self.say("log", task, check=False)

    def until(self, holds: Callable[[], object], patience: float = 200.0) -> None:
        end = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < end, "it did not come to hold"
            time.sleep(0.1)


MANY = """
import json, sys
from taskrunner.cli.main import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


def inline_side(tmp: Path) -> Side:
    home = str(tmp / "home")
    ticks: list[subprocess.Popen] = []

    def program(*words: str, check: bool = True) -> str:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *words], env=env, capture_output=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode()

    def say(*words: str, check: bool = True) -> str:
        argv = ("-m", "taskrunner", "--home", home, *words)
        if words != ("tick",):
            return program(*argv, check=check)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        ticks.append(
            subprocess.Popen([sys.executable, *argv], env=env)
        )  # stays with what it carries
        return ""

    def over() -> bool:
        return all(tick.poll() is not None for tick in ticks)

    return Side("inline", say, program, home, Path, over)


def queue_side(box: redis_box.Box, tmp: Path) -> Side:
    """A home whose tasks are all in a queue, and a clock that ticks twice a second."""
    side, ended = inline_side(tmp), threading.Event()
    (tmp / "home").mkdir(mode=0o700)
    queue = f'[queues.heavy]\nengine = "rq"\nurl = "{box.url}"\n'
    (tmp / "home/taskrunner.toml").write_text(f'{queue}[defaults]\nqueue = "heavy"\n')

    def say(*words: str, check: bool = True) -> str:
        return side.program("-m", "taskrunner", "--home", side.home, *words, check=check)

    def ticks() -> None:
        while not ended.wait(0.5):
            say("tick")

    def stop() -> None:
        ended.set()
        clock.join()

    clock = threading.Thread(target=ticks)
    clock.start()
    return Side("queue", say, side.program, side.home, Path, stop=stop)


def systemd_side(box: systemd_box.Box, home: str, **more: str) -> Side:
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PYTHONPATH": str(systemd_box.CHECKOUT),
        "TASKRUNNER_CARRIER": "systemd",
        **more,
    }
    enter = ("nsenter", "-t", str(box.pid), "-m", "-u", "-i", "-p", "-C", "--", sys.executable)

    def program(*words: str, check: bool = True) -> str:
        done = subprocess.run(
            [*enter, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode()

    def say(*words: str, check: bool = True) -> str:
        return program("-m", "taskrunner", "--home", home, *words, check=check)

    return Side("systemd", say, program, home, box.path)


SIDES = [
    pytest.param("inline", marks=pytest.mark.xdist_group("inline")),  # carried out once
    pytest.param("systemd", marks=[pytest.mark.system, pytest.mark.xdist_group("daemons")]),
    pytest.param(
        "queue", marks=[pytest.mark.slow, pytest.mark.one_python, pytest.mark.xdist_group("rq")]
    ),
]


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


@pytest.fixture(scope="module")
def workers(needs, tmp_path_factory):
    """A Redis with four workers."""
    needs("redis", os.access(redis_box.SERVER, os.X_OK), f"there is no {redis_box.SERVER}")
    with redis_box.box(tmp_path_factory.mktemp("redis")) as made:
        for number in range(4):
            made.worker(f"contract-{number}")
        yield made


@pytest.fixture(scope="module", params=SIDES)
def side(request, tmp_path_factory):
    """One carrier with the whole contract carried out."""
    if request.param == "inline":
        made = inline_side(tmp_path_factory.mktemp("inline"))
    elif request.param == "queue":
        made = queue_side(request.getfixturevalue("workers"), tmp_path_factory.mktemp("queue"))
    else:
        made = systemd_side(request.getfixturevalue("box"), "/srv/50% o'clock $HOME")
    try:
        carry_out(made)
        yield made
    finally:
        made.stop()


def carry_out(made: Side) -> None:
    """Carry out the whole contract."""
    words = [
        ["add", task_of(name), "--manual", "--now", *given] for name, (given, _) in CASES.items()
    ]
    words += [["add", name, *given] for name, (given, _) in CHAINS.items()]
    made.program("-c", MANY, json.dumps([["--home", made.home, *each] for each in words]))
    made.say("tick")
    names = [*CASES, *(name for name, (_, end) in CHAINS.items() if end)]
    made.until(lambda: made.ended(*map(task_of, names)) and made.ended("again", count=2))


def task_of(case: str) -> str:
    """The name of the task of a case: digits alone would be an id."""
    return f"code-{case}" if case.isdigit() else case


ENDS = {**CASES, **CHAINS}


@pytest.mark.parametrize("name", [name for name, (_, end) in ENDS.items() if end])
def test_a_run_ends_the_same_under_all_carriers(side, name):
    state, code, signal, words = ENDS[name][1]
    run = side.runs(task_of(name))[-1]
    assert (run["state"], run["exit_code"], run["signal"]) == (state, code, signal)
    assert words in run["reason"]


def test_what_comes_after_a_failure_alone_does_not_come_after_a_success(side):
    assert side.runs("then-not") == []


def test_a_slot_is_tried_again_and_what_follows_waits_for_the_last_attempt(side):
    first, second = side.runs("again")
    assert (first["state"], first["attempt"], second["attempt"]) == ("failed", 1, 2)
    (after,) = side.runs("then-last")
    assert after["started"] >= second["finished"]


def test_a_retry_that_waits_is_not_left_to_the_next_minute(side):
    first, second = side.runs("again")
    at = [datetime.fromisoformat(run) for run in (first["finished"], second["started"])]
    assert 0.9 <= (at[1] - at[0]).total_seconds() < 50


def test_stdout_and_stderr_are_kept(side):
    assert side.output("ok") == "out\nerr\n"
    assert side.runs("ok")[0]["output_size"] == 8


def test_the_command_sees_its_arguments_to_the_letter(side):
    assert side.output("arguments") == "".join(f"<{word}>" for word in ODD)


def test_the_command_sees_its_own_environment_and_nothing_else(side):
    given = side.output("environment").split("\0")[:-1]
    seen = dict(pair.partition("=")[::2] for pair in given)
    assert {name: seen[name] for name in VALUES} == VALUES
    base = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"}
    ours = {"TASK", "RUN", "SLOT", "STARTED", "ATTEMPT", "TRIGGER", "COALESCED", "LAST_SUCCESS"}
    assert set(seen) == {*VALUES, *base, *(f"TASKRUNNER_{name}" for name in ours)}
    assert len(given) == len(seen)


def test_the_command_reads_what_it_is_given_or_nothing(side):
    assert side.output("input") == "two\nlines\n"
    assert side.output("no-input") == "/dev/null\n"


def test_the_command_starts_where_and_as_its_task_says(side):
    assert side.output("folder") == "/usr\n"
    assert side.output("mask") == "0027\n"
    assert side.output("nice") == f"{5 if side.name == 'systemd' else min(19, os.nice(0) + 5)}\n"
    assert side.output("files") == "77\n77\n"
    assert side.output("memory") == "195312\n"


def test_the_command_has_a_session_of_its_own_three_descriptors_and_no_signal_ignored(side):
    assert side.output("session") == "0 0\n"
    assert {"0", "1", "2"} <= set(side.output("descriptors").split()) <= {"0", "1", "2", "10"}
    ignored = dict(re.findall(r"^(Sig\w+):\t(\w+)$", side.output("signals"), re.MULTILINE))
    assert set(ignored) == {"SigBlk", "SigIgn"}
    assert {int(mask, 16) & 0x7FFFFFFF for mask in ignored.values()} == {0}


def test_large_output_keeps_its_file_and_is_bounded(side):
    assert side.output("large") == "taskrunner\n" * (200000 // 11) + "taskrunner\n"[: 200000 % 11]
    kept = side.output("bounded")
    assert len(kept) < 12_000
    assert kept.startswith("first\n")
    assert kept.endswith("last\n")


def test_nothing_is_left_of_what_carried_the_runs(side):
    def left(*names: str) -> set[str]:
        return {each.name for name in names for each in (side.path(side.home) / name).iterdir()}

    kept = {f"{side.runs('large')[0]['id']}.log"}
    # A clock may be ticking at this moment.
    side.until(lambda: left("supervisors", "spool") <= {"waiting"} and left("output") == kept)


def test_a_run_is_cancelled_whatever_it_makes_of_the_signal(side):
    for name, does in {"quiet": "trap 'exit 0' TERM", "plain": ":"}.items():
        mark = f"touch {shlex.quote(f'{side.home}/{name}')}"
        side.say("add", name, "--manual", "--now", "--shell", f"{does}; {mark}; echo up; {LOOP}")
    side.say("tick")
    for name in ("quiet", "plain"):
        side.until((side.path(side.home) / name).exists)
        side.until(lambda name=name: side.is_up(name))
        side.say("cancel", name)
        (run,) = side.runs(name)
        assert (run["state"], run["exit_code"]) == ("cancelled", 0 if name == "quiet" else None)
        assert "cancelled by" in run["reason"]
    side.until(lambda: side.ended("quiet", "plain"))


def test_a_replacement_ends_the_run_before_it(side):
    side.say(
        "add",
        "newest",
        "--every",
        "1d",
        "--now",
        "--overlap",
        "replace",
        "--shell",
        f"echo up; {LOOP}",
    )
    side.say("tick")
    side.until(lambda: side.is_up("newest"))
    side.say("set", "newest", "--shell", "echo other")
    assert side.say("run", "newest") == "other\n"
    side.until(lambda: side.ended("newest", count=2))
    first, second = side.runs("newest")
    assert (first["state"], second["state"]) == ("cancelled", "succeeded")


def test_a_long_run_is_followed_while_it_writes(side):
    side.say("add", "talks", "--manual", "--now", "--shell", "echo one; sleep 1; echo two")
    side.say("tick")
    side.until(lambda: side.runs("talks"))
    assert side.say("log", "talks", "--follow") == "one\ntwo\n"
    side.until(lambda: side.ended("talks"))


# ---- what needs no systemd


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (("success", "exited", "0"), Outcome(exit_code=0)),
        (("exit-code", "exited", "7"), Outcome(exit_code=7)),
        (("timeout", "killed", "KILL"), Outcome(signal=9, timed_out=True)),
        (("timeout", "exited", "0"), Outcome(exit_code=0, timed_out=True)),
        (("signal", "killed", "KILL"), Outcome(signal=9)),
        (("success", "killed", "TERM"), Outcome(signal=15)),
        (("core-dump", "dumped", "SEGV"), Outcome(signal=11)),
        (("signal", "killed", "RTMIN+2"), Outcome(signal=36)),
    ],
)
def test_an_end_is_read_from_the_words_of_systemd(told, outcome):
    assert record_end.ended(*told) == outcome


def test_an_end_that_systemd_does_not_tell_is_a_failure_that_says_so():
    assert "did not report its result (resources)" in str(
        record_end.ended("resources", "", "").error
    )


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.just("\udcff")
)
def test_a_word_comes_back_as_it_was_and_has_nothing_that_systemd_would_expand(word):
    written = transient._encoded(word)
    assert not set(written) & set("$%\"' \\\n")
    assert begin.decoded(written) == end.decoded(written) == word


def begun(tmp_path: Path, command: Command) -> tuple[str, Path]:
    """What a command writes that `begin` becomes, and what is left of the file it was in."""
    place = tmp_path / "command"
    place.write_bytes(transient.plain(command))
    argv = [sys.executable, "-I", "-S", begin.__file__, transient._encoded(str(place))]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stdout.decode(), place


def test_a_command_begins_in_its_own_environment_and_its_file_is_emptied(tmp_path):
    env = {"A": "hunter2", "LD_LIBRARY_PATH": "/x"}
    out, place = begun(tmp_path, Command(("/usr/bin/env", "-0"), env, "/"))
    assert sorted(out.split("\0")[:-1]) == ["A=hunter2", "LD_LIBRARY_PATH=/x"]
    assert place.read_bytes() == b""
    assert record_end.begun(b"") is None


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (Command(("no-such",), {"PATH": "/bin"}, "/"), 127, "no program 'no-such' on PATH=/bin"),
        (Command(("/etc/passwd",), {}, "/"), 126, "'/etc/passwd': Permission denied"),
        (Command(("passwd",), {"PATH": "/etc:/no"}, "/"), 126, "'passwd': Permission denied"),
        (Command(("true",), {"PATH": "/bin"}, "/no"), None, "the directory '/no': No such file"),
    ],
)
def test_a_command_that_cannot_begin_says_why_as_it_would_inline(tmp_path, command, code, words):
    _, place = begun(tmp_path, command)
    left = place.read_bytes()
    outcome = record_end.begun(left)
    assert outcome is not None
    assert outcome.exit_code == code
    assert f"could not start: {words}" in str(outcome.error)


def test_a_command_that_systemd_never_began_could_not_start():
    secret = transient.plain(Command(("true",), {}, "/"))
    assert record_end.begun(secret) == Outcome(
        error="could not start: systemd could not execute it"
    )
    assert "damaged" in str(record_end.begun(b"what").error)


def test_the_carrier_is_never_guessed_and_not_used_with_a_clock_in_the_hand_of_a_test(runner, home):
    runner.add("report", ["true"], Manual(), now=True)
    assert carriers.chosen(runner._here()) == (None, None)
    (home / "taskrunner.toml").write_text('carrier = "systemd"\n')
    runner.close()
    assert carriers.chosen(runner._here()) == (None, None)
    assert [run.state for run in runner.tick().runs] == ["succeeded"]


def test_without_a_systemd_the_tick_carries_its_runs_and_says_so(home, tmp_path, monkeypatch):
    monkeypatch.setattr("taskrunner.home.paths.runtime", lambda: str(tmp_path))
    monkeypatch.setenv("TASKRUNNER_CARRIER", "systemd")
    with TaskRunner(home) as live_runner:
        live_runner.add("report", ["true"], Manual(), now=True)
        visit = live_runner.tick()
    assert [run.state for run in visit.runs] == ["succeeded"]
    assert "systemd does not answer here" in visit.warning


def test_a_carrier_that_is_none_is_refused(home):
    (home / "taskrunner.toml").write_text('carrier = "docker"\n')
    with TaskRunner(home) as live_runner, pytest.raises(InputError, match="inline or systemd"):
        live_runner.add("report", ["true"], Manual())


def test_a_tick_that_carries_its_runs_itself_imports_nothing_of_this(home):
    with TaskRunner(home) as live_runner:
        live_runner.add("report", ["true"], Manual(), now=True)
    loaded = imported_by(home, "tick")
    assert "taskrunner.supervise.supervisor" in loaded
    assert not [
        each
        for each in loaded
        if each.startswith(("taskrunner.supervise.systemd.carrier", "taskrunner.clocks"))
    ]
