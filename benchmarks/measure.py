"""Paired measurements of whole commands; called by benchmarks/run with its folder and the number of rounds."""

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskrunner import Cron, Every, TaskRunner

PLACE, ROUNDS = Path(sys.argv[1]), int(sys.argv[2])
PYTHON, PROGRAM = str(PLACE / "venv/bin/python"), str(PLACE / "venv/bin/taskrunner")
BURST = 600
MINUTE = 60_000  # milliseconds

Step = Callable[[], float]


def timed(*argv: str, stdin: str | None = None) -> float:
    """Run a command to its end and return its wall time in seconds."""
    start = time.perf_counter()
    subprocess.run(argv, input=stdin, text=True, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def paired(name: str, ours: Step, theirs: Step) -> str:
    """Measure two steps in turn and return a line of the table."""
    ours(), theirs()  # warm
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in pairs)
    a, b = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"| {name:<38} | {a:7.1f} | {b:7.1f} | {statistics.median(ratios):5.2f} | {spread:<13} |"


def filled(name: str, expressions: list[str]) -> Path:
    """Return a home with `BURST` tasks that run /bin/true."""
    folder = PLACE / name
    past = datetime.now(UTC) - timedelta(minutes=1)
    with TaskRunner(folder, clock=lambda: past) as runner:
        for number in range(BURST):
            text = expressions[number % len(expressions)]
            runner.add(f"task-{number}", ["/bin/true"], Cron(text, tz="UTC"))
    return folder


def burst(template: Path) -> Step:
    """Return a step: one tick in which all tasks of a copy of this home are due."""

    def step() -> float:
        folder = PLACE / "burst"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        due = int(time.time()) * 1000 // MINUTE * MINUTE
        store = sqlite3.connect(folder / "taskrunner.db")
        with store:
            values = (due, due + MINUTE, due - MINUTE // 2)
            store.execute("UPDATE tasks SET next = ?, following = ?, evaluated = ?", values)
        took = timed(PROGRAM, "--home", str(folder), "tick")
        ((done,),) = store.execute("SELECT count(*) FROM runs WHERE state = 'succeeded'")
        store.close()
        if done != BURST:
            raise SystemExit(f"only {done} of {BURST} runs are in the history")
        return took

    return step


def main() -> None:
    """Measure and print the table."""
    words = "\n".join(["x"] * BURST)
    baseline = lambda: timed(PYTHON, "-c", "import sqlite3")  # noqa: E731
    xargs = lambda: timed("xargs", "-P4", "-n1", "/bin/true", stdin=words)  # noqa: E731
    idle = PLACE / "idle"
    with TaskRunner(idle) as runner:
        for number in range(10):
            runner.add(f"task-{number}", ["/bin/true"], Every("1d"))
        runner.tick()
        for number in range(10):
            runner.run(f"task-{number}")
    os.environ["TASKRUNNER_HOME"] = str(idle)
    same = burst(filled("same", ["* * * * *"]))
    other = burst(filled("other", [f"*/1 {n // 25}-23 1-{n % 25 + 6} * *" for n in range(BURST)]))
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    print(f"medians of {ROUNDS} pairs; milliseconds; ratios with their spread\n")
    print("| what                                   |    ours |  theirs | ratio | spread        |")
    print("| -------------------------------------- | ------- | ------- | ----- | ------------- |")
    print(paired("idle tick / import sqlite3", lambda: timed(PROGRAM, "tick"), baseline))
    print(paired("list / import sqlite3", lambda: timed(PROGRAM, "list"), baseline))
    print(paired("history -n 20 / import sqlite3", lambda: timed(PROGRAM, "history"), baseline))
    print(paired("600 due, one expression / xargs", same, xargs))
    print(paired("600 due, 600 expressions / xargs", other, xargs))


if __name__ == "__main__":
    main()
