"""What a task may write, has to write and must not write: real children, watched while they do."""

import os
import re
import signal
import subprocess
import threading

import pytest

from taskrunner import After, Manual, State, TaskRunner
from taskrunner.processes import alive, bounded_output, output
from taskrunner.supervise import outcomes
from tests.samples import start, wait_for

MB = 1_000_000
MARK = re.compile(rb"\n\[taskrunner: (\d+) bytes left out\]\n")
NUMBERS = "seq -f %09.0f 0 {} "  # ten bytes each, so that each place tells where it is


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def add(runner, shell, name="x", **options):
    return runner.add(name, shell=shell, schedule=Manual(), **options)


def numbers(first, last):
    return b"".join(b"%09d\n" % number for number in range(first, last))


def ticking(home):
    """Do a tick in a thread, with a runner of its own."""

    def go():
        with TaskRunner(home) as mine:
            mine.tick()

    thread = threading.Thread(target=go)
    thread.start()
    return thread


def live(home):
    """The file that a run writes to, None before there is one."""
    return next((place for place in (home / "output").glob("*-*.*") if place.stat().st_size), None)


def disk(place):
    return place.stat().st_blocks * 512


# ---- how much is kept


@pytest.mark.slow
def test_a_command_that_floods_takes_little_of_the_disk_while_it_runs(runner, home, tmp_path):
    shell = (
        f"yes | head -c 300MB; touch {tmp_path}/up; while [ -e {tmp_path}/up ]; do sleep 0.1; done"
    )
    add(runner, shell, max_output="1MB", now=True)
    thread = ticking(home)
    wait_for((tmp_path / "up").exists)
    place = wait_for(lambda: live(home))
    wait_for(lambda: disk(place) < 2 * MB)
    assert place.stat().st_size == 300 * MB
    (tmp_path / "up").unlink()
    thread.join()
    (run,) = runner.history()
    assert (run.state, run.output_size) == (State.SUCCEEDED, 300 * MB)
    (place,) = (home / "output").iterdir()
    assert place.name == f"{run.id}.log"
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.stat().st_size < 1_000_100
    assert disk(place) >= place.stat().st_size  # nothing sparse


def test_of_what_is_too_much_the_head_and_the_newest_tail_are_kept(runner):
    add(runner, NUMBERS.format(999_999), max_output="1MB")
    run = runner.run("x")
    assert run.output_size == 10 * MB
    middle = b"\n[taskrunner: 9000000 bytes left out]\n"
    assert runner.output(run) == numbers(0, 50_000) + middle + numbers(950_000, 1_000_000)


@pytest.mark.parametrize("limit", [1, 99, 4096])
def test_a_limit_smaller_than_a_block_holds_to_the_byte(runner, home, limit):
    add(runner, NUMBERS.format(199_999), max_output=limit)
    run = runner.run("x")
    whole, half = numbers(0, 200_000), limit // 2
    kept = runner.output(run)
    assert kept.startswith(whole[:half] + b"\n[taskrunner: %d bytes left out]\n" % (2 * MB - limit))
    assert kept.endswith(whole[2 * MB - (limit - half) :])
    assert (run.output_size, len(MARK.sub(b"", kept))) == (2 * MB, limit)
    assert list((home / "output").iterdir()) == []  # so little is in the store


def test_output_that_just_fits_is_whole(runner):
    add(runner, "head -c 5000 /dev/zero", max_output=5000)
    assert runner.output(runner.run("x")) == bytes(5000)


def test_bytes_that_are_not_text_are_kept_as_they_are(runner):
    add(runner, r"""printf '\000\377\n%.0s' $(seq 100)""", max_output=30)
    line = b"\0\xff\n"
    assert (
        runner.output(runner.run("x"))
        == line * 5 + b"\n[taskrunner: 270 bytes left out]\n" + line * 5
    )


def test_a_log_that_is_logged_keeps_its_mark_and_its_size(runner, home):
    add(runner, NUMBERS.format(99_999), max_output=100_000)
    first = runner.output(runner.run("x"))
    (home / "first").write_bytes(first)
    add(runner, f"cat {home}/first", "again")
    run = runner.run("again")
    assert (runner.output(run), run.output_size) == (first, len(first))


