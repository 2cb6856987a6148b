"""The log and the messages under a real systemd: the real journal, and a sender that outlives the unit of a run."""

from __future__ import annotations

import json

import pytest

from tests.supervise.test_systemd import systemd_side
from tests.system import systemd_box
from tests.system.test_systemd import taskrunner

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


def configure(box, home, text):
    box.run(
        "sh", "-c", f"mkdir -p -m 700 {home} && cat > {home}/taskrunner.toml << 'END'\n{text}\nEND"
    )


def entries(box, *matches):
    said = box.run("journalctl", "--no-pager", "-o", "json", *matches)
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_the_log_goes_to_the_real_journal_with_fields_to_search_by(box):
    home = "/srv/journal"
    configure(box, home, 'log_to = "journal"')
    taskrunner(box, home, "add", "told", "--manual", "--now", "--", "false")
    taskrunner(box, home, "tick")
    box.until(lambda: len(entries(box, "TASKRUNNER_TASK=told")) >= 2)
    found = [
        (each["TASKRUNNER_STATE"], each["PRIORITY"], each["TASKRUNNER_HOME"])
        for each in entries(box, "TASKRUNNER_TASK=told")
        if "TASKRUNNER_STATE" in each
    ]
    assert found == [("running", "6", home), ("failed", "4", home)]
    assert "taskrunner.log" not in box.run("ls", home)


def test_the_log_goes_to_the_real_syslog(box):
    home = "/srv/syslog"
    configure(box, home, 'log_to = "syslog"')
    taskrunner(box, home, "add", "spoken", "--manual", "--now", "--", "false")
    taskrunner(box, home, "tick")

    def heard():
        found = entries(box, "SYSLOG_IDENTIFIER=taskrunner", "_TRANSPORT=syslog")
        return [each["MESSAGE"] for each in found]

    box.until(lambda: any("spoken: run 2 failed: exit code 1" in each for each in heard()))


def test_a_message_of_a_run_that_systemd_carries_is_sent_by_a_unit_of_its_own(box):
    side = systemd_side(box, "/srv/message")
    side.say(
        *("add", "x", "--manual", "--now", "--on-failure", f"sleep 1; touch {side.home}/told"),
        *("--", "false"),
    )
    side.say("tick")
    side.until(lambda: side.ended("x"))
    box.until(lambda: "told" in box.run("ls", side.home).split())

    def outbox():
        messages = json.loads(side.say("notify", "--json"))["outbox"]
        return [(message["event"], message["state"]) for message in messages]

    box.until(lambda: outbox() == [("failure", "sent")])
