"""Retention of the history: runs by age and number, outputs by size; freed space goes back to the disk.

Work is done in small steps with a short transaction each, so that claims and outcomes do not wait. A working
tick takes a few steps at its end, `prune` takes all. A running or pending run is never touched.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice, zip_longest
from typing import TypeVar

from taskrunner import clock, host
from taskrunner.errors import StoreBusy, StoreFull, StoreRefused
from taskrunner.home import heartbeat, paths
from taskrunner.model.record import field, like, mutable, record
from taskrunner.model.values import Progress, Pruned, untold
from taskrunner.processes import output
from taskrunner.store.open_home import OpenHome
from taskrunner.store.pruning import START, Place
from taskrunner.store.store import Store
from taskrunner.upkeep import disk_reserve

ROWS = 2000  # in one transaction, or ...
LOCKED = 0.02  # ... seconds, whichever comes first
FEW = 200  # in one statement: rows with a large output each are many pages
STEPS = 4  # at the end of one tick
AGAIN = timedelta(
    hours=1
)  # between two passes over all old runs, of which `keep_runs` may keep some
PAGES = 500  # that the file shrinks by in one step
SLACK = 4_000_000  # bytes that a tick leaves free in the file for coming runs
PAUSE = 0.005  # seconds between two steps of `prune`, for other writers
LEFTOVER = timedelta(days=1)  # age after which a file without a run is removed
PROGRESS = "pruning"  # the fact with the time of the next pass, and the position of this one
# The allowed difference between the clock and the time since the boot: NTP may slew it by a thousandth.
DRIFT = 5_000  # milliseconds
SLEWED = 1000
REFUSED = (
    "nothing was pruned for its age, because the clock may be wrong (it does not match the time since boot): "
    "try again after two more ticks"
)

T = TypeVar("T")
Take = Callable[[Sequence[int]], Sequence[int]]  # deletes or counts rows of runs; returns the sums


@record
class File:
    """The output file of a run: its bytes on the disk, and the time of its last change."""

    size: int
    touched: datetime


@mutable
class Sweep:
    """One pass over the history to delete; with `dry` it only records the runs it would delete."""

    here: OpenHome
    at: datetime
    dry: bool = False
    files: dict[int, File] = field(default_factory=dict)  # remaining files, by run
    unlinked: int = 0  # bytes
    gone: set[int] = field(default_factory=set)  # runs that would be deleted, when dry
    small: int = 0  # bytes of the small outputs of these runs

    def __post_init__(self) -> None:
        self.files = _files(self.here, self.at)

    @property
    def before(self) -> datetime:
        """Runs that ended before this instant are old."""
        return self.at - self.here.config.keep_age

    def writing(self) -> AbstractContextManager[None]:
        """Return a transaction that need not survive a power cut, as the work is repeated then."""
        return nullcontext() if self.dry else self.here.store.transaction(durable=False)

    def drop_files(self, ids: Sequence[int]) -> tuple[int, int]:
        """Remove the output files of runs and return their number and bytes."""
        found = [run_id for run_id in ids if run_id in self.files]
        size = sum(self.files.pop(run_id).size for run_id in found)
        if not self.dry:
            for run_id in found:
                with self.here.log.apart(f"the output of run {run_id} could not be removed"):
                    _unlink(output.kept(self.here.output, run_id))
            self.unlinked += size
        return len(found), size


def _unlink(place: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(place)


def _files(here: OpenHome, now: datetime) -> dict[int, File]:
    """Return the output files of a home by the run they belong to."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(here.output) as entries:
        for entry in entries:
            number, dot, kind = entry.name.partition(".")
            if (dot, kind) == (".", "log") and number.isascii() and number.isdigit():
                with here.log.apart(f"the output {entry.name}"), suppress(FileNotFoundError):
                    found[int(number)] = _file(entry.stat(follow_symlinks=False), now)
    return found


def _file(found: os.stat_result, now: datetime) -> File:
    size = min(found.st_size, found.st_blocks * 512)  # stat(2): blocks are of 512 bytes
    return File(size, output.touched(found, now))


def agrees(last: heartbeat.Beat | None, beat: heartbeat.Beat) -> bool:
    """Return whether the clock advanced between two beats as far as the time since the boot.

    Otherwise it was set, and runs that look old may not be.
    """
    if last is None or last.since_boot is None or beat.since_boot is None:
        return False
    by_clock, by_boot = beat.at - last.at, beat.since_boot - last.since_boot
    close = abs(by_clock - by_boot) <= DRIFT + abs(by_boot) // SLEWED
    return last.boot_id == beat.boot_id and by_boot >= 0 and close


