"""A page served by a real process, on real sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tests.samples import ROOT, program

TOLD = re.compile(r"the page is at (\S+)")
PATIENCE = 60  # seconds; the machine may be busy


class Page:
    """One process that serves the page: `place` is its first address, `said` all that it wrote on stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        self.place = ""
        for line in process.stderr or ():
            self.said += line
            if found := TOLD.search(line):
                self.place = found[1]
                break
        # The rest must be read, too, or a full pipe would stop the process.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.said += line

    @property
    def port(self) -> int:
        return int(self.place.rpartition(":")[2])

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Any:
        """One request over a connection of its own: (status, headers, body)."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        return answer(link, path, method, body, headers)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


class UnixConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def answer(
    link: http.client.HTTPConnection,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """Ask once and close: (status, headers, body)."""
    named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    with contextlib.closing(link):
        link.request(method, path, body, named)
        found = link.getresponse()
        return found.status, found.headers, found.read().decode(errors="replace")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC", **more}


@contextlib.contextmanager
def served(home: Any, *words: str, **options: Any) -> Iterator[Page]:
    """Serve a page for the block; `--listen` is a free port of loopback unless it is given."""
    given = words if "--listen" in words else (*words, "--listen", "127.0.0.1:0")
    with started(program(home, "page", *given), **options) as page:
        yield page


@contextlib.contextmanager
def started(words: list[str], **options: Any) -> Iterator[Page]:
    """Start a command that serves a page; it is ended with the block, if it has not by itself."""
    environ = environment(**options.pop("env", {}))
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environ, **options
    ) as process:
        page = Page(process)
        try:
            yield page
        finally:
            if process.poll() is None:
                page.end()
            page.ended()


HAND_OVER = """
import os, sys
os.environ |= {"LISTEN_FDS": sys.argv[1], "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def handed_over(
    home: Any, sockets: list[socket.socket], *words: str
) -> contextlib.AbstractContextManager[Page]:
    """Serve a page at sockets that are handed over as a service manager does it, from descriptor 3 on."""

    def hand() -> None:
        # Out of the way first: one of them may be 3 already.
        high = [os.dup2(one.fileno(), 100 + at) for at, one in enumerate(sockets)]
        for at, number in enumerate(high):
            os.dup2(number, 3 + at, inheritable=True)

    command = program(home, "page", *words)
    given = [sys.executable, "-I", "-c", HAND_OVER, str(len(sockets)), *command]
    return started(given, preexec_fn=hand, close_fds=False)