@pytest.mark.parametrize("way", [">", ">>"])
def test_a_command_that_opens_its_output_by_name_is_bounded_too(runner, way):
    add(runner, f"{NUMBERS.format(199_999)} {way} /dev/stdout", max_output=100_000)
    run = runner.run("x")
    middle = b"\n[taskrunner: 1900000 bytes left out]\n"
    assert runner.output(run) == numbers(0, 5000) + middle + numbers(195_000, 200_000)


@pytest.mark.slow
def test_who_follows_too_slowly_is_told_how_much_he_missed(runner, home, tmp_path):
    shell = f"{NUMBERS.format(999_999)}; while [ -e {tmp_path}/up ]; do sleep 0.1; done"
    (tmp_path / "up").touch()
    add(runner, shell, max_output="1MB", now=True)
    thread = ticking(home)
    place = wait_for(lambda: live(home))
    following = runner.log(runner.history()[0], follow=True)
    first = next(block for block in following if block)
    wait_for(lambda: place.stat().st_size == 10 * MB and disk(place) < 2 * MB)
    (tmp_path / "up").unlink()
    text = first + b"".join(following)
    thread.join()
    (lost,) = MARK.finditer(text)
    behind = text[lost.end() :]
    assert lost.start() + int(lost[1]) + len(behind) == 10 * MB
    assert numbers(0, 1_000_000).startswith(text[: lost.start()])
    assert numbers(0, 1_000_000).endswith(behind)


def test_the_output_so_far_of_a_command_that_floods_has_an_end(runner, home):
    add(runner, "yes", max_output="1MB", now=True)
    thread = ticking(home)
    wait_for(lambda: live(home))
    (run,) = runner.history()
    assert len(runner.output(run)) > 0
    runner.cancel(run.id)
    thread.join()


def test_what_is_kept_is_a_file_of_its_own_when_somebody_left_behind_may_write_on(runner, home):
    shell = f"{NUMBERS.format(9_999)}; (sleep 300; echo late) & echo $!"
    add(runner, shell)
    run = runner.run("x")
    *whole, pid = runner.output(run).splitlines(keepends=True)
    assert b"".join(whole) == numbers(0, 10_000)
    opened = os.stat(f"/proc/{int(pid)}/fd/1")
    assert (home / "output" / f"{run.id}.log").stat().st_ino != opened.st_ino
    os.kill(int(pid), signal.SIGKILL)


def test_what_is_left_behind_by_one_task_does_not_write_into_the_output_of_another(
    runner, tmp_path
):
    add(
        runner,
        f"(while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo late) & echo $!",
        now=True,
    )
    add(runner, "sleep 0.5", "between", now=True)
    shell = f"touch {tmp_path}/go; while [ -d /proc/$(cat {tmp_path}/pid) ]; do sleep 0.05; done; echo own"
    runner.add("after", shell=shell, schedule=After("between"))
    thread = ticking(runner.home)
    (run,) = wait_for(lambda: runner.history("x", state="succeeded"))
    (tmp_path / "pid").write_bytes(runner.output(run))
    thread.join()
    assert [runner.output(run) for run in runner.history("after")] == [b"own\n"]


def test_without_holes_the_tail_is_moved_up(runner, home, tmp_path, monkeypatch):
    def no_hole(fd, start, length):
        raise OSError(95, "no holes here")

    monkeypatch.setattr(bounded_output.lock, "punch_hole", no_hole)
    shell = (
        f"yes | head -c 50MB; touch {tmp_path}/up; while [ -e {tmp_path}/up ]; do sleep 0.1; done"
    )
    add(runner, shell, max_output="1MB", now=True)
    thread = ticking(home)
    wait_for((tmp_path / "up").exists)
    place = wait_for(lambda: live(home))
    wait_for(lambda: place.stat().st_size < 2 * MB)
    (tmp_path / "up").unlink()
    thread.join()
    (run,) = runner.history()
    kept = runner.output(run)
    assert len(MARK.sub(b"", kept)) == MB
    assert int(MARK.search(kept)[1]) == run.output_size - MB


# ---- when the supervisor is dead


