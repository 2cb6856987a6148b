"""Runs that systemd carries, under a real one: across elapses of the timer, stopped, out of memory, of a user."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervise.test_systemd import SPIN, Side, systemd_side
from tests.system import systemd_box
from tests.system.test_systemd import UNITS, drop_in, history, state, taskrunner

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

FAST = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2 UTC\nAccuracySec=100ms\n"


@pytest.fixture(scope="module")
def box(needs):
    systemd_box.check_machine(needs)
    with systemd_box.running() as made:
        yield made


@pytest.fixture
def side(box, request) -> Side:
    """A home of this test's own, whose runs systemd carries."""
    return systemd_side(box, f"/srv/{request.node.name}")


def unit(side: Side, task: str) -> str:
    return f"taskrunner-run-{side.runs(task)[-1]['id']}.service"


def up(side: Side, task: str, does: str = SPIN, *words: str) -> str:
    """Add a task that writes `up`, let it begin, and return the unit that carries it."""
    side.say("add", task, "--manual", "--now", *words, "--shell", f"echo up; {does}")
    side.say("tick")
    side.until(lambda: "up" in side.say("log", task, check=False))
    return unit(side, task)


def journal(box, *matches: str) -> list[dict]:
    said = box.run("journalctl", "--no-pager", "-o", "json", *matches)
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_the_timer_ticks_while_a_long_run_goes_on_and_a_failing_one_disturbs_nobody(box):
    home, go = "/srv/elapses", "/srv/elapses.go"
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    taskrunner(box, home, "add", "long", "--manual", "--now", "--shell", wait)
    taskrunner(box, home, "add", "often", "--every", "1s", "--", "true")
    taskrunner(box, home, "add", "bad", "--every", "1s", "--", "false")
    taskrunner(box, home, "install", "systemd")
    drop_in(box, "taskrunner.timer", FAST)
    box.run("systemctl", "restart", "taskrunner.timer")
    box.until(lambda: history(box, home, "long") and history(box, home, "long")[0]["started"])
    (long,) = history(box, home, "long")

    def beside():
        return [r for r in history(box, home, "often") if long["started"] < (r["started"] or "")]

    box.until(
        lambda: len(beside()) >= 2
    )  # else the long run has swallowed the elapses of the timer
    assert history(box, home, "long") == [long]
    box.path(go).touch()
    box.until(lambda: history(box, home, "long")[0]["finished"])
    (long,) = history(box, home, "long")
    assert (long["state"], long["reason"]) == ("succeeded", "exit code 0")
    bad = [run for run in history(box, home, "bad") if run["started"] and run["finished"]]
    assert {run["state"] for run in bad} == {"failed"}
    box.run("systemctl", "stop", "taskrunner.timer")
    said = box.run("journalctl", "-u", "taskrunner.service", "--no-pager", "-o", "cat")
    assert "left-over" not in said
    assert "Unit process" not in said
    assert box.run("systemctl", "is-failed", "taskrunner.service", check=False).strip() != "failed"
    taskrunner(box, home, "uninstall", "systemd")
    box.run("sh", "-c", f"rm -rf {UNITS}/taskrunner*; systemctl daemon-reload")


def test_a_run_shows_in_systemctl_and_its_unit_is_gone_after_it(box, side):
    name = up(side, "shows")
    assert name.startswith("taskrunner-run-")
    assert state(box, name) == "active"
    assert "of shows" in box.run("systemctl", "show", "-p", "Description", name)
    assert SPIN in box.run("systemctl", "status", name)
    side.say("cancel", "shows")
    side.until(lambda: name not in box.run("systemctl", "list-units", "--all", "taskrunner-run*"))


def test_a_stop_of_the_unit_is_recorded_as_cancelled(box, side):
    for task, does in {
        "plain": SPIN,
        "polite": f"trap 'exit 0' TERM; {SPIN}",
        "deaf": f"trap '' TERM; {SPIN}",
    }.items():
        box.run("systemctl", "stop", up(side, task, does, "--kill-after", "2s"))
        side.until(lambda task=task: side.ended(task))
        (run,) = side.runs(task)
        assert run["state"] == "cancelled"
        assert run["reason"].startswith("its unit of systemd was stopped (")


