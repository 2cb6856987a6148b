"""Backups of the store: made while ticks run, checked, and restored.

A backup is complete or absent: it is written under another name, checked and renamed. A restore keeps the replaced
database. It must not know the meaning of the rows.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from taskrunner.errors import StateError, shown
from taskrunner.home import lock, paths
from taskrunner.model.record import record
from taskrunner.model.values import Event, Progress, untold
from taskrunner.processes import account
from taskrunner.store import copies
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store

LOCK_WAIT = 5.0  # seconds
SPARE = (0, 10, 1000, 100_000)  # ids to skip, at each try, as others may use some meanwhile
UNFINISHED = re.compile(r"\.db(\.[0-9]+)?\.new(-journal)?$")
LEFTOVER = 86_400.0  # seconds
OWN = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]+)?\.db")  # the names we give


@record
class Backup:
    """A backup: its path, its size in bytes, and its numbers of tasks and runs."""

    place: str
    size: int
    tasks: int
    runs: int


@record
class Repeat:
    """A task that the next tick after a restore runs again, although it ran since the backup, with that run's id.

    The id is None when the replaced database cannot tell.
    """

    task: str
    slot: datetime
    run: int | None


@record
class Restored:
    """The restored backup, and the path of the replaced database, None when there was none.

    `repeats` are runs that will be repeated; `skipped` is the number of slots that count as done.
    """

    backup: Backup
    kept: str | None
    repeats: tuple[Repeat, ...] = ()
    skipped: int = 0


Prepare = Callable[[str, Mapping[str, int]], None]
# Changes a backup before it is restored; returns the repeated runs and the number of skipped slots.
Settle = Callable[[str], tuple[Sequence[Repeat], int]]
# Returns whether an engine still carries a run of one of these supervisors.
Carried = Callable[[Sequence[str]], bool]


# ---- backup


def backup(
    here: OpenHome,
    place: str | None,
    now: datetime,
    keep: int | None,
    progress: Progress = untold,
) -> Backup:
    """Write a checked backup, then remove all but the newest `keep` of those with our names."""
    if here.store.missing:
        raise StateError(
            f"there is no database in {shown(here.folder)} to back up: add a task first"
        )
    folder = here.path(paths.BACKUPS)
    target = os.path.abspath(place) if place else _free(folder, _name(now))
    if os.path.lexists(target):
        raise StateError(f"{shown(target)} already exists: give another name")
    unfinished = f"{target}.{os.getpid()}.new"
    try:
        if not place:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        _sweep(folder, now)
        counted = copies.make(here.store.connection, unfinished, progress)
        progress("checking the backup", 0, None)
        made = _checked(unfinished, counted)
        os.rename(unfinished, target)
        sync(os.path.dirname(target))
    except OSError as exc:
        raise StateError(f"{shown(target)} cannot be written: {exc.strerror}") from exc
    finally:
        with suppress(OSError):
            os.unlink(unfinished)
    if keep is not None:
        _prune(folder, keep)
    return Backup(target, made, *counted)


def _checked(place: str, counted: tuple[int, int]) -> int:
    """Return the size of a backup, after checking that it has the counted tasks and runs."""
    found = copies.examine(place)
    if found != counted:
        raise StateError(f"{shown(place)} has {found} tasks and runs, the store {counted}")
    sync(place)
    return os.path.getsize(place)


def _name(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"


def _free(folder: str, name: str) -> str:
    """Return an unused path in a folder, similar to the name."""
    place, number = os.path.join(folder, f"{name}.db"), 1
    while os.path.lexists(place):
        number += 1
        place = os.path.join(folder, f"{name}-{number}.db")
    return place


def _sweep(folder: str, now: datetime) -> None:
    """Remove unfinished copies of processes that were killed."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        place = os.path.join(folder, name)
        with suppress(FileNotFoundError):
            if UNFINISHED.search(name) and now.timestamp() - os.stat(place).st_mtime > LEFTOVER:
                os.unlink(place)


def _prune(folder: str, keep: int) -> None:
    own = sorted(
        (name for name in os.listdir(folder) if OWN.fullmatch(name)),
        key=lambda name: (name[:16], len(name), name),
    )
    for name in own[: max(0, len(own) - keep)]:
        os.unlink(os.path.join(folder, name))


def sync(place: str) -> None:
    """Make the data of a file, or a rename in a folder, survive a power cut."""
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# ---- restore


