"""Checks that only certain users can change a file: its owner, its mode, and the folders and links that lead to it.

For files that decide which command runs, or its input. It must not know their contents.
"""

import os
import stat
from collections.abc import Collection, Iterator

MOST_LINKS = 40  # as the kernel has it, path_resolution(7)


def fault(found: os.stat_result, allowed: Collection[int]) -> str | None:
    """Return the fault in the owner or the mode of a file that only these users may change, None when there is none."""
    if found.st_uid not in allowed:
        return f"it belongs to user id {found.st_uid}, who could change the input of a task"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"it can be written by others (mode {stat.S_IMODE(found.st_mode):04o}): run chmod go-w on it"
    return None


def foreign_on_the_way(place: str, allowed: Collection[int]) -> str | None:
    """Return the first folder or link on the way to a file that others could change to lead to another file.

    Only folders and links of these users are followed, so nobody else can change the answer meanwhile.
    """
    for each in _way(place):
        found = os.lstat(each)
        if found.st_uid not in allowed:
            return each
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if shared and stat.S_ISDIR(found.st_mode):
            return each
    return None


def _way(place: str) -> Iterator[str]:
    """Yield every folder and link that a path leads through, those behind links too."""
    at, links = "/", 0
    left = place.split("/")[::-1]
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        yield at
        step = os.path.join(at, name)
        if not os.path.islink(step):
            at = step
            continue
        yield step
        links += 1
        if links > MOST_LINKS:
            return  # opening it fails
        target = os.readlink(step)
        left += target.split("/")[::-1]
        at = "/" if target.startswith("/") else at
