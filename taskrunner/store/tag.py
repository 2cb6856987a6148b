"""A tag of a database that all processes share, for those who ask again and again whether it has changed.

It is made by stat(2) alone. The files are never opened: closing any descriptor of a file drops the locks that SQLite
holds on it in this process (sqlite.org/howtocorrupt.html, 2.2).
"""

import os
from collections.abc import Iterator

from taskrunner import host
from taskrunner.home import paths

COARSE = 50  # milliseconds; two changes of a file in so short a time may have one time stamp


def tag(folder: str) -> str:
    """Return the tag of the database in a folder; "none" when there is none."""
    place = paths.path(folder, paths.STORE)
    return "-".join(_parts([place, f"{place}-wal"])) or "none"


def _parts(places: list[str]) -> Iterator[str]:
    newest = 0
    for place in places:
        try:
            found = os.stat(place)
        except OSError:  # there is no such file
            continue
        if found.st_size:  # an empty log comes and goes with those who only read
            newest = max(newest, found.st_mtime_ns // 1_000_000)
            yield f"{found.st_ino:x}.{found.st_size:x}.{found.st_mtime_ns:x}"
    now = host.now_ms()
    if newest and abs(now - newest) < COARSE:
        yield f"{now:x}"
