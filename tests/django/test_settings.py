"""The setting TASKRUNNER: what it may hold, and the one sentence about what it may not."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("django")

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject, lazystr

from taskrunner.django import database, settings
from taskrunner.errors import InputError


@pytest.fixture
def read(monkeypatch):
    def given(**said):
        monkeypatch.setattr(settings, "settings", SimpleNamespace(**said))
        return settings.read()

    return given


def test_without_the_setting_everything_has_its_default(read, tmp_path):
    found = read()
    assert found.home == str(tmp_path / "away" / "taskrunner")
    assert (found.clock, found.edit, found.pass_env, found.defaults) == (True, False, (), {})
    assert (found.interval, found.linger) == (timedelta(seconds=10), timedelta(seconds=15))


def test_each_key_is_read(read, tmp_path):
    found = read(
        TASKRUNNER={
            "HOME": tmp_path / "tasks",
            "CLOCK": False,
            "INTERVAL": "1m30s",
            "LINGER": "forever",
            "EDIT": True,
            "PASS_ENV": ["DATABASE_URL", "SECRET_KEY"],
            "DEFAULTS": {"timeout": "10m", "on_failure": "@mail"},
        }
    )
    assert found.home == str(tmp_path / "tasks")
    assert (found.clock, found.interval, found.linger) == (False, timedelta(seconds=90), None)
    assert (found.edit, found.pass_env) == (True, ("DATABASE_URL", "SECRET_KEY"))
    assert found.defaults == {"timeout": "10m", "on_failure": "@mail"}


def test_lazy_values_are_those_that_they_stand_for(read, tmp_path):
    lazy = SimpleLazyObject
    found = read(
        TASKRUNNER={
            "HOME": lazy(lambda: tmp_path / "tasks"),
            "CLOCK": lazy(lambda: False),
            "INTERVAL": lazy(lambda: "1m30s"),
            "LINGER": lazystr("30s"),
            "PASS_ENV": [lazy(lambda: "DATABASE_URL")],
            "DEFAULTS": {"timeout": lazy(lambda: "10m"), "env": {"A": lazystr("b")}},
        }
    )
    assert found.home == str(tmp_path / "tasks")
    assert found.clock is False
    assert (found.interval, found.linger) == (timedelta(seconds=90), timedelta(seconds=30))
    assert found.pass_env == ("DATABASE_URL",)
    assert found.defaults == {"timeout": "10m", "env": {"A": "b"}}
    assert read(TASKRUNNER=lazy(lambda: {"HOME": lazystr("/srv/tasks")})).home == "/srv/tasks"
    assert database(lazy(lambda: tmp_path))["NAME"] == f"file:{tmp_path}/taskrunner.db?mode=ro"


class NoPath:
    """A class of paths that gives something else."""

    def __fspath__(self):
        return 7

    def __str__(self):
        return "no path"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/srv/tasks", "TASKRUNNER is '/srv/tasks': it must be a dictionary"),
        ({"HOEM": "/srv"}, "TASKRUNNER has the unknown key 'HOEM': did you mean HOME?"),
        ({7: 1}, "TASKRUNNER has the unknown key '7': known are HOME, CLOCK, INTERVAL"),
        ({"HOME": 7}, "TASKRUNNER['HOME']: '7' is not the path of a folder"),
        ({"HOME": NoPath()}, "TASKRUNNER['HOME']: 'no path' is not the path of a folder"),
        ({"HOME": SimpleLazyObject(lambda: 7)}, "TASKRUNNER['HOME']: '7' is not the path"),
        ({"INTERVAL": SimpleLazyObject(lambda: 10)}, "'10' is not a length of time"),
        ({"HOME": ""}, "TASKRUNNER['HOME']: '' is not the path of a folder"),
        ({"HOME": "a\0b"}, "TASKRUNNER['HOME']: the home 'a\\x00b' can be no path"),
        ({"CLOCK": "no"}, "TASKRUNNER['CLOCK']: 'no' is neither True nor False"),
        ({"EDIT": 1}, "TASKRUNNER['EDIT']: '1' is neither True nor False"),
        ({"INTERVAL": 10}, "TASKRUNNER['INTERVAL']: '10' is not a length of time, such as '10s'"),
        ({"INTERVAL": "10"}, "TASKRUNNER['INTERVAL']: '10' "),
        ({"INTERVAL": timedelta(milliseconds=1)}, "'0:00:00.001000' is too short: give at least"),
        ({"LINGER": "for ever"}, "'forever' means that it never ends"),
        ({"PASS_ENV": 7}, "TASKRUNNER['PASS_ENV']: '7': it must be a list of names of variables"),
        ({"PASS_ENV": ["A=B"]}, "it must be names of variables, without values"),
        ({"PASS_ENV": [7]}, "it must be names of variables, without values"),
        (
            {"PASS_ENV": ["TASKRUNNER_HOME"]},
            "it must be names of variables that are not taskrunner's",
        ),
        ({"PASS_ENV": ["A", "A"]}, "it must be a list that has A once"),
        ({"DEFAULTS": ["timeout"]}, "it is not a dictionary of options of a task"),
        ({"DEFAULTS": {"timeuot": "1m"}}, "'timeuot' is not an option of a task: did you mean"),
        ({"DEFAULTS": {"timeout": "1x"}}, "--timeout '1x': "),
        ({"DEFAULTS": {"python": "a:b"}}, "python cannot be a default: it belongs to a single"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(read, given, told):
    with pytest.raises(ImproperlyConfigured) as found:
        read(TASKRUNNER=given)
    assert told in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("wrong", [7, [], True, SimpleLazyObject(lambda: 7)])
def test_a_home_of_the_alias_that_is_no_path_is_refused(wrong):
    with pytest.raises(InputError, match="is not the path of a folder"):
        database(wrong)


def test_the_names_are_there_before_applications_are_ready():
    script = (
        "import taskrunner.django, sys\n"
        "assert 'django.db' not in sys.modules, 'models must wait for the settings'\n"
        "assert 'scheduled' in dir(taskrunner.django)\n"
        "from taskrunner.django import scheduled, command\n"
        "assert 'django.db' not in sys.modules\n"
    )
    root = Path(settings.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)


@pytest.mark.slow
def test_a_project_starts_with_the_application_and_nothing_else(project):
    assert "no issues" in project.does("check")
    project.does("migrate", "-v", "0")
    assert project.does("shell", "-c", "print(6 * 7)").endswith("42\n")
