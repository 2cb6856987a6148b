"""Output beyond its limit: keep the head, a mark, and the newest tail.

While the output grows the middle is cut out of its file: a hole is punched, so that offsets stay valid for
writers and readers. Where the file system cannot do that, the tail is moved up behind a mark. A reader's
position in an output counts all bytes written before it, also those left out.

The command controls the file: its mode, times and size, and every byte in it, may be forged. So the caller
remembers each cut as a `Cut`, and we only check whether that mark is still in the file. It must
not know the task of the output, nor its path.
"""

import errno
import os
from collections.abc import Iterator

from taskrunner.home import lock
from taskrunner.model.record import record

CHUNK = 256 * 1024
SLACK = 256 * 1024  # bytes on the disk beyond the limit before it is worth a cut
BLOCK = 4096  # at least; a hole consists of whole blocks
NO_HOLES = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL)
LARGEST = 2**63 - 1  # the most bytes that SQLite can count; a command may give its file any size


@record
class Cut:
    """A mark at byte `at` of an output, in place of `lost` bytes that were left out."""

    at: int
    lost: int

    @property
    def mark(self) -> bytes:
        """The text in place of the bytes left out."""
        return mark(self.lost)

    @property
    def after(self) -> int:
        """The offset behind the mark."""
        return self.at + len(self.mark)

    @property
    def shift(self) -> int:
        """The difference between position in the output and offset in the file, behind the mark."""
        return self.lost - len(self.mark)

    def pass_by(self, start: int) -> tuple[bytes, int]:
        """Return the mark for a reader whose position is at or in the cut, and the position to continue from."""
        after = self.at + self.lost
        return (mark(after - start), after) if start < after else (b"", start)


@record
class Excerpt:
    """The retained part of `written` bytes of output: those before `head`, and those from `tail` to `end`.

    All three are offsets in the file. Nothing is left out when `head` equals `end`.
    """

    written: int
    head: int
    tail: int
    end: int

    @property
    def whole(self) -> bool:
        """Whether the whole file is retained, unchanged."""
        return self.head == self.end

    @property
    def cut(self) -> Cut | None:
        """The cut in the retained output."""
        lost = self.written - self.head - (self.end - self.tail)
        return None if self.whole else Cut(self.head, lost)

    @property
    def mark(self) -> bytes:
        """The text in place of the rest."""
        return b"" if self.cut is None else self.cut.mark

    @property
    def size(self) -> int:
        """The number of retained bytes, with the mark."""
        return self.head + len(self.mark) + self.end - self.tail


NONE = Excerpt(0, 0, 0, 0)


def mark(lost: int) -> bytes:
    """Return the text shown in place of `lost` bytes."""
    return b"\n[taskrunner: %d bytes left out]\n" % lost


def noted(at: int | None, lost: int | None) -> Cut | None:
    """Return the cut from the two columns of a row."""
    return None if at is None or lost is None else Cut(at, lost)


def place_of(cut: Cut | None) -> tuple[int | None, int | None]:
    """Return the two columns of a row for a cut."""
    return (None, None) if cut is None else (cut.at, cut.lost)


# ---- cutting