def test_a_kill_of_the_unit_is_a_failure_and_none_of_ours(box, side):
    name = up(side, "killed")
    box.run("systemctl", "kill", "--signal=TERM", name)
    side.until(lambda: side.ended("killed"))
    (run,) = side.runs("killed")
    assert (run["state"], run["reason"]) == ("failed", "killed by SIGTERM")


def test_a_run_out_of_memory_is_said_to_be(box, side):
    # Each process stays below the limit of each; together they are above that of the unit. The last one lives.
    eat = f"{sys.executable} -c 'x = bytearray(60_000_000); import time; time.sleep(15)'"
    side.say(
        "add",
        "eats",
        "--manual",
        "--now",
        "--limit",
        "memory=100MB",
        "--shell",
        f"{eat} & {eat} & {eat} & wait; exit 137",
    )
    side.say("tick")
    side.until(lambda: side.ended("eats"))
    (run,) = side.runs("eats")
    assert run["state"] == "failed"
    assert "the kernel killed it for its memory" in run["reason"]


def test_limits_hold_for_the_unit_as_a_whole(box, side):
    name = up(
        side,
        "bounded",
        SPIN,
        "--limit",
        "memory=300MB,processes=50",
        "--nice",
        "7",
        "--timeout",
        "2h",
        "--kill-after",
        "30s",
    )
    told = box.run(
        "systemctl",
        "show",
        name,
        "-p",
        "MemoryMax,TasksMax,Nice,RuntimeMaxUSec,TimeoutStopUSec,KillMode,Type",
    )
    assert set(told.split()) == {
        *(
            "MemoryMax=300000000",
            "TasksMax=50",
            "Nice=7",
            "RuntimeMaxUSec=2h",
            "TimeoutStopUSec=30s",
        ),
        *("KillMode=control-group", "Type=exec"),
    }
    side.say("cancel", "bounded")


def test_what_a_task_leaves_behind_ends_with_its_unit(box, side):
    side.say("add", "leaves", "--manual", "--now", "--shell", "setsid sleep 4321 & echo done")
    side.say("tick")
    side.until(lambda: side.ended("leaves"))
    assert side.runs("leaves")[0]["state"] == "succeeded"
    box.until(lambda: "4321" not in box.run("ps", "-eo", "args"))


def test_secrets_stand_in_no_command_line_no_property_and_in_no_file_once_it_runs(box, side):
    side.say(
        "add",
        "hides",
        "--manual",
        "--now",
        "--env",
        "PASSWORD=hunter2-hunter2",
        "--stdin",
        "hunter2-hunter2",
        "--shell",
        f"echo up; {SPIN}",
    )
    before = journal(box)[-1]["__CURSOR"]
    side.say("tick")
    side.until(lambda: "up" in side.say("log", "hides", check=False))
    name = unit(side, "hides")
    seen = (
        box.run("systemctl", "show", name)
        + box.run("systemctl", "cat", name)
        + box.run("ps", "-eo", "args")
    )
    seen += "".join(str(entry) for entry in journal(box, f"--after-cursor={before}"))
    assert name in seen
    assert "hunter2" not in seen
    place = side.path(side.home) / "supervisors" / name
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (b"", 0o600)
    side.say("cancel", "hides")


def test_who_records_the_end_as_root_obeys_nothing_that_the_task_has_set(box, side):
    """An LD_PRELOAD of the task, or a PATH with programs of its own, must not reach a process of root."""
    evil = box.path("/srv/evil")
    evil.mkdir()
    evil.chmod(0o777)
    for name in ("systemctl", "systemd-run", "python3", "env"):
        (evil / name).write_text("#!/bin/sh\nid -un >>/srv/evil/was\n")
        (evil / name).chmod(0o755)
    words = (
        "--user",
        "nobody",
        "--cwd",
        "/",
        "--env",
        "PATH=/srv/evil:/bin",
        "--env",
        "LD_PRELOAD=/srv/evil/no.so",
    )
    side.say(
        "add",
        "first",
        "--manual",
        "--now",
        *words,
        "--env",
        "PYTHONSTARTUP=/srv/evil/x",
        "--",
        "/usr/bin/id",
        "-un",
    )
    side.say("add", "second", "--after", "first", "--", "true")
    side.say("tick")
    side.until(lambda: side.ended("first", "second"))
    assert side.output("first").splitlines()[-1] == "nobody"
    assert side.runs("second")[0]["state"] == "succeeded"
    assert not (evil / "was").exists()
    assert "no.so" not in str(journal(box))


