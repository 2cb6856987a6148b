"""Children from hell, under the real program: what they do to themselves and to others, and never to us.

Each is a task of its own in one home, ended by one tick. What the supervisor costs is measured beside them.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from taskrunner import Manual, State, TaskRunner
from tests.conftest import demanded
from tests.samples import ROOT, call, program, rests, start, statuses, wait_for

pytestmark = pytest.mark.slow

LONG = bool(os.environ.get("TASKRUNNER_TEST_LONG"))
ROOTS = os.geteuid() == 0
needs_root = pytest.mark.skipif(
    not ROOTS and not demanded("root"), reason="other users need root to be made"
)
STRANGER = "games"  # a user that every Debian has and nobody uses
FAST = {"timeout": "5s", "kill_after": "1s"}  # long enough for a trap to be set


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def ended(runner, home, name, shell, **options):
    """Let the real program run a text for the shell; its run, and what it wrote."""
    runner.add(name, shell=shell, schedule=Manual(), now=True, **options)
    out, err, code = call(home, "tick")
    assert (out, err, code) == ("", "", 0)
    run = runner.history(name)[0]
    return run, runner.output(run)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ---- those that will not end


def test_who_ignores_term_is_killed_and_the_row_says_how(runner, home):
    run, _ = ended(runner, home, "deaf", "trap '' TERM; while :; do sleep 0.1; done", **FAST)
    assert run.state is State.TIMED_OUT
    assert run.reason == "stopped at its timeout of 5s (killed by SIGKILL)"


def test_who_has_stopped_itself_still_hears_term_and_may_clean_up(runner, home):
    text = "trap 'echo clean; exit 5' TERM; kill -STOP $$; while :; do sleep 0.1; done"
    run, output = ended(runner, home, "stopped", text, timeout="5s", kill_after="90s")
    assert (run.state, run.reason) == (
        State.TIMED_OUT,
        "stopped at its timeout of 5s (exit code 5)",
    )
    assert output == b"clean\n"


def test_grandchildren_that_are_deaf_do_not_outlive_the_timeout(runner, home, tmp_path):
    text = f"trap '' TERM; (while :; do sleep 0.1; done) & echo $! > {tmp_path}/pid; exec sleep 60"
    run, _ = ended(runner, home, "family", text, **FAST)
    assert run.state is State.TIMED_OUT
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


@needs_root
def test_a_fork_bomb_under_a_limit_is_put_out(runner, home, tmp_path):
    """Every process of it is gone afterwards, and the machine could fork all the while."""
    tmp_path.chmod(0o711)
    text = "bomb() { bomb | bomb & }; bomb; sleep 60"
    limits = {"limit": "processes=60", "user": STRANGER, "cwd": "/", "max_output": "64kB", **FAST}
    runner.add("other", ["true"], Manual(), now=True)
    run, _ = ended(runner, home, "bomb", text, **limits)
    assert run.state in (State.TIMED_OUT, State.FAILED), run.reason
    assert runner.history("other")[0].state is State.SUCCEEDED
    uid = pwd.getpwnam(STRANGER).pw_uid
    wait_for(lambda: all(status["Uid"].split()[0] != str(uid) for status in statuses()))


# ---- those that leave


def test_who_forks_twice_and_leaves_the_session_is_not_waited_for_and_not_hunted(
    runner, home, tmp_path
):
    text = f"setsid sh -c 'sleep 300 & echo $! > {tmp_path}/pid' & wait; exit 3"
    run, _ = ended(runner, home, "leaver", text, timeout="5m")
    assert (run.state, run.exit_code) == (State.FAILED, 3)
    pid = int((tmp_path / "pid").read_text())
    assert not gone(pid), "what left the session is the machine's, not ours"
    os.kill(pid, signal.SIGKILL)


def test_a_daemon_left_behind_writes_into_nobody_elses_output(runner, home, tmp_path):
    """Under one supervisor, whose files are used again, and under the next."""
    noise = f"(trap '' HUP; echo $$ ; while :; do echo NOISE; sleep 0.01; done) & echo $! > {tmp_path}/pid"
    runner.add("first", shell=noise, schedule=Manual(), now=True)
    for n in range(8):
        runner.add(f"after-{n}", shell="sleep 0.1; echo mine", schedule=Manual(), now=True)
    (home / "taskrunner.toml").write_text("max_parallel = 1\n")
    try:
        assert call(home, "tick") == ("", "", 0)
        late, output = ended(runner, home, "late", "sleep 0.2; echo mine")
        assert late.state is State.SUCCEEDED and output == b"mine\n"
        for n in range(8):
            assert runner.output(runner.history(f"after-{n}")[0]) == b"mine\n"
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# ---- those that write


def test_a_flood_at_full_speed_leaves_the_disk_and_the_others_alone(runner, home):
    runner.add("other", shell="sleep 0.3; echo done", schedule=Manual(), now=True)
    run, output = ended(runner, home, "flood", "yes flood", max_output="64kB", **FAST)
    assert run.state is State.TIMED_OUT and run.output_size > 1_000_000
    whole, _, _ = output.rpartition(b"\n")  # its last line was cut by the signal
    assert len(output) < 70_000 and whole.endswith(b"\nflood")
    assert runner.output(runner.history("other")[0]) == b"done\n"
    assert sum(place.stat().st_blocks for place in (home / "output").iterdir()) * 512 < 200_000


def test_bytes_that_are_not_text_come_back_as_they_went(runner, home):
    every = bytes(range(256)) * 4
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4)"
    runner.add("bytes", [sys.executable, "-c", code], Manual(), now=True, cwd="/")
    assert call(home, "tick") == ("", "", 0)
    piped = subprocess.run(program(home, "log", "bytes"), cwd=ROOT, capture_output=True)
    assert (piped.stdout, piped.returncode) == (every, 0)


def test_who_closes_its_descriptors_is_watched_to_its_end_all_the_same(runner, home):
    run, output = ended(runner, home, "mute", "exec <&- >&- 2>&-; sleep 0.3; exit 4")
    assert (run.state, run.exit_code, output) == (State.FAILED, 4, b"")


def test_who_opens_dev_stderr_again_writes_to_its_own_output(runner, home):
    run, output = ended(
        runner, home, "again", "echo one; echo two >> /dev/stderr; echo three >> /dev/stdout"
    )
    assert (run.state, output) == (State.SUCCEEDED, b"one\ntwo\nthree\n")
    run, output = ended(runner, home, "anew", "echo one; echo two > /dev/stderr")
    assert (run.state, output) == (State.SUCCEEDED, b"two\n"), "it truncates, as the page says"


# ---- those that become somebody else


@pytest.fixture
def of_a_stranger(tmp_path):
    """A home of another user, and a copy of a program that is root's whoever starts it."""
    base = Path("/var/tmp") / f"taskrunner-hell-{os.getpid()}"
    base.mkdir(mode=0o711)
    uid = int(subprocess.run(["id", "-u", STRANGER], capture_output=True, text=True).stdout)
    (base / "home").mkdir(mode=0o700)
    os.chown(base / "home", uid, uid)
    for name in ("sleep", "setpriv"):
        shutil.copy(shutil.which(name), base / name)
        (base / name).chmod(0o4755)
    yield base
    shutil.rmtree(base)


