"""The whole checkup of a home and its host, the worst finding first, with the paths in use."""

import shlex
import sys
from collections.abc import Iterator
from datetime import datetime

from taskrunner import host
from taskrunner.home import paths, program
from taskrunner.model.answers import Checkup, Finding
from taskrunner.model.record import like
from taskrunner.report.doctor import (
    check_callers,
    check_host,
    check_queues,
    check_store,
    check_tasks,
)
from taskrunner.report.doctor.snapshot import Snapshot, take


def examine(folder: str, now: datetime) -> Checkup:
    """Return all findings about a home, the worst first."""
    snapshot = take(folder, now)
    order = ["error", "warning", "ok"]
    found = sorted(_findings(snapshot), key=lambda finding: order.index(finding.severity))
    return Checkup([_for_home(folder, each) for each in found], _paths(folder))


def _for_home(folder: str, found: Finding) -> Finding:
    """Return a finding whose commands name the home, unless it is the default."""
    if paths.find() == folder:
        return found
    named = f"`taskrunner --home {shlex.quote(folder)} "
    what, cure = (text and text.replace("`taskrunner ", named) for text in (found.what, found.cure))
    return like(found, what=what, cure=cure)


def _findings(snapshot: Snapshot) -> Iterator[Finding]:
    yield from check_host.findings(snapshot)
    yield from check_store.findings(snapshot)
    yield from check_callers.findings(snapshot)
    yield from check_queues.findings(snapshot)
    yield from check_tasks.findings(snapshot)


def _paths(folder: str) -> dict[str, str]:
    names = {
        "store": paths.STORE,
        "config": paths.CONFIG,
        "heartbeat": paths.HEARTBEAT,
        "lock": paths.LOCK,
        "output": paths.OUTPUT,
        "backups": paths.BACKUPS,
    }
    return {
        "home": folder,
        **{key: paths.path(folder, name) for key, name in names.items()},
        "program": " ".join(program.own()),
        "python": sys.executable,
        "zone_data": host.ZONEINFO,
    }
