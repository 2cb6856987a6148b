"""The spool: outcomes that could not be written to the database, each in a file until the next tick reads it.

The supervisor of the run may be gone by then. A file is complete or absent: it is written under another
name and renamed. Reading one twice does no harm, as a run ends once. It must not know processes; `follow_up`
handles the consequences of an end.
"""

import errno
import json
import os
from contextlib import suppress
from typing import Any

from taskrunner import clock
from taskrunner.decide import verdict
from taskrunner.errors import StoreBusy, StoreRefused, UnknownRun, in_words, shown
from taskrunner.home import lock, paths
from taskrunner.model.values import End, Event, Outcome, Run, State
from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import Rescued
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import follow_up, outcomes
from taskrunner.supervise.outcomes import Ended

VERSION = 1
KIND = ".json"
UNFINISHED = ".new"
REFUSED = ".refused"  # a file that could not be parsed; kept for a person to read
FOR_NOW = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EIO,
)  # errors that may be gone at the next tick
LARGEST_NUMBER = 2**63  # SQLite integers are smaller


def put(home: str, ended: Ended) -> None:
    """Write an outcome to a file in a home, so that it survives us and a power cut; raises OSError."""
    folder = paths.path(home, paths.SPOOL)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    place = os.path.join(folder, ended.name)
    text = json.dumps(
        {
            "version": VERSION,
            **{name: value for name, value in vars(ended).items() if name != "small"},
            "at": clock.to_ms(ended.at),
            "outcome": vars(ended.outcome),
        }
    )
    try:
        _write(f"{place}{UNFINISHED}", text.encode())
        os.rename(f"{place}{UNFINISHED}", place)
    except OSError:
        with suppress(OSError):
            os.unlink(f"{place}{UNFINISHED}")
        raise
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write(place: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(place, flags, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def drop(home: str, name: str) -> None:
    """Remove the file of an outcome that is in the database."""
    with suppress(FileNotFoundError):
        os.unlink(paths.path(home, paths.SPOOL, name))


def waiting(home: str) -> list[str]:
    """Return the names of the files to read, those of the oldest runs first."""
    names = [name for name in _names(home) if name.endswith(KIND)]
    return sorted(names, key=lambda name: (len(name.partition(".")[0]), name))


def holds(home: str, run_id: int) -> bool:
    """Return whether there is a file with the outcome of a run."""
    return any(name.startswith(f"{run_id}.") for name in waiting(home))


def _names(home: str) -> list[str]:
    try:
        return os.listdir(paths.path(home, paths.SPOOL))
    except OSError:
        return []


def take_up(here: OpenHome) -> None:
    """Record every outcome in the spool, each in a transaction with its consequences; then remove its file."""
    for name in waiting(here.folder):
        with here.log.apart(f"{paths.SPOOL}/{name} could not be read into the database"):
            _take_up(here, name)
    for name in _names(here.folder):
        owner = name.removesuffix(f"{KIND}{UNFINISHED}").partition(".")[2]
        with here.log.apart(f"{paths.SPOOL}/{name} could not be removed"):
            if name.endswith(UNFINISHED) and not lock.is_held(here.supervisor(owner)):
                drop(here.folder, name)


def _take_up(here: OpenHome, name: str) -> None:
    """Record one outcome; an unusable file is set aside, and its run is settled as lost."""
    try:
        _take(here, _read(here.folder, name))
    except FileNotFoundError:  # its supervisor has recorded it
        return
    except (StoreBusy, StoreRefused):
        raise
    except Exception as exc:  # noqa: BLE001  a fault of one file must not affect the others
        if not isinstance(exc, OSError) or exc.errno not in FOR_NOW:
            _refuse(here, name, exc)
        return
    drop(here.folder, name)


def _read(home: str, name: str) -> Ended:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # it might be a pipe
    with open(os.open(paths.path(home, paths.SPOOL, name), flags), "rb") as file:
        found: dict[str, Any] = json.load(file)
    if found.pop("version") != VERSION:
        raise ValueError("another version wrote it")
    outcome = Outcome(**found.pop("outcome"))
    ended = Ended(**{**found, "at": clock.from_ms(found["at"]), "outcome": outcome})
    _check_kinds(ended)
    _check_kinds(outcome)
    if ended.name != name:
        raise ValueError("it does not match its name")
    return ended


def _check_kinds(made: Any) -> None:
    """Raise TypeError or ValueError unless each value has the type of its field and can be stored."""
    for name, kind in type(made).__annotations__.items():
        value = getattr(made, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {shown(value)}")
        if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            raise ValueError(f"{name} is {shown(value)}")
        if isinstance(value, str):
            value.encode()


def _refuse(here: OpenHome, name: str, exc: Exception) -> None:
    """Set an unusable file aside, so that it is reported once."""
    place = shown(f"{paths.SPOOL}/{name}")
    text = (
        f"{place} cannot be read and was set aside under that name with {REFUSED}: {in_words(exc)}"
    )
    with here.store.transaction():
        here.store.events.add(Event(here.now(), "error", "tick", text=text))
    os.rename(here.path(paths.SPOOL, name), here.path(paths.SPOOL, name + REFUSED))


def _take(here: OpenHome, ended: Ended) -> None:
    """Record one outcome and store its output."""
    with here.store.transaction():
        run = _still_open(here.store, ended)
        process = None if run is None else here.store.processes.of(run.id)
        if run is None or process is None or process.supervisor != ended.supervisor:
            return  # it is recorded already, or the file belongs to another database
        task = here.store.tasks.of_run(run)
        cut = bounded_output.noted(process.cut_at, process.left_out)
        found = output.rescue(here.output, process.output, run.id, task.max_output, cut)
        state, reason = outcomes.judged_by(task, ended.outcome, process, ended.fault)
        why = verdict.with_note(reason, ended.note or found.note)
        size = _size(ended, found)
        end = End(run, state, why, ended.at, ended.outcome, *size)
        follow_up.finish(here, end, retry=ended.retry)
    with suppress(OSError):  # the name is never reused, even by a living supervisor
        os.unlink(output.path_of(here.output, process.output))


def _size(ended: Ended, found: Rescued) -> tuple[bytes, int, int | None, int | None]:
    """Return the small output of a run, the number of bytes it wrote, and the place and size of the cut."""
    if ended.large or found.size is None:
        return b"", ended.size, ended.cut_at, ended.left_out
    return found.small, found.size, *bounded_output.place_of(found.cut)


def _still_open(store: Store, ended: Ended) -> Run | None:
    try:
        run = store.runs.get(ended.run)
    except UnknownRun:
        return None
    return run if run.state is State.RUNNING else None
