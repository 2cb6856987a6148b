"""Progress of long work on one line of stderr, on a terminal only."""

import sys
import time
from types import TracebackType
from typing import Self

QUIET = 0.4  # seconds; shorter work shows no line
PAUSE = 0.1  # seconds between two lines
WIDTH = 24  # characters of the bar
CLEAR = "\r\033[K"


class Progress:
    """A progress line, rewritten in place and removed at the end."""

    def __init__(self) -> None:
        """Start to measure the time."""
        self._wanted = sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + QUIET
        self._drawn = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the line, before other messages."""
        if self._drawn:
            self._put(CLEAR)

    def __call__(self, what: str, done: int, total: int | None = None) -> None:
        """Show how many are done, of a total if known; cheap when the line was just written."""
        if self._wanted and time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            self._drawn = True
            self._put(f"{CLEAR}{line(what, done, total)}")

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal is gone
            self._wanted = self._drawn = False


def line(what: str, done: int, total: int | None) -> str:
    """Return the progress line: with a bar when the total is known."""
    if not total:
        return f"{what}: {done}"
    done = min(done, total)
    full = WIDTH * done // total
    return (
        f"{what} [{'#' * full}{'.' * (WIDTH - full)}] {100 * done // total:3}%  {done} of {total}"
    )
