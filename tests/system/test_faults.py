"""Calls that the kernel refuses: each open, write, fsync, rename and fork of ours fails once, or from then on.

strace(1) makes them fail, on the store, the lock and the output, as a disk that breaks, a disk that is full, a
quota, a table of files or of processes that is full would. TASKRUNNER_TEST_LONG=1 tries every call of each kind.
"""

import os
import re
import shutil
import sqlite3
import subprocess
from collections import Counter, defaultdict
from contextlib import closing

import pytest

from taskrunner import State, TaskRunner
from tests.samples import ROOT, call, program

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]  # hundreds of ticks, on a busy machine
LONG = bool(os.environ.get("TASKRUNNER_TEST_LONG"))
# The files that calls are about, by their names in the home; those without are told by the path in the call.
FILES = {
    "store": ("taskrunner.db", "taskrunner.db-wal", "taskrunner.db-shm"),
    "lock": ("tick.lock",),
    "beat": ("heartbeat", "ballast"),
    "folders": ("", "output", "supervisors", "spool", "backups"),
}
PATTERNS = {
    "supervisor": r"/home/supervisors/[^\"]",
    "output": r"/home/output/[^\"]",
    "process": r"(?!.*CLONE_THREAD)",
}
BROKEN, NO_ROOM, NO_FILES, NO_PROCESS = "EIO", ("ENOSPC", "EDQUOT"), ("EMFILE", "ENFILE"), "EAGAIN"
TICK = [
    *[("store", "pwrite64", error) for error in (BROKEN, *NO_ROOM)],
    *[("store", "fdatasync", error) for error in (BROKEN, *NO_ROOM)],
    *[("store", "openat", error) for error in (BROKEN, *NO_ROOM, *NO_FILES)],
    *[("store", "ftruncate", error) for error in (BROKEN, "ENOSPC")],
    ("store", "unlink", BROKEN),
    *[("lock", "openat", error) for error in (BROKEN, *NO_ROOM, *NO_FILES)],
    *[("lock", "flock", error) for error in (BROKEN, "ENOLCK", "EAGAIN")],
    *[("lock", "pwrite64", error) for error in (BROKEN, *NO_ROOM)],
    *[("supervisor", "openat", error) for error in (BROKEN, *NO_ROOM, *NO_FILES)],
    ("supervisor", "flock", BROKEN),
    ("supervisor", "unlink", BROKEN),
    *[("output", "openat", error) for error in (BROKEN, *NO_ROOM, *NO_FILES)],
    *[("output", "rename", error) for error in (BROKEN, *NO_ROOM)],
    *[("output", "pread64", error) for error in (BROKEN,)],
    *[("output", "ftruncate", error) for error in (BROKEN,)],
    ("output", "unlink", BROKEN),
    *[("beat", call_, error) for call_ in ("openat", "pwrite64", "write") for error in NO_ROOM],
    *[("folders", "mkdir", error) for error in (BROKEN, *NO_ROOM)],
    *[("folders", "openat", error) for error in (BROKEN, *NO_FILES)],
    *[("process", "vfork,clone,clone3", error) for error in (NO_PROCESS, "ENOMEM")],
    *[("process", "pipe2", error) for error in NO_FILES],
    *[("process", "epoll_create1", error) for error in NO_FILES],
]
NOTE = 'echo "$TASKRUNNER_RUN $TASKRUNNER_TASK" >> "$LOG"'


@pytest.fixture(autouse=True)
def traced(needs):
    needs("strace", shutil.which("strace"), "strace is not installed")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A folder with a home whose two tasks are due, one of which writes little and one much; to be copied."""
    place = tmp_path_factory.mktemp("sample")
    (place / "home").mkdir(mode=0o700)
    with TaskRunner(place / "home") as runner:
        for name, shell in (("small", NOTE), ("large", f"{NOTE}; head -c 100000 /dev/zero")):
            runner.add(name, shell=shell, schedule=_manual(), now=True, cwd="/")
    return place


def _manual():
    from taskrunner import Manual

    return Manual()


@pytest.fixture
def fresh(sample, tmp_path):
    """Make a new copy of the sample's home, the log of what is started beside it; returns its folder."""
    made = iter(range(10_000))

    def make():
        place = tmp_path / str(next(made))
        shutil.copytree(sample, place)
        (place / "home").chmod(0o700)
        with TaskRunner(place / "home") as runner:
            for task in runner.tasks():
                runner.set(task.name, env={"LOG": str(place / "log")})
        return place

    return make


