"""The wait for the next delayed run of a home, such as a retry: one supervisor waits, whichever is the first to try."""

import time
from contextlib import ExitStack
from datetime import datetime

from taskrunner.home import lock
from taskrunner.model.record import field, mutable
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import starts

WAITING = "waiting"  # the lock of the one supervisor that waits for delayed runs


@mutable
class DelayedRuns:
    """The delayed runs of a home, as one supervisor knows them; once it waits for them, it does until it ends."""

    here: OpenHome
    start_at: float | None = None  # of the next one, monotonic; None when we do not wait for it
    _lock: ExitStack = field(default_factory=ExitStack)
    _is_ours: bool = False

    def plan(self, now: datetime) -> None:
        """Find when the next one may start, if we are to wait for it."""
        left = starts.until_ready(self.here, now)
        waits = left is not None and self._take()
        self.start_at = time.monotonic() + left if left is not None and waits else None

    def _take(self) -> bool:
        """Be the one supervisor that waits, unless another one is."""
        if not self._is_ours:
            place = self.here.supervisor(WAITING)
            self._is_ours = lock.keep(self._lock, place) is not None
        return self._is_ours

    def seconds(self) -> float | None:
        """Return how long until the next one may start; None when we do not wait for it."""
        return None if self.start_at is None else max(0.0, self.start_at - time.monotonic())

    def close(self) -> None:
        """Let another supervisor wait."""
        self._lock.close()
