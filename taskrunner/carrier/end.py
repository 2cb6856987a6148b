"""The last thing a unit of systemd executes: it has the end of a run recorded.

    python -I end.py HOME UNIT RUN $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS $NOTIFY_SOCKET PATH...

A program of its own. It first asks systemd for time, since `TimeoutStopSec` of the unit is the kill-after of the
task, and lets go of the output of the command; then it finds the rest of taskrunner at PATH.
"""

import os
import socket
import sys
from contextlib import suppress

TIME = b"EXTEND_TIMEOUT_USEC=180000000"  # sd_notify(3); the longest that a busy store, or a search, can take
TOLD = (
    "${SERVICE_RESULT}",
    "${EXIT_CODE}",
    "${EXIT_STATUS}",
    "${NOTIFY_SOCKET}",
)  # systemd.exec(5)


def end(folder: str, unit: str, run_id: str, *words: str) -> int:
    """Record the end of a run; systemd puts in what it has to say of it."""
    result, code, status, place = words[: len(TOLD)]
    _ask_for_time(place)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.path += [each for each in words[len(TOLD) :] if each not in sys.path]
    from taskrunner.carrier import record

    return record.main(folder, unit, int(run_id), result, code, status)


def _ask_for_time(place: str) -> None:
    name = "\0" + place[1:] if place.startswith("@") else place
    # Without an answer it has to do with what it has.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(TIME, name)


if __name__ == "__main__":
    sys.exit(end(*sys.argv[1:]))
