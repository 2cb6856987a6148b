"""How the program ends by an error: one sentence, an exit code, the same with the parser and without."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from taskrunner import Manual, report_error
from taskrunner.errors import EXIT_BUG, EXIT_BUSY, EXIT_FAILED, EXIT_INTERRUPTED
from tests.samples import ROOT, call, program


@pytest.fixture
def place(runner, home):
    runner.add("report", ["true"], Manual())
    runner.close()
    return home


def damaged(place):
    (place / "taskrunner.db").write_bytes(b"no store at all" * 1000)


def writable(place):
    place.chmod(0o777)


def misconfigured(place):
    (place / "taskrunner.toml").write_text("max_parallel = 0\n")


@pytest.mark.parametrize("spoil", [damaged, writable, misconfigured])
def test_a_plain_tick_says_what_is_wrong_as_the_parsed_one_does(place, spoil):
    spoil(place)
    plain, parsed = call(place, "tick"), call(place, "tick", "--verbose")
    assert plain == parsed
    out, err, code = plain
    assert out == "" and code not in (0, EXIT_BUG, EXIT_BUSY)
    assert err.startswith("taskrunner: ") and err.count("\n") == 1


def test_a_plain_tick_whose_stderr_is_closed_keeps_its_exit_code(place):
    damaged(place)
    argv = ["sh", "-c", 'exec "$@" 2>&-', "sh", *program(place, "tick")]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == EXIT_FAILED


def tick_that_raises(place, folder, error):
    """Run a plain tick in which an exception comes up, by a module that Python loads at its start."""
    (folder / "sitecustomize.py").write_text(
        "from taskrunner.tick import idle_check, visit\n"
        f"def fail(*args, **named): raise {error}\n"
        "idle_check.idle = lambda *args: False\n"
        "visit.full = fail\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run(program(place, "tick"), env=env, capture_output=True, text=True)


def test_a_bug_in_a_plain_tick_is_one_sentence_and_a_report(place, tmp_path):
    done = tick_that_raises(place, tmp_path, "ZeroDivisionError('far too small')")
    assert (done.stdout, done.returncode) == ("", EXIT_BUG)
    sentence, _, report = done.stderr.strip().rpartition(" ")
    assert "bug in taskrunner: ZeroDivisionError: far too small" in sentence
    assert "far too small" in Path(report).read_text()
    Path(report).unlink()


def test_a_plain_tick_that_is_interrupted_says_so(place, tmp_path):
    done = tick_that_raises(place, tmp_path, "KeyboardInterrupt")
    said = (done.stdout, done.stderr, done.returncode)
    assert said == ("", "taskrunner: interrupted\n", EXIT_INTERRUPTED)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EIO, "Input/output error", "/a/file"),
            "needs '/a/file': Input/output error",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "needs: Disk quota exceeded"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_refusal_of_the_machine_is_not_a_bug_of_ours(capsys, error, said):
    try:
        raise error
    except (OSError, MemoryError):
        assert report_error.report() == EXIT_FAILED
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "bug" not in err
    assert report_error.of_the_machine(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert report_error.of_the_machine(ValueError("x")) is None


# ---- the same message at most once an hour


def test_a_message_is_new_again_after_an_hour_or_with_other_words(home, monkeypatch, tmp_path):
    monkeypatch.setattr(report_error, "MEMORY", str(tmp_path))
    for where in ("lock", "memory"):
        if where == "lock":
            (home / "tick.lock").write_bytes(b"x" * 64)
        else:
            (home / "tick.lock").unlink()
        assert report_error.is_new(str(home), "one", 10**12)
        assert not report_error.is_new(str(home), "one", 10**12 + report_error.AGAIN - 1)
        assert report_error.is_new(str(home), "one", 10**12 + report_error.AGAIN)
        assert report_error.is_new(str(home), "two", 10**12 + report_error.AGAIN)
        assert report_error.is_new(str(home), "two", 10**12 - 5)  # the clock was set back


@pytest.mark.parametrize("what", ["a pipe", "a link", "a folder", "a file with a second name"])
def test_files_of_others_in_shared_memory_hold_no_message_back(home, monkeypatch, tmp_path, what):
    monkeypatch.setattr(report_error, "MEMORY", str(tmp_path))
    (tmp_path / "precious").write_text("precious")
    for place in (
        report_error._in_memory(str(home)),
        f"{report_error._in_memory(str(home))[:-17]}",
    ):
        if what == "a pipe":
            os.mkfifo(place, 0o666)
        elif what == "a link":
            os.symlink(tmp_path / "precious", place)
        elif what == "a folder":
            os.mkdir(place)
        else:
            os.link(tmp_path / "precious", place)
    assert report_error.is_new(str(home), "one", 10**12)
    assert not report_error.is_new(str(home), "one", 10**12 + 1)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_pipe_in_the_place_of_the_stamp_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert report_error._read(str(tmp_path / "pipe"), 0) == (0, None)
    assert not report_error._write(str(tmp_path / "pipe"), 0, "1 2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_stamp_of_another_user_holds_no_message_back(home, monkeypatch, tmp_path):
    monkeypatch.setattr(report_error, "MEMORY", str(tmp_path))
    assert report_error.is_new(str(home), "one", 10**12)
    os.chown(report_error._in_memory(str(home)), 65534, -1)
    assert report_error.is_new(str(home), "one", 10**12 + 1)
    assert not report_error.is_new(str(home), "one", 10**12 + 2)


def test_a_link_in_shared_memory_is_not_followed(home, monkeypatch, tmp_path):
    monkeypatch.setattr(report_error, "MEMORY", str(tmp_path))
    (place, _) = report_error._places(str(home))[1]
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", place)
    assert report_error.is_new(str(home), "one", 10**12)
    assert (tmp_path / "precious").read_text() == "precious"
