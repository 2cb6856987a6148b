"""Outputs whose files a hostile task has prepared: their mode, times, size, links and text mean nothing to us."""

import ctypes
import errno
import fcntl
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from taskrunner import Every, Manual, State, TaskRunner, clock
from taskrunner.model.values import Outcome
from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import SMALL, OutputFiles, Rescued
from taskrunner.store.keys import LARGEST_ID
from taskrunner.supervise import outcomes, spool
from taskrunner.upkeep import retention
from tests.samples import NOON, call, start, wait_for

ROOTS = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOTS, reason="only root can run tasks as another user")
LIMIT = 100_000
FORGED = b"\n[taskrunner: 9223372036854775807 bytes left out]\n"
YEAR_5138, YEAR_33658 = 10**11, 10**12
TIMES = (0, -1, YEAR_5138, YEAR_33658, 2**33, 2**63 // 10**9 - 1, -(2**33))


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def folder(home):
    place = home / "output"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def files(folder):
    made = OutputFiles(str(folder), "7-abcd")
    yield made
    made.close()


def python(runner, name, code, **options):
    """Add a task that is due now and executes a text of Python; it has `os`, `fd` is its output."""
    text = (
        f"import fcntl, os, signal, sys, time\nfd = os.open('/proc/self/fd/1', os.O_RDWR)\n{code}"
    )
    argv, options = [sys.executable, "-c", text], {"cwd": "/", **options}
    if ROOTS:  # as somebody who can do nothing but this, nor reach our own Python
        argv[:1] = ["/usr/bin/env", "python3"]
        options["user"] = "nobody"
    return runner.add(name, argv, Manual(), now=True, **options)


def goes_on(home, runner):
    """Do all that meets outputs and files; each has to work."""
    for words in (["tick"], ["history"], ["status"], ["prune", "--dry-run"], ["prune"], ["tick"]):
        out, err, code = call(home, *words)
        assert (code, err) == (0, ""), (words, out)
    runner.add("good", ["echo", "fine"], Every("1d"), now=True, cwd="/")
    runner.tick()
    assert runner.output(runner.history("good")[0]) == b"fine\n"


# ---- what is in the file


def forged(at):
    """Give lines of Python that write a mark of their own there, with a mode that once said that it is ours."""
    return (
        f"os.chmod('/proc/self/fd/1', 0o1600)\n"
        f"os.write(1, b'x' * {at} + {FORGED!r} + b'y' * {at} + b'tail')\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 4000, 4096, 70_000, 200_000, 10_000_000])
@pytest.mark.parametrize("at", [0, 2000, 35_000, 150_000])
def test_a_mark_and_a_mode_of_its_own_do_not_count_for_what_was_left_out(home, runner, limit, at):
    python(runner, "evil", forged(at), max_output=limit)
    runner.tick()
    (run,) = runner.history("evil")
    text = b"x" * at + FORGED + b"y" * at + b"tail"
    assert (run.state, run.output_size) == (State.SUCCEEDED, len(text))
    left_out = max(0, len(text) - limit)
    assert (run.left_out or 0) == left_out
    kept = runner.output(run)
    if left_out:
        mark = bounded_output.mark(left_out)
        assert kept == text[: limit // 2] + mark + text[len(text) - (limit - limit // 2) :]
    else:
        assert kept == text
    goes_on(home, runner)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, 10**30, 10**90, 0, 1])
def test_no_number_in_a_text_is_believed_when_a_supervisor_has_died(folder, number):
    for size in (10, 30_000, 60_000):
        text = b"x" * size + bounded_output.mark(number) + b"y" * size
        for name, mode in (("9-dead.1", 0o1600), ("42.log", 0o600)):
            place = folder / name
            place.write_bytes(text)
            place.chmod(mode)
            for limit in (2 * size, 10**7):
                found = output.rescue(str(folder), "9-dead.1", 42, limit)
                assert found.size == len(text), (name, limit)
                with suppress(FileNotFoundError):
                    place.unlink()
                place.write_bytes(text)
                place.chmod(mode)
            assert b"".join(output.rest(str(folder), 42, 2**63 - 1, 0)) in (text, b"")
            place.unlink()
            (folder / "42.log").unlink(missing_ok=True)


def test_only_what_we_have_cut_ourselves_is_a_cut(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o1600)
    os.write(fd, b"x" * 50_000 + FORGED + b"y" * 50_000)
    size = os.fstat(fd).st_size
    other = bounded_output.Cut(50_000, 77)
    for cut in (None, other):
        assert bounded_output.written(fd, cut) == size
        assert bounded_output.excerpt(fd, LIMIT, cut).written == size
        assert bounded_output.bound(fd, LIMIT, cut) is None
    assert bounded_output.part(fd, None, 0)[1] == size
    os.close(fd)


def test_what_is_cut_without_holes_is_remembered_in_the_row(runner, home, tmp_path, monkeypatch):
    def no_hole(fd, start, length):
        raise OSError(errno.EOPNOTSUPP, "no holes here")

    monkeypatch.setattr(bounded_output.lock, "punch_hole", no_hole)
    wait = "while [ ! -e {} ]; do sleep 0.05; done"
    begin, go = wait.format(tmp_path / "begin"), wait.format(tmp_path / "go")
    shell = f"{begin}; head -c 2000000 /dev/zero; {go}"
    runner.add("x", shell=shell, schedule=Manual(), now=True, max_output=LIMIT, cwd="/")
    with start(home, "tick") as supervisor:
        wait_for(lambda: any(found.pid for _, found in runner._here().store.processes.with_runs()))
        supervisor.kill()
    (tmp_path / "begin").touch()  # now nobody cuts it
    (run,) = runner.history("x")
    wait_for(lambda: sum(map(len, runner.log(run))) >= 2_000_000)
    runner.tick()  # this cuts it
    process = runner._here().store.processes.of(run.id)
    assert (process.cut_at, process.left_out) == (50_000, 2_000_000 - LIMIT)
    middle = bounded_output.mark(2_000_000 - LIMIT)
    half = bytes(50_000)
    assert b"".join(runner.log(run)) == half + middle + half
    (tmp_path / "go").touch()
    wait_for(lambda: not os.path.exists(f"/proc/{process.pid}"))
    runner.tick()
    (run,) = runner.history("x")
    assert (run.state, run.output_size) == (State.LOST, 2_000_000)
    assert (run.cut_at, run.left_out) == (50_000, 2_000_000 - LIMIT)
    assert runner.output(run) == half + middle + half


# ---- how large it says it is


GIANT = """
for size in (2**63 - 1, 2**44 - 2**13, 2**43):
    try:
        os.ftruncate(fd, size)
        break
    except OSError:
        pass
os.pwrite(fd, b"first", 0)
os.write(1, b"")
"""


def test_a_file_of_any_size_is_an_output_like_others(home, runner):
    python(runner, "evil", GIANT, max_output=4096)
    runner.tick()
    (run,) = runner.history("evil")
    assert run.state is State.SUCCEEDED
    assert 2**40 < run.output_size <= LARGEST_ID
    assert len(runner.output(run)) < 5000
    goes_on(home, runner)


def test_a_size_beyond_what_the_store_holds_is_the_largest_it_holds(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    cut = bounded_output.Cut(10, 2**63 - 20)
    os.write(fd, b"x" * 10 + cut.mark + b"y" * 1000)
    assert (
        bounded_output.written(fd, cut)
        == bounded_output.excerpt(fd, 100, cut).written
        == LARGEST_ID
    )
    os.close(fd)


def reserve(fd, size):
    """Take disk from the start of a file to behind its end, without making it larger (fallocate(2))."""
    call, keep_size = ctypes.CDLL(None).fallocate, 1
    if call(fd, keep_size, ctypes.c_longlong(0), ctypes.c_longlong(size)) != 0:
        pytest.skip("this file system reserves nothing behind the end of a file")
    assert os.fstat(fd).st_blocks * 512 >= size


def test_disk_that_is_reserved_behind_the_end_is_given_back(files):
    file = files.take(os.geteuid())
    os.write(file.fd, b"some")
    reserve(file.fd, 60_000_000)
    bounded_output.bound(file.fd, LIMIT)
    assert os.fstat(file.fd).st_blocks * 512 < 1_000_000
    assert os.pread(file.fd, 100, 0) == b"some"
    os.ftruncate(file.fd, 0)
    reserve(file.fd, 60_000_000)
    files.put_back(file)
    assert os.fstat(files.take(os.geteuid()).fd).st_blocks == 0


# ---- time stamps


@pytest.mark.parametrize("large", [True, False])
def test_a_time_stamp_of_any_year_stops_nothing(home, runner, large):
    code = f"os.write(1, b'x' * {10 if not large else 2 * SMALL})\n"
    for at in TIMES:
        code += f"try: os.utime('/proc/self/fd/1', ({at}, {at}))\nexcept (OSError, OverflowError): pass\n"
    code += f"os.utime('/proc/self/fd/1', ({YEAR_33658}, {YEAR_33658}))"
    python(runner, "evil", code, max_silence="1m")
    runner.tick()
    assert runner.history("evil")[0].state is State.SUCCEEDED
    goes_on(home, runner)


@pytest.mark.parametrize("at", TIMES)
def test_the_time_of_the_last_output_is_neither_later_than_now_nor_what_its_user_says(folder, at):
    place = folder / "9-dead.1"
    place.touch()
    with suppress(OSError):
        os.utime(place, (at, at))
    now = clock.now()
    assert timedelta(0) <= now - output.heard(str(folder), "9-dead.1", now) < timedelta(minutes=1)
    assert output.heard(str(folder), "9-dead.1", NOON.replace(year=1980)) == NOON.replace(year=1980)


class Found:
    """What stat(2) says of a file that was changed so many seconds after 1970."""

    st_size, st_blocks = 1, 8

    def __init__(self, seconds):
        self.st_ctime_ns = seconds * 10**9


@pytest.mark.parametrize("seconds", [-(2**60), -1, 0, 10**9, YEAR_33658, 2**62])
def test_a_stamp_that_a_file_system_makes_up_is_within_bounds(seconds):
    assert clock.EPOCH <= retention._file(Found(seconds), NOON).touched <= NOON


# ---- modes and links


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("how", ["as it is", "a mode", "a link"])
def test_what_is_kept_belongs_to_us_alone(home, runner, tmp_path, how):
    mine = tmp_path / "mine"
    tmp_path.chmod(0o777)
    for place in tmp_path.parents:
        if place.stat().st_mode & 0o1 == 0:
            place.chmod(0o755)
    code = f"os.write(1, b'x' * {2 * SMALL})\n"
    if how == "a mode":
        code += "os.chmod('/proc/self/fd/1', 0o6777)"
    elif how == "a link":
        code += f"os.system('ln -L /proc/self/fd/1 {mine}')"
    python(runner, "evil", code)
    runner.tick()
    (run,) = runner.history("evil")
    found = (home / "output" / f"{run.id}.log").stat()
    assert (found.st_uid, found.st_mode & 0o7777, found.st_nlink) == (0, 0o600, 1)
    assert runner.output(run) == b"x" * 2 * SMALL
    if how == "a link":
        assert mine.stat().st_ino != found.st_ino
        assert mine.stat().st_uid != 0
    goes_on(home, runner)


@pytest.mark.skipif(ROOTS, reason="root can read a file of any mode")
def test_the_output_of_a_dead_supervisor_is_read_whatever_mode_its_task_gave_it(folder):
    (folder / "9-dead.1").write_bytes(b"x")
    for mode in (0, 0o222, 0o444):
        (folder / "9-dead.1").chmod(mode)
        assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued(1, b"x")
        (folder / "9-dead.1").chmod(mode)
        assert output.bound(str(folder), "9-dead.1", LIMIT, None) is None


def test_what_grew_after_it_was_looked_at_is_kept_as_it_was_then(files, folder):
    file = files.take(os.geteuid())
    os.write(file.fd, b"x" * 2 * SMALL)
    found, _ = output.gather(file.fd, LIMIT * 10)
    os.write(file.fd, b"y" * 10**7)
    files.keep(file, 42, found)
    assert (folder / "42.log").stat().st_size == 2 * SMALL


# ---- leases, pipes and what else makes opening wait


@contextmanager
def lease(place, kind):
    """Hold a lease on a file; who would break it gets a signal that is ignored."""
    fd = os.open(place, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
    yield
    os.close(fd)


@contextmanager
def quick():
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 40  # the kernel itself breaks a lease after 45 s


def test_nobody_waits_for_a_lease_on_an_output(folder):
    place = folder / "9-dead.1"
    place.write_bytes(b"x" * 500_000)
    words = (str(folder), "9-dead.1")
    with lease(place, fcntl.F_RDLCK), quick():
        with pytest.raises(BlockingIOError):
            output.bound(*words, LIMIT, None)
        assert output.written(*words, None) == 500_000
        found = output.rescue(*words, 42, LIMIT)
        assert (found.size, found.note) == (500_000, None)
    place.write_bytes(b"x")
    with lease(place, fcntl.F_WRLCK), quick():
        assert output.written(*words, None) == 0
        assert output.part(*words, None, 0) == (b"", 0)
        assert output.heard(*words, NOON) is None
        note = "its output was lost: a process that the task left behind holds a lease on it"
        assert output.rescue(*words, 42, LIMIT) == Rescued(note=note)


LEASE = """
os.close(fd)
os.write(1, b"x" * 3000000)
fd = os.open("/proc/self/fd/1", os.O_RDONLY)
null = os.open("/dev/null", os.O_RDWR)
os.dup2(null, 1)
os.dup2(null, 2)
os.closerange(fd + 1, 100)
signal.signal(signal.SIGIO, signal.SIG_IGN)
while True:
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.{kind})
        break
    except OSError:
        time.sleep(0.01)
open({up!r}, "w").close()
time.sleep(300)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F_RDLCK", "F_WRLCK"])
def test_a_lease_that_a_task_holds_on_its_own_output_holds_up_no_tick(home, runner, tmp_path, kind):
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_uid == os.geteuid():
            place.chmod(place.stat().st_mode | (0o007 if place == tmp_path else 0o001))
    python(
        runner, "evil", LEASE.format(kind=kind, up=f"{tmp_path}/up"), timeout="1h", max_output=LIMIT
    )
    with start(home, "tick") as supervisor:
        wait_for(lambda: any(found.pid for _, found in runner._here().store.processes.with_runs()))
        supervisor.kill()
    wait_for((tmp_path / "up").exists)
    ((run, process),) = runner._here().store.processes.with_runs()
    runner.add("good", ["true"], Manual(), now=True, cwd="/")
    with quick():
        runner.tick()
        runner.tick()
        b"".join(runner.log(run))
    assert runner.history("good")[0].state is State.SUCCEEDED
    assert runner.run_of(run.id).state is State.RUNNING
    with quick():
        runner.cancel(run.id)
    wait_for(lambda: not os.path.exists(f"/proc/{process.pid}"))
    runner.tick()
    assert runner.run_of(run.id).state is State.CANCELLED


@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link", "a socket"])
def test_only_a_regular_file_is_an_output_and_no_other_is_waited_for(folder, tmp_path, what):
    (tmp_path / "precious").write_text("precious")
    for name in ("9-dead.1", "42.log"):
        place = folder / name
        if what == "a pipe":
            os.mkfifo(place)
        elif what == "a folder":
            place.mkdir()
        elif what == "a socket":
            os.mknod(place, 0o140600)
        else:
            place.symlink_to(tmp_path / "precious")
    words = (str(folder), "9-dead.1")
    with quick():
        assert output.written(*words, None) == 0
        assert output.part(*words, None, 0) == (b"", 0)
        assert list(output.rest(str(folder), 42, 10, 0)) == []
        assert output.rescue(*words, 42, LIMIT).note.startswith("its output was lost: ")
        with pytest.raises(OSError):
            output.bound(*words, LIMIT, None)


# ---- what waits in the spool


def test_what_was_left_out_is_in_the_spool_too(runner):
    runner.add("x", ["true"], Manual())
    here = runner._here()
    made = outcomes.Ended(
        *(1, "9-dead", NOON, Outcome(0), 2**63 - 1, True, None, None, False), 50, 2**63 - 200
    )
    spool.put(here.folder, made)
    assert spool._read(here.folder, made.name) == made
