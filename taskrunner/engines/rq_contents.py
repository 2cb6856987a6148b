"""The contents of a queue of RQ: ours and others', and the workers of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rq.utils import utcparse

from taskrunner.engines.rq_keys import fetched, of_rq
from taskrunner.model.answers import Worker
from taskrunner.model.record import record

KIN = ("dependents", "dependencies")  # what RQ keeps beside each of its own


@record
class Contents:
    """The contents of a queue: the names of our runs in their order, and the numbers of others."""

    waiting: Sequence[str]
    running: Sequence[str]
    others_waiting: int
    others_running: int
    workers: tuple[Worker, ...]
    oldest: datetime | None  # when the first in the queue was handed over, by its scheduler's clock


def contents(server: Any, queue: str, ours: str | None) -> Contents:
    """Return the contents of a queue; the names of our runs begin with `ours`, None when we have none."""
    with server.pipeline(transaction=False) as pipe:
        # In the order in which a run goes through them, so that none is missed on its way.
        pipe.lrange(of_rq(queue, "queue"), 0, -1)
        pipe.lrange(fetched(queue), 0, -1)
        pipe.zrange(of_rq(queue, "wip"), 0, -1)
        pipe.smembers(of_rq(queue, "workers"))
        *waiting, begun, keys = pipe.execute()
    running = [_text(name).rpartition(":")[0] for name in begun]
    queued, taken = ([_text(name) for name in some] for some in waiting)
    # A fetched one that has not begun still waits: its worker may have died just there.
    names = [*(each for each in taken if each not in {*queued, *running}), *queued]
    keys = sorted(_text(key) for key in keys)
    with server.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, "hostname", "state", "last_heartbeat")
        pipe.hget(of_rq(names[0] if names else ""), "enqueued_at")
        *states, oldest = pipe.execute()
    waits, runs = ([each for each in some if _is_ours(each, ours)] for some in (names, running))
    return Contents(
        waiting=waits,
        running=runs,
        others_waiting=len(names) - len(waits),
        others_running=len(running) - len(runs),
        workers=tuple(
            Worker(key.rpartition(":")[2], _text(told[0]), _text(told[1]), _instant(told[2]))
            for key, told in zip(keys, states, strict=True)
            if None not in told  # else it has died
        ),
        oldest=_instant(oldest),
    )


def drop_others(server: Any, queue: str, ours: str | None) -> int:
    """Take out of a queue everything that waits and does not begin with `ours`; return how many."""
    names = server.lrange(of_rq(queue, "queue"), 0, -1)
    others = [name for name in names if not _is_ours(_text(name), ours)]
    with server.pipeline(transaction=False) as pipe:
        for name in others:
            pipe.lrem(of_rq(queue, "queue"), 0, name)
            key = of_rq(_text(name))
            pipe.delete(key, *(f"{key}:{each}" for each in KIN))
        pipe.execute()
    return len(others)


def _is_ours(name: str, ours: str | None) -> bool:
    return ours is not None and name.startswith(ours)


def _instant(written: bytes | None) -> datetime | None:
    try:
        return utcparse(_text(written)) if written else None
    except ValueError:  # others could have written it
        return None


def _text(written: bytes) -> str:
    return written.decode(errors="replace")
