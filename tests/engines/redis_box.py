"""A Redis of its own and workers of RQ, for tests: real processes in a temporary folder, without a port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from redis import Redis, RedisError

from taskrunner.engines import rq_keys
from taskrunner.engines.rq_queue import Queue

SERVER = shutil.which("redis-server") or "/usr/bin/redis-server"
PATIENCE = 120.0  # seconds; the machine may be busy


def until(true: Callable[[], object], patience: float = PATIENCE, every: float = 0.05) -> object:
    """Wait until something is true and return it."""
    end = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < end, f"not within {patience:g} s: {true}"
        time.sleep(every)
    return found


def until_there(place: Path) -> str:
    """A line of shell that waits until a file is there: its run lasts as long as a test wants."""
    return f"until test -e {place}; do sleep 0.05; done"


class Box:
    """One server and its workers; what it keeps survives a restart, unless it is flushed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The path of a socket has at most 107 characters, and pytest's folders are long.
        self._short = tempfile.TemporaryDirectory(prefix="redis-")
        self.socket = f"{self._short.name}/redis"
        self.url = f"unix://{self.socket}"
        self.port: int | None = None  # of a server that also listens to the network
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server: subprocess.Popen[bytes] | None = None
        self.redis = Redis.from_url(self.url, socket_timeout=20)

    def start(self, *options: str) -> None:
        words = [SERVER, "--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder)]
        words += ["--appendonly", "yes", "--save", "", "--loglevel", "warning", *options]
        with open(self.folder / "redis.log", "ab") as log:
            self.server = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def answers() -> bool:
            with contextlib.suppress(RedisError):
                return bool(self.redis.ping())
            return False

        until(answers)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.server is not None:
            self.server.send_signal(number)
            self.server.wait(PATIENCE)
            self.server = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server stand still for the block, however long that takes."""
        assert self.server is not None
        self.server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.send_signal(signal.SIGCONT)

    def queue(self, name: str = "default") -> Queue:
        return Queue(self.url, name)

    def worker(
        self,
        name: str,
        *words: str,
        queue: str = "default",
        url: str | None = None,
        prefix: tuple[str, ...] = (),
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker; it takes what is there at once."""
        argv = [
            *prefix,
            sys.executable,
            "-m",
            "rq.cli",
            "worker",
            "--serializer",
            "json",
        ]
        with open(self.folder / f"{name}.log", "ab") as log:
            started = subprocess.Popen(
                [*argv, "--name", name, *words, queue],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.folder),
                    "RQ_REDIS_URL": url
                    or self.url,  # it would be seen among the words of the command
                    **env,
                },
            )
        self.processes.append(started)
        return started

    def end(self, worker: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """End a worker; a killed one leaves its horse behind."""
        worker.send_signal(number)
        worker.wait(PATIENCE)
        self.processes.remove(worker)

    def close(self) -> None:
        for each in list(self.processes):
            for pid in horses(each):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.end(each)
        self.stop(signal.SIGKILL)
        self.redis.close()
        self._short.cleanup()


def horses(worker: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a worker that perform runs."""
    place = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
    with contextlib.suppress(OSError):
        return [int(pid) for pid in place.read_text().split()]
    return []


@contextlib.contextmanager
def box(folder: Path, *options: str) -> Iterator[Box]:
    made = Box(folder)
    try:
        made.start(*options)
        yield made
    finally:
        made.close()


def given(*argv: str, **values: object) -> dict[str, object]:
    """What a scheduler hands over: a command and its defaults."""
    return {
        "format": rq_keys.FORMAT, "version": "0.1", "argv": list(argv), "base": {"PATH": "/usr/bin:/bin"}, "pass_env": [], "env_file": None, "env": {},
        "cwd": "/", "stdin": None, "umask": 0o022, "nice": None, "limit": {}, "timeout": None,
        "max_silence": None, "kill_after": 10.0, "max_output": 10_000_000, "python": None, "launcher": None,
    } | values  # fmt: skip
