"""The promise of stability: the page has each part that is recorded, each alias, and each name that is deprecated."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskrunner.cli.common import ALIASES
from tests import surface
from tests.samples import ROOT, program

pytestmark = pytest.mark.one_python

PAGE = ROOT / "docs/reference/stability.md"
# The parts of the recorded surface, with their rows on the page.
ROWS = {
    "django": "Django application",
    "help": "command line",
    "json": "JSON",
    "schema": "database",
    "files": "home",
    "library": "library",
    "settings": "settings",
    "variables": "variables",
}
WARNINGS = {"DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "deprecated"}


def warned_of(text: str) -> list[str]:
    """Where a module warns of a name: the calls that give a warning for deprecated names, or mark one."""
    names = (
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name | ast.Attribute)
    )
    return [
        name
        for node in names
        if (name := getattr(node, "id", getattr(node, "attr", ""))) in WARNINGS
    ]


@pytest.mark.slow
def test_the_page_names_each_deprecated_name() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "taskrunner").rglob("*.py"))
        if warned_of(path.read_text(encoding="utf-8"))
    ]
    told = "No name is deprecated now." in PAGE.read_text(encoding="utf-8")
    assert told == (not found), f"{found}: the page says otherwise"


def test_a_warning_would_be_found() -> None:
    assert warned_of("import warnings\nwarnings.warn('x', DeprecationWarning)\n")
    assert warned_of("@warnings.deprecated('x')\ndef f(): pass\n")
    assert not warned_of("raise ValueError('deprecated')\n")


def test_the_page_has_a_row_for_each_part_that_is_recorded() -> None:
    assert set(ROWS) == set(surface.PARTS)
    rows = re.findall(r"^\| \[([\w ]+)\]", PAGE.read_text(encoding="utf-8"), re.M)
    assert set(ROWS.values()) <= set(rows)


def test_the_page_names_each_alias_of_a_verb() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{alias}`" in text for alias in ALIASES)


@pytest.mark.slow
def test_no_public_name_and_no_verb_warns(home: Path) -> None:
    """Python shows no such warning by default; here each would be an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    every = "import taskrunner; [getattr(taskrunner, name) for name in taskrunner.__all__]"
    for argv in ([sys.executable, "-c", every], *(program(home, *words) for words in WORDS)):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        assert "Warning" not in done.stderr


WORDS = (
    ["add", "report", "--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--now", "--", "true"],
    ["tick"],
    ["list"],
    ["history"],
    ["explain", "report"],
    ["next", "report"],
    ["stats"],
)
