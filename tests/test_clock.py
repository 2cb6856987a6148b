"""What the host says about time."""

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskrunner import clock, host


def test_instants_survive_the_store():
    moment = datetime(2026, 3, 29, 1, 2, 3, 456_000, tzinfo=UTC)
    assert clock.from_ms(clock.to_ms(moment)) == moment
    assert clock.to_ms(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0


def test_now_is_aware_and_cut_to_the_millisecond():
    found = clock.now()
    assert found.tzinfo is UTC and found.microsecond % 1000 == 0


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 29, 1, 2, 3, tzinfo=UTC), "2026-03-29T01:02:03Z"),
        (datetime(2026, 3, 29, 1, 2, 3, 45_000, tzinfo=UTC), "2026-03-29T01:02:03.045Z"),
        (datetime(2026, 3, 29, 1, tzinfo=timezone(timedelta(hours=2))), "2026-03-28T23:00:00Z"),
    ],
)
def test_instants_as_text_are_utc_with_z(moment, text):
    assert clock.iso(moment) == text


@pytest.mark.parametrize(
    ("link", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/posix/Europe/Berlin", "Europe/Berlin"),
        ("/var/db/timezone/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
    ],
)
def test_the_local_zone_is_read_from_the_link(monkeypatch, link, zone):
    monkeypatch.setattr(os.path, "realpath", lambda _: link)
    assert clock.local_zone() == zone


def test_without_a_link_the_local_zone_is_read_from_the_file_or_is_utc(monkeypatch, tmp_path):
    real_open, text = open, tmp_path / "timezone"
    monkeypatch.setattr(os.path, "realpath", lambda place: place)
    monkeypatch.setattr("builtins.open", lambda _, **options: real_open(text, **options))
    assert clock.local_zone() == "UTC"
    text.write_text("Europe/Paris\n")
    assert clock.local_zone() == "Europe/Paris"
    text.write_text("\n")
    assert clock.local_zone() == "UTC"


def test_the_zone_stamp_changes_with_the_zone_data(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "ZONEINFO", str(tmp_path))
    (tmp_path / "tzdata.zi").write_text("# version 2026a\n")
    before = host.zone_stamp()
    assert host.zone_stamp() == before
    (tmp_path / "tzdata.zi").write_text("# version 2026ab\n")
    assert host.zone_stamp() != before
    monkeypatch.setattr(host, "ZONEINFO", str(tmp_path / "nothing"))
    assert host.zone_stamp() == ""
