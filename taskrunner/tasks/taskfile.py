"""Task files: the known keys, their values, and the faults in them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from taskrunner.model.record import field, record
from taskrunner.schedule.kinds import Schedule
from taskrunner.tasks import options

WHEN = ("every", "cron", "on", "at", "after", "boot", "manual")
DETAILS = {"anchor": "every", "from_finish": "every", "at_time": "on"}  # each with its schedule
WORK = tuple(options.WORK)
ORDER = (
    *("description", *WHEN, "at_time", "tz", "anchor", "from_finish"),
    *("now", "enabled", *WORK, "args"),
)
KEYS = (*ORDER, *(name for name in options.OPTIONS if name not in ORDER))
DASHED = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


@record
class Fault:
    """A fault in a file and its line; `known` when it is a fault on any machine."""

    place: str
    line: int
    text: str
    known: bool = True

    def __str__(self) -> str:
        return f"{self.place}, line {self.line}: {self.text}" if self.line else self.text


@record
class Definition:
    """One task as given in a file or a call: `given` are its options, without omitted ones.

    `enabled` is None when the file does not set it; `lines` has the line of each key.
    """

    name: str
    source: str | None
    schedule: Schedule
    command: Sequence[str] | None = None
    shell: str | None = None
    tz: str | None = None
    now: bool = False
    enabled: bool | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def fault(self, text: str, key: str = "", *, known: bool = True) -> Fault:
        """Return a fault of this task, at the line of a key."""
        line = self.lines.get(key) or self.lines.get("", 0)
        return Fault(self.place, line, f"{self.name}: {underscored(text)}", known)


@record
class Defined:
    """The definitions in the files of these `sources`, their faults, and the names of all tasks, also faulty ones."""

    definitions: Sequence[Definition]
    faults: Sequence[Fault] = ()
    names: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()


def underscored(text: str) -> str:
    """Return a message about flags as one about keys."""
    return DASHED.sub(lambda flag: flag[1].replace("-", "_"), text)
