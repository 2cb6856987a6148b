"""The files of the hosts of repositories call scripts that are there, and test what pyproject.toml promises."""

import os
import re
import subprocess
import tomllib

import pytest

from tests.samples import ROOT

FILES = [".github/workflows/test.yml", ".gitlab-ci.yml"]


def test_every_python_that_is_promised_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = re.findall(r":: (3\.\d+)", "\n".join(project["classifiers"]))
    for name in FILES:
        assert {*promised} <= {*re.findall(r'"(3\.\d+)"', (ROOT / name).read_text())}


@pytest.mark.parametrize("name", FILES)
def test_each_command_is_a_script_of_the_checkout(name):
    text = (ROOT / name).read_text()
    commands = re.findall(r"^ +- (?:run: )?((?:bash )?[.\w]+/\w+)$", text, re.MULTILINE)
    assert {"bash .ci/run", "bin/quickstart", "bin/test"} == {*commands}
    for command in commands:
        assert (ROOT / command.removeprefix("bash ")).is_file()


FLAKY = """
from pathlib import Path
def test_good(): pass
def test_flaky():
    seen = Path(__file__).with_name("seen")
    before, _ = seen.exists(), seen.touch()
    assert before
def test_bad(): assert {bad}
"""


@pytest.mark.parametrize(("again", "bad", "code"), [("1", 1, 0), ("1", 0, 1), ("", 1, 1)])
def test_a_test_has_failed_when_it_fails_again_alone_and_only_where_that_is_wished(
    tmp_path, again, bad, code
):
    (tmp_path / "test_x.py").write_text(FLAKY.format(bad=bad))
    (tmp_path / "pytest.ini").touch()
    words = [ROOT / "bin/test", "-n", "1", "-v", tmp_path]
    env = {**os.environ, "TASKRUNNER_TEST_AGAIN": again}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    last = done.stdout.rpartition("= test session starts =")[2]
    assert bool(re.search("PASSED .*test_flaky", last)) == bool(again)
    assert ("test_good" in last) == (not again)
