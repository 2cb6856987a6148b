"""Where the output of runs lives: a file while the child writes, later the store, the file, or nothing.

A supervisor keeps a few slot files in `output/` and uses them again: making and deleting one per run is what
costs on a file system. Small output moves into the store when the run ends; larger output keeps the file,
renamed to `<run>.log`; silence leaves nothing. It must not know tasks; it is told numbers and paths.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from taskrunner import lock

SMALL = 64 * 1024  # bytes; up to this the store keeps it
CHUNK = 256 * 1024


@dataclass(frozen=True)
class Slot:
    """An open file in `output/` that one child at a time writes to."""

    name: str
    fd: int
    inode: int


@dataclass(eq=False)
class Slots:
    """The slot files of one supervisor, those that are free to be used again by the user they belong to."""

    folder: str
    owner: str
    free: dict[int, list[Slot]] = field(default_factory=dict)
    made: int = 0

    def take(self, uid: int) -> Slot:
        """Return a slot file that is empty, open for appending and owned by user `uid`.

        Its owner can open it again by the name /dev/stdout.
        """
        free = self.free.get(uid)
        return free.pop() if free else self._make(uid)

    def _make(self, uid: int) -> Slot:
        self.made += 1
        name = f"{self.owner}.{self.made}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(os.path.join(self.folder, name), flags, 0o600)
        found = os.fstat(fd)
        if found.st_uid != uid:
            os.fchown(fd, uid, -1)
        return Slot(name, fd, found.st_ino)

    def put_back(self, slot: Slot) -> None:
        """Take a slot back after its output is safe; it is used again only when nobody else can reach it.

        A daemon left behind by one task would write into the output of another; a second link, or a mode of
        its own, would let its user read that.
        """
        found = os.fstat(slot.fd)
        if found.st_size:
            os.ftruncate(slot.fd, 0)
        private = found.st_nlink == 1 and stat.S_IMODE(found.st_mode) == 0o600
        if private and lock.nobody_else_has_open(slot.fd):
            self.free.setdefault(found.st_uid, []).append(slot)
        else:
            self._drop(slot)

    def keep(self, slot: Slot, run_id: int) -> None:
        """Give the file to a run for good."""
        try:
            os.rename(os.path.join(self.folder, slot.name), kept(self.folder, run_id))
        except FileNotFoundError:  # somebody has cleaned up; what we have open is still there
            _copy(slot.fd, kept(self.folder, run_id))
        os.close(slot.fd)

    def close(self) -> None:
        """Remove the slot files."""
        for slots in self.free.values():
            while slots:
                self._drop(slots.pop())

    def _drop(self, slot: Slot) -> None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, slot.name))
        os.close(slot.fd)


def _copy(fd: int, place: str) -> None:
    with open(place, "xb", opener=_private) as file:
        at = 0
        while block := os.pread(fd, CHUNK, at):
            file.write(block)
            at += len(block)


def _private(place: str, flags: int) -> int:
    return os.open(place, flags | os.O_NOFOLLOW, 0o600)


def kept(folder: str, run_id: int) -> str:
    """Return the path of a run's own output file."""
    return os.path.join(folder, f"{run_id}.log")


def slot(folder: str, name: str) -> str:
    """Return the path of a slot file."""
    return os.path.join(folder, name)


def part(folder: str, name: str, start: int) -> bytes:
    """Return the next bytes of a slot file from an offset, b"" when there are none."""
    return next(chunks(slot(folder, name), start), b"")


def size_and_small(fd: int) -> tuple[int, bytes]:
    """Return the size of an output in bytes, and all of it when it is small, else b""."""
    size = os.fstat(fd).st_size
    return size, os.pread(fd, SMALL, 0) if size <= SMALL else b""


def rescue(folder: str, name: str, run_id: int) -> tuple[int | None, bytes]:
    """Return size and small output of a run whose supervisor is gone, and keep its file when it is large.

    The size is None when nothing of it is left.
    """
    for place in (os.path.join(folder, name), kept(folder, run_id)):
        try:
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            size, small = size_and_small(fd)
        finally:
            os.close(fd)
        if size > SMALL:
            os.replace(place, kept(folder, run_id))
        return size, small
    return None, b""


def owners(folder: str) -> dict[str, list[str]]:
    """Return the slot files in the folder by the supervisor they belong to."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        owner, _, number = name.rpartition(".")
        if number.isdigit():
            found.setdefault(owner, []).append(os.path.join(folder, name))
    return found


def chunks(place: str, start: int = 0) -> Iterator[bytes]:
    """Give the bytes of a file from an offset; nothing when it does not exist."""
    try:
        file = open(place, "rb")  # noqa: SIM115  closed by the with below
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        while block := file.read(CHUNK):
            yield block
