"""A scheduler container of a network provisioning system, with a chain of four steps and a queue, lives here.

A container is a process namespace here, as an engine makes one, with the daemon as its process 1; the
database and the queue that it waits for are processes that listen on a port.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.samples import ROOT, wait_for

pytestmark = pytest.mark.slow

STEP = """\
#!/bin/sh
# A step of the chain; a file of its name in the folder "mood" says how that goes.
echo "$1 for $TASKRUNNER_SLOT"
case "$(cat {folder}/mood/$1 2>/dev/null)" in
bad) echo "switch-7: no route to host" >&2; exit 1 ;;
slow) sleep 300 ;;
esac
echo "$1" >> {folder}/done
"""
TASKS = """\
[defaults]
tz = "UTC"
group = "network"

[tasks.discover]
cron = "0 {hours} * * *"
command = ["{folder}/step", "discover"]

[tasks.plan]
after = "discover"
command = ["{folder}/step", "plan"]

[tasks.provision]
after = "plan"
command = ["{folder}/step", "provision"]

[tasks.verify]
after = "provision"
command = ["{folder}/step", "verify"]
"""
CHAIN = ["discover", "plan", "provision", "verify"]
LISTEN = """\
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as server:
    server.listen()
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
"""


class Site:
    """The volume of the containers, what stands beside them, and what people type into them."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TASKRUNNER_HOME": str(folder / "volume"),
            "PYTHONPATH": str(ROOT),
            "TZ": "UTC",
        }
        self.started = []
        self.inside = None  # process 1 of the container that runs

    def type(self, *words, code=0):
        """Type a command, in the container when there is one, as `docker exec` does."""
        argv = [sys.executable, "-m", "taskrunner", *words]
        if self.inside is not None:
            argv = ["nsenter", "--target", str(self.inside), "--pid", "--mount", "--wd=.", *argv]
        done = subprocess.run(argv, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ask(self, *words):
        return json.loads(self.type(*words, "--json"))

    def begin(self, *argv, **more):
        """Start a process that the end of the test ends."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(argv, env=self.env, cwd=self.folder, **streams, **more)
        self.started.append(process)
        return process

    def listen(self, port):
        """Start what the scheduler waits for: a database, a queue."""
        number = port.fileno()
        process = self.begin(sys.executable, "-c", LISTEN, str(number), pass_fds=(number,))
        assert process.stdout.readline() == "ready\n"

    def container(self, *words):
        """Start the daemon as process 1; gives what stands for the container, and its process 1 as seen here."""
        daemon = (sys.executable, "-m", "taskrunner", "daemon", "--interval", "1s", *words)
        engine = self.begin(
            "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", *daemon
        )
        (self.inside,) = wait_for(lambda: children(engine.pid))
        return engine, self.inside

    def gone(self, engine):
        """Wait for the end of a container; gives its exit code and what it said."""
        self.inside = None
        _, said = engine.communicate(timeout=100)
        return engine.returncode, said

    def runs(self, state=None):
        found = self.ask("history", "-n", "100")["runs"]
        return [run["task"] for run in reversed(found) if state is None or run["state"] == state]

    def mood(self, step, word):
        (self.folder / "mood").mkdir(exist_ok=True)
        (self.folder / "mood" / step).write_text(word)


def children(pid):
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.fixture
def port():
    """Gives sockets with a port each, that nobody else gets and that do not answer before somebody listens."""
    with contextlib.ExitStack() as made:

        def bound():
            one = made.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            return one

        yield bound


def address(port):
    return f"tcp://127.0.0.1:{port.getsockname()[1]}"


@pytest.fixture
def site(tmp_path, needs):
    needs("root", os.geteuid() == 0, "only root can make a pid namespace")
    made = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"])
    needs("root", made.returncode == 0, "this machine lets root make no pid namespace")
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "step").write_text(STEP.format(folder=folder))
    (folder / "step").chmod(0o755)
    far = (
        datetime.now(UTC) + timedelta(hours=12)
    ).hour  # no slot of its own comes in the middle of a test
    (folder / "tasks.toml").write_text(TASKS.format(folder=folder, hours=far))
    found = Site(folder)
    found.type("apply", "tasks.toml", "--quiet")
    yield found
    for process in found.started:
        for pid in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_it_starts_by_itself_when_its_database_and_its_queue_answer(site, port):
    database, queue = port(), port()
    words = [word for each in (database, queue) for word in ("--wait-for", address(each))]
    site.type("set", "discover", "--now", "--quiet")
    engine, _ = site.container(*words)
    site.listen(database)
    time.sleep(1.5)
    assert engine.poll() is None and site.runs() == []  # the queue is not there yet
    site.listen(queue)
    wait_for(lambda: site.runs("succeeded") == CHAIN)


def test_it_ends_with_an_error_when_they_never_answer_so_that_it_is_started_again(site, port):
    database = port()
    engine, _ = site.container("--wait-for", address(database), "--wait-limit", "1s")
    code, said = site.gone(engine)
    assert code == 1 and address(database) in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_on_the_signals_of_a_container_engine(site, number):
    site.mood("discover", "slow")
    site.type("set", "discover", "--now", "--quiet")
    engine, pid = site.container("--grace", "1s")
    wait_for(lambda: site.runs("running") == ["discover"])
    os.kill(pid, number)
    assert site.gone(engine)[0] == 0
    assert site.runs("cancelled") == ["discover"] and site.runs("running") == []


def test_the_chain_starts_at_minute_0_of_every_hour_and_each_step_when_the_one_before_has_succeeded(
    site,
):
    (site.folder / "tasks.toml").write_text(TASKS.format(folder=site.folder, hours="*"))
    site.type("apply", "tasks.toml", "--quiet")
    slots = [datetime.fromisoformat(each["slot"]) for each in site.ask("next", "-n", "3")["next"]]
    assert [slot.minute for slot in slots] == [0, 0, 0]
    assert {(b - a).seconds for a, b in itertools.pairwise(slots)} == {3600}
    (due,) = site.ask("tick", "--dry-run", "--at", slots[0].isoformat())["decisions"]
    assert (due["task"], due["decision"]) == ("discover", "run")
    # The same chain at a pace that a test can wait for.
    site.type("set", "discover", "--every", "2s", "--quiet")
    site.container()
    wait_for(lambda: site.runs("succeeded").count("verify") >= 2)
    # All four know which hour they are for; that of the next hour may begin before the last step of this one.
    runs = sorted(
        site.ask("history", "-n", "100", "--state", "succeeded")["runs"],
        key=lambda run: run["started"],
    )
    chains = {run["slot"]: [] for run in runs}
    for run in runs:
        chains[run["slot"]].append(run["task"])
    whole = [steps for steps in chains.values() if "verify" in steps]
    assert len(whole) >= 2 and whole == [CHAIN] * len(whole)


def test_a_step_that_fails_ends_the_chain_and_the_next_hour_has_its_own(site):
    site.mood("provision", "bad")
    site.container()
    site.type("set", "discover", "--now", "--quiet")
    wait_for(lambda: site.runs("failed") == ["provision"])
    assert site.runs("succeeded") == ["discover", "plan"]
    assert "no route to host" in site.type("log", "provision")
    site.mood("provision", "good")
    site.type("set", "discover", "--now", "--quiet")
    wait_for(lambda: site.runs("succeeded")[2:] == CHAIN)


def test_it_is_started_by_hand_beside_the_daemon_and_its_next_executions_are_shown(site):
    site.container()
    assert site.type("run", "discover").startswith("discover for ")
    wait_for(lambda: site.runs("succeeded") == CHAIN)
    wait_for(lambda: site.ask("status")["clock"] == "daemon")  # it has had its first tick
    assert [each["task"] for each in site.ask("status")["next"]] == ["discover"]
    assert len(site.ask("next", "discover", "-n", "5")["next"]) == 5
    assert "discover" in site.type("status")


def test_the_queue_is_counted_looked_at_and_emptied(site):
    site.mood("discover", "slow")
    for name in ("switch-1", "switch-2", "switch-3"):
        site.type(
            *("add", name, "--manual", "--now", "--group", "network", "--quiet"),
            *("--", str(site.folder / "step"), name),
        )
    site.type("set", "discover", "--now", "--priority", "1", "--quiet")
    site.container()
    wait_for(lambda: site.runs("running") == ["discover"])
    status = wait_for(lambda: (found := site.ask("status"))["pending"] and found)
    assert sorted(run["task"] for run in status["pending"]) == ["switch-1", "switch-2", "switch-3"]
    assert [run["task"] for run in status["running"]] == ["discover"]
    site.type("cancel", "--quiet", *(str(run["id"]) for run in status["pending"][1:]))
    assert len(site.ask("status")["pending"]) == 1
    site.type("cancel", "--quiet", "discover")
    wait_for(lambda: site.runs("succeeded") == [status["pending"][0]["task"]])


def test_its_state_is_read_at_an_http_address(site):
    place = site.folder / "public"
    place.mkdir()
    site.type(
        *("add", "status-page", "--every", "1s", "--quiet", "--cwd", str(place)),
        *("--env", f"PYTHONPATH={ROOT}", "--shell"),
        f"{sys.executable} -m taskrunner --home {site.env['TASKRUNNER_HOME']} status --json"
        " > new && mv new status.json",
    )
    site.container()
    server = site.begin(
        *(sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1"),
        *("--directory", str(place), "0"),
    )
    (port,) = re.findall(r" port (\d+) ", server.stdout.readline())

    def read():
        with contextlib.suppress(OSError):
            page = f"http://127.0.0.1:{port}/status.json"
            with urllib.request.urlopen(page, timeout=100) as answer:
                return json.load(answer)

    before = wait_for(lambda: (found := read()) and found["last_tick"])
    after = wait_for(lambda: (found := read()) and found["last_tick"] > before and found)
    assert after["failing"] == []
    assert site.type("status", "--check").startswith(
        "OK"
    )  # what the health check of the image asks


def test_a_step_is_stopped_after_an_hour_unless_told_otherwise(site):
    (timeout,) = {task["timeout"] for task in site.ask("list")["tasks"]}
    assert timeout == 3600
    site.mood("plan", "slow")
    site.type("set", "plan", "--timeout", "1s", "--quiet")
    site.type("set", "discover", "--now", "--quiet")
    site.container()
    wait_for(lambda: site.runs("timed_out") == ["plan"])
    assert site.runs("succeeded") == ["discover"]


def test_nothing_is_forgotten_when_the_container_is_killed_and_another_takes_its_place(site):
    engine, pid = site.container()
    site.type("run", "discover")
    wait_for(lambda: site.runs("succeeded") == CHAIN)
    site.mood("discover", "slow")
    site.type("set", "discover", "--now", "--quiet")
    wait_for(lambda: site.runs("running") == ["discover"])
    wait_for(lambda: site.type("log", "discover").startswith("discover for "))
    os.kill(pid, signal.SIGKILL)
    site.gone(engine)
    site.mood("discover", "good")
    site.type("set", "discover", "--timeout", "4s", "--kill-after", "1s", "--quiet")
    site.container()
    # Nobody can see it any more; its timeout tells.
    wait_for(lambda: site.runs("running") == [])
    assert site.runs("lost") == ["discover"]
    assert site.runs()[:4] == CHAIN and site.type("log", "discover").startswith("discover for ")
    site.type("set", "discover", "--now", "--quiet")
    wait_for(lambda: site.runs("succeeded")[4:] == CHAIN)


def test_what_went_on_stands_in_a_folder(site):
    site.container()
    site.type("run", "discover")
    wait_for(lambda: site.runs("succeeded") == CHAIN)
    volume = site.folder / "volume"
    assert (volume / "taskrunner.log").stat().st_size > 0
    assert site.type("log", "verify").startswith("verify for ")
