"""How long each page of the admin takes in a project of Django: python -m tests.benchmarks.django_admin [TASKS RUNS]

Each page is asked in this process and without a server, fifteen times, of a home with a hundredth of the tasks and runs,
and of the whole; the medians are told beside each other. They are of processor time, which a busy machine changes least.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import homes
from tests.django.in_process import site

ROWS, LISTED = 50, 10_000  # on a page of a list, and at most in all
TASKS, RUNS = "/admin/taskrunner/task/", "/admin/taskrunner/run/"
PAGES = (
    *(TASKS, f"{TASKS}?p={{tasks}}", f"{TASKS}?state=enabled", f"{TASKS}?state=failing"),
    *(f"{TASKS}?kind=every", f"{TASKS}?q=99", f"{TASKS}?o=-1", f"{TASKS}7/change/"),
    *(RUNS, f"{RUNS}?p={{runs}}", f"{RUNS}?o=1", f"{RUNS}?state=bad", f"{RUNS}?state=lost"),
    *(f"{RUNS}?state=succeeded", f"{RUNS}?state=live", f"{RUNS}?state=bad&p={{bad}}"),
    *(f"{RUNS}?ended=1h", f"{RUNS}?ended=30d", f"{RUNS}?state=failed&ended=1d"),
    *(f"{RUNS}?task=1", f"{RUNS}?task=7&state=failed", f"{RUNS}?q=task-7", f"{RUNS}?q=99"),
    *(f"{RUNS}?q=99&state=bad", f"{RUNS}{{last}}/change/"),
)
ROUNDS = 15
SMALLER = 100


def main(tasks: int, runs: int) -> None:
    """Print a line for each page."""
    project, sizes = site(), [(tasks // SMALLER, runs // SMALLER), (tasks, runs)]
    found: dict[str, list[float]] = {page: [] for page in PAGES}
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            project.use(Path(place, f"home-{size[0]}"))
            project.home.mkdir(mode=0o700)
            homes.with_history(project.home, size[1], tasks=size[0])
            client = project.client(project.superuser())
            for page in PAGES:
                address = page.format(**places(*size))
                found[page].append(statistics.median(timed(client, address) for _ in range(ROUNDS)))
        project.close()
    sys.stdout.write(f"{'page':<46}{sizes[0][0]:>7} tasks{tasks:>7} tasks\n")
    for page, (small, large) in found.items():
        address = page.format(**places(tasks, runs))
        sys.stdout.write(f"{address:<46}{small:>10.1f} ms{large:>10.1f} ms\n")


def places(tasks: int, runs: int) -> dict[str, int]:
    """Return the last pages of the lists, and the last run, of a home of a size."""
    counts = {"tasks": tasks, "runs": runs, "bad": runs // 37}
    return {name: -(-min(count, LISTED) // ROWS) for name, count in counts.items()} | {"last": runs}


def timed(client: Any, page: str) -> float:
    """Return the milliseconds of the processor that a page takes."""
    begun = time.process_time()
    answer = client.get(page)
    took = time.process_time() - begun
    assert answer.status_code == 200, (page, answer.status_code)
    return took * 1000


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:3]) if sys.argv[2:] else (10_000, 1_000_000)))
