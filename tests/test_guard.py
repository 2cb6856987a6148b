"""The guards of conftest.py work: a test that reaches for real things, or leaves a child, fails."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python

CONFTEST = Path(__file__).with_name("conftest.py").read_text()
ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["pytester"]


def run_alone(pytester: pytest.Pytester, test: str) -> pytest.RunResult:
    """Runs one test file under our conftest.py, in a pytest of its own."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """conftest.py imports the package, which need not be installed, from a temporary folder too.

    What is chosen of our own tests is not meant for those that a test makes.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in [name for name in os.environ if name.startswith("TASKRUNNER_TEST_")]:
        monkeypatch.delenv(variable)


def places(guard) -> list[str]:
    return [place for place, what in guard.places.items() if "home" in what]


def test_a_test_has_a_home_of_its_own(tmp_path):
    for variable in ("HOME", "XDG_STATE_HOME", "TASKRUNNER_HOME"):
        assert Path(os.environ[variable]).is_relative_to(tmp_path)


def test_opening_a_file_in_the_real_home_is_refused(guard):
    for place in places(guard):
        with guard.forgiven() as faults, pytest.raises(BaseException, match="touched"):
            Path(place, "taskrunner.db").read_bytes()
        assert place in faults[0]


def test_a_path_that_winds_its_way_there_is_refused(guard):
    with guard.forgiven() as faults, pytest.raises(BaseException, match="touched"):
        open("/var/lib/../lib/./taskrunner/x")  # noqa: SIM115
    assert faults == ["touched the machine's taskrunner home: /var/lib/taskrunner/x"]


@pytest.mark.parametrize("uri", [False, True])
def test_connecting_to_the_real_store_is_refused(guard, uri):
    name = "file:/var/lib/taskrunner/taskrunner.db?mode=ro" if uri else "/var/lib/taskrunner/t.db"
    with guard.forgiven() as faults, pytest.raises(BaseException, match="touched"):
        sqlite3.connect(name, uri=uri)
    assert len(faults) == 1


def test_making_the_real_home_is_refused(guard):
    with guard.forgiven() as faults, pytest.raises(BaseException, match="touched"):
        os.makedirs("/var/lib/taskrunner/output")
    assert len(faults) == 1
    assert not os.path.exists("/var/lib/taskrunner/output")


def test_the_real_crontabs_are_refused(guard):
    with guard.forgiven() as faults, pytest.raises(BaseException, match="crontabs"):
        os.listdir("/var/spool/cron/crontabs")
    assert len(faults) == 1


def test_the_machine_s_crontab_may_be_read_but_not_written(guard):
    with guard.forgiven() as faults:
        if os.path.exists("/etc/crontab"):
            Path("/etc/crontab").read_bytes()
        assert faults == []
        with pytest.raises(BaseException, match="crontab"):
            os.open("/etc/crontab", os.O_WRONLY | os.O_APPEND)
        assert len(faults) == 1


def test_starting_the_real_crontab_program_is_refused(guard):
    with guard.forgiven() as faults, pytest.raises(BaseException, match="started the real"):
        subprocess.run(["/usr/bin/crontab", "-l"])
    assert len(faults) == 1


def test_starting_a_fake_crontab_program_is_allowed(guard, tmp_path):
    fake = tmp_path / "crontab"
    fake.write_text("#!/bin/sh\nexit 7\n")
    fake.chmod(0o755)
    assert subprocess.run([str(fake), "-l"]).returncode == 7
    assert guard.faults == []


def test_the_guard_cannot_be_swallowed_as_an_ordinary_error(guard):
    with guard.forgiven():
        with pytest.raises(BaseException) as caught:
            open("/var/lib/taskrunner/x")  # noqa: SIM115
        assert not isinstance(caught.value, Exception)


def test_a_test_that_touches_the_real_home_fails_by_name(pytester):
    result = run_alone(
        pytester,
        """
        def test_careless():
            try:
                open("/var/lib/taskrunner/taskrunner.db")
            except BaseException:
                pass
        """,
    )
    result.stdout.fnmatch_lines(["*test_careless touched the machine's taskrunner home*"])
    assert result.ret == 1


def test_a_test_whose_child_made_a_real_place_fails_by_name(pytester, tmp_path):
    place = tmp_path / "place"
    result = run_alone(
        pytester,
        f"""
        import subprocess, conftest
        conftest.GUARD.places[{str(place)!r}] = "the place"
        def test_careless():
            subprocess.run(["mkdir", {str(place)!r}], check=True)
        """,
    )
    result.stdout.fnmatch_lines([f"*test_careless created the place: {place}*"])
    assert result.ret == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "child.kill()"], ids=["alive", "dead but not reaped"])
def test_a_test_that_leaves_a_child_fails_by_name(pytester, monkeypatch, end):
    monkeypatch.setenv("TASKRUNNER_TEST_PATIENCE", "1")
    result = run_alone(
        pytester,
        f"""
        import os, signal, pytest
        def test_careless():
            pid = os.fork()
            if pid == 0:
                os.execv("/bin/sleep", ["sleep", "60"])
            if {end!r}:
                os.kill(pid, signal.SIGKILL)
        """,
    )
    result.stdout.fnmatch_lines(["*test_careless left child processes behind: *"])
    assert result.ret == 1


def test_a_child_that_is_waited_for_is_not_a_leak():
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0


@pytest.mark.slow
def test_a_test_that_passed_once_can_be_left_out(pytester, monkeypatch):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.xdist_group("a group")
        @pytest.mark.parametrize("word", ["good", "@odd", "two words"])
        def test_passes(word): ...

        def test_fails_at_first():
            assert "TASKRUNNER_TEST_EXCEPT" in os.environ

        def test_is_skipped_at_first():
            if "TASKRUNNER_TEST_EXCEPT" not in os.environ:
                pytest.skip()
        """
    )
    for variable in ("PYTEST_XDIST_WORKER", "TASKRUNNER_TEST_EXCEPT"):
        monkeypatch.delenv(variable, raising=False)
    passed = str(pytester.path / "passed")
    monkeypatch.setenv("TASKRUNNER_TEST_NOTE", passed)
    argv = ("-n", "1", "--dist", "loadgroup", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*argv).assert_outcomes(passed=3, failed=1, skipped=1)
    monkeypatch.delenv("TASKRUNNER_TEST_NOTE")
    monkeypatch.setenv("TASKRUNNER_TEST_EXCEPT", passed)
    pytester.runpytest_subprocess(*argv).assert_outcomes(passed=2)


@pytest.mark.slow
def test_another_python_runs_one_set_of_parameters_of_each_test(pytester, monkeypatch):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("letter", "abcdefghij")
        def test_one(letter): ...

        @pytest.mark.parametrize("number", range(7))
        class TestEach:
            def test_two(self, number): ...
            def test_three(self, number): ...

        def test_four(): ...
        """
    )
    monkeypatch.setenv("TASKRUNNER_TEST_PROFILE", "other_python")
    argv = ("-n", "0", "-v", "-p", "no:cacheprovider")
    once, again = (pytester.runpytest_subprocess(*argv) for _ in range(2))
    once.assert_outcomes(passed=4, deselected=9 + 6 + 6)
    assert passed(once) == passed(again)

    shares = []
    for share in ("1/2", "2/2"):
        monkeypatch.setenv("TASKRUNNER_TEST_SHARE", share)
        shares += [passed(pytester.runpytest_subprocess(*argv))]
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == passed(once)


def passed(result: pytest.RunResult) -> set[str]:
    return {line.split()[0] for line in result.outlines if "PASSED" in line}