@pytest.fixture
def orphan(runner, home, tmp_path):
    """A run that floods for a while, whose supervisor is dead; gives its id, its pid and its file."""
    shell = (
        f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; "
        f"{NUMBERS.format(999_999)}; touch {tmp_path}/done; exec sleep 300"
    )
    add(runner, shell, max_output=100_000, now=True)
    with start(home, "tick") as supervisor:
        wait_for(lambda: any(found.pid for _, found in runner._here().store.processes.with_runs()))
        supervisor.kill()
    (tmp_path / "go").touch()
    wait_for((tmp_path / "done").exists)
    pid = int((tmp_path / "pid").read_text())
    (run,) = runner.history()
    yield run, pid, wait_for(lambda: live(home))
    if alive.started_ticks(pid):
        os.killpg(pid, signal.SIGKILL)


def test_the_output_of_an_orphan_that_lives_is_cut_by_a_later_tick(runner, orphan):
    run, _, place = orphan
    assert disk(place) >= 10 * MB
    runner.tick()
    assert disk(place) < MB
    assert runner.run_of(run.id).state is State.RUNNING


@pytest.mark.parametrize("cut_before", [True, False])
def test_the_output_of_an_orphan_that_is_gone_is_bounded(runner, home, orphan, cut_before):
    run, pid, _ = orphan
    if cut_before:
        runner.tick()
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: not alive.started_ticks(pid))
    runner.tick()
    lost = runner.run_of(run.id)
    assert (lost.state, lost.output_size) == (State.LOST, 10 * MB)
    middle = b"\n[taskrunner: 9900000 bytes left out]\n"
    assert runner.output(lost) == numbers(0, 5000) + middle + numbers(995_000, 1_000_000)
    assert [place.name for place in (home / "output").iterdir()] == [f"{run.id}.log"]


def test_an_output_that_was_put_away_before_its_supervisor_died_is_as_good(home):
    folder = home / "output"
    folder.mkdir()
    (folder / "7.log").write_bytes(b"a" * 50_000 + bounded_output.mark(12_345) + b"b" * 50_000)
    cut = bounded_output.Cut(50_000, 12_345)
    found = output.rescue(str(folder), "9-dead.1", 7, 100_000, cut)
    assert found == output.Rescued(112_345, cut=cut)
    assert list(output.rest(str(folder), 7, 112_345, 112_340, cut)) == [b"bbbbb"]


# ---- silence


def test_a_run_that_writes_nothing_for_too_long_is_stopped(runner, home):
    add(runner, "echo begin; sleep 300", max_silence="1s")
    run = runner.run("x")
    assert (run.state, run.signal) == (State.TIMED_OUT, signal.SIGTERM)
    assert run.reason == "stopped after 1s of silence (killed by SIGTERM)"
    assert run.duration >= 1


@pytest.mark.slow
def test_why_it_is_stopped_is_on_the_row_before_the_signal_is_sent(runner, home, tmp_path):
    go = tmp_path / "go"
    shell = f"trap 'touch {tmp_path}/told' TERM; until [ -e {go} ]; do sleep 0.1; done"
    add(runner, shell, max_silence="5s", kill_after="5m", now=True)
    thread = ticking(home)
    wait_for((tmp_path / "told").exists)
    ((_, process),) = runner._here().store.processes.with_runs()
    assert process.stop_reason == "stopped after 5s of silence"
    go.touch()
    thread.join()
    (run,) = runner.history()
    assert run.reason == "stopped after 5s of silence (exit code 0)"


@pytest.mark.slow
@pytest.mark.parametrize("way", [">&1", "> /dev/stdout"])
def test_a_run_that_writes_now_and_then_is_not_stopped(runner, way):
    # Written anew by name, the output never grows.
    add(runner, f"for i in 1 2 3 4 5 6 7 8; do sleep 1.5; echo $i {way}; done", max_silence="9s")
    run = runner.run("x")
    assert (run.state, run.reason) == (State.SUCCEEDED, "exit code 0")
    assert run.duration > 9


def test_a_run_may_be_silent_for_as_long_as_it_likes_when_nobody_minds(runner):
    add(runner, "sleep 1.5")
    assert runner.run("x").state is State.SUCCEEDED


# ---- what is expected