def test_the_directory_of_a_task_is_entered_with_the_rights_of_its_user(box, side):
    """root may enter every directory; a task must not gain from that, nor lose one of its own."""
    secret, own = box.path("/srv/secret"), box.path("/srv/own")
    for folder, user in ((secret, 0), (own, 65534)):
        folder.mkdir()
        os.chown(folder, user, user)
        folder.chmod(0o700)
    link = box.path("/srv/link")
    link.symlink_to("secret")
    as_nobody = ("--manual", "--now", "--user", "nobody")
    for name, place in (("secret", "/srv/secret"), ("link", "/srv/link"), ("own", "/srv/own")):
        side.say("add", name, *as_nobody, "--cwd", place, "--shell", "pwd; id -un")
    side.say("tick")
    side.until(lambda: side.ended("secret", "link", "own"))
    assert side.output("own").splitlines()[-2:] == ["/srv/own", "nobody"]
    for name in ("secret", "link"):
        (run,) = side.runs(name)
        assert run["state"] == "failed", run
        assert "Permission denied" in run["reason"], run
        assert "nobody" not in side.output(name), run


def test_each_change_of_a_run_is_a_line_in_the_journal_with_fields(box, side):
    side.say("add", "told", "--manual", "--now", "--", "false")
    side.say("add", "strict", "--every", "1s", "--now", "--overlap", "skip", "--", "true")
    side.say("tick")
    side.until(lambda: side.ended("told"))
    (run,) = side.runs("told")
    box.until(lambda: len(journal(box, "TASKRUNNER_TASK=told")) >= 2)
    entries = [
        entry
        for entry in journal(box, "TASKRUNNER_TASK=told")
        if entry["TASKRUNNER_HOME"] == side.home
    ]
    assert [entry["TASKRUNNER_STATE"] for entry in entries] == ["running", "failed"]
    assert {entry["TASKRUNNER_RUN"] for entry in entries} == {str(run["id"])}
    assert entries[1]["MESSAGE"] == f"told: run {run['id']} failed: exit code 1"
    assert [entry["PRIORITY"] for entry in entries] == ["6", "4"]
    (found,) = [
        each
        for each in journal(box, "TASKRUNNER_TASK=told", "TASKRUNNER_STATE=failed")
        if each["TASKRUNNER_HOME"] == side.home
    ]
    assert found["SYSLOG_IDENTIFIER"] == "taskrunner"


# Keeps others from writing to a store for as long as there is a file; it is made once that is so.
HOLDS = """
import os, sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1] + "/taskrunner.db", isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
connection.execute("ROLLBACK")
open(sys.argv[2] + ".over", "w").close()
"""
BEHIND = """
import subprocess, sys
nowhere = subprocess.DEVNULL
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdin=nowhere, stdout=nowhere, stderr=nowhere)
"""


@contextmanager
def held(side: Side) -> Iterator[None]:
    """Keep everybody from writing to the store of a home."""
    place = side.path(f"{side.home}.held")
    side.program("-c", BEHIND, HOLDS, side.home, f"{side.home}.held")
    side.until(place.exists)
    yield
    place.unlink()
    side.until(side.path(f"{side.home}.held.over").exists)


def test_an_end_that_the_store_does_not_take_waits_in_the_spool(box, side):
    up(side, "waits", "while [ ! -e /srv/go ]; do sleep 0.05; done; echo last", "--expect", "last")
    spool, name = side.path(side.home) / "spool", unit(side, "waits")
    with held(side):
        box.path("/srv/go").write_text("")
        side.until(lambda: list(spool.glob("*.json")))
        side.until(lambda: state(box, name) == "inactive")  # the recorder leaves it there
    side.until(lambda: side.say("tick") == "" and side.ended("waits"))
    (run,) = side.runs("waits")
    assert (run["state"], run["reason"]) == ("succeeded", "exit code 0")
    assert side.output("waits") == "up\nlast\n"
    assert not list(spool.iterdir())


