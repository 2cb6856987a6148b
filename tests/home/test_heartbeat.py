"""The heartbeat: a fixed-size file, overwritten in place."""

import pytest

from taskrunner.home import heartbeat
from taskrunner.home.heartbeat import Beat


def beat(**changes):
    values = {"at": 1_790_000_000_000, "period": 60_000, "boot_id": "abc-def", "caller": "cron"}
    return Beat(**{**values, **changes})


def same(found, wanted):
    return all(getattr(found, name) == getattr(wanted, name) for name in Beat.__slots__)


@pytest.mark.parametrize(
    "written", [beat(), beat(boot_id=""), beat(caller="daemon", period=1), beat(since_boot=12_345)]
)
def test_what_is_written_is_read(tmp_path, written):
    place = str(tmp_path / "heartbeat")
    heartbeat.write(place, written)
    assert same(heartbeat.read(place), written)


def test_it_is_overwritten_in_place_at_the_same_size(tmp_path):
    place = tmp_path / "heartbeat"
    heartbeat.write(str(place), beat(caller="a" * 16))
    before = place.stat()
    heartbeat.write(str(place), beat(caller="b"))
    after = place.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, heartbeat.SIZE)
    assert after.st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"nonsense", b"1 2 3", b"x 2 3 4", b"\xff\xfe 1 2 3"])
def test_a_damaged_one_is_as_good_as_none(tmp_path, text):
    place = tmp_path / "heartbeat"
    assert heartbeat.read(str(place)) is None
    place.write_bytes(text)
    assert heartbeat.read(str(place)) is None


def test_failing_to_write_is_ignored(tmp_path):
    heartbeat.write(str(tmp_path / "no" / "such" / "folder"), beat())


def test_one_of_an_older_program_is_read_without_the_time_since_the_boot(tmp_path):
    place = tmp_path / "heartbeat"
    place.write_text("1790000000000 60000 abc-def cron".ljust(heartbeat.SIZE - 1) + "\n")
    assert same(heartbeat.read(str(place)), beat())
