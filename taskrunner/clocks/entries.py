"""The clock's entry of a home: found, written and removed where cron and systemd keep theirs.

It must not know tasks, nor the store. The texts are those of `clocks`.
"""

from taskrunner.clocks import install_cron, install_systemd
from taskrunner.clocks.entry import Entry


def entries() -> list[Entry]:
    """Return every entry on this host that calls taskrunner, as far as we may see it."""
    return [*install_cron.entries(), *install_systemd.entries()]
