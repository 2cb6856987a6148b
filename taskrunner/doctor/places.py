"""What is found about the home and its host: modes, owners, disk room, who carries runs, versions."""

import os
import stat
import sys
from collections.abc import Iterator

import taskrunner
from taskrunner import carrier, home, schedule
from taskrunner.answers import Finding
from taskrunner.doctor.seen import Seen, error, ok, warning
from taskrunner.store.health import library

LITTLE = 10_000_000  # bytes of disk; with less, claims and outcomes fail soon
SOME = 200_000_000
OURS = (
    home.LOCK,
    home.HEARTBEAT,
    home.OUTPUT,
    home.BACKUPS,
    home.SUPERVISORS,
    home.SPOOL,
    f"{home.STORE}-wal",
    f"{home.STORE}-shm",
)


def findings(seen: Seen) -> Iterator[Finding]:
    """Give what is found about the home, its disk and the programs."""
    yield from seen.problems
    if os.path.isdir(seen.folder):
        yield from _modes(seen.folder)
        yield from _owners(seen.folder)
    elif not seen.problems:
        cure = "`taskrunner add` makes it with the first task; or name another one with --home"
        yield warning(f"there is no home {seen.folder} yet", cure)
    yield from _file_system(seen)
    yield from _carrier(seen)
    yield from _room(seen.folder)
    yield from _versions()


def _modes(folder: str) -> Iterator[Finding]:
    found = os.stat(folder).st_mode
    if found & (stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH):
        mode = f"mode {stat.S_IMODE(found):04o}"
        yield warning(f"others can look into the home ({mode})", f"chmod 700 {folder}")
    else:
        yield ok(f"the home {folder} is private")


def _owners(folder: str) -> Iterator[Finding]:
    """Give the files that another user has left here, most likely root: our ticks cannot write them."""
    for name in OURS:
        place = home.path(folder, name)
        try:
            owner = os.stat(place).st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            cure = f"chown -R {os.geteuid()} {folder}, and use this home as one user only"
            yield error(f"{place} belongs to user id {owner}", cure)


def _file_system(seen: Seen) -> Iterator[Finding]:
    kind = home.network_file_system(seen.folder)
    if kind is None:
        return
    what = f"the home {seen.folder} is on {kind}, where locks cannot be relied on"
    cure = "move it to a local folder (--home or TASKRUNNER_HOME)"
    yield (warning if seen.settings.allow_network_home else error)(what, cure)


def _carrier(seen: Seen) -> Iterator[Finding]:
    """Give whether the systemd that is to carry runs is there."""
    if seen.settings.carrier != carrier.SYSTEMD:
        return
    if carrier.answers():
        yield ok("systemd answers, and carries the runs")
        return
    what = (
        'the setting is carrier = "systemd", but no systemd answers here: runs are carried inline'
    )
    cure = "take `carrier` out of taskrunner.toml, or let a systemd run here (your own: `loginctl enable-linger`)"
    yield warning(what, cure)


def _room(folder: str) -> Iterator[Finding]:
    place = folder
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    # Some file systems count no files at all: f_files is 0 there.
    if found.f_files and not found.f_favail:
        yield error(f"the disk of {place} has no room for another file", "remove files there")
    elif free < SOME:
        make = error if free < LITTLE else warning
        cure = "make room; `taskrunner prune` gives back what is not kept"
        yield make(f"the disk of {place} has {free / 1e6:.0f} MB left", cure)
    else:
        yield ok(f"the disk of {place} has {free / 1e9:.1f} GB left")


def _versions() -> Iterator[Finding]:
    croniter = schedule.library_version()
    if croniter is None:
        cure = "install taskrunner anew: pip brings it along"
        yield error("croniter is not installed, and cron expressions need it", cure)
        return
    yield ok(
        f"taskrunner {taskrunner.__version__}, Python {sys.version.split()[0]}, "
        f"SQLite {library()}, croniter {croniter}"
    )
