"""All that is found about a home and its host, what is worst first, and the paths in use."""

import sys
from collections.abc import Iterator
from datetime import datetime

from taskrunner import clock, home
from taskrunner.answers import Checkup, Finding
from taskrunner.clocks import program
from taskrunner.doctor import beats, places, stored, tasks, told
from taskrunner.doctor.seen import Seen, look


def examine(folder: str, now: datetime) -> Checkup:
    """Return all that was found about a home, what is worst first."""
    seen = look(folder, now)
    order = ["error", "warning", "ok"]
    found = sorted(_findings(seen), key=lambda finding: order.index(finding.severity))
    return Checkup(found, _paths(folder))


def _findings(seen: Seen) -> Iterator[Finding]:
    yield from places.findings(seen)
    yield from stored.findings(seen)
    yield from beats.findings(seen)
    yield from tasks.findings(seen)
    yield from told.findings(seen)


def _paths(folder: str) -> dict[str, str]:
    names = {
        "store": home.STORE,
        "config": home.CONFIG,
        "heartbeat": home.HEARTBEAT,
        "lock": home.LOCK,
        "output": home.OUTPUT,
        "backups": home.BACKUPS,
    }
    return {
        "home": folder,
        **{key: home.path(folder, name) for key, name in names.items()},
        "program": " ".join(program.own()),
        "python": sys.executable,
        "zone_data": clock.ZONEINFO,
    }