def sql(side: Side, text: str) -> None:
    side.program(
        "-c",
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute(sys.argv[2])",
        f"{side.home}/taskrunner.db",
        text,
    )


def test_a_run_whose_recorder_was_killed_is_lost_and_not_before_its_time(box, side):
    name = up(side, "silenced")
    # So that there is time to kill whoever records the end: the store is kept from it.
    with held(side):
        box.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", name)
        shown = ("systemctl", "show", "-p", "SubState", name)
        box.until(lambda: "SubState=stop-post" in box.run(*shown))
        side.until((side.path(side.home) / "supervisors" / name).exists)
        box.run("sleep", "0.5")
        box.run("systemctl", "kill", "--kill-who=control", "--signal=KILL", name)
        box.until(lambda: state(box, name) in ("inactive", "failed"))
    for each in (side.path(side.home) / "spool").iterdir():
        each.unlink()  # it may have come as far as that
    side.say("tick")
    assert (
        side.runs("silenced")[0]["state"] == "running"
    )  # its unit might just be just before the start
    sql(side, "UPDATE runs SET started = started - 100000")
    side.say("tick")
    (run,) = side.runs("silenced")
    assert (run["state"], run["reason"]) == (
        "lost",
        "its unit of systemd is gone, and its result was not recorded",
    )
    assert side.output("silenced") == "up\n"


def test_a_tick_bounds_the_output_and_stops_what_is_silent(box, side):
    name = up(
        side, "floods", "yes | head -c 3000000; echo last; sleep 100", "--max-output", "100kB"
    )
    side.until(lambda: "last" in side.say("log", "floods"))
    side.say("tick")
    (place,) = (side.path(side.home) / "output").glob(f"{name}.*")
    assert place.stat().st_blocks * 512 < 500_000
    side.say("cancel", "floods")
    up(side, "silent", SPIN, "--max-silence", "1s")
    box.run("sleep", "1.5")
    side.say("tick")
    side.until(lambda: side.ended("silent"))
    (run,) = side.runs("silent")
    assert (run["state"], run["reason"]) == (
        "timed_out",
        "stopped after 1s of silence (killed by SIGTERM)",
    )


def test_a_run_survives_that_systemd_reads_its_units_anew_or_is_executed_anew(box, side):
    odd = systemd_side(box, "/srv/odd 50% $HOME")
    up(odd, "reread", "while [ ! -e /srv/reread ]; do sleep 0.05; done")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "daemon-reexec")
    box.path("/srv/reread").write_text("")
    odd.until(lambda: odd.ended("reread"))
    assert odd.runs("reread")[0]["state"] == "succeeded"
    assert odd.output("reread") == "up\n"


def test_no_copy_is_put_back_while_a_run_goes_on(box, side):
    side.say("add", "other", "--manual", "--", "true")
    side.say("backup", "/srv/copy.db")
    up(side, "going")
    side.say("restore", "/srv/copy.db", check=False)
    assert side.runs("going")[0]["state"] == "running"
    side.say("cancel", "going")
    side.say("restore", "/srv/copy.db")
    assert side.runs("going") == []


def test_two_homes_may_have_runs_of_the_same_number(box, side):
    other = systemd_side(box, f"{side.home}-other")
    names = {up(each, "same") for each in (side, other)}
    running = box.run(
        "systemctl",
        "list-units",
        "--plain",
        "--no-legend",
        f"{names.pop().removesuffix('.service')}*",
    )
    assert len(running.splitlines()) == 2
    for each in (side, other):
        each.say("cancel", "same")
        assert each.runs("same")[0]["state"] == "cancelled"


def test_where_no_systemd_answers_the_tick_carries_its_runs_and_says_so_once(box, side):
    side.say("add", "inline", "--manual", "--now", "--", "true")
    tick = f"{sys.executable} -m taskrunner --home {side.home} tick"
    script = f"mount -t tmpfs tmpfs /run/systemd && {tick} 2>&1; {tick} -v 2>&1"
    said = box.run(
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        env={
            **os.environ,
            "PYTHONPATH": str(systemd_box.CHECKOUT),
            "TASKRUNNER_CARRIER": "systemd",
        },
    )
    assert "systemd does not answer here" in said
    assert [run["state"] for run in side.runs("inline")] == ["succeeded"]