def step(here: OpenHome, at: datetime, *, by_age: bool) -> None:
    """Prune a little at the end of a tick that began `at`; by age only when its clock is reliable.

    If the database or the disk refuses, the next tick tries again.
    """
    with suppress(StoreBusy, StoreRefused, OSError):
        sweep = Sweep(here, at)
        for _ in islice(_due(sweep, by_age), STEPS):
            pass
        if here.store.pruning.free_bytes() > SLACK:
            here.store.pruning.give_back(PAGES)


def prune(
    here: OpenHome, now: datetime, *, dry_run: bool = False, progress: Progress = untold
) -> Pruned:
    """Prune everything due, step by step, and return the amount; raises StoreBusy or StoreRefused."""
    if here.store.missing:
        return Pruned(dry_run=dry_run)
    if not dry_run and disk_reserve.needed(here.folder):
        disk_reserve.release(here.folder)
    sweep, size = Sweep(here, now, dry_run), here.store.pruning.file_size()
    by_age = _clock_agrees(here.folder, now)
    with sweep.writing():
        if not dry_run:
            here.store.pruning.count_output_bytes()
    found = Pruned(refused=None if by_age else REFUSED, dry_run=dry_run)
    for taken in _all(sweep, by_age):
        found = _plus(found, taken)
        progress("runs and outputs pruned", found.runs + found.outputs, None)
        time.sleep(0 if dry_run else PAUSE)
    if not dry_run:
        with suppress(
            StoreFull
        ):  # this needs free space on the disk; else the free pages in the file are reused
            _give_all_back(here.store, progress)
        disk_reserve.keep(here.folder)
    return like(found, freed=size - here.store.pruning.file_size() + sweep.unlinked)


def _clock_agrees(home: str, now: datetime) -> bool:
    beat = heartbeat.Beat(clock.to_ms(now), 0, host.boot_id(), "", host.since_boot())
    return agrees(heartbeat.read(paths.path(home, paths.HEARTBEAT)), beat)


def _plus(one: Pruned, other: Pruned) -> Pruned:
    return like(
        one,
        runs=one.runs + other.runs,
        outputs=one.outputs + other.outputs,
        bytes=one.bytes + other.bytes,
        events=one.events + other.events,
    )


def _give_all_back(store: Store, progress: Progress) -> None:
    """Shrink the database by its free pages, as far as other writers allow."""
    before, all_of_it = None, store.pruning.free_bytes()
    while (free := store.pruning.free_bytes()) and free != before:
        before = free
        progress("bytes freed", all_of_it - free, all_of_it)
        store.pruning.give_back(PAGES)
        time.sleep(PAUSE)
    store.checkpoint()


# ---- steps: one for each turn of an iterator


def _all(sweep: Sweep, by_age: bool) -> Iterator[Pruned]:
    if by_age:
        yield from _old_runs(sweep, START)
        yield from _what_is_left(sweep)
    yield from _too_much_output(sweep)


def _due(sweep: Sweep, by_age: bool) -> Iterator[Pruned]:
    """Take the due steps, from the position of the last tick."""
    yield from _too_much_output(sweep)
    again, place = _progress(sweep)
    # A time too far ahead means that the clock went back since.
    if by_age and not timedelta(0) < again - sweep.at <= AGAIN:
        yield from _old_runs(sweep, place)
        yield from _what_is_left(sweep)
        with sweep.writing():
            _note_progress(sweep, sweep.at + AGAIN, START)


def _progress(sweep: Sweep) -> tuple[datetime, Place]:
    """Return the time of the next pass, and its start position."""
    text = sweep.here.store.facts.get(PROGRESS) or f"0 {START[0]} {START[1]}"
    again, finished, run_id = map(int, text.split())
    return clock.from_ms(again), (finished, run_id)


def _note_progress(sweep: Sweep, again: datetime, place: Place) -> None:
    sweep.here.store.facts.set(PROGRESS, f"{clock.to_ms(again)} {place[0]} {place[1]}")


