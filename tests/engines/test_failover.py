"""A replica takes the place of a Redis, which a Sentinel or a service in a cloud does: no run begins twice."""

from __future__ import annotations

import os
import signal

import pytest

from tests.daemons import free_port
from tests.engines.redis_box import PATIENCE, Box, box, until, until_there
from tests.engines.test_queues import due, ended, newest

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow, pytest.mark.one_python]


@pytest.fixture
def pair(redis_there, tmp_path):
    """A Redis and its replica, which has all of it."""
    port = str(free_port())
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    listening = ("--port", port, "--repl-diskless-sync-delay", "0")
    with (
        box(tmp_path / "first", *listening) as first,
        box(tmp_path / "second", "--replicaof", "127.0.0.1", port) as second,
    ):
        until(lambda: second.redis.info("replication")["master_link_status"] == "up")
        yield first, second


def fail_over(first: Box, second: Box) -> None:
    """Let the replica answer at the address of the first, which has died."""
    first.stop(signal.SIGKILL)
    os.replace(second.socket, first.socket)


def test_a_run_that_began_before_a_failover_is_lost_and_does_not_begin_again(pair, make, tmp_path):
    first, second = pair
    runner = make(first)
    due(runner, "report", f"echo x >> {tmp_path}/ran")
    runner.tick()
    until(lambda: second.redis.llen("rq:queue:default"))
    second.redis.replicaof("NO", "ONE")  # what happens at the first from now on never gets there
    first.worker("one", "--burst").wait(PATIENCE)
    fail_over(first, second)
    first.worker("two")
    run = ended(runner, "report")
    assert run.state == "lost"
    assert run.reason == "lost in the queue heavy: its server was restarted or emptied"
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_run_that_goes_on_during_a_failover_ends_as_any_other(pair, make, tmp_path):
    first, second = pair
    runner = make(first)
    first.worker("one")
    due(runner, "report", f"{until_there(tmp_path / 'go')}; echo done")
    until(lambda: runner.tick() and newest(runner, "report").started)
    until(lambda: second.redis.keys("taskrunner:run:*"))
    second.redis.replicaof("NO", "ONE")
    fail_over(first, second)
    (tmp_path / "go").touch()
    run = ended(runner, "report")
    assert (run.state, b"".join(runner.log(run))) == ("succeeded", b"done\n")
    due(runner, "later", "true")
    first.worker("two")
    assert ended(runner, "later").state == "succeeded"
