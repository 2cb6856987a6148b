"""Perform one run on the machine of an RQ worker: execute its command, and leave its end in Redis.

RQ calls `perform` in a process of its own. There is no store and no home here, and nothing of the scheduler's machine:
environment file, directory, programs and account are those of this machine. Redis' clock is the only one that counts,
but for lengths of time, which are monotonic.

The run begins once, whatever RQ does: whoever begins it leaves a mark in Redis (see `rq_keys`). It ends as it would at
home, also when its worker is killed meanwhile: then this process goes on until its end is in Redis. When this process
is killed, the command and its process group are killed with it. It must not know the store.
"""

import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import get_current_job

import taskrunner
from taskrunner import clock
from taskrunner.engines import rq_keys
from taskrunner.errors import StateError, in_words
from taskrunner.model.record import mutable, record
from taskrunner.model.values import Command, Outcome, not_passed
from taskrunner.processes import account, bounded_output
from taskrunner.processes.bounded_output import Cut, Excerpt
from taskrunner.processes.children import Children
from taskrunner.processes.left_running import left_running
from taskrunner.processes.parent_death import dying_with_us, group_dying_with_us
from taskrunner.processes.signals import stop_signals

# Seconds for an answer of Redis: meanwhile nobody sees to the timeout of the command.
PATIENCE = 2.0
BEGIN_WITHIN = 60.0  # seconds in which Redis must let a run begin
KEEP_WITHIN = 3600.0  # seconds in which Redis must take the end of a run
PAUSE = 1.0  # seconds between two signs of life, or two tries
LAUNCHER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launcher.py")
FIELDS = ("exit_code", "signal", "error", "timed_out", "silent", "cpu_seconds", "peak_memory")
# Keys of the command in JSON that are fields of `Command`, too.
SAME = ("stdin", "umask", "nice", "limit", "timeout", "max_silence", "kill_after")


class NotBegun(Exception):
    """The run must not begin here: it has begun before, or nobody waits for it any more."""


