"""What others write into Redis: it is told of the run it is about, and touches no other one."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from datetime import timedelta

import pytest

from taskrunner.engines import rq_keys, rq_queue, rq_standing
from taskrunner.engines.rq_queue import Stopped
from taskrunner.model.carried import Stage
from tests.engines.redis_box import given

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow]

NOW = 1_700_000_000_000
END = {
    "exit_code": 0, "signal": None, "error": None, "timed_out": False, "silent": False, "cpu_seconds": 0.1,
    "peak_memory": 1, "host": "web", "note": None, "since": NOW, "at": NOW, "written": 0, "cut_at": None, "left_out": None,
}  # fmt: skip
BOMB = zlib.compress(bytes(50_000_000))


def end(**other: object) -> bytes:
    return json.dumps(END | other).encode()


def record(outcome: bytes = end(), **other: object) -> dict[str, object]:
    """Our record of a run that has ended."""
    return {"began": "me", "host": "web", "since": NOW, "beat": NOW, "ended": NOW, "outcome": outcome, **other}  # fmt: skip


def returned(value: bytes, kind: bytes = b"1") -> dict[bytes, bytes]:
    return {b"type": kind, b"return_value": base64.b64encode(value)}


RECORDS = {
    "since": {"since": "soon"},
    "far": {"since": "9" * 30},
    "beat": {"beat": b"\xff"},
    "ended": {"ended": "-"},
    "size": record(size="many"),
    "negative": record(size="-1"),
    "enormous": record(size="9" * 5000),
    "json": record(b"{"),
    "not-utf8": record(b"\xff"),
    "no-outcome": record(b""),
    "nested": record(b"[" * 100_000),
    "list": record(b"[]"),
    "code": record(end(exit_code="0")),
    "too-large-for-a-database": record(end(exit_code=2**70)),
    "signal": record(end(signal=1.5)),
    "memory": record(end(peak_memory=-1)),
    "cut": record(end(cut_at=-1, left_out=3)),
    "written": record(end(written={})),
    "at": record(end(at=10**30)),
}
RESULTS = {
    "no-type": {b"return_value": b"e30="},
    "type": returned(b"{}", b"x"),
    "base64": {b"type": b"2", b"exc_string": b"abcde"},
    "zlib": {b"type": b"2", b"exc_string": base64.b64encode(b"abc")},
    "json": returned(b"{"),
    "nested": returned(b"[" * 100_000),
    "not-utf8": returned(b"\xff"),
}
WRONG = ("run", "results")  # keys of another type


def test_garbage_about_one_run_is_the_end_of_that_run_only(own):
    queue, redis = own.queue(), own.redis
    assert queue.ask_server_id() is not None
    for name, fields in RECORDS.items():
        redis.hset(f"{rq_keys.RUN}record-{name}", mapping=fields)
    for name, fields in RESULTS.items():
        redis.hset(f"rq:job:result-{name}", "data", "x")
        redis.xadd(f"rq:results:result-{name}", fields)
    redis.rpush(f"{rq_keys.RUN}wrong-run", "x")
    redis.set("rq:results:wrong-results", "x")
    redis.rpush("rq:queue:default", b"\xff")
    redis.zadd("rq:wip:default", {b"\xff:1": 1})
    redis.sadd("rq:workers:default", b"rq:worker:odd")
    redis.hset("rq:worker:odd", mapping={"hostname": b"\xff", "state": b"\xff", "last_heartbeat": "x"})  # fmt: skip
    names = [f"record-{name}" for name in RECORDS] + [f"result-{name}" for name in RESULTS]
    names += [f"wrong-{name}" for name in WRONG]
    queue.enqueue("good", given("true"), 60, 10)
    redis.hset(f"{rq_keys.RUN}ended", mapping=record())
    found = queue.look([*names, "good", "ended"])
    assert found is not None, queue.trouble
    assert {name: found[name].stage for name in names} == dict.fromkeys(names, Stage.GONE)
    assert {found[name].note for name in names} == {
        rq_standing.UNREADABLE,
        "its end in Redis cannot be read",
    }
    assert found["good"].stage is Stage.WAITING
    assert found["ended"].stage is Stage.ENDED and found["ended"].outcome.exit_code == 0
    assert queue.forget(names)
    contents = queue.survey(None)
    assert contents is not None and contents.others_waiting == 2
    assert queue.drop_others("good") == 1


def test_a_text_that_no_database_keeps_is_made_one(own):
    own.redis.hset(f"{rq_keys.RUN}odd", mapping=record(end(note="\ud800", host="x" * 5000)))
    found = own.queue().look(["odd"])["odd"]
    assert found.note == "?" and found.host == "x" * 1000


def test_garbage_in_the_mark_of_a_stop_or_of_a_missed_sign_of_life_does_no_harm(own):
    queue = own.queue()
    own.redis.hset("rq:job:stopped", "data", "x")
    own.redis.set(f"{rq_keys.STOP}stopped", "soon")
    assert queue.stop("stopped", timedelta(0)) is Stopped.TOLD
    own.redis.hset(f"{rq_keys.RUN}silent", mapping={"began": "me", "host": "web", "missed": "x"})
    assert queue.look(["silent"])["silent"].stage is Stage.GONE


@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (b"abc", 3),
        (zlib.compress(b"abcd")[:-1], 4),
        (zlib.compress(b"abcd"), 3),
        (zlib.compress(b"abcd"), 5),
        (BOMB, 1000),
    ],
)
def test_an_output_that_is_not_as_its_worker_left_it_does_not_change_the_end(own, packed, size):
    own.redis.hset(f"{rq_keys.RUN}odd", mapping=record(output=packed, size=size))
    queue = own.queue()
    queue.ask_server_id()
    tracemalloc.start()
    found = queue.look(["odd"])["odd"]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.stage, found.outcome.exit_code, found.output) == (Stage.ENDED, 0, b"")
    assert found.note == rq_queue.NO_OUTPUT
    assert most < 5_000_000, "no more is unpacked than was told"


def test_the_bound_on_outputs_counts_them_unpacked(own, monkeypatch):
    names = [f"large-{number}" for number in range(5)]
    for name in names:
        output = zlib.compress(bytes(1_000_000))
        own.redis.hset(f"{rq_keys.RUN}{name}", mapping=record(output=output, size=1_000_000))
    monkeypatch.setattr(rq_queue, "FETCHED", 2_500_000)
    found = own.queue().look(names)
    assert [len(each.output) for each in found.values()] == [1_000_000] * 2 + [0] * 3
    assert [each.stage for each in found.values()] == [Stage.ENDED] * 2 + [Stage.RUNNING] * 3