def test_what_systemd_refuses_is_carried_by_the_tick(box, side):
    side.say("add", "refused", "--manual", "--now", "--", "true")
    fake = box.path("/srv/fake")
    fake.mkdir()
    (fake / "systemd-run").write_text("#!/bin/sh\necho 'no, not today' >&2; exit 1\n")
    (fake / "systemd-run").chmod(0o755)
    again = systemd_side(box, side.home, PATH="/srv/fake:/usr/sbin:/usr/bin:/sbin:/bin")
    again.say("tick")
    (run,) = side.runs("refused")
    assert (run["state"], run["reason"]) == ("succeeded", "exit code 0")
    assert not list((side.path(side.home) / "supervisors").glob("taskrunner-run*"))


def test_a_cancel_from_the_inline_side_reaches_the_unit(box, side):
    up(side, "far")
    inline = systemd_side(box, side.home, TASKRUNNER_CARRIER="inline")
    inline.say("cancel", "far")
    assert side.runs("far")[0]["state"] == "cancelled"


def test_messages_are_sent_though_the_unit_of_the_run_ends(box, side):
    side.say(
        "add",
        "tells",
        "--manual",
        "--now",
        "--on-failure",
        "sleep 1; touch /srv/told",
        "--",
        "false",
    )
    side.say("tick")
    box.until(lambda: box.path("/srv/told").exists())


# ---- one user's own


def test_the_runs_of_a_user_are_carried_by_the_systemd_of_that_user(box, side):
    for place in (sys.executable, os.path.realpath(sys.executable), systemd_box.CHECKOUT):
        for folder in Path(place).parents:  # in the box only: an interpreter may lie in /root
            box.run("chmod", "o+rx", str(folder))
    box.run("useradd", "--create-home", "--uid", "4712", "tina")
    box.run("loginctl", "enable-linger", "tina")
    box.until(lambda: box.path("/run/user/4712/systemd/private").exists())

    def say(*words: str) -> str:
        env = {
            "HOME": "/home/tina",
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(systemd_box.CHECKOUT),
            "TASKRUNNER_CARRIER": "systemd",
        }
        as_user = ("setpriv", "--reuid=4712", "--regid=4712", "--init-groups")
        return box.run(*as_user, sys.executable, "-m", "taskrunner", *words, env=env)

    say(
        "add",
        "mine",
        "--manual",
        "--now",
        "--limit",
        "memory=300MB",
        "--shell",
        f"env; echo up; {SPIN}",
    )
    say("tick")
    box.until(lambda: "up" in say("log", "mine"))
    run = json.loads(say("history", "mine", "--json"))["runs"][0]
    shown = box.run(
        "systemctl", "--user", "-M", "tina@", "is-active", f"taskrunner-run-{run['id']}.service"
    )
    assert shown.strip() == "active"
    assert not re.search(
        "^(XDG|DBUS|INVOCATION|JOURNAL|SYSTEMD|MANAGER)", say("log", "mine"), re.MULTILINE
    )
    say("cancel", "mine")
    assert '"cancelled"' in say("history", "mine", "--json")


def test_variables_are_passed_without_a_trace_of_them_in_systemd(box):
    side = systemd_side(box, "/srv/passed", APP_SECRET="hunter2")
    words = ("--pass-env", "APP_SECRET", "--pass-env", "DATABASE_URL")
    name = up(side, "x", f'test "$APP_SECRET" = hunter2 && {SPIN}', *words)
    assert "hunter2" not in box.run("systemctl", "show", name)
    assert "hunter2" not in box.run(
        "grep", "-r", "hunter2", "/run/systemd", "/srv/passed", check=False
    )
    side.say("cancel", "x")
    side.until(lambda: side.ended("x"))
    assert side.runs("x")[-1]["reason"].endswith("; not set where it was started: DATABASE_URL")
