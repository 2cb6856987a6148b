"""Tests that share a costly fixture are run by one process of xdist: bin/test relies on it."""

import os
import subprocess
import sys

import pytest

TESTS = """
import os
import pytest

pytestmark = pytest.mark.xdist_group("together")

@pytest.mark.parametrize("number", range(8))
def test_notes_its_process(number):
    open(os.environ["NOTES"], "a").write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


@pytest.mark.slow
@pytest.mark.one_python
def test_tests_of_a_group_are_run_by_one_process(tmp_path):
    (tmp_path / "test_group.py").write_text(TESTS)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*argv, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "NOTES": str(tmp_path / "notes")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len({*(tmp_path / "notes").read_text().split()}) == 1
