"""One Redis with two workers for all tests that leave it as it was, and one for each test that does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import redis_box
from tests.engines.redis_box import Box


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
