"""The last thing a unit of systemd executes: it has the end of a run recorded.

    python -I end.py HOME UNIT RUN [NAME=VALUE...] -- PATH...

A program of its own. It first asks systemd for time, since `TimeoutStopSec` of the unit is the kill-after of the
task, and lets go of the output of the command; then it finds the rest of taskrunner at PATH, and reads its settings
from the environment as if that had them. The words are written so that systemd finds nothing to expand in them.
"""

import os
import socket
import sys
from contextlib import suppress

TIME = b"EXTEND_TIMEOUT_USEC=180000000"  # sd_notify(3); the longest that a busy store, or a search, can take
TOLD = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")  # systemd.exec(5)


def end(folder: str, unit: str, run_id: str, *words: str) -> int:
    """Record the end of a run; what systemd says of it stands in the environment."""
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
    # Without an answer it has to do with what it has.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(TIME, name)


def decoded(word: str) -> str:
    """Return a word as it was before it was written for systemd: of each byte after a `:` the two digits stand for it."""
    first, *more = word.split(":")
    parts = (bytes.fromhex(each[:2]) + each[2:].encode() for each in more)
    return os.fsdecode(first.encode() + b"".join(parts))


if __name__ == "__main__":
    sys.exit(end(*map(decoded, sys.argv[1:])))
