"""Live output of all runs, with their starts and ends.

It polls the database, since any process may write to it. It must not write, nor print.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from taskrunner.errors import TaskRunnerError, UnknownRun
from taskrunner.model.answers import Piece
from taskrunner.model.values import Run
from taskrunner.notify import log_lines
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.tick import read_output

LOOK = 0.2  # seconds between two looks
AFTER_TROUBLE = 1.0  # seconds until a database that could not be read is tried again
LONGEST_END = 5.0  # seconds for the receiver to take the last pieces
TURN = 16  # blocks of one run before the next run has its turn


def follow(
    find: Callable[[], OpenHome], ids: Sequence[int] | None = None
) -> Iterator[Piece | None]:
    """Yield pieces of current and future runs, of some tasks or of all; None when there is nothing new.

    `find` returns the home, which may get its database later.
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
            for run in _over_or_started(here.store, waiting, ids):
                if run.started is None:
                    yield _ended(run)
                else:
                    yield Piece("started", run, told=log_lines.start_of(run))
                    known[run.id] = read_output.of(here, run.id).follow()
        for run_id in [*known]:
            yield from _told(here, known, run_id)
        yield None


def _over_or_started(store: Store, waiting: set[int], ids: Sequence[int] | None) -> Iterator[Run]:
    """Yield the runs that are not pending any more, and forget them."""
    for run_id in sorted(waiting):
        try:
            run = store.runs.get(run_id)
        except UnknownRun:  # it was pruned
            waiting.discard(run_id)
            continue
        if run.started is not None or run.finished is not None:
            waiting.discard(run_id)
            if ids is None or run.task_id in ids:
                yield run


def _told(here: OpenHome, known: dict[int, Iterator[bytes]], run_id: int) -> Iterator[Piece]:
    """Yield the new output of a run, and its end; after that it is forgotten."""
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
        except TaskRunnerError:  # the rest of its output cannot be read
            run = here.store.runs.get(run_id)
        yield _ended(here.store.runs.get(run_id))
    known.pop(run_id, None)


def _ended(run: Run) -> Piece:
    return Piece("ended", run, told=log_lines.end_of(run))


class Watcher(threading.Thread):
    """Passes pieces to a receiver in a thread of its own, so that the receiver may be slow."""

    def __init__(self, here: OpenHome, tell: Callable[[Piece], object]) -> None:
        """Take the home and the receiver."""
        super().__init__(daemon=True)  # a blocked reader must not keep the program from ending
        self._here, self._tell = here, tell
        self._over = threading.Event()

    def run(self) -> None:
        """Pass pieces on until `finish`, and then the rest."""
        while True:
            try:
                if self._rounds():
                    return
            except TaskRunnerError:  # the database is busy or full: the daemon reports it
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
        """Let it pass the rest on, and wait a limited time for that."""
        self._over.set()
        self.join(LONGEST_END)
