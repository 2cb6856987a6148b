"""The table of options: complete, and agreeing with itself."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from taskrunner import Manual
from taskrunner.model.record import names_of
from taskrunner.model.values import Task
from taskrunner.render import documents
from taskrunner.tasks import options
from taskrunner.tasks.options import DEFAULTS, OPTIONS, Options
from tests.samples import TASK


def test_type_checkers_know_every_option_and_no_other():
    assert set(Options.__annotations__) == set(OPTIONS)


def test_every_option_is_a_field_of_a_task_and_a_key_of_its_document():
    assert set(OPTIONS) <= {*names_of(Task)}
    assert set(OPTIONS) <= documents.task_document(TASK).keys()


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_the_default_in_a_help_text_is_the_one_of_the_table(option):
    said = re.search(r"\(default: (?:10MB|1h|10s|1m|0|1)\)", option.help)
    if said and option.default is not None:
        assert option.read(said[0][10:-1]) == option.read(option.default)


def test_a_task_that_gives_no_option_is_reported_with_its_timeout_and_policies_alone(runner):
    task = runner.add("report", ["true"], Manual())
    assert options.told(task) == [("timeout", "1h"), ("overlap", "skip"), ("catch-up", "last")]


def test_an_option_is_reported_as_it_is_typed(runner):
    given = {
        "max_silence": "1m30s",
        "ok_codes": "0,3",
        "group": "db:2",
        "limit": "memory=1GB,cpu=5m",
    }
    given |= {"umask": "027", "max_output": "2MB", "timeout": None, "retry_backoff": 1.5}
    task = runner.add("report", ["true"], Manual(), **given)
    told = dict(options.told(task))
    typed = {name.replace("_", "-"): str(value).lower() for name, value in given.items()}
    assert {name: told[name].lower() for name in typed} == typed


def test_secrets_are_not_reported():
    task = replace(TASK, env={"API_TOKEN": "geheim", "A": "b c"}, stdin="geheim")
    told = dict(options.told(task))
    assert (told["env"], told["stdin"]) == ("API_TOKEN=*** A='b c'", "6 characters")


def test_every_option_that_is_written_is_read_back():
    task = replace(TASK, jitter=timedelta(seconds=1.5), group="db", group_limit=2, umask=0o27)
    for name in ("jitter", "group", "umask", "max_output", "timeout", "ok_codes"):
        written = options.written(OPTIONS[name], task)
        given = timedelta(seconds=written) if isinstance(written, float) else written
        found = OPTIONS[name].read(given)
        assert found == (("db", 2) if name == "group" else getattr(task, name))


def test_every_default_can_be_read():
    assert options.read(DEFAULTS) == options.defaults()
