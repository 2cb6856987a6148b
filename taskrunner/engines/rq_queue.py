"""One queue of RQ: hand runs over, see how they stand, stop them, fetch their ends.

A run has its name there, the same every time it is handed over, so it cannot be there twice. RQ's word
on a run counts only until the run has begun; from then on our own records do (see `rq_keys`). A server that does not
answer has not refused: it may have done as we asked. It must not know the store.
"""

import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.retry import Retry
from rq import Queue as TheirQueue
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from taskrunner.engines import rq_keys
from taskrunner.engines.rq_contents import Contents, contents, drop_others
from taskrunner.engines.rq_keys import of_rq
from taskrunner.engines.rq_standing import (
    FIELDS,
    FORBIDDEN,
    GARBAGE,
    UNREADABLE,
    Doubt,
    Known,
    died,
    gone,
    known,
    running,
    standing,
)
from taskrunner.errors import InputError, in_words
from taskrunner.model.carried import Refused, Stage, Standing
from taskrunner.model.record import like, mutable

Answer = TypeVar("Answer")
PERFORM = "taskrunner.engines.rq.perform"
PATIENCE = 2.0  # seconds for an answer
SPARE = 60  # seconds between the last moment of a command and RQ's own timeout
# After the kill-after, until RQ is asked to kill the process of a run.
STUBBORN = timedelta(seconds=30)
# Milliseconds for a sign of life after we missed it: Redis may have stood still, and then one takes a few seconds.
CONFIRMED = 10_000
# Milliseconds in which a run that a worker has fetched must begin, and if RQ also missed signs of life of the worker.
LIMBO, OVERDUE = 60_000, 10_000
FETCHED = 64_000_000  # bytes of output that are unpacked at once; the next look fetches more
CUT_MARK = 1000  # bytes, at most, of the mark in place of the omitted ones, beyond the limit
FILES_OF_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
NO_OUTPUT = "its output in Redis cannot be read"


class Handed(StrEnum):
    """The two ways in which a run can be in the queue after its hand-over."""

    TAKEN = "taken"
    THERE = "already there"


class Stopped(StrEnum):
    """The answer to a request to stop a run."""

    OUT = "out"  # it waited, was taken out, and will never start
    TOLD = "told"  # it stops within about a second, and is killed after its kill-after
    UNKNOWN = "unknown"  # there is none of that name


