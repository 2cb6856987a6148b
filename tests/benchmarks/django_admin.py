"""How long each page of the admin takes in a project of Django: python -m tests.benchmarks.django_admin [TASKS RUNS]

Each page is asked in turn, in this process and without a server, seven times, of a home with a hundredth of the tasks
and runs and of the whole; the medians are told beside each other. The last column is the time within the databases.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
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
ROUNDS = 7
SMALLER = 100


def main(tasks: int, runs: int) -> None:
    """Print a line for each page."""
    place, folder = site(), tempfile.TemporaryDirectory()
    found: dict[str, list[tuple[float, float]]] = {page: [] for page in PAGES}
    sizes = [(tasks // SMALLER, runs // SMALLER), (tasks, runs)]
    for size in sizes:
        place.use(Path(folder.name, f"home-{size[0]}"))
        place.home.mkdir(mode=0o700)
        homes.with_history(place.home, size[1], tasks=size[0])
        client = place.client(place.superuser())
        counts = {"tasks": size[0], "runs": size[1], "bad": size[1] // 37}
        ends = {name: min(count, LISTED) // ROWS for name, count in counts.items()}
        for page in PAGES:
            address = page.format(last=size[1], **ends)
            times = [timed(client, address) for _ in range(ROUNDS)]
            found[page].append(tuple(map(statistics.median, zip(*times, strict=True))))
    place.close()
    folder.cleanup()
    out = sys.stdout.write
    out(f"{'page':<46}{sizes[0][0]:>7} tasks{tasks:>7} tasks  in databases\n")
    for page, (small, large) in found.items():
        out(f"{page:<46}{small[0]:>10.1f} ms{large[0]:>10.1f} ms{large[1]:>11.1f} ms\n")


def timed(client: Any, page: str) -> tuple[float, float]:
    """Return the milliseconds that a page takes, and those of them within the databases of Django."""
    spent = 0.0

    def measured(execute: Any, *given: Any) -> Any:
        nonlocal spent
        begun = time.perf_counter()
        try:
            return execute(*given)
        finally:
            spent += time.perf_counter() - begun

    from django.db import connections

    with ExitStack() as stack:
        for each in connections.all():
            stack.enter_context(each.execute_wrapper(measured))
        begun = time.perf_counter()
        answer = client.get(page)
        took = time.perf_counter() - begun
    assert answer.status_code == 200, (page, answer.status_code)
    return took * 1000, spent * 1000


if __name__ == "__main__":
    os.environ.setdefault("TASKRUNNER_DJANGO_CLOCK", "0")
    main(*(map(int, sys.argv[1:3]) if sys.argv[2:] else (10_000, 1_000_000)))
