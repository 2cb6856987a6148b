"""A task resolved: the environment, later layers over earlier ones."""

import ast
import os
import pwd
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest

import taskrunner
from taskrunner import State
from taskrunner.errors import InputError, StateError
from taskrunner.home.config import Config
from taskrunner.model.values import Command
from taskrunner.processes import account, env_file
from taskrunner.supervise import command
from taskrunner.tasks import obstacles
from tests.samples import NOON, TASK, run

PACKAGE = Path(taskrunner.__file__).parent
ME = pwd.getpwuid(os.geteuid())
OURS = (
    "TASKRUNNER_TASK TASKRUNNER_RUN TASKRUNNER_SLOT TASKRUNNER_STARTED TASKRUNNER_ATTEMPT "
    "TASKRUNNER_TRIGGER TASKRUNNER_COALESCED TASKRUNNER_LAST_SUCCESS"
).split()


def environment(task=TASK, settings=None, slot=NOON):
    return command.environment(task, run(7, State.PENDING, slot), settings or Config(), NOON)


def test_the_base_is_small_and_fixed(monkeypatch):
    monkeypatch.setenv("LEAKED", "from the caller")
    found = environment()
    assert set(found) == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", *OURS}
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (ME.pw_dir, ME.pw_name, ME.pw_name)
    assert found["PATH"] == Config().path
    assert (found["SHELL"], found["LANG"]) == ("/bin/sh", "C.UTF-8")


def test_the_child_gets_its_slot_and_its_task_as_variables():
    task = replace(TASK, last_success=NOON - timedelta(hours=1))
    found = environment(task, slot=NOON - timedelta(minutes=5))
    assert [found[name] for name in OURS] == [
        "report",
        "7",
        "2026-11-20T11:55:00Z",
        "2026-11-20T12:00:00Z",
        "1",
        "schedule",
        "1",
        "2026-11-20T11:00:00Z",
    ]
    assert environment()["TASKRUNNER_LAST_SUCCESS"] == ""


def test_later_layers_win(tmp_path):
    place = tmp_path / "env"
    place.write_text("B=file\nC=file\n")
    settings = Config(env={"A": "config", "B": "config", "C": "config", "LANG": "config"})
    task = replace(TASK, env_file=str(place), env={"C": "task", "TASKRUNNER_TASK": "no"})
    found = environment(task, settings)
    assert [found[name] for name in ("A", "B", "C", "LANG")] == ["config", "file", "task", "config"]
    assert found["TASKRUNNER_TASK"] == "report"


def test_an_environment_file_is_read_line_by_line(tmp_path):
    place = tmp_path / "env"
    place.write_text("# comment\n\n A=1 \nexport B=two words\nC='quoted # \"'\nD=\"x\"\nE=\nF='\n")
    assert env_file.read_env_file(str(place)) == {
        "A": "1",
        "B": "two words",
        "C": 'quoted # "',
        "D": "x",
        "E": "",
        "F": "'",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"A=1\nB\n", "line 2: it is not NAME=VALUE"), (b"1A=2", "line 1"), (b"A=\xff", "UTF-8")],
)
def test_a_bad_environment_file_says_where(tmp_path, text, said):
    place = tmp_path / "env"
    place.write_bytes(text)
    with pytest.raises(StateError, match=said):
        env_file.read_env_file(str(place))
    with pytest.raises(StateError, match="No such file"):
        env_file.read_env_file(str(tmp_path / "nothing"))


def test_an_environment_file_may_begin_with_a_mark_and_end_its_lines_as_windows_does(tmp_path):
    place = tmp_path / "env"
    place.write_bytes(b"\xef\xbb\xbfA=1\r\nB='2'\r\n")
    assert env_file.read_env_file(str(place)) == {"A": "1", "B": "2"}


@pytest.mark.parametrize("text", ["A", "=1", "A B=1", "1A=x", "Ä=1", "A=\0", "A=\udcff"])
def test_an_assignment_needs_a_plain_name(text):
    with pytest.raises(InputError, match="NAME=VALUE"):
        env_file.assignment(text)


def test_an_assignment_on_the_command_line_keeps_its_quotes():
    assert env_file.assignment("A='b'") == ("A", "'b'")
    assert env_file.assignment("A=b=c") == ("A", "b=c")