def restore(
    folder: str,
    place: str,
    now: datetime,
    settle: Settle,
    carried: Carried,
    progress: Progress = untold,
) -> Restored:
    """Restore the database from a backup and keep the current one; nothing may run meanwhile."""
    check_alone = partial(_check_alone, folder, carried)
    settled: tuple[Sequence[Repeat], int] = ((), 0)

    def prepare(unfinished: str, least: Mapping[str, int]) -> None:
        nonlocal settled
        copies.prepare(source, unfinished, least, progress)
        settled = settle(unfinished)
        sync(unfinished)

    source, store = os.path.abspath(place), paths.path(folder, paths.STORE)
    counted = copies.examine(source)
    if os.path.lexists(store) and os.path.samefile(source, store):
        raise StateError(f"{shown(source)} is the database itself: give the file of a backup")
    paths.check(folder)
    paths.create(folder)
    with lock.held(paths.path(folder, paths.LOCK), LOCK_WAIT) as fd:
        if fd is None:
            raise StateError(f"a tick is running in {shown(folder)}: try again in a moment")
        try:
            kept = _replace(folder, store, now, prepare, check_alone, progress)
        except OSError as exc:
            raise StateError(f"{shown(store)} cannot be replaced: {exc.strerror}") from exc
    _note(Store(store), source, kept, now)
    made = Backup(source, os.path.getsize(store), *counted)
    return Restored(made, kept, tuple(settled[0]), settled[1])


def _check_alone(folder: str, carried: Carried) -> None:
    """Raise StateError while runs are active: their supervisors would record them in the wrong database."""
    names = os.listdir(paths.path(folder, paths.SUPERVISORS))
    held = any(lock.is_held(paths.path(folder, paths.SUPERVISORS, name)) for name in names)
    if held or carried(names):
        raise StateError(
            f"runs are active in {shown(folder)}: wait or cancel them, and stop the daemon if there is one"
        )


def _replace(
    folder: str,
    store: str,
    now: datetime,
    prepare: Prepare,
    check_alone: Callable[[], None],
    progress: Progress,
) -> str | None:
    """Replace the database; return the place of the one before, None when there was none."""
    if not os.path.lexists(store):
        prepare(f"{store}.new", {"runs": _newest(folder)})
        os.rename(f"{store}.new", store)
        sync(folder)
        return None

    kept = _free(paths.path(folder, paths.BACKUPS), f"before-restore-{_name(now)}")
    for spare in SPARE:
        # A program that only reads the database continues with the restored one.
        with suppress(IdsUsed):
            _put_back(folder, store, kept, spare, prepare, check_alone, progress)
            return kept
    raise StateError(
        f"runs keep starting in {shown(folder)}: first stop the program that starts them"
    )


class IdsUsed(Exception):
    """Other processes have used ids that the backup was to use."""


def _put_back(
    folder: str,
    store: str,
    kept: str,
    spare: int,
    prepare: Prepare,
    check_alone: Callable[[], None],
    progress: Progress,
) -> None:
    """Replace the database by a backup; raises IdsUsed when others have used more than `spare` ids meanwhile."""
    unfinished, used = f"{store}.new", copies.used(store)
    least = {
        "runs": max(used.get("runs", 0), _newest(folder)) + spare,
        "tasks": used.get("tasks", 0) + spare,
    }

    def check() -> None:
        check_alone()
        if any(number > least.get(table, number) for table, number in copies.used(store).items()):
            raise IdsUsed

    try:
        prepare(unfinished, least)
        if not copies.put_over(unfinished, store, kept, check, progress):
            check_alone()
            _move_away(store, kept)
            os.rename(unfinished, store)
            sync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
    sync(kept)
    sync(os.path.dirname(kept))


def _move_away(store: str, kept: str) -> None:
    """Keep an unusable database, unchanged, under another name."""
    # SQLite would use a log of the old database for the new one.
    for end in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.rename(store + end, kept + end)
    os.link(store, kept)


def _newest(folder: str) -> int:
    """Return the highest id of a run with a file in the home."""
    names = os.listdir(paths.path(folder, paths.OUTPUT)) + os.listdir(
        paths.path(folder, paths.SPOOL)
    )
    found = [name.partition(".")[0] for name in names if not name.partition(".")[2].isdigit()]
    return max((int(text) for text in found if text.isascii() and text.isdigit()), default=0)


def _note(store: Store, source: str, kept: str | None, now: datetime) -> None:
    was = "" if kept is None else f"; the previous database is kept as {kept}"
    event = Event(now, "restored", account.account(None)[0], text=f"from {source}{was}")
    with store.transaction():
        store.events.add(event)
    store.checkpoint()
    store.close()
