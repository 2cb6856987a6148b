"""How long commands take: run as cron would run them, and in turn, so that what disturbs one disturbs the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[], float]

ENVIRONMENT = {"HOME": "/", "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class Took:
    """What one command cost, with the children it waited for, in seconds."""

    wall: float
    cpu: float


def run(
    *argv: str | Path,
    home: Path | None = None,
    stdin: Path = NOWHERE,
    stdout: Path = NOWHERE,
    more: Mapping[str, str] | None = None,
) -> Took:
    """Run a command to its end, in the small environment that cron gives, and return what it cost."""
    words = [str(word) for word in argv]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, str(stdin), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(stdout), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    start = time.perf_counter()
    pid = os.posix_spawnp(words[0], words, environment(home, more), file_actions=actions)
    try:
        _, status, usage = os.wait4(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    took = time.perf_counter() - start
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), words)
    return Took(took, usage.ru_utime + usage.ru_stime)


def environment(home: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what cron would give, and which home is meant."""
    own = {} if home is None else {"TASKRUNNER_HOME": str(home)}
    return {**ENVIRONMENT, **own, **(more or {})}


def printed(*argv: str | Path) -> str:
    """Run a command in the same environment and return what it prints."""
    words = [str(word) for word in argv]
    return subprocess.run(
        words, env=environment(None), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def contest(sides: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """Let all sides take their step in each round, after a round to warm up; every other round goes backwards."""
    names = list(sides)
    for name in names:
        sides[name]()
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in reversed(names) if number % 2 else names:
            found[name].append(sides[name]())
    return found


def tell(text: str) -> None:
    """Say on stderr what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