def traced_call(place, options, words):
    """Run the program under strace; stdout, stderr, exit code and the lines of its own process in the trace."""
    trace = place / "trace"
    argv = ["strace", "-f", "-y", "-qq", "-s", "256", "-o", str(trace), *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv += program(place / "home", *words)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)
    lines = trace.read_text(errors="replace").splitlines()
    own = lines[0].split()[0] if lines else ""
    kept = [line for line in lines if line.startswith(own)]
    return done.stdout, done.stderr, done.returncode, kept


def points(place, words, table):
    """Return which calls of each kind are about each target, by their numbers; the runs are real ones."""
    found, wanted = defaultdict(list), defaultdict(set)
    for target, names, _ in table:
        wanted[target] |= set(names.split(","))
    for target, names in wanted.items():
        copy, counts = place(), Counter()
        *_, lines = traced_call(
            copy, [*only(copy, target), "-e", f"trace={','.join(names)}"], words
        )
        for line in lines:
            match = re.match(r"\d+ +(\w+)\((.*)", line)
            if match is not None:
                counts[match[1]] += 1
                if re.search(PATTERNS.get(target, ""), match[2]):
                    found[target, match[1]].append(counts[match[1]])
    return found


def only(place, target):
    """Return the options that leave all calls alone but those about the files of a target."""
    return [word for name in FILES.get(target, ()) for word in ("-P", str(place / "home" / name))]


