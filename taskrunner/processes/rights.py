"""The rights of another user, for a block: folders are entered and files opened as that user.

The kernel keeps the ids for file access apart from all others, and for each thread (setfsuid(2)). They include
the capabilities by which root may read everything (capabilities(7)), so files closed to the user are closed to us.
A process started in the block inherits them. It must not know which files are opened.
"""

import errno
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

ASK = 0xFFFFFFFF  # not a valid id: nothing is changed, and the current id is returned
PR_GET_SECUREBITS = 27  # linux/prctl.h
NOBODY = 65534  # the group of users without one
# The number of setgroups(2). The function of that name in the C library changes all our threads.
SETGROUPS = {
    "x86_64": 116,
    "aarch64": 159,
    "riscv64": 159,
    "ppc64le": 81,
    "s390x": 206,
    **dict.fromkeys(("i386", "i686", "armv6l", "armv7l"), 206),
}
WIDE = sys.maxsize > 2**32


@contextmanager
def of(uid: int, gid: int | None = None, groups: Sequence[int] | None = None) -> Iterator[None]:
    """Have a user's rights to files for the block, in this thread; only root can change to another user.

    Groups default to those of the user with that id. Raises PermissionError when this fails.
    """
    own = os.geteuid()
    if own != 0 or uid == own:
        yield
        return
    if gid is None or groups is None:
        gid, groups = _groups_of(uid)
    before, libc = os.getgroups(), _libc()
    try:
        _set_groups(groups)
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        if (libc.setfsuid(ASK), libc.setfsgid(ASK)) != (uid, gid):
            raise PermissionError(errno.EPERM, f"the rights of user id {uid} cannot be had")
        yield
    finally:
        libc.setfsuid(own)  # first, as the rest needs a capability
        libc.setfsgid(os.getegid())
        _set_groups(before)


@lru_cache(maxsize=1)
def _libc() -> Any:
    """Return the C library; ctypes is imported at first use, since few ticks need it."""
    import ctypes

    found = ctypes.CDLL(None, use_errno=True)
    for function in (found.setfsuid, found.setfsgid):
        function.argtypes, function.restype = (ctypes.c_uint,), ctypes.c_uint
    return found


def securebits() -> int:
    """Return the securebits of this process (capabilities(7))."""
    bits: int = _libc().prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)
    return bits


def _groups_of(uid: int) -> tuple[int, Sequence[int]]:
    """Return the group of a user and all groups; an unknown user has none."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return NOBODY, ()
    return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)


def _set_groups(groups: Sequence[int]) -> None:
    """Set the supplementary groups of this thread."""
    machine = os.uname().machine
    number = SETGROUPS.get(machine)
    if number is None or (not machine.startswith(("i", "armv"))) != WIDE:
        os.setgroups(groups)
        return
    import ctypes

    made = (ctypes.c_uint32 * len(groups))(*groups)
    if _libc().syscall(ctypes.c_long(number), ctypes.c_size_t(len(groups)), made):
        raise OSError(ctypes.get_errno(), "the groups of a user cannot be had")
