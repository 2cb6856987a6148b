"""The page as a process: start to first answer, memory after many pages, and the cost of open tabs.

    .venv/bin/python -m tests.benchmarks.page [HOME]

Without a home it makes one with 100 tasks. Each figure is of a real server on a real socket.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from taskrunner import Every, TaskRunner
from tests.web.serving import Page, environment, program

ROUNDS = 7
PAGES = ("/", "/runs", "/tasks", "/agenda", "/health")
TABS, SECONDS = 50, 20
TICK = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(home: str) -> Iterator[tuple[Page, float]]:
    """A page, with the seconds from its start to its first answer."""
    begin = time.perf_counter()
    words = program(home, "page", "--listen", "127.0.0.1:0")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        page = Page(process)
        page.ask("/status")
        took = time.perf_counter() - begin
        try:
            yield page, took
        finally:
            page.end()


def memory(pid: int) -> float:
    """The peak of the memory of a process, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def busy(pid: int) -> float:
    """The seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def tab(port: int, until: float, looks: list[float]) -> None:
    """Do as the script of an open tab: ask each second whether anything has changed."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    tag = ""
    while time.monotonic() < until:
        begin = time.perf_counter()
        link.request("GET", "/changes", headers={"If-None-Match": tag} if tag else {})
        answer = link.getresponse()
        answer.read()
        tag = answer.headers.get("ETag", tag)
        looks.append(time.perf_counter() - begin)
        time.sleep(1)
    link.close()


def tabs(page: Page) -> tuple[float, float]:
    """The part of a core that open tabs cost, and the median of a look in milliseconds."""
    looks: list[float] = []
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=tab, args=(page.port, until, looks)) for _ in range(TABS)]
    before = busy(page.process.pid)
    for each in threads:
        each.start()
        time.sleep(1 / TABS)  # tabs are not in step
    for each in threads:
        each.join()
    return (busy(page.process.pid) - before) / SECONDS, statistics.median(looks) * 1000


def main(home: str) -> None:
    starts = []
    for _ in range(ROUNDS):
        with served(home) as (_, took):
            starts.append(took)
    print(f"start to first answer: {statistics.median(starts):.2f} s (median of {ROUNDS})")
    with served(home) as (page, _):
        for path in PAGES:
            times = []
            for _ in range(100 // len(PAGES)):
                begin = time.perf_counter()
                code, _, body = page.ask(path)
                times.append(time.perf_counter() - begin)
            print(f"{path}: {code}, {len(body)} bytes, {statistics.median(times) * 1000:.1f} ms")
        print(f"memory after 100 pages: {memory(page.process.pid):.1f} MB")
    with served(home) as (page, _):
        share, look = tabs(page)
        print(f"{TABS} tabs: {share:.1%} of a core, a look {look:.1f} ms")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            with TaskRunner(Path(folder) / "home") as runner:
                for number in range(100):
                    runner.add(f"task{number:03}", ["true"], Every("1h"))
                runner.tick()
            main(f"{folder}/home")
