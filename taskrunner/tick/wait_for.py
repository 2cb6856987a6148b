"""Conditions for the first tick of a daemon: a port that answers, a file that exists.

It must not know homes and stores: the file may be on the disk that they are on.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.record import record

PACE = 0.5  # seconds between two looks
LOOK = 0.02  # seconds between two checks whether a look has finished
ANSWER = 2.0  # seconds for a port to answer
PORT = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\[\]:/@?#\s]+):([0-9]{1,5})", re.ASCII)
FORMS = "write tcp://HOST:PORT or file:/PATH"


@record
class Awaited:
    """A condition as it was written, and a function that tests it."""

    text: str
    there: Callable[[], bool]


def parse(text: str) -> Awaited:
    """Return the condition of a text; raises InputError."""
    scheme, _, rest = str(text).partition(":")
    if scheme == "tcp":
        return Awaited(text, partial(_answers, *_port(text)))
    if scheme == "file":
        return Awaited(text, partial(os.path.exists, _path(text, rest)))
    raise InputError(f"{shown(text)} is not a valid --wait-for: {FORMS}")


def _port(text: str) -> tuple[str, int]:
    found = PORT.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        raise InputError(
            f"{shown(text)} is not a valid port to wait for: write tcp://HOST:PORT, such as tcp://db:5432"
        )
    try:
        found[1].encode("idna")
    except UnicodeError as exc:
        raise InputError(
            f"{shown(text)} is not a valid port to wait for: the host name is not valid"
        ) from exc
    return found[1].strip("[]"), int(found[2])


def _path(text: str, rest: str) -> str:
    path = rest.removeprefix("//") if rest.startswith("///") else rest
    if not path.startswith("/") or path.startswith("//") or "\0" in path:
        raise InputError(
            f"{shown(text)} is not a valid file to wait for: write file:/PATH with an absolute path"
        )
    return path


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER).close()
    except OSError:
        return False
    return True


class Look(threading.Thread):
    """One test, in a thread of its own: resolving a host name can be neither limited nor interrupted."""

    def __init__(self, awaited: Awaited) -> None:
        super().__init__(daemon=True)
        self.awaited = awaited
        self.found = False
        self.start()

    def run(self) -> None:
        """Test the condition."""
        self.found = self.awaited.there()


def wait_for(
    wanted: Sequence[Awaited], limit: timedelta, pause: Callable[[str, float], bool]
) -> bool:
    """Wait until all conditions hold; raises StateError after `limit`.

    `pause` gets the text of the condition, sleeps for some seconds, and returns whether to go on: if not, the result is
    False.
    """
    end = time.monotonic() + limit.total_seconds()
    return all(_comes(each, end, limit, pause) for each in wanted)


def _comes(
    awaited: Awaited, end: float, limit: timedelta, pause: Callable[[str, float], bool]
) -> bool:
    look = Look(awaited)
    while not look.found:
        if time.monotonic() >= end:
            raise StateError(
                f"{shown(awaited.text)} was not ready within {limit.total_seconds():g} s: "
                "see why, or wait longer with --wait-limit"
            )
        looking = look.is_alive()
        if not pause(awaited.text, LOOK if looking else PACE):
            return False
        if not looking and not look.found:
            look = Look(awaited)
    return True
