"""The account a command runs under."""

import os
import pwd
from functools import lru_cache

from taskrunner.errors import StateError, shown


@lru_cache(maxsize=64)
def account(user: str | None) -> tuple[str, str]:
    """Return the name and home folder of a user, of our own for None; raises StateError.

    Our user id may have no name, as in a container: then its number is the name, and / the home folder.
    """
    try:
        entry = pwd.getpwuid(os.geteuid()) if user is None else pwd.getpwnam(user)
    except KeyError as exc:
        if user is None:
            return str(os.geteuid()), "/"
        raise StateError(f"there is no user {shown(user)} on this host") from exc
    return entry.pw_name, entry.pw_dir


def author(by: str | None) -> str:
    """Return the author of a change: the given name, else that of our own user."""
    return account(None)[0] if by is None else by


def owner(user: str | None) -> int:
    """Return the user id that the output of a task belongs to: our own unless we are root and may change it."""
    own = os.geteuid()
    if user is None or own != 0:
        return own
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:  # the run cannot start either; its outcome gives the reason
        return own
