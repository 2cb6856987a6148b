"""A program that is replaced while it works: what the version before has left is understood by the one that follows.

What the older program wrote stands here as text, to the letter; nothing of it is made by the code under test. The
rows come from the documented schema, so that this holds wherever the code lies.
"""

import json
import marshal
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests import surface
from tests.samples import ROOT, rests, wait_for

PACKAGE = ROOT / "taskrunner"
SUPERVISOR = "4711-0badc0de"
UNIT = "taskrunner-run-1.service"
AT = 1_795_951_381_248  # milliseconds since the epoch
SPOOLED = (
    '{"version": 1, "run": 1, "supervisor": "4711-0badc0de", "at": 1795951381248, "outcome": {"exit_code": 7, '
    '"signal": null, "error": null, "timed_out": false, "silent": false, "stopped": false, "cpu_seconds": 0.25, '
    '"peak_memory": 2097152}, "size": 3, "large": false, "fault": null, "note": null, "retry": false}'
)


@pytest.fixture
def running(home):
    """Make a home with a run that is on its way, carried by whoever is named."""
    surface.must(home, "add", "report", "--manual", "--shell", "exit 7")
    (home / "output").mkdir(exist_ok=True)
    (home / "supervisors").mkdir(exist_ok=True)

    def make(supervisor, output="4711-0badc0de.0"):
        place = home / "output" / output
        place.write_text("hi\n")
        place.chmod(0o600)
        with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
            (task,) = store.execute("SELECT id FROM tasks").fetchone()
            store.execute(
                "INSERT INTO runs (id, task_id, slot, first_slot, trigger, state, claimed, started)"
                " VALUES (1, ?, ?, ?, 'manual', 'running', ?, ?)",
                (task, *[AT - 5000] * 4),
            )
            store.execute(
                "INSERT INTO processes (run_id, supervisor, boot_id, output, inode)"
                " VALUES (1, ?, 'another boot', ?, ?)",
                (supervisor, output, place.stat().st_ino),
            )

    return make


def the_run(home):
    (run,) = json.loads(surface.must(home, "history", "--json"))["runs"]
    return run


def test_the_end_of_a_run_that_an_older_program_spooled_is_taken_up(home, running):
    running(SUPERVISOR)
    (home / "spool").mkdir(exist_ok=True)
    place = home / "spool" / f"1.{SUPERVISOR}.json"
    place.write_text(SPOOLED)
    surface.must(home, "tick")
    run = the_run(home)
    assert (run["state"], run["exit_code"], run["output_size"]) == ("failed", 7, 3)
    assert (run["finished"], run["cpu_seconds"]) == ("2026-11-29T11:23:01.248Z", 0.25)
    assert surface.must(home, "log", "report") == "hi\n"
    assert not place.exists()


# ---- units of systemd that were made before the upgrade call these by their path


def encoded(text):
    """A word as it stands in such a unit: `:` and two digits for each byte that systemd might expand."""
    plain = "/._-=+@,"
    return "".join(
        each
        if each.isascii() and (each.isalnum() or each in plain)
        else "".join(f":{byte:02x}" for byte in each.encode())
        for each in str(text)
    )


def test_a_unit_made_before_the_upgrade_begins_its_command(tmp_path):
    handed = {
        "argv": ("/bin/sh", "-c", 'cat; echo "$A"; pwd; umask; ulimit -n'),
        "env": {"PATH": "/usr/bin:/bin", "A": "one two"},
        "cwd": "/usr",
        "stdin": b"typed\n",
        "umask": 0o27,
        "become": None,
        "user": None,
        "limits": ((7, 77, 77),),  # RLIMIT_NOFILE
    }
    place = tmp_path / "a unit"
    place.write_bytes(marshal.dumps(handed))
    argv = [sys.executable, "-I", "-S", PACKAGE / "carrier/begin.py", encoded(place)]
    done = subprocess.run(argv, capture_output=True, text=True, env={}, check=False)
    assert (done.stdout, done.stderr) == ("typed\none two\n/usr\n0027\n77\n", "")
    assert (done.returncode, place.read_bytes()) == (0, b"")


def test_a_unit_made_before_the_upgrade_has_the_end_of_its_run_recorded(home, running):
    running(UNIT)
    (home / "supervisors" / UNIT).touch(0o600)
    words = [home, UNIT, 1, "TASKRUNNER_HOME=/nowhere", "--", ROOT, *sys.path]
    argv = [sys.executable, "-I", PACKAGE / "carrier/end.py", *map(encoded, words)]
    told = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "7"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(home.parent)} | told
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    run = the_run(home)
    assert (run["state"], run["exit_code"], run["reason"]) == ("failed", 7, "exit code 7")
    assert surface.must(home, "log", "report") == "hi\n"
    assert not (home / "supervisors" / UNIT).exists()


# ---- a supervisor that lives through the upgrade


@pytest.mark.slow
def test_a_supervisor_goes_on_when_its_program_is_no_longer_there(home, tmp_path):
    """All modules are gone under it, which is the worst that an upgrade can do to their names."""
    old = tmp_path / "old"
    shutil.copytree(PACKAGE, old / "taskrunner", ignore=shutil.ignore_patterns("__pycache__"))
    more = ("--timeout", "5m", "--retries", "1", "--retry-delay", "1s", "--on-failure", "true")
    wait = f'while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done; yes | head -c 200000; exit 7'
    surface.must(home, "add", "report", "--every", "1d", "--now", *more, "--shell", wait)
    surface.must(home, "add", "then", "--after", "report:failed", "--", "echo", "later")
    environment = {**os.environ, "PYTHONPATH": str(old)}
    argv = [sys.executable, "-P", "-m", "taskrunner", "--home", home, "tick"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: any(run["state"] == "running" for run in runs(home)))
        wait_for(lambda: rests(process.pid))  # it has all that it may need
        shutil.rmtree(old)
        (tmp_path / "go").touch()
        _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    ends = [(run["task"], run["attempt"], run["state"]) for run in reversed(runs(home))]
    assert ends[:2] == [("report", 1, "failed"), ("report", 2, "failed")]
    wait_for(lambda: surface.must(home, "tick") == "" and runs(home)[0]["state"] == "succeeded")
    assert {path.name for path in home.glob("spool/*")} == set()


def runs(home):
    return json.loads(surface.must(home, "history", "--json"))["runs"]
