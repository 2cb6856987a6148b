"""What every test gets: a life away from the real home, and a check that it leaves nothing behind.

Two guards run around each test and fail it by name:

* one watches what Python opens, connects to and starts, and refuses everything that belongs to
  the person or the machine the suite runs on (their home's taskrunner, crontabs, unit folders);
* one looks for child processes the test started and did not wait for.

`tests/test_guard.py` tests both.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from taskrunner import report_error

# ---------------------------------------------------------------------------- hypothesis

# The same examples on every run and every machine: a failure can be repeated by running again.
# TASKRUNNER_TEST_PROFILE=long searches further; other_python has few of them and is for the second and third Python.
PROFILE = os.environ.get("TASKRUNNER_TEST_PROFILE", "default")
for _name, _examples in (("other_python", 15), ("default", 100), ("long", 5000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
settings.load_profile(PROFILE)


# ---------------------------------------------------------------------------- the real places


def real_places() -> dict[str, str]:
    """The folders and files no test may touch, each with what it is. Reads the real environment."""
    homes = {pwd.getpwuid(os.getuid()).pw_dir, os.environ.get("HOME", "")} - {""}
    places = {
        "/var/lib/taskrunner": "the machine's taskrunner home",
        "/var/spool/cron": "the machine's crontabs",
    }
    for home in homes:
        places[f"{home}/.local/state/taskrunner"] = "your taskrunner home"
        places[f"{home}/.config/systemd"] = "your systemd units"
    for variable in ("XDG_STATE_HOME", "TASKRUNNER_HOME"):
        if value := os.environ.get(variable):
            tail = "/taskrunner" if variable == "XDG_STATE_HOME" else ""
            places[value.rstrip("/") + tail] = "your taskrunner home"
    return places


REAL_PLACES = real_places()

# These may be read by anyone; a test must not write there.
READ_ONLY_PLACES = {
    "/etc/crontab": "the machine's crontab",
    "/etc/cron.d": "the machine's crontabs",
    "/etc/systemd": "the machine's systemd units",
}

# Programs that change the real crontab or the real service manager whatever HOME says.
REAL_PROGRAMS = {"crontab", "systemctl", "systemd-run", "loginctl"}


class TouchedTheRealThing(BaseException):
    """Raised inside a test that reaches for something real.

    Not an Exception, so that code under test which tolerates errors does not swallow it.
    """


class Guard:
    """Judges audit events, and keeps what the running test did wrong."""

    def __init__(self, places: dict[str, str], read_only: dict[str, str]) -> None:
        self.places = places
        self.read_only = read_only
        self.faults: list[str] = []

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """The audit hook; called for every event of the interpreter, so it returns early."""
        judge = self.JUDGES.get(event)
        if judge is None:
            return
        if fault := judge(self, args):
            self.faults.append(fault)
            raise TouchedTheRealThing(fault)

    @contextlib.contextmanager
    def forgiven(self) -> Iterator[list[str]]:
        """For the guard's own tests: faults inside the block are given back, not held against it."""
        before, self.faults = self.faults, []
        try:
            yield self.faults
        finally:
            self.faults = before

    def _path(self, path: object, *, writes: bool = True) -> str | None:
        if isinstance(path, int) or path is None:
            return None
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
        text = text.removeprefix("file:").partition("?")[0]
        text = os.path.abspath(text)
        for place, what in (self.places | self.read_only if writes else self.places).items():
            if text == place or text.startswith(place + "/"):
                return f"touched {what}: {text}"
        return None

    def _open(self, args: tuple[object, ...]) -> str | None:
        path, mode, flags = args
        writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        writes = writes or (isinstance(mode, str) and bool(set(mode) & set("wax+")))
        return self._path(path, writes=writes)

    def _change(self, args: tuple[object, ...]) -> str | None:
        return self._path(args[0])

    def _two(self, args: tuple[object, ...]) -> str | None:
        return self._path(args[0]) or self._path(args[1])

    def _look(self, args: tuple[object, ...]) -> str | None:
        return self._path(args[0], writes=False)

    def _start(self, args: tuple[object, ...]) -> str | None:
        program = args[0]
        if not isinstance(program, (str, bytes, os.PathLike)):
            return None
        text = os.fsdecode(program)
        if os.path.basename(text) not in REAL_PROGRAMS:
            return None
        # A fake program, first on PATH in a temporary folder, is how such calls are tested.
        found = text if "/" in text else shutil.which(text)
        if found is None or not os.path.realpath(found).startswith(("/usr/", "/bin/", "/sbin/")):
            return None
        return f"started the real {os.path.basename(text)}: {found}"

    JUDGES: dict[str, Callable[[Guard, tuple[object, ...]], str | None]] = {  # noqa: RUF012
        "open": _open,
        "sqlite3.connect": _change,
        "os.mkdir": _change,
        "os.remove": _change,
        "os.rmdir": _change,
        "os.chmod": _change,
        "os.chown": _change,
        "os.truncate": _change,
        "os.utime": _change,
        "os.rename": _two,
        "os.link": _two,
        "os.symlink": _two,
        "os.listdir": _look,
        "os.scandir": _look,
        "shutil.rmtree": _change,
        "subprocess.Popen": _start,
        "os.exec": _start,
        "os.posix_spawn": _start,
    }


