"""The units that `install systemd` writes: their texts, what is read back, and refusals where no systemd answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from taskrunner.cli import main
from taskrunner.clocks import install_systemd, listen, page_text, systemd_text
from taskrunner.home import program

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("/usr/local/bin/taskrunner",)


def units(home=None, *, user=False, words=PROGRAM) -> dict[str, str]:
    """All three units."""
    one = systemd_text.units(words, home, user=user, daemon=False)
    return one | systemd_text.units(words, home, user=user, daemon=True)


def test_the_examples_are_what_is_installed():
    folder = ROOT / "contrib" / "systemd"
    page = page_text.units(PROGRAM, None, [listen.place(listen.DEFAULT)], (), user=False)
    assert {file.name: file.read_text() for file in folder.iterdir()} == units() | page


def test_the_units_of_a_user_have_no_sandbox_and_start_with_the_user():
    texts = units(user=True)
    assert "WantedBy=default.target" in texts[systemd_text.DAEMON]
    for text in texts.values():
        assert "CapabilityBoundingSet" not in text
        assert "systemctl --user edit" in text


@pytest.mark.parametrize("name", [systemd_text.TICK, systemd_text.DAEMON])
def test_the_sandbox_takes_nothing_from_tasks(name):
    # Each of these would break tasks that a line of root's crontab may well be.
    for word in ("NoNewPrivileges", "Protect", "Private", "ReadOnly", "Restrict", "SystemCall"):
        assert not re.search(rf"^{word}", units()[name], re.MULTILINE)


def test_each_unit_names_its_documentation():
    assert all("\nDocumentation=" in text for text in units().values())


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\\\x7f")),
)
def test_a_home_is_read_back_as_it_was_written_whatever_it_is_called(name):
    # Control characters are refused, and systemd itself has no other way to write them.
    name = "".join(sign for sign in name if sign.isprintable())
    call = systemd_text.call(units(f"/srv/{name}")[systemd_text.TICK])
    assert (call.home, call.program, call.verb) == (f"/srv/{name}", *PROGRAM, "tick")


def test_signs_that_systemd_would_expand_are_doubled():
    text = units("/srv/50% of $HOME")[systemd_text.TICK]
    assert '"/srv/50%% of $$HOME"' in text


def test_an_environment_line_names_the_home_too():
    text = units()[systemd_text.TICK] + "Environment=TASKRUNNER_HOME=/h\n"
    assert systemd_text.call(text).home == "/h"


@pytest.mark.parametrize(
    "text", ["", "ExecStart=/bin/true", "ExecStart='", "ExecStart=taskrunner list"]
)
def test_any_other_unit_calls_nothing(text):
    assert systemd_text.call(text) is None


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed here")
    return subprocess.run([tool, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("user", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path, user):
    words = (shutil.which("true") or "/bin/true",)  # the program need not be installed here
    for name, text in units("/srv/50% o'clock", user=user, words=words).items():
        (tmp_path / name).write_text(text)
    done = analyze("verify", *(str(file) for file in sorted(tmp_path.iterdir())))
    said = [line for line in done.stderr.splitlines() if "taskrunner" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize("name", [systemd_text.TICK, systemd_text.DAEMON])
def test_the_page_reports_the_exposure_that_systemd_computes(name):
    done = analyze("security", "--offline=true", "--no-pager", str(ROOT / "contrib/systemd" / name))
    figure = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert figure, done.stderr
    page = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
    told = re.search(rf"`{re.escape(name)}`[^\n]*?\b([0-9]+\.[0-9])\b", page)
    assert told, f"the page has no figure for {name}"
    # The weights differ between versions of systemd.
    assert abs(float(told[1]) - float(figure[1])) < 0.5


# ---- the verbs, with a systemctl that only remembers


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder of units and a systemctl that writes down what it is asked."""
    folder = tmp_path / "fake"
    folder.mkdir()
    calls = folder / "calls"
    calls.write_text("")
    answers(folder, "echo running")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(install_systemd, "SYSTEM_UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(program, "changeable_by", lambda _: None)
    monkeypatch.setattr(os, "geteuid", os.getuid)
    return folder


def answers(folder: Path, does: str) -> None:
    fake = folder / "systemctl"
    fake.write_text(f'#!/bin/sh\necho "$*" >>{folder}/calls\n{does}\n')
    fake.chmod(0o755)


def verb(home, *words: str) -> int:
    return main.main(["--home", str(home), *words])


def calls(machine: Path) -> list[str]:
    return (machine / "calls").read_text().splitlines()


def test_root_gets_units_of_the_system_and_others_their_own(machine, home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    verb(home, "install", "systemd", "--user")
    assert (tmp_path / "config/systemd/user/taskrunner.timer").exists()
    assert "--user enable --now taskrunner.timer" in calls(machine)
    if os.geteuid() == 0:
        verb(home, "install", "systemd")
        assert (tmp_path / "units" / "taskrunner.timer").exists()
        assert "enable --now taskrunner.timer" in calls(machine)


def test_system_units_need_root(machine, home, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert verb(home, "install", "systemd", "--system") == 1
    assert "only root" in capsys.readouterr().err
    assert calls(machine) == []


def test_a_dry_run_prints_the_units_and_asks_systemd_nothing(machine, home, capsys):
    assert verb(home, "install", "systemd", "--system", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "+OnCalendar=*-*-* *:*:00 UTC" in said
    assert calls(machine) == []
    assert not list(home.iterdir())


def test_install_refuses_where_there_is_no_systemctl(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("taskrunner.processes.programs.TOOLS", ())
    assert verb(home, "install", "systemd", "--user") == 1
    said = capsys.readouterr().err
    assert "systemd is not installed" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("whose", "cure"), [("--user", "enable-linger"), ("--system", "install cron")]
)
def test_install_refuses_where_no_systemd_answers(machine, home, capsys, whose, cure):
    if whose == "--system" and os.geteuid() != 0:
        pytest.skip("only root gets as far")
    answers(machine, "echo offline; exit 1")
    assert verb(home, "install", "systemd", whose) == 1
    said = capsys.readouterr().err
    assert cure in said
    assert said.count("\n") == 1


def test_a_systemctl_that_fails_is_reported_in_its_words(
    machine, home, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    answers(machine, '[ "$2" != enable ] || { echo masked >&2; exit 1; }; echo running')
    assert verb(home, "install", "systemd", "--user") == 1
    assert "enable --now taskrunner.timer` failed: 'masked'" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["systemd", "page"])
def test_uninstall_without_units_says_so_and_asks_systemd_nothing(
    machine, home, tmp_path, monkeypatch, capsys, what
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert verb(home, "uninstall", what, "--user") == 0
    assert "has no units of this home" in capsys.readouterr().err
    assert calls(machine) == []


def test_uninstall_refuses_units_that_no_systemd_would_stop(
    machine, home, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert verb(home, "install", "systemd", "--user") == 0
    answers(machine, "echo offline; exit 1")
    assert verb(home, "uninstall", "systemd", "--user") == 1
    assert "your user systemd does not answer" in capsys.readouterr().err
    assert (tmp_path / "config/systemd/user/taskrunner.timer").exists()


def test_the_daemon_goes_only_with_systemd(home, capsys):
    assert verb(home, "install", "cron", "--daemon") == 2
    assert "--daemon goes only with systemd" in capsys.readouterr().err
