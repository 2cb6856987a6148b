"""How soon things begin: verbs that only start and end, and the first command of a tick; and the bytes that ticks write."""

import os
import shutil
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from taskrunner.home import paths as rooms
from tests.benchmarks import commands, homes, places, timing
from tests.benchmarks.bench import Bench
from tests.benchmarks.timing import Step

VERBS = {
    "version": ("--version",),
    "help": ("--help",),
    "list": ("list",),
    "status": ("status",),
    "history": ("history",),
}
INSTANT = ["/bin/date", "+%s%N"]  # a command that prints when it started
SETTLED = 4  # seconds after which an idle tick remembers the answer of the database
BLOCK = 4096


def verbs(bench: Bench) -> None:
    """Measure whole commands that do little beside a Python that imports sqlite3."""
    folder = commands.idle_home(bench, 10)
    sides: dict[str, Step] = {
        name: lambda words=words: timing.run(bench.program, *words, home=folder).wall
        for name, words in VERBS.items()
    }
    sides["sqlite3"] = lambda: timing.run(bench.python, "-c", "import sqlite3").wall
    bench.results.sides["verbs"] = timing.contest(sides, bench.rounds)


# ---- the first command of a tick


def first(bench: Bench) -> None:
    """Measure how long after the start of a tick its first command starts, with few due and with many."""
    sides = {}
    for due in bench.sizes.first:
        template = bench.home(
            f"first-{due}", lambda place, due=due: homes.to_be_due(place, INSTANT, due)
        )
        sides[f"{due} due"] = _first(bench, template, due)
    bench.results.sides["first"] = timing.contest(sides, bench.few)
    bench.clear()


def _first(bench: Bench, template: Path, due: int) -> Step:
    def step() -> float:
        folder = homes.due(template, bench.fresh("first"), alike=False)
        os.sync()
        start = time.time()
        commands.tick(bench, folder)()
        began = _instants(folder)
        if len(began) != due:
            raise RuntimeError(f"not all {due} runs are in the history of {folder}")
        return min(began) - start

    return step


def _instants(folder: Path) -> list[float]:
    """Return the instants that the commands of a home have printed, in nanoseconds there."""
    with closing(sqlite3.connect(folder / rooms.STORE)) as store:
        rows = store.execute("SELECT data FROM outputs").fetchall()
    return [int(zlib.decompress(data)) / 1e9 for (data,) in rows]


# ---- the bytes that ticks write


def written(bench: Bench) -> None:
    """Measure what a tick writes to a disk of its own, ext4 with blocks of 4 kB, as the block device counts it."""
    try:
        if os.geteuid() != 0:
            raise places.NotHere("only root can mount a disk of its own")
        with _disk(bench.place) as (folder, device):
            idle, due = folder / "idle", folder / "due"
            homes.idle(idle, 10)
            homes.made(due, ["/bin/true"], homes.Every("1s"), 1)
            time.sleep(SETTLED)
            sides = {
                "idle": _writes(bench, idle, device, 0),
                "due": _writes(bench, due, device, 1.1),
            }
            bench.results.sides["written"] = timing.contest(sides, bench.few)
    except places.NotHere as exc:
        bench.results.skipped["written"] = str(exc)


@contextmanager
def _disk(place: Path) -> Iterator[tuple[Path, str]]:
    """Have a small disk mounted; give its folder and the name of its device. Raises NotHere."""
    image, folder = place / "disk.img", place / "disk"
    mkfs, losetup, mount = map(places.program, ("mkfs.ext4", "losetup", "mount"))
    image.touch()
    os.truncate(image, 200_000_000)
    folder.mkdir(exist_ok=True)
    subprocess.run([mkfs, "-q", "-b", str(BLOCK), image], check=True)
    device = ""
    try:
        try:
            device = timing.printed(losetup, "--show", "-f", image).strip()
            subprocess.run([mount, device, folder], check=True, capture_output=True)
        except subprocess.CalledProcessError as exc:
            raise places.NotHere("this machine mounts no disk of a file") from exc
        yield folder, Path(device).name
        subprocess.run(["umount", folder], check=True)
    finally:
        if device:
            subprocess.run([losetup, "-d", device], check=False)
        shutil.rmtree(folder, ignore_errors=True)
        image.unlink()


def _writes(bench: Bench, folder: Path, device: str, pause: float) -> Step:
    """Return a step: the bytes that a tick writes, when all of them reach the disk before the next one."""
    counted = Path(f"/sys/block/{device}/stat")
    tick = commands.tick(bench, folder)

    def step() -> float:
        time.sleep(pause)
        os.sync()
        before = _sectors(counted)
        tick()
        os.sync()
        return (_sectors(counted) - before) * 512.0

    return step


def _sectors(counted: Path) -> int:
    return int(counted.read_text(encoding="ascii").split()[6])
