"""One Redis with two workers for all tests that leave it as it was, and one for each test that does not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskrunner import TaskRunner
from taskrunner.engines import rq_queue
from tests.engines import redis_box
from tests.engines.redis_box import Box


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Wait longer for an answer of Redis than users do: on a busy machine it is late, and answers all the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rq_queue, "PATIENCE", 30.0)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than users do: the test is about a server that does not answer."""
    monkeypatch.setattr(rq_queue, "PATIENCE", 2.0)


@pytest.fixture(scope="session")
def redis_there(needs):
    needs("redis", os.access(redis_box.SERVER, os.X_OK), f"there is no {redis_box.SERVER}")


@pytest.fixture(scope="session")
def shared(redis_there, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A Redis with two workers; never stopped, filled or flushed."""
    with redis_box.box(tmp_path_factory.mktemp("redis")) as made:
        made.worker("one")
        made.worker("two")
        redis_box.until(lambda: made.redis.scard("rq:workers") == 2)
        yield made


@pytest.fixture
def own(redis_there, tmp_path: Path) -> Iterator[Box]:
    """A Redis for one test, without workers."""
    with redis_box.box(tmp_path) as made:
        yield made


@pytest.fixture
def make(home):
    """A function that opens a home with a queue in a box, more settings of the queue, and lines before them."""
    opened = []

    def make(box: Box, before: str = "", **more: object) -> TaskRunner:
        home.mkdir(mode=0o700, exist_ok=True)
        lines = {"engine": "rq", "url": box.url, **more}
        table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        (home / "taskrunner.toml").write_text(f"{before}\n[queues.heavy]\n{table}")
        opened.append(TaskRunner(home))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
