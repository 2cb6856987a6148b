"""What running processes cost: their memory and their time on a processor, as the kernel counts them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.benchmarks import timing

CLOCK_TICK = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0  # seconds that something may take to be ready


@contextlib.contextmanager
def started(
    *argv: str | Path,
    home: Path | None = None,
    more: Mapping[str, str] | None = None,
    folder: Path | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a command running in the block; afterwards it is sent `end`, and waited for."""
    with subprocess.Popen(
        [str(word) for word in argv],
        env=timing.environment(home, more),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(end)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def until(ready: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {PATIENCE:g} s")
        time.sleep(0.05)


def own_memory(pid: int) -> int:
    """Return the bytes that would be free without this process: what it shares with nobody (USS)."""
    return 1024 * sum(_memory(pid, "Private_Clean:", "Private_Dirty:"))


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory (RSS)."""
    return 1024 * sum(_memory(pid, "Rss:"))


def _memory(pid: int, *names: str) -> list[int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    lines = (line.split() for line in text.splitlines())
    return [int(words[1]) for words in lines if words[0] in names]


def seconds_on_cpu(pid: int) -> float:
    """Return for how long a process of one thread has been on a processor, as finely as this kernel tells."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * CLOCK_TICK


def all_threads_on_cpu(pid: int) -> float:
    """Return the same of all threads of a process."""
    return sum(seconds_on_cpu(int(each)) for each in os.listdir(f"/proc/{pid}/task"))


def children_on_cpu(pid: int) -> float:
    """Return for how long the children that a process has waited for were on a processor."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[13]) + int(words[14])) * CLOCK_TICK
