"""The manual pages: fresh, without a warning of those who set them, and whole."""

import os
import re
import runpy
import shutil
import subprocess

import pytest

from taskrunner.cli import main
from taskrunner.cli.common import GROUPS
from taskrunner.home import config
from tests.samples import ROOT

pytestmark = pytest.mark.one_python

PAGES = sorted((ROOT / "contrib" / "man").iterdir())


def shown(page):
    """A page as man(1) shows it, without overstriking."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MAN_KEEP_FORMATTING": ""}
    argv = ["man", "--warnings", "-P", "cat", "-l", str(page)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)


def name(page):
    return page.name


def test_the_pages_are_those_of_this_program():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"), run_name="generate")
    texts = dict(generate["manuals"]())
    assert sorted(texts) == PAGES
    for page, text in texts.items():
        assert page.read_text() == text, f"{page.name} is stale: run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_mandoc_finds_nothing_to_warn_of(needs, page):
    needs("mandoc", shutil.which("mandoc"), "mandoc is not here")
    argv = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_man_shows_the_page_without_a_warning(needs, page):
    needs("man", shutil.which("man"), "man is not here")
    text = shown(page)
    head = f"{page.stem.upper()}({page.suffix[1:]})"
    assert text.lstrip().startswith(head)
    assert "SEE ALSO" in text
    assert not re.search(r"\\f[BIR]|\\\(|\]\(|<!--", text), "a mark was taken for text"


def test_the_page_of_the_program_has_each_verb_and_flag(needs):
    needs("man", shutil.which("man"), "man is not here")
    text = shown(ROOT / "contrib/man/taskrunner.1")
    for verb in main.VERBS:
        assert re.search(rf"^   {verb}$", text, re.M), verb
    for title in GROUPS:
        assert re.search(rf"^   {title.capitalize()}$", text, re.M), title
    assert "taskrunner explain backup" in text.partition("VERBS")[0]
    for flag in ("--catch-up WHAT", "--max-silence LENGTH", "--textfile FILE", "--home DIR"):
        assert flag in text


def test_the_page_of_the_settings_has_each_setting(needs):
    needs("man", shutil.which("man"), "man is not here")
    text = shown(ROOT / "contrib/man/taskrunner.toml.5")
    for setting in (*config.READERS, "notify"):
        assert re.search(rf"^       {setting}\b", text, re.M), setting


def test_a_page_can_be_found_by_what_it_is_about(needs):
    needs("man", shutil.which("lexgrog"), "lexgrog of man-db is not here")
    argv = ["lexgrog", *map(str, PAGES)]
    out = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=100).stdout
    assert '"taskrunner - cron with a memory"' in out
    assert len(out.splitlines()) == len(PAGES) == 3


def test_signs_that_mean_something_to_roff_are_text():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"), run_name="generate")
    text = generate["manual"].roff(
        "## A\n\n.dot 'quote \\back\n'line\n\n- `--x-y`: `a\\b` and *it*\n"
    )
    assert text == (
        ".SH A\n\\&.dot 'quote \\eback\n\\&'line\n.TP\n\\fB\\-\\-x\\-y\\fR\n\\fBa\\eb\\fR and \\fIit\\fR\n"
    )
