"""The clock's entry of a home: found, written and removed where cron and systemd keep theirs.

It must not know tasks, nor the store. The texts are those of `clocks`.
"""

from taskrunner.entry import crontabs, units
from taskrunner.entry.files import Entry


def entries() -> list[Entry]:
    """Return every entry on this host that calls taskrunner, as far as we may see it."""
    return [*crontabs.entries(), *units.entries()]
