"""The verb for queues: their contents, and emptying one, with a real Redis."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from taskrunner import TaskRunner
from taskrunner.errors import StateError
from tests.samples import program


def call(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(home, *words), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow]


def test_mistakes_are_told(home):
    (home / "taskrunner.toml").write_text("[queues.heavy]\nengine = 'rq'\nurl = 'redis://r/0'\n")
    for words, code, said in (
        (["queue", "heavi"], 1, "'heavi' is not a queue of taskrunner.toml: did you mean heavy?"),
        (["queue", "--empty"], 2, "--empty needs the name of a queue"),
        (["queue", "heavy", "--others"], 2, "--others goes only with --empty"),
    ):
        done = call(home, *words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_password_is_not_shown_and_an_address_may_be_in_a_variable(home, monkeypatch):
    settings = '[queues.a]\nengine = "rq"\nurl = "redis://:hunter2@127.0.0.1:1/0"\n'
    settings += '[queues.b]\nengine = "rq"\nurl_env = "REDIS_URL"\n'
    (home / "taskrunner.toml").write_text(settings)
    with TaskRunner(home) as runner:
        assert runner.queues("a")[0].url == "redis://:***@127.0.0.1:1/0"
        with pytest.raises(StateError, match="the variable REDIS_URL"):
            runner.queues("b")
        monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
        assert "hunter2" not in str(runner.queues())


def test_without_queues_it_says_how_to_have_one(home):
    done = call(home, "queue")
    assert (done.returncode, done.stdout) == (0, "")
    assert "there are no queues: write [queues.NAME] into taskrunner.toml" in done.stderr
