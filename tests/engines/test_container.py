"""The compose file with a queue: what it says, and its commands executed here, without a container engine."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from taskrunner import State, TaskRunner
from taskrunner.cli import main
from taskrunner.home import config
from taskrunner.schedule import durations
from tests.daemons import free_port
from tests.engines.redis_box import PATIENCE, SERVER, until
from tests.samples import ROOT, program

PLACE = ROOT / "contrib" / "container"
TEXT = (PLACE / "queue.yaml").read_text()
FILE = yaml.safe_load(TEXT)
SERVICES = FILE["services"]
ADDRESS = "redis:6379"


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=10):
        return True
    return False


def advised() -> list[list[str]]:
    """The command lines of the scheduler in the comments."""
    found = re.findall(r"exec scheduler taskrunner (.*)$", TEXT, re.M)
    assert len(found) == 2
    return [shlex.split(line) for line in found]


def test_there_are_a_redis_a_scheduler_and_two_workers():
    assert set(SERVICES) == {"redis", "scheduler", "worker"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["worker"]["image"] == SERVICES["scheduler"]["image"]
    assert SERVICES["scheduler"]["build"]["args"] == {"EXTRAS": "page,rq"}
    assert {name.partition(":")[0] for each in SERVICES.values() for name in each.get("volumes", ()) if name[0] != "."} == set(FILE["volumes"])  # fmt: skip
    assert "ports" not in str(SERVICES), "nobody else may reach the Redis"


def test_its_commands_are_command_lines_of_ours():
    args = main.parser().parse_args(SERVICES["scheduler"]["command"])
    assert (args.verb, args.wait_for) == ("daemon", [f"tcp://{ADDRESS}"])
    grace = durations.parse(args.grace).total_seconds()
    period = durations.parse(SERVICES["scheduler"]["stop_grace_period"]).total_seconds()
    assert period > grace + 10  # --kill-after
    assert [main.parser().parse_args(line).verb for line in advised() if "--" not in line] == ["queue"]  # fmt: skip


def test_the_scheduler_and_the_workers_speak_of_the_same_queue(tmp_path):
    (tmp_path / "taskrunner.toml").write_text((PLACE / "queue.toml").read_text())
    (queue,) = config.load(str(tmp_path)).queues.values()
    words = SERVICES["worker"]["command"]
    assert (words[words.index("--url") + 1], words[-1]) == (queue.url, queue.queue)
    assert words[words.index("--serializer") + 1] == "json"
    assert queue.url.startswith(f"redis://{ADDRESS}/")
    assert "./queue.toml:/var/lib/taskrunner/taskrunner.toml:ro" in SERVICES["scheduler"]["volumes"]


@pytest.mark.slow
@pytest.mark.xdist_group("rq")
def test_its_commands_work_together(redis_there, home, tmp_path: Path):
    address = f"127.0.0.1:{free_port()}"
    (home / "taskrunner.toml").write_text((PLACE / "queue.toml").read_text().replace(ADDRESS, address))  # fmt: skip
    redis = [SERVER, *SERVICES["redis"]["command"][1:], "--dir", str(tmp_path)]
    redis += ["--bind", "127.0.0.1", "--port", address.rpartition(":")[2]]
    worker, daemon = (
        [word.replace(ADDRESS, address) for word in SERVICES[name]["command"]]
        for name in ("worker", "scheduler")
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    lines = [program(home, *line) for line in advised()]
    with ExitStack() as stack, open(tmp_path / "log", "ab") as log:

        def begin(argv: list[str]) -> subprocess.Popen[bytes]:
            started = stack.enter_context(subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd=tmp_path))  # fmt: skip
            stack.callback(started.terminate)
            return started

        stack.callback(lambda: print((tmp_path / "log").read_text()))
        begin(redis)
        until(lambda: accepts(address))  # a worker without it ends, and its container is restarted
        begin(program(home, *daemon))
        subprocess.run([lines[0][0], *lines[0][1:]], check=True, env=env, capture_output=True)
        with TaskRunner(home) as runner:
            # Beside a run of its own slots, which come at the turn of a minute.
            runner.run("hello", detach=True, force=True)
            workers = [begin([sys.executable, "-m", "rq.cli", *worker]) for _ in range(2)]
            # The task's own slots come beside it: one of them may be skipped, and is the newest.
            until(lambda: runner.history("hello", state=State.SUCCEEDED))
            run = runner.history("hello", state=State.SUCCEEDED)[0]
            assert f"on {os.uname().nodename}" in run.reason

            def workers_there() -> bool:
                done = subprocess.run(lines[1], env=env, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                return len(re.findall(r"^\S+ +\S+ +(?:idle|busy)", done.stdout, re.M)) == 2

            until(workers_there)  # one of them may still be starting
            check = SERVICES["worker"]["healthcheck"]["test"][1:]
            words = [word.replace(ADDRESS, address) for word in check[1:]]
            assert subprocess.run([sys.executable, "-m", "rq.cli", *words], env=env, capture_output=True).returncode == 0  # fmt: skip
        for each in workers:
            each.terminate()
            each.wait(PATIENCE)