def _old_runs(sweep: Sweep, place: Place) -> Iterator[Pruned]:
    """Delete old runs, from a position on."""
    store, keep = sweep.here.store, sweep.here.config.keep_runs
    while batch := store.pruning.old_runs(sweep.before, keep, place, ROWS):
        ids: list[int] = []
        sums = [0, 0, 0]
        with sweep.writing():
            for few in _in_short(iter(batch)):
                place = few[-1][0]
                going = [run_id for (_, run_id), may_go in few if may_go]
                take = store.pruning.weigh_runs if sweep.dry else store.pruning.drop_runs
                sums = _added(sums, _each(sweep, take, going))
                ids += going
            if not sweep.dry:
                _note_progress(sweep, clock.EPOCH, place)
        yield _taken(sweep, ids, *sums)


def _each(sweep: Sweep, take: Take, ids: Sequence[int]) -> Sequence[int]:
    """Delete the rows of some runs; after a failure each run alone, and one that fails again stays for later."""
    if not ids:
        return ()
    try:
        with sweep.here.store.savepoint():
            return take(ids)
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  whatever is wrong with one run, the others are pruned
        if len(ids) == 1:
            sweep.here.log.fault(f"run {ids[0]} could not be pruned", exc)
            return ()
    sums: Sequence[int] = ()
    for run_id in ids:
        sums = _added(sums, _each(sweep, take, [run_id]))
    return sums


def _added(sums: Sequence[int], more: Sequence[int]) -> list[int]:
    """Return sums with more added; an empty `sums` counts as zeros."""
    return [one + other for one, other in zip_longest(sums, more, fillvalue=0)]


def _in_short(items: Iterator[T]) -> Iterator[list[T]]:
    """Yield a few items at a time, for one short transaction each."""
    end = time.monotonic() + LOCKED
    for _ in range(ROWS // FEW):
        few = list(islice(items, FEW))
        if few:
            yield few
        if not few or time.monotonic() > end:
            return


def _taken(sweep: Sweep, ids: Sequence[int], runs: int, outputs: int, size: int) -> Pruned:
    """Remove the files of deleted rows, and return both amounts together."""
    if sweep.dry:
        sweep.gone.update(ids)
        sweep.small += size
    files, more = sweep.drop_files(ids)
    return Pruned(runs=runs, outputs=outputs + files, bytes=size + more)


def _what_is_left(sweep: Sweep) -> Iterator[Pruned]:
    """Delete old events, removed tasks without references, and files without a run."""
    store = sweep.here.store
    while ids := store.pruning.old_events(sweep.before, -1 if sweep.dry else ROWS):
        with sweep.writing():
            found = len(ids) if sweep.dry else store.pruning.drop_events(ids)
        yield Pruned(events=found)
        if sweep.dry:
            break
    with sweep.writing():
        if not sweep.dry:
            store.pruning.drop_unused_tasks(sweep.before, FEW)
    young = sweep.at - LEFTOVER
    files, size = sweep.drop_files(
        store.pruning.without_rows(
            [number for number, each in sweep.files.items() if each.touched < young]
        )
    )
    yield Pruned(outputs=files, bytes=size)


def _too_much_output(sweep: Sweep) -> Iterator[Pruned]:
    """Delete the oldest outputs until at most `keep_output` is left; the runs stay."""
    store, limit = sweep.here.store, sweep.here.config.keep_output
    over = (
        store.pruning.output_bytes() - sweep.small + sum(each.size for each in sweep.files.values())
    )
    spent = _until(_oldest(sweep), over - limit)
    more = over > limit
    while more:
        ids: list[int] = []
        sums = [0, 0]
        with sweep.writing():
            for few in _in_short(spent):
                take = store.pruning.weigh_outputs if sweep.dry else store.pruning.drop_outputs
                sums = _added(sums, _each(sweep, take, few))
                ids += few
        more = bool(ids)
        yield _taken(sweep, ids, 0, *sums)


def _until(outputs: Iterator[tuple[int, int]], over: int) -> Iterator[int]:
    """Yield the runs of outputs until these sum up to so many bytes."""
    while over > 0 and (found := next(outputs, None)):
        over -= found[1]
        yield found[0]


def _oldest(sweep: Sweep) -> Iterator[tuple[int, int]]:
    """Yield run and bytes of the outputs that may be deleted, the oldest first."""
    store = sweep.here.store
    files = sorted(store.pruning.spent(list(sweep.files)))
    each = ((run_id, sweep.files[run_id].size) for run_id in files)
    for run_id, size in merge(store.pruning.spent_outputs(ROWS), each):
        if run_id not in sweep.gone:
            yield run_id, size
