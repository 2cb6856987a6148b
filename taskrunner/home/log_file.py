"""The log of taskrunner's own actions: a file in the home, or the journal or syslog.

Lines are held back until their caller has committed the change they report, and are then written together. Several
processes append to the file at the same time, in whole lines. A failed write is ignored: the tasks matter more than
the log. It must not know what a run or a store is.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache

from taskrunner import clock
from taskrunner.errors import HomeRefused, StoreBusy, StoreRefused, in_words, origin
from taskrunner.home import lock, paths, syslog
from taskrunner.home.syslog import DEBUG, ERROR, INFO, WARNING

LEVELS = {"error": ERROR, "warning": WARNING, "info": INFO, "debug": DEBUG}
WORDS = {level: word for word, level in LEVELS.items()}
PLACES = ("file", "journal", "syslog", "none")
LARGEST = 1_000_000  # bytes of the file, after which a new one is begun
KEPT = 5  # older files
LONGEST = 1000  # characters of a line

Line = tuple[int, datetime, str, dict[str, object]]


class Log:
    """The log of one process, with the lines that are not written yet; without a folder it takes none."""

    def __init__(
        self,
        folder: str | None = None,
        to: str = "none",
        level: str = "info",
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """Take the home, the target of the lines, the least urgent level that is logged, and a clock for faults."""
        self._folder = folder
        self._now = now
        self._to = to
        self._level = LEVELS[level] if folder is not None and to != "none" else -1
        self._lines: list[Line] = []

    def keeps(self, level: int) -> bool:
        """Return whether lines of this urgency are kept."""
        return level <= self._level

    def say(self, level: int, at: datetime, text: str, **fields: object) -> None:
        """Hold a line back, and for the journal fields to search by."""
        if self.keeps(level):
            self._lines.append((level, at, text, fields))

    def fault(self, what: str, exc: Exception) -> None:
        """Log an exception about one run, or one file, that must not stop the others."""
        self.say(ERROR, self._now(), f"{what}: {in_words(exc)} ({origin(exc)})")

    @contextmanager
    def apart(self, what: str) -> Iterator[None]:
        """Log whatever is raised in the block and go on, unless the database cannot be written."""
        try:
            yield
        except (StoreBusy, StoreRefused):
            raise
        except Exception as exc:  # noqa: BLE001  the others have to go on
            self.fault(what, exc)

    def mark(self) -> int:
        """Return the number of lines held back, for `forget`."""
        return len(self._lines)

    def forget(self, since: int = 0) -> None:
        """Drop the lines held back `since` a mark: the change they report was rolled back."""
        del self._lines[since:]

    def write(self) -> None:
        """Write the lines held back; into the file when the journal or syslog does not take them."""
        if not self._lines or self._folder is None:
            return
        lines, self._lines = self._lines, []
        if self._to == "journal" and syslog.send_all(self._entry(line) for line in lines):
            return
        if self._to == "syslog" and all(
            syslog.syslog(level, [_plain(text)], os.getpid()) for level, _, text, _ in lines
        ):
            return
        pid = os.getpid()
        data = "".join(_line(line, pid) for line in lines).encode(errors="backslashreplace")
        with suppress(OSError, HomeRefused):
            _append(paths.path(self._folder, paths.LOG), data)

    def _entry(self, line: Line) -> dict[str, object]:
        level, _, text, fields = line
        place = {"TASKRUNNER_HOME": self._folder}
        return {"MESSAGE": _plain(text), "PRIORITY": level, **fields, **place}


def _line(line: Line, pid: int) -> str:
    level, at, text, _ = line
    return f"{_stamp(at)} {pid} {WORDS[level]:<7} {_plain(text)}\n"


@lru_cache(maxsize=16)  # many lines are of one instant
def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _plain(text: str) -> str:
    """Return a text as one line that cannot control a terminal."""
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _append(place: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(place, flags | os.O_NONBLOCK, 0o600)  # not waiting for the reader of a pipe
    try:
        os.write(fd, data)  # in one call, so that lines of other processes do not mix with it
        large = os.fstat(fd).st_size > LARGEST
    finally:
        os.close(fd)
    if large:
        _begin_anew(place)


def _begin_anew(place: str) -> None:
    """Rename the file and the older ones by one; only the process that holds the lock of the file does."""
    with lock.held(place) as fd:
        # Another process may have done it since: then this path is a new file.
        if fd is None or os.fstat(fd).st_ino != os.stat(place).st_ino:
            return
        if os.fstat(fd).st_size <= LARGEST:
            return
        for number in range(KEPT, 1, -1):
            with suppress(FileNotFoundError):
                os.rename(f"{place}.{number - 1}", f"{place}.{number}")
        os.rename(place, f"{place}.1")