def test_a_shell_text_is_run_by_the_shell_and_a_command_as_it_is():
    found = command.resolve(TASK, run(7, State.PENDING), Config(), NOON)
    assert (found.argv, found.cwd, found.umask) == (("true",), ME.pw_dir, 0o022)
    assert (found.timeout, found.kill_after, found.stdin) == (3600, 10, None)
    text = replace(TASK, command=(), shell="a | b", cwd="/srv", umask=0o077, timeout=None)
    found = command.resolve(text, run(7, State.PENDING), Config(), NOON)
    assert (found.argv, found.cwd, found.umask) == (("/bin/sh", "-c", "a | b"), "/srv", 0o077)
    assert found.timeout is None


def test_a_user_who_does_not_exist_is_named():
    with pytest.raises(StateError, match="no user 'nobody-here'"):
        command.resolve(replace(TASK, user="nobody-here"), run(7, State.PENDING), Config(), NOON)


def test_another_user_has_a_home_and_a_name_of_its_own():
    found = environment(replace(TASK, user="nobody"))
    assert found["USER"] == "nobody"
    assert found["HOME"] == pwd.getpwnam("nobody").pw_dir


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ("true",)}, None),
        ({"command": ("/bin/true",)}, None),
        ({"command": ("./true",), "cwd": "/bin"}, None),
        ({"command": (), "shell": "nosuch --now"}, "'nosuch' is not found on the PATH"),
        ({"command": (), "shell": "LC_ALL=C nosuch | sort"}, "'nosuch' is not found on the PATH"),
        ({"command": (), "shell": "sort -u < a && nosuch"}, None),
        ({"command": (), "shell": "cd /tmp && nosuch"}, None),
        ({"command": (), "shell": "nosuch() { true; }; nosuch"}, None),
        ({"command": (), "shell": "PATH=/opt/bin nosuch"}, None),
        ({"command": (), "shell": "$PROGRAM; (nosuch); { nosuch; }; A=$(nosuch) true"}, None),
        ({"command": ("nosuch",)}, "'nosuch' is not found on the PATH"),
        ({"command": ("/no/such",)}, "'/no/such' is not found"),
        ({"command": ("/etc",)}, "'/etc' is not found"),
        ({"command": ("/etc/passwd",)}, "'/etc/passwd' is not executable"),
        ({"command": ("passwd",), "env": {"PATH": "/etc"}}, "'/etc/passwd' is not executable"),
        ({"command": ("true",), "env": {"PATH": "/nowhere"}}, "'true' is not found on the PATH"),
        ({"cwd": "/no/such"}, "directory '/no/such' does not exist"),
        ({"env_file": "/no/such"}, "environment file '/no/such' does not exist"),
        ({"user": "nobody-here"}, "no user 'nobody-here'"),
    ],
    ids=str,
)
def test_a_warning_says_what_will_keep_a_task_from_starting(change, said):
    found = obstacles.obstacles(replace(TASK, **change), Config())
    assert (said is None) == (found == [])
    assert said is None or said in found[0]


def test_a_home_folder_that_is_not_there_is_a_warning_unless_the_task_starts_elsewhere(monkeypatch):
    monkeypatch.setattr(account, "account", lambda user: ("ann", "/no/home"))
    (found,) = obstacles.obstacles(TASK, Config())
    assert "home of ann, '/no/home', which does not exist" in found
    assert obstacles.obstacles(replace(TASK, cwd="/"), Config()) == []


def test_an_environment_file_that_is_a_pipe_or_huge_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_text("A=1\n" * 300_000)
    for name in ("pipe", "huge"):
        with pytest.raises(StateError, match="not a regular file"):
            env_file.read_env_file(str(tmp_path / name))


def test_a_number_without_a_name_is_its_own_name_and_its_home_is_the_root(monkeypatch):
    """As in a container that was started with `--user 12345`."""
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_000)
    account.account.cache_clear()
    assert account.account(None) == ("4000000000", "/")
    account.account.cache_clear()


INLINE = ("processes/spawn.py", "processes/children.py")
SYSTEMD = ("supervise/systemd/transient.py",)
OF_SUPERVISORS = {"missing"}  # they add it to the reason of the run
OF_TICKS = {"max_silence"}  # a tick looks how long the output of a unit has been silent


def used(modules):
    """Return the fields of a command that modules read, as `command.FIELD`."""
    trees = [ast.parse((PACKAGE / module).read_text()) for module in modules]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, (ast.Name, ast.Attribute))
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) == "command"
    }


@pytest.mark.parametrize(("modules", "others"), [(INLINE, OF_SUPERVISORS), (SYSTEMD, OF_TICKS)])
def test_each_way_to_start_a_command_uses_all_of_its_fields(modules, others):
    """An option that reaches only one of them would silently do nothing under the other."""
    assert {each.name for each in fields(Command)} - used(modules) == others