def chosen(numbers):
    """Return which of the calls fail in turn: all in the long mode, else one amid."""
    return numbers if LONG else [numbers[len(numbers) // 2]]


def test_whatever_call_of_a_tick_fails_each_run_is_started_once_and_accounted_for(fresh):
    where = points(fresh, ("tick",), TICK)
    tried, ends, faults = Counter(), Counter(), []
    for target, names, error in TICK:
        for name in names.split(","):
            for number in chosen(where[target, name]) if where[target, name] else ():
                for last in ("", "..+20")[: 1 + LONG]:
                    place, what = fresh(), f"{name} {number}{last} of the {target} with {error}"
                    when = f"when={number}" + (f"..{number + 20}" if last else "")
                    options = [
                        *only(place, target),
                        "-e",
                        f"trace={name}",
                        "-e",
                        f"inject={name}:error={error}:{when}",
                    ]
                    out, err, code, lines = traced_call(place, options, ("tick",))
                    tried[target, name, error] += any("(INJECTED)" in line for line in lines)
                    try:
                        told(out, err, code)
                        ends += settled(place)
                    except AssertionError as exc:
                        faults.append(f"{what}: {exc}"[:1000])
    print_figures(tried, ends)
    assert not faults, "\n\n".join(faults)
    assert len(tried) >= 40


def told(out, err, code):
    """Hold what a verb said and returned against what it may: one sentence, and no bug of ours."""
    assert code in (0, 1, 75) and err.count("\n") <= 1, (code, err)
    assert not re.search("bug|Traceback|database is locked", err), err
    assert bool(err) == bool(code), (code, err)


def settled(place):
    """Let two ticks come, hold the store against what the tasks wrote, and return how often each state came."""
    for _ in range(2):
        assert call(place / "home", "tick") == ("", "", 0)
    log = place / "log"
    started = Counter(log.read_text().splitlines() if log.exists() else [])
    assert set(started.values()) <= {1}, started
    with TaskRunner(place / "home") as runner:
        runs = runner.history(limit=None)
        assert not runner.status().running and not runner.status().pending
        large = [runner.output(run) for run in runs if run.task == "large"]
    assert sorted(run.task for run in runs) == ["large", "small"]
    for run in runs:
        ran = f"{run.id} {run.task}" in started
        assert run.state in (State.SUCCEEDED, State.FAILED, State.LOST), run
        assert ran or run.state is not State.SUCCEEDED, run
        assert not ran or run.state is not State.FAILED, run
        if run.task == "large" and run.state is State.SUCCEEDED and "output" not in run.reason:
            assert len(large[0]) == 100_000, run
    assert whole(place / "home")
    call(
        place / "home", "set", "small", "--now"
    )  # a tick that works sweeps up what one left behind
    assert call(place / "home", "tick") == ("", "", 0)
    assert not list((place / "home" / "supervisors").iterdir())
    assert not list((place / "home" / "spool").iterdir())
    assert {file.suffix for file in (place / "home" / "output").iterdir()} <= {".log"}
    return Counter(f"{run.state}: {run.reason}" for run in runs)


def whole(home):
    with closing(sqlite3.connect(home / "taskrunner.db")) as store:
        left = store.execute("SELECT count(*) FROM processes").fetchone()
        return store.execute("PRAGMA integrity_check").fetchone() == ("ok",) and left == (0,)


def print_figures(tried, ends):
    """Print what was tried; seen with -s, or when it fails."""
    for (target, name, error), count in sorted(tried.items()):
        print(f"{target:10} {name:16} {error:8} {count:4}")
    print(f"{tried.total()} faults in {len(tried)} kinds;", dict(ends))


# ---- people who write

TASKS = (
    '[tasks.one]\nmanual = true\ncommand = ["true"]\n[tasks.two]\nevery = "1h"\nshell = "exit 1"\n'
)
WRITERS = {
    "add": ("add", "new", "--every", "1d", "--", "true"),
    "first add": ("add", "new", "--every", "1d", "--", "true"),
    "set": ("set", "small", "--timeout", "5s"),
    "remove": ("remove", "large"),
    "apply": ("apply", "tasks.toml"),
    "prune": ("prune",),
    "backup": ("backup", "copy.db"),
    "restore": ("restore", "good.db"),
}
CALLS = {
    "pwrite64": (BROKEN, *NO_ROOM),
    "fdatasync": (BROKEN,),
    "fsync": (BROKEN, "ENOSPC"),
    "rename": (BROKEN, *NO_ROOM),
    "unlink": (BROKEN,),
    "flock": (BROKEN,),
}


@pytest.fixture
def place(fresh, monkeypatch):
    """Make a folder with a home, a task file and a good copy in it, and go there."""

    def make(verb):
        made = fresh()
        (made / "tasks.toml").write_text(TASKS)
        with TaskRunner(made / "home") as runner:
            runner.backup(made / "good.db")
        if verb == "first add":
            shutil.rmtree(made / "home")
            (made / "home").mkdir(mode=0o700)
        monkeypatch.chdir(made)
        return made

    return make


def written(home):
    """What a writer would change: the tasks, or None where there is no store."""
    with TaskRunner(home) as runner:
        return [(task.name, task.timeout) for task in runner.tasks()]


@pytest.mark.parametrize("verb", WRITERS)
def test_whatever_call_of_a_writer_fails_it_says_so_and_does_all_or_nothing(place, verb):
    words, tried, faults = WRITERS[verb], Counter(), []
    calls = CALLS.items()
    table = [
        ("process", name, error)
        for name, errors in calls
        for error in errors[: None if LONG else 1]
    ]
    where = points(lambda: place(verb), words, table)
    done = place(verb)
    _, said, expected = call(done / "home", *words)
    assert expected == (verb == "prune"), said  # whose clock has not proved itself yet
    whole_change = written(done / "home")
    for _, name, error in table:
        for number in chosen(where["process", name]) if where["process", name] else ():
            made = place(verb)
            before = written(made / "home")
            options = ["-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={number}"]
            out, err, code, lines = traced_call(made, options, words)
            tried[verb, name, error] += any("(INJECTED)" in line for line in lines)
            try:
                assert code in (0, 1, 75) and not re.search(
                    "bug|Traceback|database is locked|malformed", err
                ), err
                assert code in (0, expected) or (out == "" and err.count("\n") == 1), (out, err)
                assert written(made / "home") in (before, whole_change)
                assert code or written(made / "home") == whole_change
                assert whole(made / "home") if (made / "home/taskrunner.db").exists() else code
                copy = made / "copy.db"
                assert not copy.exists() or sound(copy)
                copy.unlink(missing_ok=True)
                again = call(made / "home", *words)
                assert again[2] == expected or written(made / "home") == whole_change, again
            except AssertionError as exc:
                faults.append(f"{name} {number} with {error}: {exc}"[:1000])
    print_figures(tried, {})
    assert not faults, "\n\n".join(faults)
    assert tried.total() >= 2


def sound(copy):
    with closing(sqlite3.connect(copy)) as found:
        return found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
