"""Words, environment and directory of a command are UTF-8, whatever the locale of who adds or starts it."""

import os
import shutil
import subprocess
import sys

import pytest

from taskrunner import Every, State, TaskRunner
from tests.samples import ROOT, program

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = "de_DE.ISO-8859-1"
LIBRARY = """
import sys
from taskrunner import TaskRunner
with TaskRunner(sys.argv[1]) as live_runner:
    live_runner.tick()
"""
TELL = 'pwd; printf "%s\\n" "$A" "$1"; cat'


@pytest.fixture(params=["ascii", "latin"])
def locale(request, tmp_path):
    """The environment of a caller whose locale has no euro sign, or takes its bytes for three other signs."""
    if request.param == "ascii":
        return {**os.environ, "PYTHONPATH": str(ROOT), **ASCII}
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / LATIN)]
        if shutil.which("localedef")
        else ["false"],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no such locale can be made: localedef or its files are missing")
    return {**os.environ, "PYTHONPATH": str(ROOT), "LOCPATH": str(tmp_path), "LC_ALL": LATIN}


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "5 €"
    folder.mkdir()
    (folder / "env").write_text("B=ß\n", encoding="utf-8")
    (folder / "env").chmod(0o600)
    (folder / "tool").write_text("#!/bin/sh\necho tool\n")
    (folder / "tool").chmod(0o755)
    return folder


@pytest.mark.parametrize("caller", ["program", "library"])
def test_a_command_gets_the_same_bytes_whatever_the_locale_of_who_starts_it(
    home, place, locale, caller
):
    with TaskRunner(home) as live_runner:
        options = {"cwd": str(place), "env": {"A": "ü"}, "env_file": str(place / "env")}
        words = ["sh", "-c", TELL + '; echo "$B"', "sh", "5 €"]
        live_runner.add("words", words, Every("1h"), now=True, stdin="ö\n", **options)
        live_runner.add("again", words, Every("1h"), now=True, umask=0o77, **options)
        live_runner.add("price", shell='echo "5 €"', schedule=Every("1h"), now=True)
        live_runner.add("tool", [str(place / "tool")], Every("1h"), now=True)
        live_runner.add(
            "path", ["tool"], Every("1h"), now=True, env={"PATH": f"{place}:/usr/bin:/bin"}
        )
        live_runner.add("gone", ["true"], Every("1h"), now=True, cwd=f"{place}/no")
        live_runner.add("harmless", ["true"], Every("1h"), now=True)
    argv = program(home, "tick") if caller == "program" else [sys.executable, "-c", LIBRARY, home]
    done = subprocess.run(argv, env=locale, capture_output=True)
    assert (done.stderr, done.returncode) == (b"", 0)
    with TaskRunner(home) as live_runner:
        found = {run.task: run for run in live_runner.history()}
        told = f"{place}\nü\n5 €\nö\nß\n".encode()
        assert live_runner.output(found["words"]) == told, found["words"].reason
        assert live_runner.output(found["again"]) == told.replace("ö\n".encode(), b"")
        assert live_runner.output(found["price"]) == "5 €\n".encode()
        assert live_runner.output(found["tool"]) == live_runner.output(found["path"]) == b"tool\n"
        assert found["harmless"].state is State.SUCCEEDED
        assert f"the directory '{place}/no': No such file" in found["gone"].reason


def test_what_is_added_is_the_same_whatever_the_locale_of_who_adds_it(home, place, locale):
    words = ["add", "a", "--manual", "--cwd", place, "--env", "A=ü", "--stdin", "ö\n"]
    argv = program(home, *map(str, words), "--", "sh", "-c", TELL, "sh", "5 €")
    added = subprocess.run(argv, env=locale, capture_output=True)
    assert added.returncode == 0, added.stderr
    run = subprocess.run(program(home, "run", "a"), env=locale, capture_output=True)
    assert run.stdout == f"{place}\nü\n5 €\nö\n".encode()
    shown = subprocess.run(program(home, "show", "a"), env=locale, capture_output=True)
    assert str(place).encode() in shown.stdout


def test_the_home_too_may_have_any_name(tmp_path, locale):
    home = tmp_path / "zu hause, für 5 €"
    added = subprocess.run(program(home, "add", "a", "--manual", "--", "true"), env=locale)
    assert added.returncode == 0
    run = subprocess.run(program(home, "run", "a"), env=locale)
    assert run.returncode == 0


def test_a_word_that_is_not_text_is_one_failed_row(runner, home):
    for name in ("bad", "good"):
        runner.add(name, ["true"], Every("1h"), now=True)
    here = runner._here()
    with here.store.transaction():  # as no verb would write it
        here.store.connection.run(
            "UPDATE tasks SET command = ? WHERE name = 'bad'", ('["true", "\\ud800"]',)
        )
    runner.tick()
    found = {run.task: run for run in runner.history()}
    assert found["good"].state is State.SUCCEEDED
    assert found["bad"].state is State.FAILED
    assert found["bad"].reason.startswith("could not start: ")
