"""The verb for queues: their contents, and emptying one, with a real Redis."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskrunner import Manual, State, TaskRunner
from taskrunner.engines import rq_queue
from taskrunner.errors import StateError
from taskrunner.tick import by_hand
from tests.engines import redis_box
from tests.engines.redis_box import Box, until
from tests.samples import ROOT, program
from tests.web.serving import served


def call(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(home, *words), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow]


@pytest.fixture
def box(needs, tmp_path: Path):
    needs("redis", os.access(redis_box.SERVER, os.X_OK), f"there is no {redis_box.SERVER}")
    with redis_box.box(tmp_path) as made:
        yield made


@pytest.fixture
def queued(home: Path, box: Box):
    """A home with one run that waits in the queue heavy, beside one of somebody else."""
    settings = f'[queues.heavy]\nengine = "rq"\nurl = "{box.url}"\n'
    (home / "taskrunner.toml").write_text(settings)
    with TaskRunner(home) as runner:
        runner.add("far", ["true"], Manual(), queue="heavy")
        runner.run("far", detach=True)
        until(lambda: runner.queues("heavy")[0].waiting == 1)
        box.redis.rpush("rq:queue:default", "somebody-else")
        yield runner


def test_the_contents_of_a_queue_are_counted(queued, home, box):
    (found,) = queued.queues()
    assert (found.name, found.engine, found.url) == ("heavy", "rq", box.url)
    assert (found.waiting, found.others_waiting, found.running) == (1, 1, 0)
    assert found.workers == () and found.error is None
    assert abs(found.oldest.timestamp() - time.time()) < 120
    done = call(home, "queue")
    assert done.returncode == 0
    assert "1 waiting, 0 running" in done.stdout
    assert "no worker listens to it" in done.stdout
    box.worker("one")
    until(lambda: queued.queues()[0].workers)
    assert re.search(r"^one +\S+ +(idle|busy|started)", call(home, "queue", "heavy").stdout, re.M)


def test_the_page_about_health_shows_the_queues(queued, home, box):
    settings = (home / "taskrunner.toml").read_text()
    away = '[queues.away]\nengine = "rq"\nurl = "redis://:hunter2@127.0.0.1:1/0"\n'
    (home / "taskrunner.toml").write_text(settings + away)
    with served(home) as page:
        _, _, body = page.ask("/health")
    text = re.sub(r"<[^>]*>|\s+", " ", body.decode() if isinstance(body, bytes) else body)
    shown = re.sub(r" +", " ", text.partition("Queues to other machines")[2])
    assert f"heavy {box.url} 1 0 1 waiting, 0 running none" in shown
    assert "the queue away does not answer" in shown
    assert "hunter2" not in shown


def test_the_page_about_the_present_shows_where_a_run_is(queued, home):
    with served(home) as page:
        _, _, body = page.ask("/")
    text = body.decode() if isinstance(body, bytes) else body
    assert re.search(r"far</a><div[^>]*>waits in heavy since ", text)


def test_the_page_about_the_present_shows_why_a_run_is_pending(queued, home, box):
    box.stop()
    queued.add("later", ["true"], Manual(), queue="heavy", now=True)
    queued.tick()
    with served(home) as page:
        _, _, body = page.ask("/")
    text = body.decode() if isinstance(body, bytes) else body
    assert re.search(r"later</a><div[^>]*>the queue heavy does not answer since ", text)


def test_a_queue_is_emptied_of_our_runs_or_of_all(queued, home, box):
    done = call(home, "queue", "heavy", "--empty", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (run,) = document["runs"]
    assert run["state"] == "cancelled" and "the queue heavy was emptied" in run["reason"]
    assert document["others"] == 0
    assert queued.queues()[0].others_waiting == 1
    done = call(home, "queue", "heavy", "--empty", "--others")
    assert done.stderr == "taskrunner: heavy: 0 waiting runs cancelled, 1 other taken out\n"
    assert not box.redis.llen("rq:queue:default")
    assert queued.history("far")[0].state is State.CANCELLED


def test_a_run_that_is_handed_over_meanwhile_is_not_thrown_away_as_one_of_others(
    queued, box, monkeypatch
):
    cancel = by_hand.cancel

    def slow(*given, **more):
        found = cancel(*given, **more)
        queued.add("later", ["true"], Manual(), queue="heavy", now=True)
        queued.tick()
        assert queued.queues("heavy")[0].waiting == 1
        return found

    monkeypatch.setattr(by_hand, "cancel", slow)
    emptied = queued.empty_queue("heavy", others=True)
    assert ([run.task for run in emptied.runs], emptied.others) == (["far"], 1)
    (left,) = box.redis.lrange("rq:queue:default", 0, -1)
    assert left.decode().endswith(f"-{queued.history('later')[0].id}")
    queued.tick()
    assert queued.history("later")[0].reason.startswith("waits in heavy since ")


@pytest.mark.parametrize(("answer", "state"), [(b"n\n", "running"), (b"y\n", "cancelled")])
def test_on_a_terminal_it_asks_before(queued, home, answer, state):
    ours, theirs = pty.openpty()
    with subprocess.Popen(program(home, "queue", "heavy", "--empty"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as asked:  # fmt: skip
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 1000)
        assert b"take 1 out of the queue heavy?" in seen
        os.write(ours, answer)
        assert asked.wait(60) == (0 if state == "cancelled" else 1)
    os.close(ours)
    assert queued.history("far")[0].state == state


def test_a_server_that_is_down_is_told(queued, home, box):
    box.stop()
    (found,) = queued.queues()
    assert found.error and found.waiting == 0
    done = call(home, "queue")
    assert done.returncode == 1 and "does not answer" in done.stdout
    (told,) = json.loads(call(home, "queue", "--json").stdout)["queues"]
    assert told["error"] and told["waiting"] is None
    done = call(home, "queue", "heavy", "--empty")
    assert done.returncode == 1 and "the queue heavy does not answer" in done.stderr
    with pytest.raises(StateError, match="does not answer"):
        queued.empty_queue("heavy")


def test_mistakes_are_told(queued, home):
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
        assert "the variable REDIS_URL" in runner.queues("b")[0].error
        with pytest.raises(StateError, match="the variable REDIS_URL"):
            runner.empty_queue("b")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    with TaskRunner(home) as runner:
        told = runner.queues()
        assert [each.url for each in told] == ["redis://:***@127.0.0.1:1/0"] * 2
        assert "hunter2" not in str(told)


def test_without_queues_it_says_how_to_have_one(home):
    done = call(home, "queue")
    assert (done.returncode, done.stdout) == (0, "")
    assert "there are no queues: write [queues.NAME] into taskrunner.toml" in done.stderr


def test_without_rq_a_queue_says_how_to_install_it(home):
    """In a process of its own, which finds no rq and no redis."""
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "taskrunner.toml").write_text('[queues.q]\nengine = "rq"\nurl = "redis://h/0"\n')
    for words in (["queue"], ["queue", "q", "--empty"]):
        ask = (
            "import sys, importlib.util as u; f = u.find_spec; "
            "u.find_spec = lambda n, p=None: None if n in ('rq', 'redis') else f(n, p); "
            "sys.modules['rq'] = sys.modules['redis'] = None; "
            f"from taskrunner.cli import main; sys.exit(main.main({['--home', str(home), *words]}))"
        )
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT)
        assert "the queue q needs RQ: install it with" in done.stdout + done.stderr
        assert "bug" not in done.stdout + done.stderr


def test_an_unknown_parameter_of_an_address_is_a_fault_of_the_address():
    queue = rq_queue.Queue("redis://h/0?foo=bar", "default")
    assert queue.look([]) is None
    assert "its address is not that of a Redis" in queue.trouble
