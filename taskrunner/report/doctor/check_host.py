"""Checks of the home and its host: modes, owners, free disk space, the carrier of runs, versions."""

import os
import shlex
import stat
import sys
from collections.abc import Iterator

import taskrunner
from taskrunner.home import paths, syslog
from taskrunner.model.answers import Finding
from taskrunner.report.doctor.snapshot import Snapshot, error, ok, warning
from taskrunner.schedule import next_day
from taskrunner.store.health import library
from taskrunner.supervise.systemd import carrier

LITTLE = 10_000_000  # bytes of disk; with less, claims and outcomes fail soon
SOME = 200_000_000
FOLDERS = (paths.OUTPUT, paths.BACKUPS, paths.SUPERVISORS, paths.SPOOL)
FILES = (
    paths.LOCK,
    paths.DAEMON_LOCK,
    paths.HEARTBEAT,
    paths.IDLE_ANSWER,
    paths.SENDER,
    paths.QUEUES,
    paths.DISK_RESERVE,
)
OURS = (
    paths.LOG,
    paths.LOCK,
    paths.DAEMON_LOCK,
    paths.HEARTBEAT,
    paths.IDLE_ANSWER,
    paths.OUTPUT,
    paths.BACKUPS,
    paths.SUPERVISORS,
    paths.SPOOL,
    f"{paths.STORE}-wal",
    f"{paths.STORE}-shm",
)


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings about the home, its disk and the programs."""
    yield from snapshot.problems
    if os.path.isdir(snapshot.folder):
        yield from _modes(snapshot.folder)
        yield from _owners(snapshot.folder)
        yield from _kinds(snapshot.folder)
        yield from _written(snapshot)
    elif not snapshot.problems:
        cure = "the first added task creates it; or name another one with --home"
        yield warning(f"there is no home {snapshot.folder} yet", cure)
    yield from _file_system(snapshot)
    yield from _carrier(snapshot)
    yield from _room(snapshot.folder)
    yield from _versions()


def _modes(folder: str) -> Iterator[Finding]:
    found = os.stat(folder).st_mode
    if found & (stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH):
        mode = f"mode {stat.S_IMODE(found):04o}"
        yield warning(
            f"other users can read the home ({mode})", f"`chmod 700 {shlex.quote(folder)}`"
        )
    else:
        yield ok(f"the home {folder} is private")


def _owners(folder: str) -> Iterator[Finding]:
    """Yield files of another user, most likely root: our ticks cannot write them."""
    for name in OURS:
        place = paths.path(folder, name)
        try:
            owner = os.stat(place).st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            cure = f"`chown -R {os.geteuid()} {shlex.quote(folder)}` as root, and use this home as one user only"
            yield error(f"{place} belongs to user id {owner}", cure)


def _kinds(folder: str) -> Iterator[Finding]:
    """Yield paths that are not the expected folder or file, or that we cannot write."""
    for name in (*FOLDERS, *FILES):
        place, quoted = paths.path(folder, name), shlex.quote(paths.path(folder, name))
        if not os.path.lexists(place):
            continue
        wanted, right = ("folder", os.path.isdir) if name in FOLDERS else ("file", os.path.isfile)
        aside = f"`mv {quoted} {shlex.quote(f'{place}.aside')}`: it is created again when needed"
        if not right(place):
            yield error(f"{place} is not a {wanted}", aside)
        elif not os.access(place, os.W_OK):
            yield error(
                f"{place} cannot be written",
                f"`chmod u+rwX {quoted}`, or mount its disk for writing",
            )


def _written(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield paths in the settings that we cannot write to."""
    config_file = paths.path(snapshot.folder, paths.CONFIG)
    listeners = {"journal": syslog.JOURNAL, "syslog": syslog.SYSLOG}
    place = listeners.get(snapshot.settings.log_to)
    if place is not None and not os.path.exists(place):
        what = f'the setting is log_to = "{snapshot.settings.log_to}", but {place} is not there: lines go into {paths.LOG}'
        yield warning(
            what, f'set log_to to "file" in {config_file}, or start the program that listens there'
        )
    log = paths.path(snapshot.folder, paths.LOG)
    if snapshot.settings.log_to != "none" and os.path.lexists(log) and not _plain_and_ours(log):
        cure = f"`mv {shlex.quote(log)} {shlex.quote(f'{log}.aside')}`: it is created again"
        yield warning(f"the log {log} is not a writable regular file", cure)
    metrics = snapshot.settings.metrics_textfile
    if metrics is not None and (why := _unwritable(metrics)):
        yield warning(
            f"the metrics cannot be written to {metrics}: {why}",
            f"`mkdir -p {shlex.quote(os.path.dirname(metrics))}`, or set metrics_textfile in {config_file}",
        )


def _plain_and_ours(place: str) -> bool:
    return os.path.isfile(place) and not os.path.islink(place) and os.access(place, os.W_OK)


def _unwritable(place: str) -> str | None:
    """Return why a file cannot be written at a path, None when no obstacle is found."""
    folder = os.path.dirname(place)
    if os.path.isdir(place):
        return "it is a folder"
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written"
    return None


def _file_system(snapshot: Snapshot) -> Iterator[Finding]:
    kind = paths.network_file_system(snapshot.folder)
    if kind is None:
        return
    what = f"the home {snapshot.folder} is on {kind}, where locks cannot be relied on"
    cure = "move it to a local folder (--home or TASKRUNNER_HOME)"
    yield (warning if snapshot.settings.allow_network_home else error)(what, cure)


def _carrier(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield whether the systemd that should carry runs answers."""
    if snapshot.settings.carrier != carrier.SYSTEMD:
        return
    if carrier.answers():
        yield ok("systemd answers and runs the tasks")
        return
    what = 'the setting is carrier = "systemd", but systemd does not answer here: the tick runs the tasks itself'
    cure = "remove carrier from taskrunner.toml, or run systemd here (your own: `loginctl enable-linger`)"
    yield warning(what, cure)


def _room(folder: str) -> Iterator[Finding]:
    place = folder
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    # Some file systems do not count files: f_files is 0 there.
    if found.f_files and not found.f_favail:
        yield error(
            f"the disk of {place} has no free inodes for another file", "delete files there"
        )
    elif free < SOME:
        make = error if free < LITTLE else warning
        cure = (
            "free some space; `taskrunner prune` deletes history older than the retention settings"
        )
        yield make(f"the disk of {place} has {free / 1e6:.0f} MB left", cure)
    else:
        yield ok(f"the disk of {place} has {free / 1e9:.1f} GB left")


def _versions() -> Iterator[Finding]:
    croniter = next_day.library_version()
    if croniter is None:
        cure = "reinstall taskrunner: pip installs it as a dependency"
        yield error("croniter is not installed, and cron expressions need it", cure)
        return
    yield ok(
        f"taskrunner {taskrunner.__version__}, Python {sys.version.split()[0]}, "
        f"SQLite {library()}, croniter {croniter}"
    )
