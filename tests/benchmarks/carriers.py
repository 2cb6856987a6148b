"""What a run costs when systemd carries it, beside one that the tick carries: paired, in a systemd of its own.

    python -m tests.benchmarks.carriers [ROUNDS]

As root, where tests/system can run. Each round ticks once for one run of `true` under each carrier, turn by turn, and
takes the time until the tick ends and until the end of the run is recorded.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.system import systemd_box

READY = """
import os, sqlite3, subprocess, sys, time
home, carrier = sys.argv[1:]
words = [sys.executable, "-m", "taskrunner", "--home", home]
env = {**os.environ, "TASKRUNNER_CARRIER": carrier}
if not os.path.exists(home):
    subprocess.run([*words, "add", "one", "--manual", "--", "true"], check=True, env=env, capture_output=True)
    subprocess.run([*words, "tick"], check=True, env=env)
store = sqlite3.connect(home + "/taskrunner.db", isolation_level=None)
store.execute("UPDATE tasks SET requested = ?", (int(time.time() * 1000),))
start = time.monotonic()
subprocess.run([*words, "tick"], check=True, env=env)
ticked = time.monotonic() - start
left = "SELECT count(*) FROM runs WHERE state IN ('pending', 'running')"
while store.execute(left).fetchone()[0]:
    time.sleep(0.002)
print(ticked, time.monotonic() - start)
"""


def main(rounds: int) -> None:
    """Measure and print medians."""
    found: dict[str, list[list[float]]] = {"inline": [], "systemd": []}
    with systemd_box.running() as box:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(systemd_box.CHECKOUT)}
        for _ in range(rounds):
            for carrier, figures in found.items():
                time.sleep(0.2)
                said = box.run(sys.executable, "-c", READY, f"/srv/{carrier}", carrier, env=env)
                figures.append([float(word) for word in said.split()])
    for carrier, figures in found.items():
        tick, whole = (statistics.median(column) * 1000 for column in zip(*figures, strict=True))
        print(f"{carrier:8} tick {tick:4.0f} ms, recorded after {whole:4.0f} ms")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    except subprocess.TimeoutExpired as exc:
        sys.exit(str(exc))
