"""Storage of output: a file while the child writes; later the database, the file, or nothing.

A supervisor keeps a few output files in `output/` and reuses them, as creating and deleting one per run is
slow. Small output moves into the database when the run ends; larger output keeps the file,
renamed to `<run>.log`; no output leaves nothing. Output beyond its limit is replaced by an excerpt.

A output file belongs to the user of the task. That user can give it any mode, times, size and links, and can hold a
lease on it: none of that is trusted, opening never waits, and retained output is made ours first. It must not know
tasks; it is given numbers and paths.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from taskrunner import clock
from taskrunner.errors import in_words
from taskrunner.home import lock
from taskrunner.model.record import field, mutable, record
from taskrunner.processes import bounded_output
from taskrunner.processes.alive import inode
from taskrunner.processes.bounded_output import Cut, Excerpt

SMALL = 64 * 1024  # bytes; up to this the database keeps it


@record
class OutputFile:
    """An open file in `output/` that one child at a time writes to; a file in memory when `fault` says why."""

    name: str
    fd: int
    inode: int
    fault: str | None = None


@mutable
class OutputFiles:
    """The output files of one supervisor; free ones are reused by the same user."""

    folder: str
    owner: str
    free: dict[int, list[OutputFile]] = field(default_factory=dict)
    made: int = 0

    def take(self, uid: int) -> OutputFile:
        """Return an empty output file, open for appending and owned by user `uid`.

        Its owner can open it again by the name /dev/stdout.
        """
        free = self.free.get(uid)
        return free.pop() if free else self._make(uid)

    def _make(self, uid: int) -> OutputFile:
        self.made += 1
        name = f"{self.owner}.{self.made}"
        fd, fault = _new_file(os.path.join(self.folder, name))
        made = OutputFile(name, fd, inode(os.fstat(fd)), fault)
        try:
            if os.fstat(fd).st_uid != uid:
                os.fchown(fd, uid, -1)
        except OSError:
            self.drop(made)
            raise
        return made

    def put_back(self, file: OutputFile) -> None:
        """Take a file back after its output is stored; it is reused only when nobody else can reach it.

        A process left behind by one task would write into the output of another; a second link, or a changed
        mode, would let its user read that.
        """
        found = os.fstat(file.fd)
        try:
            if found.st_size or found.st_blocks:  # also blocks reserved behind its end
                os.ftruncate(file.fd, 0)
        except OSError:
            self.drop(file)
            return
        private = found.st_nlink == 1 and stat.S_IMODE(found.st_mode) == 0o600
        if private and lock.nobody_else_has_open(file.fd):
            self.free.setdefault(found.st_uid, []).append(file)
        else:
            self.drop(file)

    def keep(self, file: OutputFile, run_id: int, found: Excerpt) -> None:
        """Make the file, or the retained part of it, the run's own output file."""
        _keep(file.fd, os.path.join(self.folder, file.name), kept(self.folder, run_id), found)
        os.close(file.fd)

    def close(self) -> None:
        """Remove the output files."""
        for files in self.free.values():
            while files:
                self.drop(files.pop())

    def drop(self, file: OutputFile) -> None:
        """Remove an output file for good."""
        with suppress(OSError):  # removed already; a file that stays is removed by a later tick
            os.unlink(os.path.join(self.folder, file.name))
        os.close(file.fd)


def _new_file(place: str) -> tuple[int, str | None]:
    """Create a file and return its descriptor; one in memory, and the reason, when the disk refuses."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(place, flags, 0o600), None
        except FileNotFoundError:  # the folder was removed
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            return os.open(place, flags, 0o600), None
    except FileExistsError:  # only an attacker would guess the name
        raise
    except OSError as exc:
        fault = f"no file could be made for its output: {exc.strerror}"
        return os.memfd_create(os.path.basename(place), os.MFD_CLOEXEC), fault


def write(file: OutputFile, data: bytes) -> None:
    """Write the output of a command that ran elsewhere into a file."""
    view = memoryview(data)
    while view:
        view = view[os.write(file.fd, view) :]


def full(folder: str) -> bool:
    """Return whether the disk of the outputs has no room left."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def _keep(fd: int, place: str, target: str, found: Excerpt) -> None:
    """Store the retained part of the file at `place` as a file of its own.

    A copy when it is an excerpt, or when another process may still write to it, now without a limit.
    """
    ours = _made_ours(fd, found.end)
    if found.whole and ours and _moved(place, target):
        return
    try:
        with open(target, "wb", opener=_private) as file:
            file.writelines(bounded_output.pieces(fd, found))
    except OSError:  # the disk is full; with its hole the file needs no more space
        if not _moved(place, target):
            raise
    else:
        with suppress(FileNotFoundError):
            os.unlink(place)


def _made_ours(fd: int, size: int) -> bool:
    """Make a user's file ours; return whether nobody else can reach it, and it has this size."""
    if os.fstat(fd).st_nlink > 1:  # its user can reach it by another name
        return False
    try:
        os.fchown(fd, os.geteuid(), -1)  # this also clears the setuid and setgid bits
        os.fchmod(fd, 0o600)
    except OSError:
        return False
    alone = os.fstat(fd).st_nlink <= 1 and lock.nobody_else_has_open(fd)
    return alone and os.fstat(fd).st_size == size


def _moved(place: str, target: str) -> bool:
    try:
        os.replace(place, target)
    except OSError:  # the file was removed, or the disk has errors; our descriptor still works
        return False
    return True


def _private(place: str, flags: int) -> int:
    return os.open(place, flags | os.O_NOFOLLOW, 0o600)


