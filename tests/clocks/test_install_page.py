"""The units that `install page` writes, and what it refuses, with a systemctl that only remembers."""

from __future__ import annotations

import os

import pytest

from taskrunner.clocks import listen, page_text, systemd_text
from tests.clocks.test_install_systemd import PROGRAM, analyze, calls, machine, verb

__all__ = ["machine"]  # a fixture


def units(home=None, *flags, place=listen.DEFAULT, user=False, words=PROGRAM) -> dict[str, str]:
    return page_text.units(words, home, [listen.place(place)], flags, user=user)


def test_the_home_of_a_page_is_read_back():
    text = units("/srv/50% of $HOME")[page_text.SERVE]
    assert systemd_text.call(text, ("page",)).home == "/srv/50% of $HOME"
    assert systemd_text.call(text) is None, "it is no clock"


def test_a_unix_socket_is_a_stream_of_systemd():
    text = units(place="unix:/run/50%/page")[page_text.SOCKET]
    assert "\nListenStream=/run/50%%/page\n" in text


@pytest.mark.parametrize("user", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path, user):
    for name, text in units("/srv/50% o'clock", user=user, words=("/bin/true",)).items():
        (tmp_path / name).write_text(text)
    done = analyze("verify", *(str(file) for file in sorted(tmp_path.iterdir())))
    said = [line for line in done.stderr.splitlines() if "taskrunner" in line]
    assert (done.returncode, said) == (0, [])


@pytest.fixture
def folder(machine, tmp_path, monkeypatch):
    """The user's folder of units, with a systemctl that writes down what it is asked."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/systemd/user"


def test_install_writes_a_socket_and_starts_it(home, folder, machine, capsys):
    assert verb(home, "install", "page", "--user") == 0
    said = capsys.readouterr().err
    assert f"systemd serves the page of {home} at http://127.0.0.1:8470" in said
    assert "ListenStream=127.0.0.1:8470" in (folder / page_text.SOCKET).read_text()
    serve = (folder / page_text.SERVE).read_text()
    assert f"--home {home} page --idle 10m\n" in serve
    assert calls(machine)[1:] == [
        "--user daemon-reload",
        f"--user enable {page_text.SOCKET}",
        f"--user stop {page_text.SERVE}",
        f"--user restart {page_text.SOCKET}",
    ]


def test_install_again_changes_nothing_and_stops_no_page(home, folder, machine):
    verb(home, "install", "page", "--user")
    (machine / "calls").write_text("")
    verb(home, "install", "page", "--user")
    assert calls(machine)[-2:] == [
        f"--user enable {page_text.SOCKET}",
        f"--user start {page_text.SOCKET}",
    ]


def test_a_dry_run_prints_the_units_and_writes_nothing(home, folder, machine, capsys):
    assert verb(home, "install", "page", "--user", "--dry-run") == 0
    assert "+ListenStream=127.0.0.1:8470" in capsys.readouterr().out
    assert calls(machine) == []
    assert not folder.exists()


def test_uninstall_removes_both_units(home, folder, machine, capsys):
    verb(home, "install", "page", "--user")
    assert verb(home, "uninstall", "page", "--user") == 0
    assert not list(folder.iterdir())
    assert f"--user disable --now {page_text.SERVE} {page_text.SOCKET}" in calls(machine)
    assert verb(home, "uninstall", "page", "--user") == 0
    assert "has no units of this home" in capsys.readouterr().err


def test_the_page_of_another_home_is_left_alone(home, folder, machine, tmp_path, capsys):
    verb(home, "install", "page", "--user")
    other = tmp_path / "other"
    for does in ("install", "uninstall"):
        assert verb(other, does, "page", "--user") == 1
        assert "serves the page of" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("--operate",), "every user of this host"),
        (("--define",), "every user of this host"),
        (("--listen", "0.0.0.0:8470"), "everybody"),
        (("--listen", "[::]:8470"), "everybody"),
    ],
)
def test_a_page_that_others_reach_needs_users(home, folder, machine, capsys, words, who):
    assert verb(home, "install", "page", "--user", *words) == 2
    assert f"{who} who reaches" in capsys.readouterr().err
    (home / "page.users").touch(mode=0o600)
    assert verb(home, "install", "page", "--user", *words) == 0


def test_a_unix_socket_needs_no_users(home, folder, machine):
    assert verb(home, "install", "page", "--user", "--define", "--listen", "unix:/run/page") == 0
    assert "page --idle 10m --define\n" in (folder / page_text.SERVE).read_text()


def test_the_page_answers_to_the_hosts_it_is_given_and_listens_on(home, folder, machine):
    (home / "page.users").touch(mode=0o600)
    words = ("--listen", "192.0.2.1:80", "--listen", "127.0.0.1:80", "--host", "tasks.example.org")
    assert verb(home, "install", "page", "--user", *words) == 0
    text = (folder / page_text.SERVE).read_text()
    assert "--host tasks.example.org --host 192.0.2.1\n" in text


@pytest.mark.parametrize(
    "words",
    [
        ("cron", "--operate"),
        ("systemd", "--listen", "127.0.0.1:1"),
        ("page", "--daemon"),
        ("page", "--listen", "localhost:8470"),
        ("page", "--listen", "8470"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(home, folder, machine, capsys, words):
    assert verb(home, "install", *words, "--user") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert calls(machine) == []


def test_root_gets_units_of_the_system(home, folder, machine, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root gets as far")
    assert verb(home, "install", "page") == 0
    assert f"\n{systemd_text.SANDBOX}" in (tmp_path / "units" / page_text.SERVE).read_text()
