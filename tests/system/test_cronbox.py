"""The box around the real cron keeps what cronbox.py says of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.system import cronbox

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]


@pytest.fixture(autouse=True)
def machine(needs):
    cronbox.check_machine(needs)


def stand_in(folder: Path) -> str:
    """A crontab command that notes the time it believes it is."""
    return f"date '+\\%Y-\\%m-\\%dT\\%H:\\%M' >> {folder}/dates"


def dates(folder: Path) -> list[str]:
    return (folder / "dates").read_text().split()


def test_cron_fires_each_minute_of_its_own_clock(tmp_path):
    start = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)

    def check(speed):
        (tmp_path / "dates").unlink(missing_ok=True)
        with cronbox.running([f"* * * * * {stand_in(tmp_path)}"], start, speed=speed) as box:
            box.until_fired(4)
        assert len(box.fired) >= 4
        assert start < box.fired[0] < start + timedelta(minutes=2)
        assert box.fired == [box.fired[0] + timedelta(minutes=n) for n in range(len(box.fired))]
        assert dates(tmp_path) == [f"{moment:%Y-%m-%dT%H:%M}" for moment in box.fired]
        assert box.mail == ""
        assert box.left == ""

    cronbox.at_some_speed(check)


def test_what_a_line_prints_is_mailed():
    start = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)
    with cronbox.running(["* * * * * echo all too loud"], start) as box:
        box.until_fired(1)
    assert "all too loud" in box.mail
    assert "Subject: Cron <root@" in box.mail


def test_what_cron_started_may_finish(tmp_path):
    start = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)
    line = f"* * * * * sleep 480; echo done > {tmp_path}/done"
    with cronbox.running([line], start) as box:
        box.until_fired(1)
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done").read_text() == "done\n"


def test_cron_lives_in_the_zone_of_its_start(tmp_path):
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, 1, 57, 30, tzinfo=berlin)
    lines = ["TZ=Europe/Berlin", f"* * * * * {stand_in(tmp_path)}"]
    # The hour from 02:00 on is left out in spring.
    spring = ["2026-03-29T01:59", "2026-03-29T03:00", "2026-03-29T03:01"]

    def check(speed):
        (tmp_path / "dates").unlink(missing_ok=True)
        with cronbox.running(lines, start, speed=speed) as box:
            box.until_fired(4)
        assert [date for date in dates(tmp_path) if date > "2026-03-29T01:58"][:3] == spring
        assert datetime(2026, 3, 29, 1, 1, tzinfo=UTC) in box.fired

    cronbox.at_some_speed(check)


def test_the_machine_s_own_crontabs_stay_as_they_are():
    places = ["/etc/cron.d", "/run", "/dev", "/usr/sbin"]

    def mounts():
        # Other tests mount disks of their own, in temporary folders.
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        there = ("/etc", "/run", "/dev", "/usr", "/var/spool")
        return [line for line in lines if line.split()[4].startswith(there) or "cronbox-" in line]

    def files():
        # Another checkout may be tested beside us, with a systemd in a box.
        found = [sorted(os.listdir(place)) for place in places]
        return [[name for name in names if "systemd-box" not in name] for names in found]

    before, mounted = files(), mounts()
    start = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)
    with cronbox.running(["* * * * * true"], start) as box:
        box.until_fired(1)
        assert (files(), mounts()) == (before, mounted)
    assert files() == before


def test_a_program_can_be_run_at_another_time():
    moment = datetime(2030, 6, 1, 8, 0, 0, tzinfo=UTC)
    said = cronbox.at(moment, ["date", "+%s"]).stdout
    assert timedelta(0) <= datetime.fromtimestamp(int(said), UTC) - moment < timedelta(seconds=30)
