"""The page under a real systemd: nothing runs before somebody asks, a run outlives the page, which ends idle."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.daemons import free_port
from tests.system import systemd_box
from tests.system.test_systemd import UNITS, history, ours, state, taskrunner

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

SOCKET, SERVE = "taskrunner-page.socket", "taskrunner-page.service"
HOME = "/srv/page"
ASK = """
import sys, urllib.request
link = urllib.request.Request(sys.argv[2], method=sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[3]})
print(urllib.request.urlopen(link, timeout=100).read().decode())
"""


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


@pytest.fixture
def page(box):
    """An installed page that ends quickly: its address, and a token for it."""
    said = taskrunner(box, HOME, "page", "--token", "test", "--may", "operate")
    (token,) = re.findall(r"^tr_\S+$", said, re.MULTILINE)
    port = free_port()
    told = taskrunner(box, HOME, "install", "page", "--operate", "--listen", f"127.0.0.1:{port}")
    assert f"systemd serves the page of {HOME} at http://127.0.0.1:{port}" in told
    place = box.path(f"{UNITS}/{SERVE}")
    place.write_text(place.read_text().replace("--idle 10m", "--idle 2s"))
    box.run("systemctl", "daemon-reload")
    yield f"http://127.0.0.1:{port}", token
    taskrunner(box, HOME, "uninstall", "page", check=False)
    box.run("sh", "-c", f"rm -rf {HOME}")


def ask(box, page, path: str, method: str = "GET") -> dict:
    address, token = page
    said = box.run(sys.executable, "-I", "-c", ASK, method, address + path, token)
    return json.loads(said)


def began(box) -> str:
    """When the page was started for the last time."""
    name = "ActiveEnterTimestampMonotonic"
    return box.run("systemctl", "show", SERVE, "-p", name, "--value").strip()


def test_the_first_request_starts_it_and_it_ends_by_itself(box, page):
    assert (state(box, SOCKET), state(box, SERVE)) == ("active", "inactive")
    for _ in range(2):  # and it can be started again
        before = began(box)
        assert ask(box, page, "/api/tasks")["tasks"] == []
        assert began(box) != before
        box.until(lambda: state(box, SERVE) == "inactive")
        assert box.run("systemctl", "show", SERVE, "-p", "Result", "--value").strip() == "success"
    assert state(box, SOCKET) == "active"


def test_a_run_that_was_started_on_the_page_outlives_it(box, page):
    go = "/srv/page.go"
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    taskrunner(box, HOME, "add", "slow", "--manual", "--shell", wait)
    (run,) = ask(box, page, "/api/tasks/slow/run", "POST")["runs"]
    unit = f"taskrunner-run-{run['id']}.service"
    box.until(lambda: state(box, unit) == "active")
    box.until(lambda: state(box, SERVE) == "inactive")
    assert history(box, HOME, "slow")[0]["state"] == "running"
    box.path(go).touch()
    box.until(lambda: history(box, HOME, "slow")[0]["state"] == "succeeded")


def test_uninstall_leaves_nothing(box, page):
    ask(box, page, "/api/tasks")
    taskrunner(box, HOME, "uninstall", "page")
    box.until(lambda: ours(box) == [])  # a run may still be on its way out
