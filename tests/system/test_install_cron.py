"""`install cron` and `uninstall cron` with the real crontab(1), and what they write under the real cron.

The crontabs are those of a mount namespace of each test's own: the machine's are not seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.system import cronbox

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

CHECKOUT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)
OWN_CRONTABS = """\
set -e
mount -t tmpfs -o mode=1730,gid=crontab tmpfs /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
"""


@pytest.fixture(autouse=True)
def machine(needs):
    cronbox.check_machine(needs)


def in_namespace(script: str) -> str:
    """What a shell script prints that has crontabs of its own, with `taskrunner` as $T."""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_CRONTABS + script],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(CHECKOUT),
            "T": f"{sys.executable} -m taskrunner",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout


def test_a_real_crontab_takes_the_block_once_and_gives_it_back(home):
    said = in_namespace(f"""
        echo '30 2 * * *  backup' | crontab -
        $T --home {home} install cron && $T --home {home} install cron
        crontab -l; echo --; $T --home {home} uninstall cron; crontab -l
    """)
    with_block, _, without = said.partition("--\n")
    assert with_block.count(f"--home {home} tick") == 1
    assert with_block.splitlines()[0] == without.splitlines()[0] == "30 2 * * *  backup"
    assert len(without.splitlines()) == 1


def test_nothing_is_left_where_there_was_no_crontab(home):
    said = in_namespace(f"""
        $T --home {home} install cron --quiet; ls /var/spool/cron/crontabs
        $T --home {home} uninstall cron --quiet; ls -A /var/spool/cron/crontabs
        $T --home {home} install cron --system --quiet; ls /etc/cron.d
        $T --home {home} uninstall cron --system --quiet; ls -A /etc/cron.d
    """)
    assert said.split() == ["root", "taskrunner"]


def test_a_dry_run_leaves_a_real_crontab_alone(home):
    said = in_namespace(f"""
        $T --home {home} install cron --dry-run; $T --home {home} install cron --dry-run --system
        ls -A /var/spool/cron/crontabs /etc/cron.d
    """)
    assert "+++ crontab of root" in said
    assert "+++ /etc/cron.d/taskrunner" in said
    tail = said.splitlines()[-3:]
    assert [line for line in tail if line] == ["/etc/cron.d:", "/var/spool/cron/crontabs:"]


def history(home: Path) -> list[dict]:
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home)]
    done = subprocess.run(
        [*argv, "history", "--json", "--limit", "100"],
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
        check=True,
    )
    return json.loads(done.stdout)["runs"]


def add(home: Path, at: datetime, *words: str) -> None:
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home), "add", *words]
    assert cronbox.at(at, argv, cwd=CHECKOUT).returncode == 0


def test_the_real_cron_runs_the_line_as_it_was_written_whatever_the_home_is_called(tmp_path):
    odd = tmp_path / "50% o'clock"
    odd.mkdir(mode=0o700)
    add(odd, START, "often", "--every", "1s", "--quiet", "--", "true")
    tab = in_namespace(f"""$T --home "{odd}" install cron --quiet; crontab -l""")
    assert "50\\% " in tab
    with cronbox.running(tab.splitlines(), START) as box:
        box.until_fired(3)
    assert box.mail == ""
    # A tick that comes before the last one has ended finds its run going on.
    assert {run["state"] for run in history(odd)} - {"skipped"} == {"succeeded"}
    # On the box's clock, which is another year's: so it was this line that ticked.
    beat = (odd / "heartbeat").read_text().split()
    assert abs(int(beat[0]) / 1000 - START.timestamp()) < timedelta(hours=1).total_seconds()
    assert beat[3] == "cron"


def test_the_real_cron_runs_the_file_of_the_system_and_nothing_after_uninstall(home, tmp_path):
    add(home, datetime.now(UTC), "often", "--every", "1s", "--quiet", "--", "true")
    taskrunner = f"PYTHONPATH={CHECKOUT} {sys.executable} -m taskrunner --home {home}"
    lines = [
        f"0 12 10 3 *  {taskrunner} install cron --system --quiet",
        f"5 12 10 3 *  {taskrunner} uninstall cron --system --quiet",
        f"7 12 10 3 *  ls -A /etc/cron.d >{tmp_path}/left",
        f"7 12 10 3 *  cp {home}/heartbeat {tmp_path}/before",
        f"10 12 10 3 * cp {home}/heartbeat {tmp_path}/after",
    ]

    def check(speed):
        for name in ("left", "before", "after"):
            (tmp_path / name).unlink(missing_ok=True)
        with cronbox.running(lines, START, speed=speed) as box:
            box.pass_minutes(12)
        assert len(history(home)) >= 2
        assert "can be changed by" in box.mail or "taskrunner" not in box.mail
        assert (tmp_path / "after").exists()
        assert (tmp_path / "left").read_text() == ""
        assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()

    cronbox.at_some_speed(check)
