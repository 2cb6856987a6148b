"""What is kept of an output that is larger than its limit: the head, a mark, and the newest tail.

While the output grows the middle is cut out of its file: a hole is punched, so that offsets stay and nobody who
writes or reads has to know. Where the file system cannot do that the tail is moved up behind a mark. A reader's
place in an output counts all bytes that were written before it, also those left out. It must not know whose
output it is, nor where it lives.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator

from taskrunner import lock
from taskrunner.record import record

CHUNK = 256 * 1024
SLACK = 256 * 1024  # bytes on the disk beyond the limit before it is worth a cut
BLOCK = 4096  # at least; a hole consists of whole blocks
NO_HOLES = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL)
# The mode of a file whose tail was moved: it may hold what looks like a mark and is the output's own.
MOVED = 0o600 | stat.S_ISVTX
MARK = re.compile(rb"\n\[taskrunner: (\d+) bytes left out\]\n")


@record
class Gap:
    """A place in stored output where a mark stands for what was left out; `at` and `lost` in bytes."""

    at: int
    lost: int

    @property
    def mark(self) -> bytes:
        """What stands there."""
        return mark(self.lost)

    @property
    def shift(self) -> int:
        """How much later a byte behind the mark was written than it stands."""
        return self.lost - len(self.mark)

    def pass_by(self, start: int) -> tuple[bytes, int]:
        """Return the mark a reader gets who comes to it or into it, and where to go on."""
        after = self.at + self.lost
        return (mark(after - start), after) if start < after else (b"", start)


@record
class Excerpt:
    """What is kept of the `written` bytes of an output: those before `head`, and those from `tail` to `end`.

    All three are places in the file. Nothing is left out when `head` is the `end`.
    """

    written: int
    head: int
    tail: int
    end: int

    @property
    def whole(self) -> bool:
        """Whether the file is what is kept, as it stands."""
        return self.head == self.end

    @property
    def mark(self) -> bytes:
        """What stands for the rest."""
        return b"" if self.whole else mark(self.written - self.head - (self.end - self.tail))

    @property
    def size(self) -> int:
        """The number of bytes that are kept, with the mark."""
        return self.head + len(self.mark) + self.end - self.tail


NONE = Excerpt(0, 0, 0, 0)


def mark(lost: int) -> bytes:
    """Return what is shown instead of so many bytes."""
    return b"\n[taskrunner: %d bytes left out]\n" % lost


LONGEST = len(mark(2**63))


# ---- cutting


def bound(fd: int, limit: int) -> bool:
    """Cut the middle out of a file that takes more of the disk than its limit and some; whether it did."""
    found = os.fstat(fd)
    if min(found.st_size, found.st_blocks * 512) <= limit + SLACK:
        return False
    block = max(BLOCK, found.st_blksize)
    start = -(-(limit // 2) // block) * block
    end = (found.st_size - (limit - limit // 2)) // block * block
    if start < end:
        try:
            lock.punch_hole(fd, start, end - start)
        except OSError as exc:
            if exc.errno not in NO_HOLES:
                raise
            _move_tail(fd, limit, found)
    return True


def _move_tail(fd: int, limit: int, found: os.stat_result) -> None:
    """Cut where no hole can be punched; of what is written in this moment a little may be lost."""
    half = limit // 2
    old = _gap(fd, found, half)
    start = found.st_size - (limit - half)
    gap = Gap(half, start - half + (old.shift if old else 0))
    os.fchmod(fd, MOVED)
    # Opened again: pwrite(2) appends on a descriptor that was opened for appending.
    with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as file:
        file.seek(half)
        file.write(gap.mark)
        while block := os.pread(fd, CHUNK, start):
            start += file.write(block)
        file.truncate()


def _gap(fd: int, found: os.stat_result, at: int) -> Gap | None:
    """Return the mark in a file whose tail was moved."""
    if stat.S_IMODE(found.st_mode) != MOVED:
        return None
    there = MARK.match(os.pread(fd, LONGEST, at))
    return None if there is None else Gap(at, int(there[1]))


# ---- what is kept in the end


def excerpt(fd: int, limit: int) -> Excerpt:
    """Return what is to be kept of an output that is not written to any more."""
    found = os.fstat(fd)
    end, half = found.st_size, limit // 2
    gap = _gap(fd, found, half)
    if gap is None and end <= limit:
        return Excerpt(end, end, end, end)
    # Never more than was written: a command may have made holes of its own.
    head = min(half, _seek(fd, 0, os.SEEK_HOLE, 0))
    tail = max(end - (limit - half), head if gap is None else half + len(gap.mark))
    return Excerpt(end + (gap.shift if gap else 0), head, _seek(fd, tail, os.SEEK_DATA, end), end)


def pieces(fd: int, kept: Excerpt) -> Iterator[bytes]:
    """Give what is kept of an output."""
    yield from _between(fd, 0, kept.head)
    if not kept.whole:
        yield kept.mark
        yield from _between(fd, kept.tail, kept.end)


def newest(fd: int, kept: Excerpt, limit: int) -> bytes:
    """Return what is kept of an output, of more than `limit` bytes the newest."""
    if kept.size <= limit:
        return b"".join(pieces(fd, kept))
    low = 0 if kept.whole else kept.tail
    return b"".join(_between(fd, max(low, kept.end - limit), kept.end))


def _between(fd: int, start: int, end: int) -> Iterator[bytes]:
    while block := os.pread(fd, min(CHUNK, end - start), start):
        start += len(block)
        yield block


def _seek(fd: int, start: int, what: int, otherwise: int) -> int:
    """Return where the next hole or the next data is; what is given when the file has no more of it."""
    try:
        return os.lseek(fd, start, what)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        return otherwise


# ---- reading


def written(fd: int, limit: int) -> int:
    """Return how many bytes were written to an output that may still grow."""
    found = os.fstat(fd)
    gap = _gap(fd, found, limit // 2)
    return found.st_size + (gap.shift if gap else 0)


def part(fd: int, limit: int, start: int) -> tuple[bytes, int]:
    """Return the next bytes of a growing output from `start` on, b"" when there are none, and where they end.

    Who comes too late for some of them gets a mark instead. A command that emptied its output begins anew.
    """
    start = start if start <= written(fd, limit) else 0
    return _next(fd, _gap(fd, os.fstat(fd), limit // 2), start)


def rest(fd: int, total: int | None, start: int) -> Iterator[bytes]:
    """Give what is kept in a file of an output of `total` bytes, from `start` on."""
    size = os.fstat(fd).st_size
    gap = _find_gap(os.pread(fd, *_middle(size)), size, total)
    start = start if start <= (total or size) else 0
    while (found := _next(fd, gap, start))[0]:
        yield found[0]
        start = found[1]


def rest_of(data: bytes, total: int | None, start: int) -> bytes:
    """Return what is kept in `data` of an output of `total` bytes, from `start` on."""
    count, low = _middle(len(data))
    gap = _find_gap(data[low : low + count], len(data), total)
    start = start if start <= (total or len(data)) else 0
    if gap is None or start < gap.at:
        return data[start:]
    told, start = gap.pass_by(start)
    return told + data[start - gap.shift :]


def left_out(data: bytes, total: int | None) -> int:
    """Return how many bytes are not in `data`, what is kept of an output of `total` bytes."""
    count, low = _middle(len(data))
    gap = _find_gap(data[low : low + count], len(data), total)
    return 0 if gap is None else gap.lost


def end(fd: int, total: int | None, most: int) -> tuple[bytes, int]:
    """Return the last bytes of a file with an output of `total` bytes, and how many bytes are not in it."""
    size = os.fstat(fd).st_size
    gap = _find_gap(os.pread(fd, *_middle(size)), size, total)
    start = max(0, size - most)
    return os.pread(fd, size - start, start), 0 if gap is None else gap.lost


def _next(fd: int, gap: Gap | None, start: int) -> tuple[bytes, int]:
    return _around(fd, start) if gap is None else _across(fd, gap, start)


def _around(fd: int, start: int) -> tuple[bytes, int]:
    """Read the next bytes that are no hole, with a mark for the hole."""
    while True:
        at = _seek(fd, start, os.SEEK_DATA, -1)
        block = os.pread(fd, CHUNK, at) if at >= 0 else b""
        if not block:
            return b"", start
        end = min(at + len(block), _seek(fd, at, os.SEEK_HOLE, at))
        if end > at:  # else it was cut, or emptied, while we read it
            return (mark(at - start) if at > start else b"") + block[: end - at], end


def _across(fd: int, gap: Gap, start: int) -> tuple[bytes, int]:
    """Read the next bytes of a file with a mark in it."""
    if start < gap.at:
        block = os.pread(fd, min(CHUNK, gap.at - start), start)
        return block, start + len(block)
    told, start = gap.pass_by(start)
    block = os.pread(fd, CHUNK, start - gap.shift)
    return told + block, start + len(block)


def total(fd: int) -> int:
    """Return how many bytes were written of what is kept in a file, as far as the file itself tells."""
    size = os.fstat(fd).st_size
    for gap in _marks(os.pread(fd, *_middle(size)), size):
        if gap.at == (size - len(gap.mark)) // 2:
            return size + gap.shift
    return size


def _find_gap(middle: bytes, size: int, total: int | None) -> Gap | None:
    """Find the mark in the middle of what is kept; the numbers have to agree with those of the run."""
    if total is None or size == total:
        return None
    return next((gap for gap in _marks(middle, size) if size + gap.shift == total), None)


def _middle(size: int) -> tuple[int, int]:
    """Return how many bytes to read, and from where, so that a mark in the middle is among them."""
    return 2 * LONGEST, max(0, (size - LONGEST) // 2 - 1)


def _marks(middle: bytes, size: int) -> Iterator[Gap]:
    for found in MARK.finditer(middle):
        yield Gap(_middle(size)[1] + found.start(), int(found[1]))
