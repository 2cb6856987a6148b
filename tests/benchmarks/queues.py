"""What it takes to hand 500 due runs to a queue of RQ, and to collect their ends; with a Redis and workers of its own.

    python -m tests.benchmarks.queues [RUNS]

The runs are due at once. One tick hands them over, workers execute them, and when the last one has ended one tick
collects them all. Each is a process of its own, its start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from taskrunner import Manual, State, TaskRunner
from tests.engines import redis_box
from tests.samples import ROOT, program

WORKERS = 2


def ticked(home: Path) -> float:
    """Tick, and return the seconds that it took."""
    start = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(program(home, "tick"), check=True, env=env, capture_output=True)
    return time.monotonic() - start


def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place, redis_box.box(Path(place)) as box:
        home = Path(place, "home")
        home.mkdir(mode=0o700)
        settings = f'[queues.heavy]\nengine = "rq"\nurl = "{box.url}"\nlimit = {count}\n'
        (home / "taskrunner.toml").write_text(settings)
        with TaskRunner(home) as runner:
            for number in range(count):
                runner.add(f"task-{number}", ["true"], Manual(), queue="heavy", now=True)
            handed = ticked(home)
            assert box.redis.llen("rq:queue:default") == count
            memory = box.redis.info("memory")["used_memory"] - box.redis.info("memory")["used_memory_startup"]  # fmt: skip
            start = time.monotonic()
            workers = [box.worker(f"w{number}", "--burst", "--quiet") for number in range(WORKERS)]
            for worker in workers:
                worker.wait()
            executed = time.monotonic() - start
            collected = ticked(home)
            states = [run.state for run in runner.history(limit=None)]
        assert states == [State.SUCCEEDED] * count, set(states)
        assert not box.redis.keys("taskrunner:run:*")
    print(f"{count} runs: handed over in {handed:.2f} s, {memory / 1e6:.1f} MB in Redis")
    print(
        f"executed by {WORKERS} workers in {executed:.1f} s, {executed / count * 1000:.0f} ms each"
    )
    print(f"collected in {collected:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