def perform(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Execute the command of a run, once, and leave its outcome and output in Redis.

    The returned values are for readers of RQ only. `name` is the run's, `given` the command as its scheduler describes it:

        argv         words of the command
        base         variables that the next ones override: the scheduler's PATH, SHELL, LANG, and its `[env]`
        pass_env     names of variables that it takes from our own environment
        env_file     a file of variables on this machine, or null
        env          variables of the task, which override those
        cwd          directory, null for the home of our account
        stdin        text, or null
        umask, nice, limit, timeout, max_silence, kill_after    as in `Command`; lengths in seconds
        max_output   bytes of output to keep
        python, launcher   words of argv that stand for the interpreter and the launcher of this machine, or null
        server_id    the identity of the server that it was handed to (see `Queue.ask_server_id`)
        format       of this description
        version      of the scheduler's taskrunner

    Raises StateError when Redis does not let it begin, so RQ reports a failure.
    """
    job = get_current_job()
    if job is None:
        raise StateError("perform is called by an RQ worker only")
    mark = f"{os.uname().nodename}:{os.urandom(8).hex()}"
    run = RunInRedis(_own_connection(job.connection), name, mark)
    try:
        since = run.begin(given.get("server_id"))
    except NotBegun as exc:
        return {"not_begun": str(exc)}
    end, output = Performance(run, given, since).carry_out()
    run.keep(json.dumps(end), output)
    return {key: end[key] for key in ("host", "exit_code", "signal", "error")}


def _own_connection(theirs: Redis) -> Redis:
    """Return a connection to the worker's Redis that gives up soon: the worker's own waits for minutes."""
    pool = theirs.connection_pool
    soon = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    return Redis(
        connection_pool=ConnectionPool(pool.connection_class, **pool.connection_kwargs | soon)
    )


@record
class RunInRedis:
    """The records of a run in Redis; `mark` tells this process from any other that may want to begin the run."""

    server: Any
    name: str
    mark: str

    @property
    def keys(self) -> tuple[str, str]:
        """The run's own keys."""
        return rq_keys.RUN + self.name, rq_keys.STOP + self.name

    def begin(self, server_id: str | None) -> datetime:
        """Begin the run and return this instant; raises NotBegun, or StateError when Redis does not answer."""
        patient_until = time.monotonic() + BEGIN_WITHIN
        while True:
            try:
                self._check_not_forgotten(server_id)
                keys = rq_keys.of_rq(self.name), *self.keys
                values = self.mark, os.uname().nodename, rq_keys.KEPT
                said, now = self.server.eval(rq_keys.BEGIN, len(keys), *keys, *values)
                break
            except RedisError as exc:
                if time.monotonic() > patient_until:
                    raise StateError(f"Redis did not let it begin: {in_words(exc)}") from exc
            time.sleep(PAUSE)
        if said != b"ours":
            raise NotBegun(REASONS[said])
        return clock.from_ms(int(now))

    def _check_not_forgotten(self, server_id: str | None) -> None:
        """Refuse a run that was handed to another server, which may have had its beginning and its end.

        After a restart with an append-only file it is the same one, which forgets nothing that a worker has seen. A
        replica that took its place may lack the newest records.
        """
        since_its_start = self.server.info("server")["run_id"]
        if server_id is None or server_id.partition(".")[0] == since_its_start:
            return
        if not self.server.info("persistence").get("aof_enabled"):
            raise NotBegun(
                "Redis was restarted without appendonly after it was handed over, so it may have ended before"
            )
        if str(self.server.info("replication").get("master_replid2", "")).strip("0"):
            raise NotBegun(
                "a replica took the place of Redis after it was handed over, so it may have begun before"
            )

    def beat(self) -> str:
        """Tell that the run goes on; return what it is to do: "go on", "stop", or "forgotten"."""
        try:
            said: bytes = self.server.eval(rq_keys.BEAT, 2, *self.keys, self.mark, rq_keys.KEPT)
        except RedisError:  # it may come back
            return "go on"
        return said.decode()

    def keep(self, outcome: str, output: bytes) -> None:
        """Leave the end in Redis, even if it is full or restarting for a while."""
        values = self.mark, rq_keys.KEPT, outcome, zlib.compress(output, 1), len(output)
        patient_until = time.monotonic() + KEEP_WITHIN
        while True:
            try:
                self.server.eval(rq_keys.END, 1, self.keys[0], *values)
                return
            except RedisError:
                if time.monotonic() > patient_until:
                    raise
            time.sleep(PAUSE)


REASONS = {
    b"forgotten": "nobody waits for it any more",
    b"stopped": "it was stopped before its start",
    b"begun": "it has begun before",
}


@mutable
class Performance:
    """One command from its start to its end, and the output of it."""

    in_redis: RunInRedis
    given: Mapping[str, Any]
    since: datetime
    note: str | None = None
    missing: Sequence[str] = ()
    cut: Cut | None = None
    took: int = 0  # milliseconds
    left: str | None = None  # processes

    def carry_out(self) -> tuple[dict[str, Any], bytes]:
        """Execute the command; return its end, as JSON has it, and the retained output."""
        outcome, (figures, output) = self._with_output()
        end = {name: getattr(outcome, name) for name in FIELDS}
        notes = self.note, self.left, not_passed(self.missing)
        note = "; ".join(filter(None, notes)) or None
        end |= {"host": os.uname().nodename, "note": note}
        end |= {"since": clock.to_ms(self.since), "at": clock.to_ms(self.since) + self.took}
        return end | figures, output

    def _with_output(self) -> tuple[Outcome, tuple[dict[str, Any], bytes]]:
        """Execute the command with a file for its output; return its outcome, and the output as `_output` does."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            except OSError as exc:
                return _not_started(exc), _figures(bounded_output.NONE, b"")
            begun = time.monotonic()
            outcome = self._execute(file.fileno())
            self.took = round((time.monotonic() - begun) * 1000)
            self.left = self._left_running(outcome, file.fileno())
            return outcome, self._output(file.fileno())

    def _execute(self, fd: int) -> Outcome:
        try:
            command = _command(self.given, self.since)
            children = Children(nothing_stays=True, prepare=dying_with_us())
        except (StateError, OSError, TypeError, KeyError, ValueError) as exc:
            return _not_started(exc)
        self.missing = command.missing
        children.on_output = lambda _: self._bound(fd)
        with closing(children), stop_signals(children) as received:
            started = children.start(0, command, fd)
            if isinstance(started, Outcome):
                return started
            with group_dying_with_us(started.pid):
                return self._supervise(children, received)

    def _supervise(self, children: Children, received: Sequence[int]) -> Outcome:
        """Wait for the end of the command, and stop it when we are told to."""
        next_beat = time.monotonic() + PAUSE
        while not (ended := children.wait(max(0.0, next_beat - time.monotonic()))):
            if received:
                self.note = "its worker was stopped"
                children.stop(0)
            # Not in `on_look`, which comes seldom after one that took long: a server may be slow to answer.
            if time.monotonic() >= next_beat:
                self._obey(children, self.in_redis.beat())
                next_beat = time.monotonic() + PAUSE
        return ended[0][1]

    def _left_running(self, outcome: Outcome, fd: int) -> str | None:
        run = self.given["env"].get("TASKRUNNER_RUN")
        return None if run is None else left_running(run, self.since, outcome, fd)

    def _obey(self, children: Children, said: str) -> None:
        if said == "go on":
            return
        if said == "forgotten":  # it is lost already, and may be tried again
            self.note = "nobody waited for it any more"
        children.stop(0)

    @property
    def _limit(self) -> int:
        asked: int = self.given["max_output"]
        return min(asked, rq_keys.LARGEST_OUTPUT)

    def _bound(self, fd: int) -> None:
        self.cut = bounded_output.bound(fd, self._limit, self.cut)

    def _output(self, fd: int) -> tuple[dict[str, Any], bytes]:
        """Return the figures of the output and its retained part; a fault in it does not change the outcome."""
        try:
            kept = bounded_output.excerpt(fd, self._limit, self.cut)
            output = b"".join(bounded_output.pieces(fd, kept))
        except Exception as exc:  # noqa: BLE001  as for a local run
            self.note = f"its output was lost: {in_words(exc)}"
            kept, output = bounded_output.NONE, b""
        return _figures(kept, output)


def _figures(kept: Excerpt, output: bytes) -> tuple[dict[str, Any], bytes]:
    cut_at, left_out = bounded_output.place_of(kept.cut)
    return {"written": kept.written, "cut_at": cut_at, "left_out": left_out}, output


def _not_started(exc: Exception) -> Outcome:
    return Outcome(error=f"could not start: {in_words(exc)}")


def _command(given: Mapping[str, Any], since: datetime) -> Command:
    """Return the command as this machine executes it; raises StateError."""
    if given.get("format") != rq_keys.FORMAT:
        raise StateError(
            f"its worker has taskrunner {taskrunner.__version__}, which cannot run tasks of taskrunner "
            f"{given.get('version', 'before 0.1')}: install the same on both"
        )
    ours = {given["python"]: sys.executable, given["launcher"]: LAUNCHER}
    first, rest = given["argv"][:2], given["argv"][2:]  # a later word may just look like ours
    _, folder = account.account(None)
    env = _environment(given, since)
    return Command(
        argv=(*(ours.get(word, word) for word in first), *rest),
        env=env,
        cwd=given["cwd"] or folder,
        missing=tuple(name for name in given["pass_env"] if name not in env),
        **{key: given[key] for key in SAME},
    )


def _environment(given: Mapping[str, Any], since: datetime) -> dict[str, str]:
    user, folder = account.account(None)
    env: dict[str, str] = {"HOME": folder, "USER": user, "LOGNAME": user} | given["base"]
    env |= {name: os.environ[name] for name in given["pass_env"] if name in os.environ}
    if given["env_file"] is not None:
        from taskrunner.processes import env_file  # few need it, and it takes long to import

        env |= env_file.read_env_file(given["env_file"])
    env |= given["env"]
    return env | {"TASKRUNNER_STARTED": clock.iso(since)}
