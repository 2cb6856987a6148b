"""Checks of the database, and of the spool of outcomes that are not in it yet."""

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress

from taskrunner.decide import ledger
from taskrunner.home import paths
from taskrunner.model.answers import Finding
from taskrunner.report.doctor.snapshot import Snapshot, error, ok, warning
from taskrunner.store.health import Health

REFUSED = ".refused"  # suffix of files that a tick has set aside, as in `spool`
LARGE_LOG = 64_000_000  # bytes; a working tick moves the log into the database
LARGE = 5_000_000_000


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings about the store and its spool."""
    yield from _spool(snapshot.folder)
    if snapshot.health is None:
        if os.path.isdir(snapshot.folder) and not snapshot.problems:
            cure = "the first added task creates it; or name another home (--home)"
            yield warning(f"there is no database in {snapshot.folder} yet", cure)
        return
    yield from _usable(snapshot.health, paths.path(snapshot.folder, paths.STORE))
    yield from _sizes(snapshot.health, paths.path(snapshot.folder, paths.STORE))
    if snapshot.hold is not None:
        yield warning(ledger.sentence(snapshot.hold), "`taskrunner resume` ends the pause")


def _usable(found: Health, place: str) -> Iterator[Finding]:
    if found.busy:
        cure = f"end the program that holds it (`fuser {shlex.quote(place)}` names it): no tick can start runs meanwhile"
        yield error("the database is locked by another program", cure)
    elif found.disk is not None:
        cure = "free some space there, or mount it for writing: the database itself may be intact"
        yield error(f"the database cannot be used: {found.disk}", cure)
    elif found.error is not None:
        permitted = os.access(place, os.R_OK | os.W_OK)
        cure = _kept(place) if permitted else f"`chmod 600 {shlex.quote(place)}`"
        yield error(f"the database cannot be read: {found.error}", cure)
    elif found.faults:
        yield error(f"the database is damaged: {'; '.join(found.faults)}", _kept(place))
    else:
        yield from _schema(found)


def _kept(place: str) -> str:
    """Return how to replace a damaged database: by the newest backup, if there is one."""
    backups, copies = os.path.join(os.path.dirname(place), paths.BACKUPS), []
    with suppress(OSError):
        names = [each for each in os.listdir(backups) if each.endswith(".db")]
        copies = [os.path.join(backups, each) for each in names]
    salvage = f"`sqlite3 {shlex.quote(place)} .recover` prints all rows that can be recovered"
    if not copies:
        return salvage
    newest = max(copies, key=os.path.getmtime)
    return f"`taskrunner restore {shlex.quote(newest)}`; {salvage}"


def _schema(found: Health) -> Iterator[Finding]:
    schema = found.schema or 0
    if schema > found.known:
        what = (
            f"the database has schema {schema}, newer than the {found.known} this taskrunner knows"
        )
        yield error(what, "use the newer taskrunner, and have the clock call it")
    elif schema == 0:
        yield error("the database is empty", "restore a backup, or remove the file")
    elif schema < found.known:
        what = f"the database has schema {schema}; the next verb brings it to {found.known}"
        yield ok(f"{what}, after a backup")
    else:
        yield ok(f"the database is intact: schema {schema}, {found.size / 1e6:.1f} MB")


def _sizes(found: Health, place: str) -> Iterator[Finding]:
    if found.log > LARGE_LOG:
        cure = f"find the program that keeps the database open (`fuser {shlex.quote(place)}`) and end it"
        yield warning(
            f"the write-ahead log of the database has grown to {found.log / 1e6:.0f} MB", cure
        )
    if found.size > LARGE:
        cure = "shorten the retention (keep_age, keep_output), then `taskrunner prune`"
        yield warning(f"the database has {found.size / 1e9:.1f} GB", cure)


def _spool(folder: str) -> Iterator[Finding]:
    place = paths.path(folder, paths.SPOOL)
    try:
        names = os.listdir(place)
    except OSError:
        return
    waiting = [name for name in names if not name.endswith(REFUSED)]
    if waiting:
        what = f"ends of runs in {place} are not yet written to the database: {len(waiting)}"
        yield warning(
            what, "the next tick that can write to the database does it: `taskrunner tick`"
        )
    for name in set(names) - set(waiting):
        cure = "read it, and remove it once you know the result of that run"
        yield warning(f"{os.path.join(place, name)} could not be parsed", cure)
