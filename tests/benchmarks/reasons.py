"""Why an aim is missed, and what would be needed, by the key of its row; printed only when it is missed.

These are for people to fill, then `tests/benchmarks/run --render`: what is missed and has nothing here is reported as not
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
        "An idle tick is a start of Python, without which it would take 0.1 of the time of the other: it reads two small "
        "files, compares what it finds, and overwrites the heartbeat. `python -c pass` alone takes about 0.7.",
        "An entry point that is no Python script, which would need a compiler where it is installed.",
    ),
    "help": Reason(
        "Half of it is argparse and what argparse imports, the rest the layout of pages and their zones, which each verb "
        "needs.",
        "A help that is a text in a file, which would have to be kept in step with the parser.",
    ),
    "written": Reason(
        "A tick overwrites the heartbeat: one block of data, one of the inode for its time, and three in the journal of "
        "the file system. Every four hours one asks the database again, for which SQLite makes and removes two files.",
        "A heartbeat that is not written each minute; then a tick would leave no trace.",
    ),
    "one-due": Reason(
        "The claim, the start and the end of a run are a commit each, so that none is lost or repeated after a power cut. "
        "They write 20 pages to the log of SQLite, 13 of them then to the database; the rest, more than half, is the "
        "journal of the file system, which commits with each of the 7 times that SQLite waits for the disk.",
        "The claim and the start in one commit, which would start runs under the lock; or a log that SQLite keeps from "
        "one tick to the next, which Python's `sqlite3` cannot ask for.",
    ),
    "many": Reason(
        "The index that a tick asks has a level or two more, a page each, which takes microseconds. What else lies "
        "between the two is how much the times of a start differ on this machine: see the middle half.",
        "More rounds on a machine that does nothing else.",
    ),
    "celery": Reason(
        "Both are starts of Python, so the figure is that of what each of them imports. It comes out around the aim, "
        "from one run to the next a little above or below, as both start slower while the machine is busy.",
        "The same as for the idle tick above: nearly all of its time is that of the interpreter.",
    ),
    "burst": Reason(
        "What counts here is the time of processors, not waiting: both are busy throughout. `/bin/true` takes about "
        "0.3 ms of one, and a run takes as much again with us: it is decided, written down, resolved, started, watched, "
        "collected and recorded, with what it adds to the sums of its task, in some thousand lines of Python and a "
        "dozen statements of SQL. xargs copies itself for each command, which takes it 0.2 ms, and writes nothing. "
        "The tick also begins with a twentieth of a second in which it only loads itself and claims what is due.",
        "Something other than Python from the row to the process and back: an extension in C would do, but would have "
        "to be compiled where it is installed. The barest loop in Python, which decides nothing and keeps no more than "
        "the state of each run (`bare_ledger.py`), already takes as long as xargs, if not longer: see the "
        "[times](#times). What lies between that loop and us could become less, not nothing.",
    ),
    "spawn": Reason(
        "The loop in C does nothing but start and reap, which takes a processor 0.02 ms for each process; the rest is "
        "`/bin/true` itself. What is ours of a run (see above) is compared with that.",
        "As above.",
    ),
    "output": Reason(
        "As above, and each output is read again at its end, compressed, and written into the store with the outcome; "
        "the files of xargs stay where they are.",
        "As above, or leaving outputs in files, one for each run, which costs more on a disk than it saves here.",
    ),
    "quiet": Reason(
        "Once a second the supervisor asks how large the output of each running child has become, as an output that "
        "passes `max_output` is cut while its command still runs. With 100 children that is 100 calls a second.",
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
        "A new process begins with a copy of our table of open files, which the kernel makes and then closes again, and "
        "each running child is two of them: a start costs more the more children there are, which shows from some "
        "thousands on. So does a look at all outputs, which therefore is taken less often then.",
        "A process of its own that starts the commands and has nothing open but what it passes on.",
    ),
}
