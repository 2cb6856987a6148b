"""Checks that nobody else can change a file: its owner, its mode, and the folders and links that lead to it.

For files that decide what runs or what it is given. It must not know what the files hold.
"""

import os
import stat
from collections.abc import Collection, Iterator

MOST_LINKS = 40  # as the kernel has it, path_resolution(7)


def fault(found: os.stat_result, allowed: Collection[int]) -> str | None:
    """Return what is wrong with the owner or the mode of a file that only these users may change, None else."""
    if found.st_uid not in allowed:
        return f"it belongs to user id {found.st_uid}, who could change the input of a task"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"it can be written by others (mode {stat.S_IMODE(found.st_mode):04o}): run chmod go-w on it"
    return None


def led_astray(place: str, allowed: Collection[int]) -> str | None:
    """Return the first folder or link on the way to a file by which others could lead us to another one.

    Only what is in the hands of these users is followed, so nobody else can change the answer meanwhile.
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
    """Give every folder and link that a path leads through, those behind links too."""
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
        here = os.path.join(at, name)
        if not os.path.islink(here):
            at = here
            continue
        yield here
        links += 1
        if links > MOST_LINKS:
            return  # opening it fails
        target = os.readlink(here)
        left += target.split("/")[::-1]
        at = "/" if target.startswith("/") else at
