"""How long the library takes to answer, by the size of the home: what a page in a browser asks again and again.

    python -m tests.benchmarks.questions [ROUNDS]

Makes a home of 1,000 tasks and 100,000 runs and one of 10,000 tasks and 1,000,000 runs in a temporary folder, asks both
in turn, and writes the medians into docs/benchmarks/questions.json, from which the page of all benchmarks takes them.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from statistics import median

from taskrunner import TaskRunner
from tests.benchmarks import homes

FILE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "questions.json"
SIZES = ((1_000, 100_000), (10_000, 1_000_000))
FEW = [f"task-{number}" for number in range(1, 51)]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

QUESTIONS: Mapping[str, Callable[[TaskRunner], object]] = {
    "history(limit=50)": lambda door: door.history(limit=50),
    "history(before=ID, limit=50)": lambda door: door.history(before=50_000, limit=50),
    'history(state="lost"), none there': lambda door: door.history(state="lost"),
    'history(state="bad", limit=50)': lambda door: door.history(state="bad", limit=50),
    "explain(NAME)": lambda door: door.explain(homes.ASKED),
    "explain(NAME, at=)": lambda door: door.explain(homes.ASKED, at=door.now() - HOUR),
    "explain(NAME, since=)": lambda door: door.explain(
        homes.ASKED, since=door.now() - timedelta(minutes=2)
    ),
    "status()": lambda door: door.status(),
    "tasks(after=NAME, limit=50)": lambda door: door.tasks(after="task-5", limit=50),
    'tasks(like="99", limit=50)': lambda door: door.tasks(like="99", limit=50),
    "tasks(failing=True, limit=50)": lambda door: door.tasks(failing=True, limit=50),
    "next(count=5)": lambda door: door.next(count=5),
    "agenda(+1 day, limit=50)": lambda door: door.agenda(door.now() + DAY, limit=50),
    "stats(NAME)": lambda door: door.stats(homes.ASKED),
    "stats(50 names)": lambda door: door.stats(FEW),
    "stats()": lambda door: door.stats(),
    "tag()": lambda door: door.tag(),
}
SLOW = {"stats()"}  # is asked twice only


def measured(doors: list[TaskRunner], rounds: int) -> dict[str, list[float]]:
    """Return the median milliseconds of each question in each home; the first round warms up."""
    found = {}
    for words, ask in QUESTIONS.items():
        took: list[list[float]] = [[] for _ in doors]
        for number in range(3 if words in SLOW else rounds + 1):
            for place, door in enumerate(doors):
                start = time.perf_counter()
                ask(door)
                if number:
                    took[place].append((time.perf_counter() - start) * 1000)
        found[words] = [round(median(each), 3) for each in took]
        print(words, *found[words])
    return found


def main(rounds: int) -> None:
    """Make the homes, ask, and write the figures."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        places = []
        for tasks, runs in SIZES:
            place = Path(folder) / str(runs)
            homes.with_history(place, runs, tasks=tasks)
            places.append(place)
        found = measured([TaskRunner(place) for place in places], rounds)
    sizes = [f"{tasks:,} tasks, {runs:,} runs" for tasks, runs in SIZES]
    FILE.write_text(json.dumps({"sizes": sizes, "ms": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
