"""What a container's log tells of runs: starts, ends and outputs of several runs, each line after the name of its task."""

import signal
import threading
from dataclasses import replace

import pytest

from taskrunner import Manual, TaskRunner
from taskrunner.cli import main
from taskrunner.cli.interleaved import LONGEST, Interleaved
from taskrunner.model.answers import Piece
from taskrunner.model.values import State
from taskrunner.tick import live_output
from tests.samples import NOON, call, run, start, wait_for


@pytest.fixture
def runner(home):
    """A home with a task whose second line comes when it may, one that writes at once, and one that fails."""
    with TaskRunner(home) as made:
        wait = f"until [ -e {home.parent}/go-on ]; do sleep 0.05; done"
        made.add("slow", shell=f"echo begin; {wait}; echo end", schedule=Manual())
        made.add("quick", ["echo", "now"], Manual())
        made.add("bad", shell="printf 'no newline'; exit 3", schedule=Manual())
        yield made


def test_a_verbose_daemon_reports_each_start_and_end_and_output_interleaves(runner, home):
    with start(home, "--verbose", "daemon", "--interval", "1s", "--output") as process:
        wait_for(lambda: runner.status().last_tick)
        slow = runner.run("slow", detach=True)
        out = process.stdout.readline()
        runner.run("quick")
        runner.run("bad")
        while "now" not in out:
            out += process.stdout.readline()
        (home.parent / "go-on").touch()
        wait_for(lambda: runner.history("slow")[0].state is State.SUCCEEDED)
        process.send_signal(signal.SIGTERM)
        out += process.stdout.read()
        err = process.stderr.read()
    assert process.returncode == 0
    lines = [line.split(" | ") for line in out.splitlines()]
    assert sorted((name.strip(), text) for name, text in lines) == [
        ("bad", "no newline"),
        ("quick", "now"),
        ("slow", "begin"),
        ("slow", "end"),
    ]
    texts = [text for _, text in lines]
    assert texts.index("begin") < texts.index("now") < texts.index("end")
    assert f"taskrunner: slow: run {slow.id} started for" in err
    assert f"taskrunner: slow: run {slow.id} succeeded: exit code 0, after" in err
    assert "failed: exit code 3" in err


def test_a_daemon_that_is_not_asked_prints_nothing_of_runs(runner, home):
    with start(home, "daemon", "--interval", "1s") as process:
        wait_for(lambda: runner.status().last_tick)
        runner.run("quick")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=100) == ("", "")


def test_a_daemon_goes_on_when_nobody_reads_its_output(runner, home):
    with start(home, "daemon", "--interval", "1s", "--output") as process:
        wait_for(lambda: runner.status().last_tick)
        process.stdout.close()
        for _ in range(3):
            runner.run("quick")
        before = runner.status().last_tick
        wait_for(lambda: runner.status().last_tick > before)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdout = None


@pytest.mark.parametrize(
    ("words", "names"), [([], {"slow", "quick"}), (["slow"], {"slow"}), (["slow,bad"], {"slow"})]
)
def test_a_log_follows_across_runs_of_some_tasks_or_of_all(runner, home, words, names):
    with start(home, "log", "-f", "--all", "-v", *words) as process:
        first = runner.run("slow", detach=True)
        told = [process.stderr.readline()]  # it follows, however long its start takes
        (home.parent / "go-on").touch()
        wait_for(lambda: runner.run_of(first.id).state is State.SUCCEEDED)
        runner.run("quick")
        runner.run("slow")
        text = ""
        while text.count("slow") < 4:
            text += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert told[0].startswith("taskrunner: slow: run 4 started for ")
    found = {line.split()[0] for line in (text + rest).splitlines()}
    assert found == names
    assert text.count("| begin\n") == text.count("| end\n") == 2
    assert "slow: run 6 succeeded" in err or "slow: run 6 started" in err


def test_following_gives_what_goes_on_and_what_is_to_come(runner, home):
    """From the beginning of what runs, with the starts and ends of all, also of what never started."""
    slow = runner.run("slow", detach=True)
    wait_for(lambda: runner.history("slow", state="running"))
    pieces, found = runner.follow(), []
    while not any(each.what == "ended" and each.run.task == "quick" for each in found):
        piece = next(pieces)
        found += [] if piece is None else [piece]
        if piece is None and not runner.history("quick"):
            (home.parent / "go-on").touch()
            wait_for(lambda: runner.history("slow")[0].state is State.SUCCEEDED)
            runner.run("quick")
    of_slow = [each for each in found if each.run.id == slow.id]
    assert of_slow[0].what == "started"
    assert of_slow[-1].what == "ended"
    assert b"".join(each.data for each in of_slow) == b"begin\nend\n"
    assert [each.data for each in found if each.run.task == "quick" and each.data] == [b"now\n"]


def test_a_store_that_comes_later_is_followed(home):
    with TaskRunner(home) as runner:
        pieces = runner.follow()
        assert next(pieces) is None
        runner.add("quick", ["echo", "now"], Manual())
        runner.run("quick")
        found = [piece for piece in (next(pieces) for _ in range(9)) if piece is not None]
    assert [piece.what for piece in found] == ["started", "output", "ended"]


def test_who_listens_may_be_slow_and_gets_the_rest_in_the_end(runner):
    told, go_on = [], threading.Event()

    def listen(piece):
        go_on.wait(10)
        told.append(piece)

    watcher = live_output.Watcher(runner._here(), listen)
    watcher.start()
    wait_for(watcher.is_alive)
    runner.run("quick")
    go_on.set()
    watcher.finish()
    assert not watcher.is_alive()
    assert {piece.what for piece in told} <= {"started", "output", "ended"}


@pytest.mark.parametrize(
    "words", [["log"], ["log", "slow", "quick"], ["log", "--all"], ["log", "-f", "--all", "--json"]]
)
def test_a_log_of_no_run_or_of_several_says_what_would_be_right(home, capsys, words):
    assert main.main(["--home", str(home), *words]) == 2
    err = capsys.readouterr().err
    assert "-f --all" in err
    assert len(err.splitlines()) == 1


def test_an_unknown_task_is_refused_before_anything_is_followed(runner, home):
    out, err, code = call(home, "log", "-f", "--all", "nosuch")
    assert (out, code) == ("", 1)
    assert "'nosuch'" in err


# ---- lines


def interleaved(*pieces):
    found = []
    show = Interleaved(found.append)
    for what, number, task, data in pieces:
        show(Piece(what, replace(run(number, State.RUNNING, NOON), task=task), data))
    return b"".join(found)


def test_lines_of_two_runs_are_never_mixed():
    assert interleaved(
        ("output", 1, "a", b"on"),
        ("output", 2, "bcd", b"two\nth"),
        ("output", 1, "a", b"e\n"),
        ("ended", 2, "bcd", b""),
        ("ended", 1, "a", b""),
    ) == (b"bcd | two\na   | one\nbcd | th\n")


def test_a_line_without_end_is_not_waited_for_for_ever():
    text = b"x" * (LONGEST + 1)
    assert interleaved(("output", 1, "a", text)) == b"a | " + text + b"\n"


def test_empty_lines_and_bytes_that_are_not_text_stay():
    assert interleaved(("output", 1, "a", b"\n\n\xff\r\n")) == b"a | \na | \na | \xff\r\n"
    assert interleaved(("ended", 1, "a", b"")) == b""