GUARD = Guard(REAL_PLACES, READ_ONLY_PLACES)
sys.addaudithook(GUARD.hear)

# Fixtures of modules and sessions live away from home too, not only tests.
for _variable in [name for name in os.environ if name.startswith(("TASKRUNNER_", "XDG_"))]:
    if not _variable.startswith("TASKRUNNER_TEST_"):
        del os.environ[_variable]
_AWAY = tempfile.TemporaryDirectory(prefix="taskrunner-tests-")
os.environ["HOME"] = _AWAY.name
os.environ["TASKRUNNER_HOME"] = f"{_AWAY.name}/taskrunner"
# Whoever has these can talk to the real service manager.
for _variable in ("DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM"):
    os.environ.pop(_variable, None)


def pytest_configure() -> None:
    """Says what no test can do without, and heeds the signals that nohup(1) or a shell's & has set to be ignored.

    Programs under test inherit those.
    """
    own = pwd.getpwuid(os.getuid()).pw_dir
    if not os.path.isdir(own):  # else each test that starts a task would fail by itself
        raise pytest.UsageError(
            f"tasks start in the home of their user, and {own} is no folder: make it, or run the tests as somebody else"
        )
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_int = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def guard(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Guard]:
    """Gives the test a home of its own and fails it when it reached for a real one."""
    away = tmp_path / "away"
    monkeypatch.setenv("HOME", str(away))
    monkeypatch.setenv("XDG_STATE_HOME", str(away / "state"))
    monkeypatch.setenv("TASKRUNNER_HOME", str(away / "taskrunner"))
    # A child process is out of the audit hook's sight; what it creates is not.
    absent = [place for place in GUARD.places if not os.path.lexists(place)]
    GUARD.faults.clear()
    yield GUARD
    faults = list(GUARD.faults)
    faults += [f"created {GUARD.places[p]}: {p}" for p in absent if os.path.lexists(p)]
    GUARD.faults.clear()
    if faults:
        pytest.fail(f"{request.node.nodeid} {'; '.join(faults)}", pytrace=False)


# ---------------------------------------------------------------------------- children


def children() -> dict[int, str]:
    """Every child of this process, pid to command line; a dead one that nobody reaped counts."""
    found = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread ended while we looked
            for pid in map(int, listing.read_text().split()):
                found[pid] = _command_line(pid)
    return found


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "(gone)"
    return b" ".join(words).decode(errors="replace").strip() or "(dead, never waited for)"


PATIENCE = float(
    os.environ.get("TASKRUNNER_TEST_PATIENCE", "30")
)  # seconds; the machine may be busy