def kept(folder: str, run_id: int) -> str:
    """Return the path of a run's own output file."""
    return os.path.join(folder, f"{run_id}.log")


def path_of(folder: str, name: str) -> str:
    """Return the path of a output file."""
    return os.path.join(folder, name)


def gather(fd: int, limit: int, cut: Cut | None = None) -> tuple[Excerpt, bytes]:
    """Return the part of an output to retain, and its bytes when it is small, else b""."""
    found = bounded_output.excerpt(fd, limit, cut)
    small = 0 < found.size <= SMALL
    return found, b"".join(bounded_output.pieces(fd, found)) if small else b""


@record
class Rescued:
    """The output of a run whose supervisor is gone: small, or in a file of its own.

    `size` counts the bytes written, None when nothing is left of them; `cut` is the one in the retained output; `note`
    is to be added to the reason of the run.
    """

    size: int | None = None
    small: bytes = b""
    cut: Cut | None = None
    note: str | None = None


def rescue(folder: str, name: str, run_id: int, limit: int, cut: Cut | None = None) -> Rescued:
    """Store the output of a run whose supervisor is gone; `cut` was cut out of it."""
    try:
        return _rescued(folder, name, run_id, limit, cut)
    except Exception as exc:  # noqa: BLE001  whatever is wrong with one output keeps no tick from its work
        return Rescued(note=lost(exc))


def _rescued(folder: str, name: str, run_id: int, limit: int, cut: Cut | None) -> Rescued:
    place = path_of(folder, name)
    with suppress(FileNotFoundError), _opened(place) as fd:
        found, small = gather(fd, limit, cut)
        if found.size > SMALL:
            _keep(fd, place, kept(folder, run_id), found)
        return Rescued(found.written, small, found.cut)
    with opened(kept(folder, run_id)) as fd:  # it was stored before its supervisor died
        if fd is None:
            return Rescued()
        return Rescued(bounded_output.written(fd, cut), cut=bounded_output.standing(fd, cut))


def lost(exc: Exception) -> str:
    """Return the note about an output that cannot be read."""
    held = isinstance(exc, BlockingIOError)  # fcntl(2), F_SETLEASE
    why = "a process that the task left behind holds a lease on it" if held else in_words(exc)
    return f"its output was lost: {why}"


def bound(folder: str, name: str, limit: int, cut: Cut | None) -> Cut | None:
    """Cut a growing output that has no supervisor; return the cut in it. Raises OSError."""
    with _opened(path_of(folder, name), os.O_RDWR) as fd:
        return bounded_output.bound(fd, limit, cut)


def heard(folder: str, name: str, now: datetime) -> datetime | None:
    """Return when a running command last wrote, None when its file is missing."""
    with opened(path_of(folder, name)) as fd:
        return None if fd is None else touched(os.fstat(fd), now)


def touched(found: os.stat_result, now: datetime) -> datetime:
    """Return when a file was last changed, at most now: by ctime, which its user cannot set."""
    last = found.st_ctime_ns // 1_000_000
    return clock.from_ms(min(max(last, 0), clock.to_ms(now)))


def written(folder: str, name: str, cut: Cut | None) -> int:
    """Count the bytes that a running command has written."""
    with opened(path_of(folder, name)) as fd:
        return 0 if fd is None else bounded_output.written(fd, cut)


def part(
    folder: str, name: str, cut: Cut | None, start: int, most: int = bounded_output.CHUNK
) -> tuple[bytes, int]:
    """Return the next bytes that a running command has written, b"" when there are none, and where they end."""
    with opened(path_of(folder, name)) as fd:
        return (b"", start) if fd is None else bounded_output.part(fd, cut, start, most)


def kept_part(
    folder: str, run_id: int, cut: Cut | None, start: int, most: int
) -> tuple[bytes, int]:
    """Return the next bytes in a run's own file from `start` on, b"" at its end, and where they end."""
    with opened(kept(folder, run_id)) as fd:
        return (b"", start) if fd is None else bounded_output.kept_part(fd, cut, start, most)


def rest(
    folder: str, run_id: int, total: int | None, start: int, cut: Cut | None = None
) -> Iterator[bytes]:
    """Yield the retained output in a run's own file, of `total` bytes written, from `start` on."""
    with opened(kept(folder, run_id)) as fd:
        if fd is not None:
            yield from bounded_output.rest(fd, total, start, cut)


def end(folder: str, run_id: int, most: int) -> bytes:
    """Return the last bytes in a run's own file."""
    with opened(kept(folder, run_id)) as fd:
        return b"" if fd is None else bounded_output.end(fd, most)


@contextmanager
def opened(place: str, flags: int = os.O_RDONLY) -> Iterator[int | None]:
    """Open a file for the block and yield its descriptor; None when it is missing or cannot be opened now."""
    try:
        fd = open_plain(place, flags)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened(place: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file for the block and yield its descriptor; raises OSError."""
    fd = open_plain(place, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def open_plain(place: str, flags: int) -> int:
    """Open a regular file and nothing else, without waiting; raises OSError.

    A lease held by another process makes it fail with EAGAIN; the kernel breaks it within a minute.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(place, flags)
    except PermissionError:
        if not stat.S_ISREG(os.lstat(place).st_mode):
            raise
        os.chmod(place, 0o600)  # the task has changed the mode of its output
        fd = os.open(place, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file", place)
    return fd


def owners(folder: str) -> dict[str, list[str]]:
    """Return the output files in the folder by the supervisor they belong to."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        owner, _, number = name.rpartition(".")
        if number.isdigit():
            found.setdefault(owner, []).append(os.path.join(folder, name))
    return found
