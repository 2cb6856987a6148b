"""The program that a unit of systemd runs last: it has the end of a run recorded.

    python -I end.py HOME UNIT RUN [NAME=VALUE...] -- PATH...

A separate program. It first asks systemd for time, since `TimeoutStopSec` of the unit is the kill-after of the
task, and closes the output of the command; then it finds the rest of taskrunner at PATH, and sets the given
variables in its environment. The words are encoded so that systemd expands nothing in them.
"""

import os
import socket
import sys
from contextlib import suppress

TIME = b"EXTEND_TIMEOUT_USEC=180000000"  # sd_notify(3); the longest time for a busy database, or a search
TOLD = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")  # systemd.exec(5)


def end(folder: str, unit: str, run_id: str, *words: str) -> int:
    """Record the end of a run; systemd reports it in the environment."""
    _ask_for_time(os.environ.get("NOTIFY_SOCKET", ""))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    cut = words.index("--")
    os.environ.update(dict(word.split("=", 1) for word in words[:cut]))
    sys.path += [each for each in words[cut + 1 :] if each not in sys.path]
    from taskrunner.supervise.systemd import record_end

    told = (os.environ.get(name, "") for name in TOLD)
    return record_end.main(folder, unit, int(run_id), *told)


def _ask_for_time(place: str) -> None:
    name = "\0" + place[1:] if place.startswith("@") else place
    # Without more time it continues all the same.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(TIME, name)


def decoded(word: str) -> str:
    """Decode a word that was encoded for systemd: `:` and two hexadecimal digits stand for a byte."""
    first, *more = word.split(":")
    parts = (bytes.fromhex(each[:2]) + each[2:].encode() for each in more)
    return os.fsdecode(first.encode() + b"".join(parts))


if __name__ == "__main__":
    sys.exit(end(*map(decoded, sys.argv[1:])))