def as_stranger(base, *words):
    """Run the program as the other user, with its code where they can read it."""
    prefix = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--init-groups", "--"]
    argv = [
        *prefix,
        "/usr/bin/env",
        "-i",
        "PATH=/usr/bin:/bin",
        f"PYTHONPATH={base}/code",
        base / "python",
    ]
    done = subprocess.run(
        [*map(str, argv), "-m", "taskrunner", "--home", f"{base}/home", *words],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout, done.stderr, done.returncode


def python_for_all():
    """Return a Python >= 3.11 that another user can run; None when there is none."""
    asks = "import sys; sys.exit(sys.version_info < (3, 11))"
    become = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    become += ["/usr/bin/env", "-i"]  # setpriv itself can still look into folders of root
    for place in (str(Path(sys.executable).resolve()), "/usr/bin/python3"):
        if (
            subprocess.run([*become, place, "-c", asks], capture_output=True, cwd="/").returncode
            == 0
        ):
            return place
    return None


@needs_root
def test_a_setuid_program_is_stopped_as_far_as_the_system_lets_us(of_a_stranger):
    base, python = of_a_stranger, python_for_all()
    if python is None:
        pytest.skip("other users have no Python that they can run")
    become = ["setpriv", f"--reuid={STRANGER}", "--clear-groups", "--", base / "setpriv", "--dump"]
    if "euid: 0" not in subprocess.run(become, capture_output=True, text=True).stdout:
        pytest.skip("the file system does not obey setuid")
    (base / "python").symlink_to(python)
    site = Path(pytest.__file__).parent.parent
    shutil.copytree(ROOT / "taskrunner", base / "code" / "taskrunner")
    for name in ("croniter", "dateutil"):
        shutil.copytree(site / name, base / "code" / name)
    options = ["--manual", "--now", "--timeout=5s", "--kill-after=1s", "--cwd=/", "--quiet"]
    as_stranger(base, "add", "half", *options, "--", f"{base}/sleep", "60")
    whole = [f"{base}/setpriv", "--reuid=0", "--regid=0", "--clear-groups", "sleep", "15"]
    as_stranger(base, "add", "whole", *options, "--", *whole)
    assert as_stranger(base, "tick") == ("", "", 0)
    out, _, _ = as_stranger(base, "history")
    half = next(line for line in out.splitlines() if "half" in line)
    full = next(line for line in out.splitlines() if "whole" in line)
    assert "timed_out" in half and "SIGTERM" in half
    # All ids are root's: nobody but root can end it. It is waited for, and called what it is.
    assert "timed_out" in full and "exit code 0" in full


# ---- crowds


def figures(pid):
    """Memory of a process that is its own, in bytes, its CPU time in seconds, and its children by state."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = re.search(r"RssAnon:\s+(\d+)", status)
    if resident is None:
        raise ProcessLookupError(f"{pid} has ended")
    anonymous = int(resident[1]) * 1024
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    states = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listing.read_text().split():
            with suppress(OSError):
                states.append(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
    return anonymous, cpu, states


def crowd(home, count, *command, **options):
    (home / "taskrunner.toml").write_text('max_parallel = 2000\nsynchronous = "normal"\n')
    with TaskRunner(home) as runner:
        for n in range(count):
            runner.add(f"t{n}", list(command), Manual(), now=True, cwd="/", **options)


def supervising(home, count):
    """Start a tick and return what its supervisor needs while so many of its children live."""
    with start(home, "tick") as process:
        try:
            wait_for(lambda: len(figures(process.pid)[2]) == count)
            wait_for(lambda: rests(process.pid))  # what it may need later is imported
            before = figures(process.pid)
            time.sleep(1)
            after = figures(process.pid)
        finally:
            process.terminate()
            out, err = process.communicate(timeout=100)
    assert (out, err) == ("", "")
    assert "Z" not in after[2]
    return after[0], after[1] - before[1]


def test_what_a_hundred_children_cost_the_supervisor_is_bounded(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    for place, count in ((few, 10), (many, 410)):
        place.mkdir(mode=0o700)
        crowd(place, count, "sleep", "300")
    (small, _), (large, cpu) = supervising(few, 10), supervising(many, 410)
    per_hundred = (large - small) / 4
    print(
        f"{per_hundred / 1000:.0f} kB for a hundred children, {cpu:.2f} s of CPU in a second of 410"
    )
    assert per_hundred < 900_000
    assert cpu < 0.5, "it waits, and does not look around all the time"


@pytest.mark.parametrize("count", [1000])
def test_a_thousand_that_end_before_they_are_watched_are_all_known_and_none_is_a_zombie(
    home, count
):
    crowd(home, count, "true")
    with start(home, "tick") as process:
        zombies = 0
        while process.poll() is None:
            with suppress(OSError):
                zombies = max(zombies, figures(process.pid)[2].count("Z"))
            time.sleep(0.05)
        out, err = process.communicate()
    assert (out, err, process.returncode) == ("", "", 0)
    with TaskRunner(home) as runner:
        states = [run.state for run in runner.history(limit=None)]
    assert states == [State.SUCCEEDED] * count
    # Those of one batch wait for their end to be taken; none is left over from batches before.
    print(f"at most {zombies} ends waited to be taken")
    assert zombies <= 250


def test_a_thousand_at_once_run_side_by_side(home):
    """All are there together; one supervisor ends them all."""
    crowd(home, 1000, "sleep", "300", kill_after="90s")
    with start(home, "tick") as process:
        try:
            wait_for(lambda: len(figures(process.pid)[2]) >= 400)
            most = 0
            for _ in range(50):
                now = len(figures(process.pid)[2])
                if now == most:
                    break
                most = now
                time.sleep(0.5)
        finally:
            process.terminate()
            process.communicate(timeout=100)
    with TaskRunner(home) as runner:
        runs = runner.history(limit=None)
    print(f"{most} at once")
    assert len(runs) == 1000
    assert {run.state for run in runs} <= {State.CANCELLED, State.PENDING}
    assert sum(run.state is State.CANCELLED for run in runs) >= most