def bound(fd: int, limit: int, cut: Cut | None = None) -> Cut | None:
    """Cut the middle out of a file that uses clearly more disk space than its limit.

    Returns the new cut in the file, to be passed in next time; a hole needs no cut.
    """
    found, cut = os.fstat(fd), standing(fd, cut)
    on_disk = found.st_blocks * 512
    if found.st_size <= limit + SLACK < on_disk // 2:  # more than a file system reserves by itself
        os.ftruncate(fd, found.st_size)  # fallocate(2) reserved it behind the end
    if min(found.st_size, on_disk) <= limit + SLACK:
        return cut
    block = max(BLOCK, found.st_blksize)
    start = -(-(limit // 2) // block) * block
    end = (found.st_size - (limit - limit // 2)) // block * block
    if start < end:
        try:
            lock.punch_hole(fd, start, end - start)
        except OSError as exc:
            if exc.errno not in NO_HOLES:
                raise
            return _move_tail(fd, limit, found.st_size, cut)
    return cut


def _move_tail(fd: int, limit: int, size: int, old: Cut | None) -> Cut:
    """Cut where no hole can be punched; output written at this moment may be lost."""
    half = limit // 2
    start = size - (limit - half)
    if old is None:
        cut = Cut(half, start - half)
    else:
        start, at = max(start, old.after), min(half, old.at)
        cut = Cut(at, min(start + old.shift, LARGEST) - at)
    # Opened again: pwrite(2) appends on a descriptor that was opened for appending.
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(again, "r+b", buffering=0) as file:
        file.seek(cut.at)
        file.write(cut.mark)
        while block := os.pread(fd, CHUNK, start):
            start += file.write(block)
        file.truncate()
    return cut


def standing(fd: int, cut: Cut | None) -> Cut | None:
    """Return the cut if its mark is still in the file: the command may have emptied the file since."""
    if cut is None or os.pread(fd, len(cut.mark), cut.at) != cut.mark:
        return None
    return cut


# ---- the retained output


def excerpt(fd: int, limit: int, cut: Cut | None = None) -> Excerpt:
    """Return the part to retain of an output that is complete and contains this cut."""
    end, half, cut = os.fstat(fd).st_size, limit // 2, standing(fd, cut)
    if cut is None and end <= limit:
        return Excerpt(end, end, end, end)
    # Never more than was written: a command may have punched holes itself, and may still change its file.
    head = min(half, end, _seek(fd, 0, os.SEEK_HOLE, 0))
    if cut is None:
        tail = max(end - (limit - half), head)
    else:
        head, tail = min(head, cut.at), max(end - (limit - half), cut.after)
    return Excerpt(_written(end, cut), head, min(end, _seek(fd, tail, os.SEEK_DATA, end)), end)


def pieces(fd: int, kept: Excerpt) -> Iterator[bytes]:
    """Yield the retained output."""
    yield from _between(fd, 0, kept.head)
    if not kept.whole:
        yield kept.mark
        yield from _between(fd, kept.tail, kept.end)


def newest(fd: int, kept: Excerpt, limit: int) -> bytes:
    """Return the newest `limit` bytes of the retained output, or all of it."""
    if kept.size <= limit:
        return b"".join(pieces(fd, kept))
    low = 0 if kept.whole else kept.tail
    return b"".join(_between(fd, max(low, kept.end - limit), kept.end))


def _between(fd: int, start: int, end: int) -> Iterator[bytes]:
    while block := os.pread(fd, min(CHUNK, end - start), start):
        start += len(block)
        yield block


def _seek(fd: int, start: int, what: int, otherwise: int) -> int:
    """Return the offset of the next hole or the next data; `otherwise` when there is none."""
    try:
        return os.lseek(fd, start, what)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        return otherwise


# ---- reading


def written(fd: int, cut: Cut | None = None) -> int:
    """Count the bytes written so far to an output that may still grow."""
    return _written(os.fstat(fd).st_size, standing(fd, cut))


def _written(size: int, cut: Cut | None) -> int:
    return size if cut is None else min(size + cut.shift, LARGEST)


def part(fd: int, cut: Cut | None, start: int, most: int = CHUNK) -> tuple[bytes, int]:
    """Return the next bytes of a growing output from `start` on, b"" when there are none, and their end.

    At most `most` bytes. A slow reader also gets a mark for bytes that were cut. Counting restarts when a command
    empties its output.
    """
    stands, size = standing(fd, cut), os.fstat(fd).st_size
    if cut is not None and stands is None and size >= cut.after:
        return b"", start  # it is being cut: the caller learns the new cut in a moment
    return _next(fd, stands, start if start <= _written(size, stands) else 0, most)


def rest(fd: int, total: int | None, start: int, cut: Cut | None = None) -> Iterator[bytes]:
    """Yield the retained output in a file with this cut, from `start` on, of `total` bytes written."""
    start = start if start <= (total or os.fstat(fd).st_size) else 0
    while (found := kept_part(fd, cut, start))[0]:
        yield found[0]
        start = found[1]


def kept_part(fd: int, cut: Cut | None, start: int, most: int = CHUNK) -> tuple[bytes, int]:
    """Return the next bytes of an output that is complete, from `start` on, as `part` does."""
    return _next(fd, standing(fd, cut), start, most)


def rest_of(data: bytes, total: int | None, start: int, cut: Cut | None = None) -> bytes:
    """Return the retained output in `data` with this cut, from `start` on, of `total` bytes written."""
    start = start if start <= (total or len(data)) else 0
    if cut is None or start < cut.at:
        return data[start:]
    told, start = cut.pass_by(start)
    return told + data[start - cut.shift :]


def part_of(data: bytes, cut: Cut | None, start: int, most: int) -> tuple[bytes, int]:
    """Return the next bytes of an output that is complete in `data`, as `part` does."""
    if cut is None or start < cut.at:
        block = data[start : min(start + most, len(data) if cut is None else cut.at)]
        return block, start + len(block)
    told, start = cut.pass_by(start)
    block = data[start - cut.shift :][:most]
    return told + block, start + len(block)


def end(fd: int, most: int) -> bytes:
    """Return the last bytes of a file."""
    size = os.fstat(fd).st_size
    return os.pread(fd, most, max(0, size - most))


def _next(fd: int, cut: Cut | None, start: int, most: int) -> tuple[bytes, int]:
    return _around(fd, start, most) if cut is None else _across(fd, cut, start, most)


def _around(fd: int, start: int, most: int) -> tuple[bytes, int]:
    """Read the next bytes that are not a hole, with a mark for the hole."""
    while True:
        at = _seek(fd, start, os.SEEK_DATA, -1)
        block = os.pread(fd, min(most, CHUNK), at) if at >= 0 else b""
        if not block:
            return b"", start
        end = min(at + len(block), _seek(fd, at, os.SEEK_HOLE, at))
        if end > at:  # else it was cut, or emptied, while we read it
            return (mark(at - start) if at > start else b"") + block[: end - at], end


def _across(fd: int, cut: Cut, start: int, most: int) -> tuple[bytes, int]:
    """Read the next bytes of a file with a mark in it."""
    if start < cut.at:
        block = os.pread(fd, min(most, CHUNK, cut.at - start), start)
        return block, start + len(block)
    told, start = cut.pass_by(start)
    block = os.pread(fd, min(most, CHUNK), start - cut.shift)
    return told + block, start + len(block)
