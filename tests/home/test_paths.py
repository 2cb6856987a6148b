"""Finding the home, and refusing one that is not private."""

import os
from pathlib import Path

import pytest

from taskrunner import Every, TaskRunner
from taskrunner.errors import HomeRefused, InputError
from taskrunner.home import paths as room
from tests.samples import call


def test_the_home_is_the_one_given_then_the_variable_then_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("TASKRUNNER_HOME", "/from/the/variable")
    assert room.find("/given") == "/given"
    assert room.find() == "/from/the/variable"
    monkeypatch.delenv("TASKRUNNER_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert room.find() == "/state/taskrunner"
    monkeypatch.setenv("HOME", "/home/ann")
    for useless in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", useless)
        assert room.find() == "/home/ann/.local/state/taskrunner"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert room.find() == "/var/lib/taskrunner"


def test_a_relative_home_is_made_absolute_and_a_tilde_expanded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert room.find("here") == str(tmp_path / "here")
    assert room.find("~/there") == "/home/ann/there"


def test_an_empty_home_is_refused_and_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("TASKRUNNER_HOME", "")
    assert room.find().endswith("/taskrunner")
    with pytest.raises(InputError, match="''"):
        room.find("")


def test_what_is_made_is_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        room.create(str(tmp_path / "deep" / "home"))
    finally:
        os.umask(old)
    made = tmp_path / "deep" / "home"
    for place in (made, made / "output", made / "backups", made / "supervisors"):
        assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
@pytest.mark.parametrize("name", ["", "taskrunner.db", "taskrunner.toml"])
def test_a_home_or_store_that_others_can_write_is_refused(home: Path, name, mode):
    place = home / name
    if name:
        place.touch()
    room.check(str(home))
    place.chmod(mode)
    with pytest.raises(HomeRefused, match=f"mode {mode:04o}"):
        room.check(str(home))


def test_a_home_of_somebody_else_is_refused(home: Path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(HomeRefused, match=r"belongs to user id \d+, not to you \(12345\)"):
        room.check(str(home))


def test_a_home_that_is_a_file_is_refused(tmp_path):
    place = tmp_path / "file"
    place.touch(mode=0o600)
    with pytest.raises(HomeRefused, match="not a folder"):
        room.check(str(place))


def test_a_home_that_does_not_exist_passes(tmp_path):
    room.check(str(tmp_path / "nothing"))


def test_a_home_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HomeRefused, match="Not a directory"):
        room.create(str(tmp_path / "file" / "home"))


def test_a_network_file_system_is_found_by_its_mount(monkeypatch, tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 22 0:40 / /srv/my\\040share rw shared:1 - nfs4 server:/share rw\n"
        "24 23 8:2 / /srv/my\\040share/local rw - xfs /dev/sdb rw\n"
    )
    real_open = open
    monkeypatch.setattr(
        "builtins.open",
        lambda name, *a, **k: real_open(table if name == "/proc/self/mountinfo" else name, *a, **k),
    )
    assert room.network_file_system("/srv/my share/home") == "nfs4"
    assert room.network_file_system("/srv/my share/local/home") is None
    assert room.network_file_system("/srv/my shareholder") is None


@pytest.mark.parametrize(
    ("environment", "caller"),
    [
        ({"TASKRUNNER_CLOCK": "cron"}, "cron"),
        ({"TASKRUNNER_CLOCK": "my own; clock"}, "myownclock"),
        ({"INVOCATION_ID": "abc"}, "systemd"),
        ({}, "hand"),
    ],
)
def test_the_caller_is_reported_by_the_environment(monkeypatch, environment, caller):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert room.caller() == caller


@pytest.mark.parametrize("depth", [1, 2])
def test_cron_is_known_by_the_name_of_the_process_that_started_us(monkeypatch, tmp_path, depth):
    real_open = open
    names = {os.getppid(): ("sh" if depth == 2 else "CRON", 77), 77: ("cron", 1)}

    def fake_open(name, *args, **options):
        pid = int(name.split("/")[2])
        place = tmp_path / str(pid)
        place.write_text(f"{pid} ({names[pid][0]}) S {names[pid][1]} 0 0\n")
        return real_open(place, *args, **options)

    monkeypatch.setattr("builtins.open", fake_open)
    found = room.caller()
    monkeypatch.undo()
    assert found == "cron"


@pytest.mark.parametrize(
    "name",
    ["heartbeat", "idle", "taskrunner.log", "taskrunner.toml", "taskrunner.db", "daemon.lock"],
)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(home, name):
    with TaskRunner(home) as runner:
        runner.add("backup", ["true"], Every("1h"))
    (home / name).unlink(missing_ok=True)
    os.mkfifo(home / name, 0o600)
    for words in (["tick"], ["status"], ["doctor"]):
        _, err, _ = call(home, *words)
        if name in ("taskrunner.toml", "taskrunner.db") and words != ["doctor"]:
            assert err == f"taskrunner: '{home}/{name}' is a pipe, not a file: remove it\n"


@pytest.mark.parametrize("given", ["", "a\0b", "\ud800", b"a\0b"])
def test_a_home_that_can_be_no_path_is_a_wrong_value(given):
    with pytest.raises(InputError, match="give a folder"):
        TaskRunner(given)
