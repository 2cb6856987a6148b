"""Live output of all runs, with their starts and ends.

It looks at the store again and again, since any process may write to it. It must not write, nor print.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from taskrunner.errors import TaskRunnerError, UnknownRun
from taskrunner.model.answers import Piece
from taskrunner.model.values import Run
from taskrunner.notify import log_lines
from taskrunner.store.open_home import OpenHome
from taskrunner.tick import by_hand

LOOK = 0.2  # seconds between two looks
AFTER_TROUBLE = 1.0  # seconds until a store that could not be read is looked at again
LONGEST_END = 5.0  # seconds for who listens to take the last pieces
TURN = 16  # blocks of one run before it is the turn of the next


def follow(
    find: Callable[[], OpenHome], ids: Sequence[int] | None = None
) -> Iterator[Piece | None]:
    """Give pieces of the runs that go on and of all to come, of some tasks or of all; None when there is nothing new.

    `find` returns the home, which may get its store later.
    """
    here = find()
    known: dict[int, Iterator[bytes]] = {}  # the outputs of runs that have started
    waiting = {run.id for run in here.store.runs.live()}
    last, changes = here.store.runs.newest_id(), None
    while True:
        here = find()
        before, changes = changes, here.store.connection.changes()
        if changes != before:
            new = here.store.runs.after(last)
            last = max([last, *(run.id for run in new)])
            waiting.update(run.id for run in new)
            for run in _over_or_started(here, waiting, ids):
                if run.started is None:
                    yield _ended(run)
                else:
                    yield Piece("started", run, told=log_lines.start_of(run))
                    known[run.id] = by_hand.follow(here, run.id)
        for run_id in [*known]:
            yield from _told(here, known, run_id)
        yield None


def _over_or_started(here: OpenHome, waiting: set[int], ids: Sequence[int] | None) -> Iterator[Run]:
    """Give the runs that wait no more, and forget them."""
    for run_id in sorted(waiting):
        try:
            run = here.store.runs.get(run_id)
        except UnknownRun:  # it was pruned
            waiting.discard(run_id)
            continue
        if run.started is not None or run.finished is not None:
            waiting.discard(run_id)
            if ids is None or run.task_id in ids:
                yield run


def _told(here: OpenHome, known: dict[int, Iterator[bytes]], run_id: int) -> Iterator[Piece]:
    """Give what a run has written since, and its end; then it is known no more."""
    with suppress(UnknownRun):  # it was pruned
        run = here.store.runs.get(run_id)
        try:
            for _ in range(TURN):
                block = next(known[run_id])
                if not block:
                    return
                yield Piece("output", run, block)
            return
        except StopIteration:
            pass
        except TaskRunnerError:  # what is left of its output cannot be read
            run = here.store.runs.get(run_id)
        yield _ended(here.store.runs.get(run_id))
    known.pop(run_id, None)


def _ended(run: Run) -> Piece:
    return Piece("ended", run, told=log_lines.end_of(run))


class Watcher(threading.Thread):
    """Tells pieces in a thread of its own, so that who listens may be slow; None when there is nothing new."""

    def __init__(self, here: OpenHome, tell: Callable[[Piece], object]) -> None:
        """Take the home, and who listens."""
        super().__init__(daemon=True)  # who never reads on must not keep the program from ending
        self._here, self._tell = here, tell
        self._over = threading.Event()

    def run(self) -> None:
        """Tell all until it is over, and then once more what there is."""
        while True:
            try:
                if self._rounds():
                    return
            except TaskRunnerError:  # the store is busy or full: the daemon itself says so
                if self._over.wait(AFTER_TROUBLE):
                    return

    def _rounds(self) -> bool:
        last = False
        for piece in follow(lambda: self._here):
            if piece is not None:
                self._tell(piece)
            elif last:
                break
            else:
                last = self._over.wait(LOOK)
        self._here.store.close()
        return True

    def finish(self) -> None:
        """Let it tell the rest, and wait for that, but not for ever."""
        self._over.set()
        self.join(LONGEST_END)
