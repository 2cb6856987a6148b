"""Why an aim is missed, and what would be needed, by the key of its row; printed only when it is missed.

These are for people to fill, then `benchmarks/run --render`: what is missed and has nothing here is reported as not
understood yet.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Two sentences or more, each of one paragraph."""

    why: str
    needed: str


REASONS: dict[str, Reason] = {
    "idle": Reason(
        "A tick does all that the other does, and on top of it starts by a script, reads the heartbeat, opens the "
        "store and asks it one question. It leaves without the tidying of the interpreter, which gives back less "
        "than that.",
        "An entry point that is no Python script, or one that asks SQLite without Python's `sqlite3` package; the "
        "first would need a compiler where it is installed, the second uses a private name.",
    ),
    "quiet": Reason(
        "Twice a second the supervisor asks how large the output of each running child has become, as an output that "
        "passes `max_output` is cut while its command still runs. With 100 children that is 200 calls a second.",
        "Looking less often at an output that has not grown for a while, or being told by the kernel (inotify) that "
        "one has.",
    ),
    "memory": Reason(
        "What is kept of a running child is its run, its terms, where its output goes, and its place among what is "
        "waited for: each a Python object or more, of which the smallest takes some 50 bytes.",
        "A record of plain numbers for each child instead of objects, and the rest read from the store again when it "
        "ends.",
    ),
    "apply": Reason(
        "The bare transaction is given rows that are ready. `apply` reads TOML, checks every option of every task, "
        "works out the next two slots of each and writes a note for each, all in Python.",
        "Checks and slots that are shared by tasks that are alike, or done only for what has changed since the file "
        "was applied last.",
    ),
}

# The same of curves that do not run as they should, by the key of the curve.
GROWTH: dict[str, Reason] = {
    "running": Reason(
        "Between two starts the supervisor waits for what has ended, and each such wait goes through all its children, "
        "for the nearest of their deadlines and for the size of their outputs; the store, too, is asked each time which "
        "runs are being stopped and how many run. So each start costs more the more children there are: it shows from "
        "some thousands on.",
        "A heap of deadlines instead of a look at each, a look at outputs by the clock alone, and a count that is kept.",
    ),
}
