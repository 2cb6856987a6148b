"""Addresses and passwords: read from a file or a variable, and kept out of every message."""

import os
import stat
from collections.abc import Mapping
from typing import Any

from taskrunner.errors import StateError, shown
from taskrunner.home import config
from taskrunner.home.channels import MASK

LARGEST = 10_000  # bytes of such a file


def read(more: Mapping[str, Any], name: str) -> str | None:
    """Return the value of a setting: its text, or the contents of its file or variable; None without any.

    Raises StateError that names the file or the variable.
    """
    if name in more:
        return str(more[name])
    if f"{name}_file" in more:
        return _from_file(os.path.expanduser(more[f"{name}_file"]))
    if f"{name}_env" in more:
        found = config.variable_named(more[f"{name}_env"])
        if found is None:
            raise StateError(
                f"the variable {more[f'{name}_env']} is not set where this was sent from: cron sets none, "
                f"so give {name}_file"
            )
        return found
    return None


def _from_file(place: str) -> str:
    try:
        with open(place, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            data = file.read(LARGEST)
    except OSError as exc:
        raise StateError(f"the file {shown(place)} cannot be read: {exc.strerror}") from exc
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise StateError(f"the file {shown(place)} is not a regular file of this user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise StateError(f"the file {shown(place)} can be read by others: run chmod 600 on it")
    text = data.decode(errors="replace").strip()
    if not text or "\n" in text:
        raise StateError(f"the file {shown(place)} must hold one line")
    return text


def _without_waiting(place: str, flags: int) -> int:
    return os.open(place, flags | os.O_NONBLOCK)


def without(text: str, *secrets: str | None) -> str:
    """Return a text with secrets replaced."""
    for each in secrets:
        if each:
            text = text.replace(each, MASK)
    return text
