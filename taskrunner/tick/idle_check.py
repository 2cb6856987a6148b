"""The idle check: whether a tick has anything to do, most often without opening the database.

It runs every minute of every day, so it imports as little as possible, neither sqlite3 nor datetime
(tests/tick/test_idle_check.py has the list). When in doubt it returns False, and the full tick
decides.

When the database has said that nothing is due (see `idle_question`), the answer is kept in one small file of the home,
with the instant until which it holds. Nobody else writes that file, so no other writer can forget to. Each check still
looks at the rights of the home, the heartbeat and the spool. The answer is void, and the database is asked again, when

- its time is over: a slot, a delayed run or a message has come; or it is older than four hours, to be on the safe side;
- the database is another file (device, inode) or was written to (size, times), also by a rename, a restore or sqlite3;
- there is a write-ahead log or a journal with content, or the database has a second name, whose log would be elsewhere;
- the wall clock was set since, seen by the time since the boot, or is before the instant of the answer;
- the boot, the tick period, the zone data of the host, the schema or the program is another one.

It is not kept when the database was written to a moment ago, since the next write could leave the same times; while
runs are in progress, whose supervisors tell by locks that they live; while all tasks are paused; on a network file
system. A tick that cannot write its heartbeat is not idle, so that a disk that has become read-only is reported.
"""

import os
import stat

from taskrunner import __version__, host
from taskrunner.home import heartbeat, paths

GAP = 2.5  # a gap is this many tick periods without a tick
SCHEMA = 6  # len(schema.STEPS), which is not imported here
SIZE = 512  # bytes of a kept answer; overwritten in place
LONGEST = 4 * 3_600_000  # milliseconds that an answer is kept
RECENT = 3_000  # milliseconds; the file times of some file systems have a precision of two seconds
STEP = 500  # milliseconds by which a clock that was not set may differ from the time since the boot

State = tuple[int, ...]


def idle(folder: str, now: int, caller: str) -> bool:
    """Return whether a tick at `now` (milliseconds) has nothing to do; if so, write the heartbeat.

    A home without a database has nothing to do. Raises HomeRefused.
    """
    paths.check(folder)
    store = paths.path(folder, paths.STORE)
    if not os.path.lexists(store):
        return True
    place = paths.path(folder, paths.HEARTBEAT)
    last = heartbeat.read(place)
    boot_id = host.boot_id()
    if last is None or not steady(last, now, boot_id) or _spooled(folder):
        return False
    beat = heartbeat.Beat(now, last.period, boot_id, caller, host.since_boot())
    return _nothing_due(folder, store, beat) and heartbeat.write(place, beat)


def steady(last: heartbeat.Beat, now: int, boot_id: str) -> bool:
    """Return whether ticks came regularly since `last`: no gap, no step back, no new boot."""
    return last.boot_id == boot_id and 0 <= now - last.at <= GAP * last.period


def _spooled(folder: str) -> bool:
    """Return whether the spool holds the end of a run."""
    try:
        names = os.listdir(paths.path(folder, paths.SPOOL))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(name.endswith(".json") for name in names)


def _nothing_due(folder: str, store: str, beat: heartbeat.Beat) -> bool:
    """Return whether nothing is due, as is remembered or as the database says."""
    place = paths.path(folder, paths.IDLE_ANSWER)
    boot = host.boot(daemon=beat.caller == "daemon")
    state = _state(store)
    valid_for = f"{state} {SCHEMA} {__version__} {beat.period} {boot} {host.zone_stamp()}"
    if state is not None and _holds(place, valid_for, beat):
        return True
    from taskrunner.tick import idle_question

    until = idle_question.idle_until(folder, store, beat.at, beat.period, boot)
    if until is None:
        return False
    if until > beat.at and _settled(state, beat.at) and _state(store) == state:
        _keep(place, valid_for, beat, min(until, beat.at + LONGEST))
    return True


# ---- what the database looks like


def _state(store: str) -> State | None:
    """Return what changes when the database is written to, None when its file alone does not tell.

    It only looks: to open and close the file would free the locks that SQLite has on it in this process (fcntl(2)).
    """
    found = _look(store)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    for kind in ("-wal", "-journal"):
        log = _look(store + kind)
        if log is not None and log.st_size:
            return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _look(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        return None


def _settled(state: State | None, now: int) -> bool:
    """Return whether the last write was long enough before `now` for another one to leave other times."""
    return state is not None and max(state[-2:]) < (now - RECENT) * 1_000_000


# ---- the answer that is kept


def _holds(place: str, valid_for: str, beat: heartbeat.Beat) -> bool:
    """Return whether an answer is kept that holds at this moment."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        times, kept_for, again, *_ = os.read(fd, SIZE).decode().split("\n")
        since, until, started = map(int, times.split())
    except (OSError, ValueError):
        return False
    finally:
        os.close(fd)
    return (
        (kept_for, again) == (valid_for, times)  # both ends: another check may be writing it
        and since <= beat.at < until
        and abs(_started(beat) - started) <= STEP
    )


def _keep(place: str, valid_for: str, beat: heartbeat.Beat, until: int) -> None:
    """Keep the answer that nothing is due until an instant; when that fails the next check asks again."""
    times = f"{beat.at} {until} {_started(beat)}"
    data = f"{times}\n{valid_for}\n{times}\n".encode().ljust(SIZE)
    if len(data) != SIZE:
        return
    try:
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError:
        return
    try:
        os.pwrite(fd, data, 0)
    except OSError:
        pass
    finally:
        os.close(fd)


def _started(beat: heartbeat.Beat) -> int:
    """Return when the boot was by the wall clock: it moves when that clock is set."""
    return beat.at - (beat.since_boot or 0)