@pytest.mark.parametrize(
    ("options", "state", "reason"),
    [
        ({"expect": "^backup complete$"}, "succeeded", "exit code 0"),
        (
            {"expect": "backup failed"},
            "failed",
            "exit code 0, but its output does not match 'backup failed'",
        ),
        ({"reject": "ERROR|FATAL"}, "succeeded", "exit code 0"),
        ({"reject": "^warn"}, "failed", "exit code 0, but its output matches '^warn'"),
        ({"expect": "complete", "reject": "warn"}, "failed", "matches 'warn'"),
        ({"expect": "ß$"}, "succeeded", "exit code 0"),
        ({"expect": "bad \ufffd\\x00$"}, "succeeded", "exit code 0"),
    ],
)
def test_what_a_task_says_about_its_output_decides_its_end(runner, options, state, reason):
    shell = r"printf 'warning\nbackup complete\nSpa\303\237\nbad \377\000\n'"
    add(runner, shell, **options)
    run = runner.run("x")
    assert run.state == state
    assert reason in run.reason
    assert run.exit_code == 0


def test_a_silent_command_does_not_write_what_is_expected(runner):
    add(runner, "true", expect="done")
    assert runner.run("x").reason == "exit code 0, but its output does not match 'done'"


def test_what_is_kept_of_a_large_output_is_searched(runner):
    shell = f"{NUMBERS.format(199_999)}; echo end"
    add(runner, shell, "head", max_output=100_000, expect="^000000001$")
    add(runner, shell, "tail", max_output=100_000, expect="^end$")
    add(runner, shell, "middle", max_output=100_000, expect="^000100000$")
    states = [runner.run(name).state for name in ("head", "tail", "middle")]
    assert states == [State.SUCCEEDED, State.SUCCEEDED, State.FAILED]


def test_a_run_that_failed_anyway_keeps_its_reason(runner):
    add(runner, "exit 3", expect="done")
    assert runner.run("x").reason == "exit code 3"


def test_other_codes_that_are_ok_are_judged_by_the_output_too(runner):
    add(runner, "exit 3", expect="done", ok_codes=[0, 3])
    run = runner.run("x")
    assert (run.state, run.reason) == (
        State.FAILED,
        "exit code 3, but its output does not match 'done'",
    )


def test_a_search_that_does_not_end_is_given_up(runner, monkeypatch):
    monkeypatch.setattr(outcomes, "SEARCH", 0.3)
    add(runner, "printf '%060dx' 0", expect="(0+)+$")
    run = runner.run("x")
    assert run.state is State.FAILED
    assert run.reason == "exit code 0, but its output could not be searched in 0.3 s"


def test_an_expression_that_python_knows_no_more_is_a_failure_with_a_reason(runner):
    add(runner, "echo x", expect="x")
    store = runner._here().store
    with store.transaction():
        store.tasks.change(runner.task("x").id, expect="(")
    assert "its output cannot be searched: " in runner.run("x").reason


# ---- who reads along


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_pauses_keeps_no_timeout_from_being_obeyed(
    runner, home, tmp_path, monkeypatch, unbuffered
):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    shell = f"seq 100000; touch {tmp_path}/up; exec sleep 300"
    for timeout in ("1s", "10s", "50s"):  # a machine that stalls gets more
        known = runner.history()
        add(runner, shell, timeout=timeout, replace=True)
        with start(home, "run", "x", text=False, stderr=subprocess.DEVNULL) as process:
            wait_for(lambda known=known: len(runner.history(state="timed_out")) > len(known))
            assert process.poll() is None  # it waits for us
            said = process.stdout.read()
            assert process.wait(100) == 124
        if (tmp_path / "up").exists():
            break
    assert said == b"".join(b"%d\n" % n for n in range(1, 100_001))
    reason = f"stopped at its timeout of {timeout} (killed by SIGTERM)"
    assert runner.history()[0].reason == reason


def test_a_listener_is_called_beside_the_supervisor(runner):
    heard = []
    add(runner, "echo one; sleep 0.3; echo two")
    runner.run("x", echo=lambda block: heard.append((block, threading.current_thread())))
    assert b"".join(block for block, _ in heard) == b"one\ntwo\n"
    assert threading.main_thread() not in {thread for _, thread in heard}