@mutable
class Queue:
    """The RQ queue `name` of the server at `url`; it connects when it is first used, and can be used for long.

    A method returns None when the server does not answer, within about 2 seconds; `trouble` then says why.
    """

    url: str
    name: str
    trouble: str | None = None
    server_id: str | None = None  # what `ask_server_id` has returned last
    _their: Any = None

    @property
    def _queue(self) -> TheirQueue:
        if self._their is None:
            try:
                server = Redis.from_url(
                    self.url,
                    socket_timeout=PATIENCE,
                    socket_connect_timeout=PATIENCE,
                    retry=Retry(NoBackoff(), 0),
                )
                server.connection_pool.make_connection()  # raises for an unknown parameter
            except (ValueError, TypeError) as exc:
                raise InputError(
                    "its address is not that of a Redis: write redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix://PATH"
                ) from exc
            for name in FILES_OF_TLS:
                place = server.connection_pool.connection_kwargs.get(name)
                if place is not None and not os.path.exists(place):
                    raise InputError(f"there is no file {place}, which its address has as {name}")
            self._their = TheirQueue(self.name, connection=server, serializer=JSONSerializer)
        their: TheirQueue = self._their
        return their

    @property
    def _server(self) -> Any:
        return self._queue.connection

    def close(self) -> None:
        """Close the connections."""
        if self._their is not None:
            self._server.close()

    def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        """Return the answer to a question; None when there is none, and remember why."""
        try:
            answer = question()
        except (RedisError, InputError) as exc:
            self.trouble = self._words(exc)
            return None
        self.trouble = None
        return answer

    def _words(self, exc: Exception) -> str:
        """Return an error of Redis in words, without the passwords of the address."""
        if isinstance(exc, InputError):
            return str(exc)
        text = in_words(exc).removeprefix(f"{type(exc).__name__}: ")
        if "HELLO AUTH" in text or "NOAUTH" in text:
            return "it asks for a password, and its address has none"
        text = re.sub(r"^Error -?[0-9]+ connecting to (\S+)\. (.+?)\.?$", r"\1: \2", text)
        options = self._server.connection_pool.connection_kwargs
        for password in filter(None, (options.get("password"), options.get("ssl_password"))):
            text = text.replace(password, "***")
        return text

    # ---- handing over

    def enqueue(
        self, name: str, payload: Mapping[str, Any], timeout: float | None, kill_after: float
    ) -> Handed | Refused | None:
        """Hand a run over: `payload` is all that `rq.perform` is given but its `server_id`; lengths are in seconds.

        Refused means that it is not there. None means that it may be there: only handing it over again tells, which is
        safe. Call `ask_server_id` before, once for many runs: by it a worker knows a server that was restarted since.
        """
        try:
            pool = self._server.connection_pool
            pool.release(pool.get_connection())
        except (RedisError, InputError) as exc:  # nothing was sent yet
            return self._refused(exc)
        try:
            self._queue.enqueue_call(
                PERFORM,
                args=(name, {**payload, "server_id": self.server_id}),
                job_id=name,
                unique=True,
                retry=None,
                timeout=-1 if timeout is None else int(timeout + kill_after) + SPARE,
                result_ttl=rq_keys.KEPT,
                failure_ttl=rq_keys.KEPT,
                description=name,  # RQ logs it; its own would have the variables of the task
            )
        except DuplicateJobError:
            return Handed.THERE
        except (ResponseError, BusyLoadingError) as exc:  # an answer: no
            return self._refused(exc)
        except RedisError as exc:
            self.trouble = self._words(exc)
            return None
        self.trouble = None
        return Handed.TAKEN

    def _refused(self, exc: Exception) -> Refused:
        self.trouble = self._words(exc)
        return Refused(self.trouble, later=True)

    def ask_server_id(self) -> str | None:
        """Return the identity of the server, a new one after each start and FLUSHALL."""

        def ask() -> str:
            mark = self._server.get(rq_keys.SERVER_MARK)
            if mark is None:
                self._server.set(rq_keys.SERVER_MARK, os.urandom(8).hex(), nx=True)
                mark = self._server.get(rq_keys.SERVER_MARK)
            return (
                f"{self._server.info('server')['run_id']}.{(mark or b'').decode(errors='replace')}"
            )

        self.server_id = self._ask(ask)
        return self.server_id

    # ---- looking

    def look(self, names: Sequence[str]) -> dict[str, Standing] | None:
        """Return how these runs stand. A run that is GONE is lost; its `note` says why.

        If many outputs are large, some ended runs still count as running, until a next look fetches them.
        """
        return self._ask(lambda: self._look(names))

    def _look(self, names: Sequence[str]) -> dict[str, Standing]:
        now, known_runs = self._known(names)
        standings, room, wanted = dict[str, Standing](), FETCHED, list[Known]()
        for name, each in known_runs.items():
            if each is None:
                standings[name] = gone(UNREADABLE)
                continue
            stands = standing(each, now)
            if isinstance(stands, Doubt):
                stands = self._confirmed(each, stands)
            if stands.stage is Stage.ENDED and each.size:
                room -= each.size
                if room < 0 and wanted:
                    stands = running(each)
                else:
                    wanted.append(each)
            standings[name] = stands
        for each, output in zip(wanted, self._outputs(wanted), strict=True):
            if output is None:
                note = "; ".join(filter(None, (standings[each.name].note, NO_OUTPUT)))
                standings[each.name] = like(standings[each.name], note=note)
            else:
                standings[each.name] = like(standings[each.name], output=output)
        return standings

    def _known(self, names: Sequence[str]) -> tuple[int, dict[str, Known | None]]:
        """Return Redis' clock, and all that it has of these runs, None where that cannot be read.

        Not in a transaction, which a full server refuses: then no end could be fetched to make room. So a run may go on
        between two of these questions, and their order matters: whatever RQ says is older than our own record.
        """
        with self._server.pipeline(transaction=False) as pipe:
            pipe.time().lrange(self._queue.key, 0, -1)
            pipe.zrange(self._queue.started_job_registry.key, 0, -1, withscores=True)
            for name in names:
                pipe.exists(of_rq(name)).xrevrange(of_rq(name, "results"), count=1)
                pipe.hmget(rq_keys.RUN + name, *FIELDS)
            answers = pipe.execute(raise_on_error=False)
        for at, each in enumerate(answers):
            # The first three are about all runs.
            if isinstance(each, Exception) and (at < 3 or not _is_of_another_kind(each)):
                raise each
        clock_time, waiting, fetched, *rest = answers
        inside = {name.decode(errors="replace") for name in waiting}
        until = {name.decode(errors="replace").rpartition(":")[0]: score for name, score in fetched}
        runs: dict[str, Known | None] = {}
        for at, name in enumerate(names):
            there, results, fields = rest[3 * at : 3 * at + 3]
            places: Any = {"waits": name in inside, "fetched_until": until.get(name)}
            try:
                runs[name] = known(name, fields, results, there=bool(there), **places)
            except GARBAGE:
                runs[name] = None
        return _milliseconds(clock_time), runs

    def _confirmed(self, each: Known, doubt: Doubt) -> Standing:
        """Return how a run in doubt stands; until its silence has lasted it goes on."""
        key = rq_keys.RUN + each.name
        try:
            missed = self._server.eval(rq_keys.MISS, 1, key, rq_keys.KEPT)
        except ResponseError:  # the server is full, so signs of life cannot be written either
            missed = 0
        if doubt is Doubt.SILENT:
            return died(each) if missed >= CONFIRMED else running(each)
        if missed >= LIMBO and each.fetched_until is None and self._put_back(each.name):
            return Standing(Stage.WAITING)
        if missed >= (LIMBO if each.fetched_until is None else OVERDUE) and self._server.eval(
            rq_keys.FORBID, 1, key, rq_keys.NOBODY, rq_keys.KEPT
        ):
            return gone(FORBIDDEN)
        return Standing(Stage.WAITING)

    def _put_back(self, name: str) -> bool:
        """Let a run wait again whose worker died just after it had fetched it; False where RQ does not tell that."""
        theirs = self._queue.intermediate_queue
        keys = rq_keys.RUN + name, theirs.key, self._queue.key, theirs.get_first_seen_key(name)
        return bool(self._server.eval(rq_keys.PUT_BACK, len(keys), *keys, name))

    def _outputs(self, wanted: Sequence[Known]) -> list[bytes | None]:
        """Return the outputs of runs, None for one that is not as its worker left it."""
        with self._server.pipeline(transaction=False) as pipe:
            for each in wanted:
                pipe.hget(rq_keys.RUN + each.name, "output")
            outputs = zip(wanted, pipe.execute(), strict=True)
        return [_unpacked(packed, each.size) for each, packed in outputs]

    # ---- stopping and forgetting

    def stop(self, name: str, kill_after: timedelta) -> Stopped | None:
        """Have a run stopped: one that waits is taken out, one that runs gets TERM, and KILL after `kill_after`.

        Ask again while it has not ended: a worker that does not obey has its process killed in the end.
        """
        return self._ask(lambda: self._stop(name, kill_after))

    def _stop(self, name: str, kill_after: timedelta) -> Stopped:
        now = _milliseconds(self._server.time())
        if self._server.lrem(self._queue.key, 0, name):
            self._forget([name])
            return Stopped.OUT
        with self._server.pipeline() as pipe:
            pipe.set(rq_keys.STOP + name, now, nx=True, ex=rq_keys.KEPT).get(rq_keys.STOP + name)
            _, asked, there = pipe.exists(of_rq(name)).execute()
        if not there:
            return Stopped.UNKNOWN
        try:
            waited = timedelta(milliseconds=now - int(asked))
        except GARBAGE:  # it stops all the same
            waited = timedelta(0)
        if waited > kill_after + STUBBORN:
            with suppress(InvalidJobOperation, NoSuchJobError, *GARBAGE):
                send_stop_job_command(self._server, name, serializer=JSONSerializer)
        return Stopped.TOLD

    def forget(self, names: Iterable[str]) -> bool | None:
        """Drop the records of runs whose ends are known; one that still runs somewhere is stopped by it."""
        return self._ask(lambda: self._forget([*names]))

    def _forget(self, names: Sequence[str]) -> bool:
        if not names:
            return True
        with self._server.pipeline(transaction=False) as pipe:
            for name in names:
                ours = rq_keys.RUN + name, rq_keys.STOP + name
                pipe.delete(of_rq(name), of_rq(name, "results"), *ours)
                pipe.lrem(self._queue.intermediate_queue_key, 0, name)
            pipe.zrem(self._queue.finished_job_registry.key, *names)
            pipe.zrem(self._queue.failed_job_registry.key, *names)
            pipe.execute()
        return True

    # ---- the whole queue

    def survey(self, ours: str | None) -> Contents | None:
        """Return the contents of the queue; the names of our runs begin with `ours`, None when we have none."""
        return self._ask(lambda: contents(self._server, self.name, ours))

    def drop_others(self, ours: str | None) -> int | None:
        """Take out everything that waits and does not begin with `ours`; return how many."""
        return self._ask(lambda: drop_others(self._server, self.name, ours))


def _milliseconds(clock_time: tuple[int, int]) -> int:
    """Return Redis' clock, which tells seconds and microseconds, in milliseconds."""
    seconds, micro = clock_time
    return seconds * 1000 + micro // 1000


def _is_of_another_kind(exc: Exception) -> bool:
    """Return whether a key has a value of another type than ours or RQ's: somebody else has written it."""
    return isinstance(exc, ResponseError) and str(exc).startswith("WRONGTYPE")


def _unpacked(packed: bytes | None, size: int) -> bytes | None:
    """Return an output of `size` bytes; None for another one, of which not more is unpacked."""
    unpacking = zlib.decompressobj()
    try:
        # One byte more, so that the end of a whole one is reached.
        output = unpacking.decompress(
            packed or b"", min(size, rq_keys.LARGEST_OUTPUT + CUT_MARK) + 1
        )
    except zlib.error:
        return None
    return output if unpacking.eof and len(output) == size else None
