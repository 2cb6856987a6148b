"""What people outside rely on is there, as it was recorded in tests/data/surface/, wherever the code now lies.

`.venv/bin/python -m tests.surface` records anew what there is. More may come; what is recorded may not go or change.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import surface
from tests.samples import ROOT, program


@pytest.mark.slow
@pytest.mark.parametrize("part", surface.PARTS)
def test_what_was_recorded_of_the_surface_is_there(part, tmp_path):
    gone = surface.missing(surface.recorded(part), surface.seen(part, tmp_path))
    assert not gone, "\n".join([*gone, "on purpose? record it: python -m tests.surface"])


def test_each_verb_with_a_document_is_recorded(tmp_path):
    helps = surface.recorded("help")
    asked = {line.split()[0] for line in surface.DOCUMENTS}
    assert {verb for verb, words in helps.items() if "--json" in words} <= asked | {""}


def test_the_comparison_finds_what_went_and_lets_more_come():
    old = {"add": ["--at WHEN", "--json"], "list": {"tasks[].id": ["number"]}}
    more = {
        "add": ["--at WHEN", "--boot", "--json"],
        "list": {"tasks[].id": ["null"], "n": ["text"]},
    }
    assert surface.missing(old, more | {"new": []}) == []
    assert surface.missing(old, {"add": ["--json"], "list": {}}) == [
        "add: --at WHEN is gone",
        "list: tasks[].id is gone",
    ]
    assert surface.missing(old, {"list": {"tasks[].id": ["text"]}}) == [
        "add is gone",
        "list: tasks[].id was ['number'], and is ['text']",
    ]
    assert "order" in surface.missing({"t": ["a", "b"]}, {"t": ["b", "a"]})[0]


# ---- bad input


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    home = tmp_path_factory.mktemp("refused") / "home"
    home.mkdir(mode=0o700)
    surface.furnish(home)
    return home


REFUSALS = surface.recorded("refusals")


@pytest.mark.slow
@pytest.mark.xdist_group("refusals")
@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case["line"])
def test_bad_input_gets_a_sentence_that_names_it_and_its_exit_code(furnished, case):
    code, out, err, same = surface.refused(furnished, shlex.split(case["line"]))
    assert (code, out) == (case["code"], ""), err
    sentence, *more = err.splitlines()
    assert sentence.startswith("taskrunner: ")
    assert not more or (len(more) == 1 and more[0].startswith("see taskrunner ")), err
    for value in case["names"]:
        assert value in sentence
    assert same, "something was written"


# ---- exit codes

CODES = {
    "--version": 0,
    "tick": 0,  # also when a task fails
    "list": 0,
    "status": 0,
    "status --check": 1,  # a task fails
    "run report": 0,
    "run bad": 3,  # that of its command
    "run gone": 127,
    "cancel bad": 1,  # nothing to cancel
    "resume": 0,
    "apply tasks.toml --dry-run": 0,
    "prune --dry-run": 0,
}


@pytest.mark.xdist_group("refusals")
@pytest.mark.parametrize("line", CODES)
def test_a_verb_ends_with_the_exit_code_that_scripts_rely_on(furnished, line):
    code, _, err = surface.ask(furnished, *line.split())
    assert code == CODES[line], err


# ---- what is imported


OF_LIST = (
    "__future__ _socket argparse contextlib errno fcntl gc importlib json locale math shlex sqlite3 textwrap "
    "threading typing unicodedata weakref zlib zoneinfo"
)
# The library that our own code asks for, and at most so many modules of ours that are more than a docstring.
STARTS = {
    ("tick",): ("sqlite3 contextlib fcntl", 9),
    ("list",): (
        OF_LIST,
        49,
    ),
}


def loaded(argv):
    """The modules that a program imports, in a Python that says so."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {*re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.M)}


def has_code(module):
    """Whether a module of ours is more than a docstring."""
    text = Path(find_spec(module).origin).read_text(encoding="utf-8")
    return len(ast.parse(text).body) > 1


@pytest.mark.parametrize("words", STARTS, ids=" ".join)
def test_a_start_imports_no_more_than_is_listed(home, words):
    surface.must(home, "add", "report", "--every", "1d", "--", "true")
    surface.must(home, "tick")
    library, most = STARTS[words]
    found = loaded(program(home, *words)[1:])
    assert ("argparse" in found) == (words != ("tick",))  # it was idle indeed
    ours = {name for name in found if name.split(".")[0] == "taskrunner"}
    known = loaded(["-c", f"import runpy, {', '.join(library.split())}"])
    assert found - ours - known == set()
    assert len([name for name in ours if has_code(name)]) <= most
