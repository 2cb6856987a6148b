"""One run of the benchmark: where it is, how much of it is wanted, and what it has found so far."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import places, timing
from tests.benchmarks.results import Results


@dataclass(frozen=True)
class Sizes:
    """How large the things are that are measured."""

    burst: int = 2_000  # tasks due in one minute
    children: int = 1_000  # running at once
    quiet_children: int = 100
    quiet_seconds: float = 60.0
    resident_seconds: float = 60.0
    files: int = 10_000  # tasks in a task file
    next: int = 10_000  # tasks to tell the next slots of
    short_history: int = 10_000  # runs
    long_history: int = 10_000_000
    many_tasks: int = 1_000_000
    first: tuple[int, ...] = (10, 500)  # tasks due, of which the first command counts
    calls: int = 300  # of the library in one process, for each round of commands
    tasks: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
    due: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    runs: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    running: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)


QUICK = Sizes(
    burst=20,
    children=20,
    quiet_children=5,
    quiet_seconds=1.0,
    resident_seconds=1.0,
    files=50,
    next=50,
    short_history=500,
    long_history=2_000,
    many_tasks=1_000,
    first=(2, 20),
    calls=10,
    tasks=(10, 100, 1_000),
    due=(1, 10),
    runs=(100, 1_000),
    running=(1, 10),
)


@dataclass
class Bench:
    """`base` is the Python that environments are made of, `python` that of the one taskrunner is installed in."""

    place: Path
    base: Path
    python: Path
    rounds: int
    sizes: Sizes
    with_rivals: bool
    results: Results

    @property
    def program(self) -> Path:
        """The entry point that a crontab would name."""
        return self.python.with_name("taskrunner")

    @property
    def few(self) -> int:
        """Rounds of what takes seconds."""
        return max(2, self.rounds // 3)

    @property
    def fewest(self) -> int:
        """Rounds of what takes a minute."""
        return max(1, self.rounds // 10)

    def note_version(self, name: str, python: Path, package: str) -> None:
        """Keep for the report which version was measured."""
        if name not in self.results.versions:
            self.results.versions[name] = places.version(python, package)

    def home(self, name: str, make: Callable[[Path], Path]) -> Path:
        """Return a home of this run; what several parts look at is made once."""
        folder = self.place / "homes" / name
        if not folder.exists():
            timing.tell(f"making the home {name}")
            folder.parent.mkdir(exist_ok=True)
            make(folder)
        return folder

    def fresh(self, name: str) -> Path:
        """Return a path where nothing is yet."""
        folder = self.place / "fresh"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{sum(1 for _ in folder.iterdir())}"

    def clear(self) -> None:
        """Remove what single steps have made; not between them, as that slows down who makes files next."""
        shutil.rmtree(self.place / "fresh", ignore_errors=True)
