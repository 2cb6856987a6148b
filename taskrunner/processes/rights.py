"""The rights of another user, for a block: folders are entered and files are opened as that user would do it.

The kernel keeps the ids that count for files apart from all others, and for each thread (setfsuid(2)). With them go
the capabilities by which root may read everything (capabilities(7)), so what is closed to the user is closed to us.
A process that is started in the block begins with them. It must not know what is opened.
"""

import ctypes
import errno
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LIBC = ctypes.CDLL(None, use_errno=True)
ASK = 0xFFFFFFFF  # no id is this one: nothing is changed, and what it was is returned
NOBODY = 65534  # the group of who has none
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
    """Have for the block, in this thread, what a user may do with files; nothing changes unless we are another one, and root.

    Groups that are not given are those of the user of that number. Raises PermissionError where that cannot be.
    """
    own = os.geteuid()
    if own != 0 or uid == own:
        yield
        return
    if gid is None or groups is None:
        gid, groups = _groups_of(uid)
    before = os.getgroups()
    try:
        _set_groups(groups)
        _change(gid, uid)
        if (LIBC.setfsuid(ASK) & ASK, LIBC.setfsgid(ASK) & ASK) != (uid, gid):
            raise PermissionError(errno.EPERM, f"the rights of user id {uid} cannot be had")
        yield
    finally:
        LIBC.setfsuid(ctypes.c_uint(own))  # first, as the rest takes a capability
        LIBC.setfsgid(ctypes.c_uint(os.getegid()))
        _set_groups(before)


def _change(gid: int, uid: int) -> None:
    LIBC.setfsgid(ctypes.c_uint(gid))
    LIBC.setfsuid(ctypes.c_uint(uid))


def _groups_of(uid: int) -> tuple[int, Sequence[int]]:
    """Return the group of a user and all groups; who is not known has none."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return NOBODY, ()
    return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)


def _set_groups(groups: Sequence[int]) -> None:
    """Let this thread have these groups besides its own."""
    machine = os.uname().machine
    number = SETGROUPS.get(machine)
    if number is None or (not machine.startswith(("i", "armv"))) != WIDE:
        os.setgroups(groups)
        return
    made = (ctypes.c_uint32 * len(groups))(*groups)
    if LIBC.syscall(ctypes.c_long(number), ctypes.c_size_t(len(groups)), made):
        raise OSError(ctypes.get_errno(), "the groups of a user cannot be had")
