"""Killed anywhere, on both sides of a queue, while its server fails too: nothing is executed twice, nothing forgotten.

Ticks, daemons, workers and the processes that perform runs die by SIGKILL; Redis is restarted, stands still, is full, and
in some rounds emptied. Commands write down that they were started, on their own; the history is held against that.
TASKRUNNER_TEST_LONG=1 kills a thousand times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from redis import RedisError

from taskrunner import Every, Overlap, State, TaskRunner
from taskrunner.engines import rq_queue, rq_standing
from tests.engines.redis_box import Box, horses, until
from tests.samples import start

LONG = bool(os.environ.get("TASKRUNNER_TEST_LONG"))
KILLS, RUNS = (1000, 5000) if LONG else (60, 40)
LIMIT = 3600 if LONG else 300  # seconds
pytestmark = [
    pytest.mark.xdist_group("rq-kills"),
    pytest.mark.slow,
    pytest.mark.timeout(2 * LIMIT + 60),  # the kills, and until all has ended
]
SEED = os.environ.get("TASKRUNNER_TEST_SEED", "2026")
# A line of this length is written at once, also beside others (write(2) with O_APPEND).
NOTE = 'echo "$TASKRUNNER_RUN $TASKRUNNER_TASK $TASKRUNNER_SLOT $TASKRUNNER_ATTEMPT" >> "$LOG"'
COMMANDS = {"slow": f"{NOTE}; sleep 0.5", "failing": f"{NOTE}; exit 3"}
COMMANDS |= {f"quick-{number}": NOTE for number in range(8 if LONG else 2)}
SCHEDULERS = (("tick",), ("tick",), ("daemon", "--interval", "1s", "--grace", "1s"))


class Chaos:
    """A home, a Redis and two workers, with the means to kill and disturb all of them."""

    def __init__(self, home: Path, box: Box, log: Path) -> None:
        self.home, self.box, self.log = home, box, log
        self.dice = random.Random(SEED)
        self.killed: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.made = 0
        self.pace = 1.0  # of a second that schedulers live; more where they get nothing done in it
        self.workers: list[subprocess.Popen[bytes]] = []
        self.man_workers()

    def man_workers(self) -> None:
        """See to it that two workers live: some end by themselves when Redis goes away."""
        for worker in list(self.workers):
            if worker.poll() is not None:
                self.workers.remove(worker)
                self.box.processes.remove(worker)
        while len(self.workers) < 2:
            self.made += 1
            self.workers.append(self.box.worker(f"w{self.made}", "--quiet"))

    def kill_worker(self) -> None:
        worker = self.dice.choice(self.workers)
        left = horses(worker)
        self.workers.remove(worker)
        self.box.end(worker)
        self.killed["worker"] += 1
        if self.dice.random() < 0.5:  # the machine dies, not only the worker
            self.kill(left)

    def kill_horse(self) -> None:
        self.kill([pid for worker in self.workers for pid in horses(worker)][:1])

    def kill(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed["horse"] += 1

    def disturb(self) -> None:
        """One trouble of the server, with the kills going on."""
        trouble = self.dice.choice(["restart", "crash", "pause", "full", "flush"])
        if trouble == "flush" and self.dice.random() < 0.7:
            return  # it loses all that is there, so that little else is tried
        self.done[trouble] += 1
        with suppress(RedisError):
            if trouble in ("restart", "crash"):
                self.box.stop(signal.SIGTERM if trouble == "restart" else signal.SIGKILL)
                self.round()
                self.box.start()
            elif trouble == "pause":
                self.box.redis.execute_command("CLIENT", "PAUSE", 2500)
            elif trouble == "full":
                self.box.redis.config_set("maxmemory", 1)
                self.round()
                self.box.redis.config_set("maxmemory", 0)
            else:
                self.box.redis.flushall()

    def round(self) -> None:
        """Start schedulers and kill them after a while, and maybe something on the other side."""
        self.man_workers()
        before = self.started()
        some = [
            start(self.home, *self.dice.choice(SCHEDULERS)) for _ in range(self.dice.randint(1, 2))
        ]
        time.sleep((0.2 + self.dice.random()) * self.pace)
        side = self.dice.random()
        if side < 0.08:
            self.kill_worker()
        elif side < 0.3:
            self.kill_horse()
        for process in some:
            self.killed["at work" if process.poll() is None else "after its end"] += 1
            process.kill()
        for process in some:
            process.communicate()
        self.pace = (
            max(1.0, self.pace / 1.1) if self.started() > before else min(10.0, self.pace * 1.1)
        )

    @property
    def kills(self) -> int:
        return self.killed.total() - self.killed["after its end"]

    def started(self) -> int:
        return len(self.log.read_text().splitlines())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    place = tmp_path / "log"
    place.touch()
    return place


@pytest.fixture
def runner(home: Path, own: Box, log: Path):
    """A home with tasks that are due each second and run on the workers."""
    settings = f'[queues.heavy]\nengine = "rq"\nurl = "{own.url}"\nlimit = 50\n'
    (home / "taskrunner.toml").write_text(settings)
    with TaskRunner(home) as made:
        for name, shell in COMMANDS.items():
            options = {"env": {"LOG": str(log)}, "timeout": "60s", "kill_after": "1s"}
            options |= {"overlap": Overlap.ALLOW, "catch_up": "last", "queue": "heavy"}
            options |= {"retries": int(name == "failing"), "retry_delay": "1s"}
            made.add(name, shell=shell, schedule=Every("1s"), **options)
        yield made


def settle(runner: TaskRunner, chaos: Chaos, monkeypatch) -> None:
    """Let everything work again, until nothing is live any more."""
    # Runs whose process died are lost within a minute; here it is known that nobody else is slow.
    monkeypatch.setattr(rq_standing, "SILENT", 3000)
    for name in ("CONFIRMED", "LIMBO"):
        monkeypatch.setattr(rq_queue, name, 5000)
    monkeypatch.setattr(rq_queue, "OVERDUE", 5000)
    key = "rq:wip:default"
    for name in chaos.box.redis.zrange(key, 0, -1):
        chaos.box.redis.zadd(key, {name: 1}, xx=True)
    for name in COMMANDS:
        runner.disable(name)

    def quiet() -> bool:
        chaos.man_workers()
        runner.tick()
        status = runner.status()
        return not status.running and not status.pending

    until(quiet, LIMIT, 0.3)


def check(runner: TaskRunner, log: Path) -> Counter[str]:
    """Hold the history against the starts that the commands wrote down."""
    runs = {run.id: run for run in runner.history(limit=None)}
    lines = [line.split() for line in log.read_text().splitlines()]
    begun = Counter(int(number) for number, *_ in lines)
    assert set(begun.values()) <= {1}, "a run was executed twice"
    attempts = Counter(tuple(rest) for _, *rest in lines)
    assert set(attempts.values()) <= {1}, "a slot was executed twice"
    assert set(begun) <= set(runs), "a run was executed that has no row"
    final = (State.SUCCEEDED, State.FAILED, State.LOST, State.SKIPPED, State.MISSED)
    for run in runs.values():
        assert run.state in final, f"run {run.id} is left {run.state}: {run.reason}"
        if run.state in (State.SUCCEEDED, State.FAILED):
            assert run.id in begun, f"run {run.id} is called {run.state} and was never executed"
    return Counter(f"{run.state}" for run in runs.values())


def test_killed_at_random_nothing_is_executed_twice_or_forgotten(
    runner, home, own, log, monkeypatch
):
    print("repeat it with TASKRUNNER_TEST_SEED=" + SEED)  # shown by pytest when the test fails
    chaos = Chaos(home, own, log)
    end = time.monotonic() + LIMIT
    while chaos.kills < KILLS or chaos.started() < RUNS:
        assert time.monotonic() < end, (chaos.killed, chaos.done, chaos.started())
        chaos.round()
        if chaos.dice.random() < 0.15:
            chaos.disturb()
    print(f"{time.monotonic() - end + LIMIT:.0f} s of kills")
    settle(runner, chaos, monkeypatch)
    print(f"{time.monotonic() - end + LIMIT:.0f} s in all")
    states = check(runner, log)
    print(dict(chaos.killed), dict(chaos.done), dict(states), chaos.started())
    assert states["succeeded"] > RUNS / 4
