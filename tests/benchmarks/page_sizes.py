"""How long each page takes, and how much memory: python -m tests.benchmarks.page_sizes [TASKS RUNS]

Each page is asked in turn, in this process and without a server, seven times; the medians are told beside those of a
home with a hundredth of the tasks and runs.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import homes

PAGES = (
    *(
        "/",
        "/runs",
        "/runs?state=bad",
        "/runs?state=lost",
        "/runs?task=task-7",
        "/runs?before={middle}",
    ),
    *("/runs/{last}", "/tasks", "/tasks?q=99", "/tasks?state=failing", "/tasks/task-7", "/agenda"),
    "/changes",
)
ROUNDS = 7
SMALLER = 100


def main(tasks: int, runs: int) -> None:
    """Print a line for each page."""
    with tempfile.TemporaryDirectory() as place:
        sizes = [(tasks // SMALLER, runs // SMALLER), (tasks, runs)]
        clients = [client(Path(place, f"home-{each[0]}"), *each) for each in sizes]
        print(f"{'page':<24}{sizes[0][0]:>7} tasks{tasks:>7} tasks  ratio   size")
        for page in PAGES:
            lines = [page.format(middle=each[1] // 2, last=each[1]) for each in sizes]
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for took, asked, path in zip(times, clients, lines, strict=True):
                    took.append(timed(asked, path))
            small, large = map(statistics.median, times)
            length = len(clients[1].get(lines[1]).get_data())
            ratio = large / small
            print(
                f"{page:<24}{small:>10.1f} ms{large:>10.1f} ms{ratio:>7.1f}{length // 1000:>4} kB"
            )
        print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def client(home: Path, tasks: int, runs: int) -> Any:
    """Return a client of a page over a new home of a size."""
    from taskrunner.web.app import create_app

    homes.OTHERS = tasks - 1
    home.mkdir(mode=0o700)
    homes.with_history(home, runs)
    return create_app(home, define=True).test_client()


def timed(asked: Any, path: str) -> float:
    """Return the milliseconds that a page takes."""
    begun = time.perf_counter()
    answer = asked.get(path)
    answer.get_data()
    assert answer.status_code == 200, (path, answer.status_code)
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:3]) if sys.argv[2:] else (10_000, 1_000_000)))