def left_behind(before: set[int]) -> dict[int, str]:
    """The children that were not there before and do not go away by themselves."""
    deadline = time.monotonic() + PATIENCE
    while True:
        left = {pid: what for pid, what in children().items() if pid not in before}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def put_away(pids: dict[int, str]) -> None:
    """Ends and reaps children of ours, so that the next test is not blamed for them."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.fixture(autouse=True)
def no_child_left(request: pytest.FixtureRequest, guard: Guard) -> Iterator[None]:
    """Fails the test when a process it started is still there at its end."""
    before = set(children())
    yield
    left = left_behind(before)
    put_away(left)
    if left:
        names = ", ".join(f"{pid} {what}" for pid, what in left.items())
        pytest.fail(f"{request.node.nodeid} left child processes behind: {names}", pytrace=False)


# ---------------------------------------------------------------------------- for tests to use


def pytest_sessionfinish() -> None:
    """Remove what libfaketime has left of processes that ended without a word, as an idle tick does."""
    for place in Path("/dev/shm").glob("*faketime_*"):
        with contextlib.suppress(OSError):
            pid = place.name.rpartition("_")[2]
            if place.stat().st_uid == os.geteuid() and not Path("/proc", pid).exists():
                place.unlink()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A private folder (0700) for one taskrunner."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    yield path
    with contextlib.suppress(FileNotFoundError):
        path.chmod(0o700)  # else pytest cannot remove it, as an ordinary user
    # A tick that may not write there remembers in memory what it has said within an hour, by the path.
    name = f"taskrunner-{os.geteuid()}-{zlib.crc32(os.fsencode(path)):08x}-*"
    for remembered in Path(report_error.MEMORY).glob(name):
        with contextlib.suppress(IsADirectoryError):  # a test put it there
            remembered.unlink()


def demanded(name: str) -> bool:
    """Must this machine have `name`? TASKRUNNER_TEST_REQUIRE=cron,systemd says so, or all."""
    wanted = os.environ.get("TASKRUNNER_TEST_REQUIRE", "").replace(",", " ").split()
    return name in wanted or "all" in wanted


@pytest.fixture(scope="session")
def needs() -> Callable[[str, object, str], None]:
    """`needs("cron", found, reason)`: skips without it, or fails where the machine must have it."""

    def check(name: str, found: object, reason: str) -> None:
        if found:
            return
        if demanded(name):
            pytest.fail(f"TASKRUNNER_TEST_REQUIRE demands {name}, but {reason}", pytrace=False)
        pytest.skip(reason)

    return check


# ---------------------------------------------------------------------------- fewer tests


def _name(nodeid: str) -> str:
    """The name of a test without the group that xdist writes behind it."""
    return re.sub(r"@[\w.-]+$", "", nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that passed in the file TASKRUNNER_TEST_NOTE, so that another user need not repeat it."""
    note = os.environ.get("TASKRUNNER_TEST_NOTE")
    # Each process of xdist sees its own reports, the one that leads them sees all.
    if note and report.when == "call" and report.passed and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(note, "a", encoding="utf-8") as file:
            file.write(_name(report.nodeid) + "\n")


def one_set_each(items: list[pytest.Item], python: str, share: str) -> list[pytest.Item]:
    """Choose one set of parameters for each test: always the same on one Python, another one on another.

    A share "1/3" has a third of the tests, and the three shares have all.
    """
    number, of = map(int, share.split("/"))
    sets: dict[str, list[pytest.Item]] = {}
    for item in items:
        sets.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return [
        each[zlib.crc32(f"{python} {test}".encode()) % len(each)]
        for test, each in sets.items()
        if zlib.crc32(test.encode()) % of == number - 1
    ]


@pytest.hookimpl(trylast=True)  # after the choice of -m and -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that the file TASKRUNNER_TEST_EXCEPT names, and most sets of parameters on another Python."""
    noted = os.environ.get("TASKRUNNER_TEST_EXCEPT")
    passed = {*Path(noted).read_text(encoding="utf-8").splitlines()} if noted else set()
    chosen = [item for item in items if _name(item.nodeid) not in passed]
    if PROFILE == "other_python":
        share = os.environ.get("TASKRUNNER_TEST_SHARE", "1/1")
        chosen = one_set_each(chosen, "{}.{}".format(*sys.version_info), share)
    kept = {id(item) for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


# ---------------------------------------------------------------------------- what tests are given


class Clock:
    """A clock that stands still until it is moved; what a TaskRunner takes as `clock`."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **length: float) -> datetime:
        """Move by a timedelta given as keywords, backwards when negative; returns the new instant."""
        self.at += timedelta(**length)
        return self.at


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at noon of an ordinary Friday, on a whole minute."""
    return Clock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


@pytest.fixture
def runner(home: Path, clock: Clock) -> Iterator[object]:
    """A taskrunner in a home of its own, with a clock to be moved by hand."""
    from taskrunner import TaskRunner  # here, so that a broken package fails its own tests only

    with TaskRunner(home, clock=clock) as made:
        yield made
