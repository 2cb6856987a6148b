"""Progress of long work on one line of stderr, on a terminal only."""

import sys
import time
from types import TracebackType
from typing import Self

QUIET = 0.4  # seconds: what is done sooner needs no line
PAUSE = 0.1  # seconds between two lines
WIDTH = 24  # signs of the bar
CLEAR = "\r\033[K"


class Progress:
    """A line that says how far work has come, rewritten in place and gone at the end."""

    def __init__(self) -> None:
        """Begin to count the time."""
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
        """Take the line away, before anything else is said."""
        if self._drawn:
            self._put(CLEAR)

    def __call__(self, what: str, done: int, total: int | None = None) -> None:
        """Say that so many are done, of a total if that is known; cheap when it was said a moment ago."""
        if self._wanted and time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            self._drawn = True
            self._put(f"{CLEAR}{line(what, done, total)}")

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # nobody looks any more
            self._wanted = self._drawn = False


def line(what: str, done: int, total: int | None) -> str:
    """Return how far work has come as a line: with a bar when the end is known."""
    if not total:
        return f"{what}: {done}"
    done = min(done, total)
    full = WIDTH * done // total
    return (
        f"{what} [{'#' * full}{'.' * (WIDTH - full)}] {100 * done // total:3}%  {done} of {total}"
    )
