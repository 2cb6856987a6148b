"""The files of the hosts of repositories call scripts that are there, and test what pyproject.toml promises."""

import re
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
