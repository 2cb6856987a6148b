"""Zones: which names are refused, and where wall times stand."""

from datetime import UTC, datetime, timedelta

import pytest

from taskrunner.errors import MomentError, ZoneError
from taskrunner.schedule import zones as room
from taskrunner.schedule.zones import change, even, place, readings, utc, zone

BERLIN = zone("Europe/Berlin")


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


def at(text: str) -> datetime:
    return wall(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Etc/GMT+5", "America/Port-au-Prince"])
def test_iana_names_are_zones(name):
    assert zone(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "localtime",
        "posixrules",
        "Factory",
        "right/UTC",
        "posix/UTC",
        "RIGHT/UTC",
        "/usr/share/zoneinfo/UTC",
        "../UTC",
        "Europe/../UTC",
        "Europe",
        "Europe/",
        "Europe//Berlin",
        "./UTC",
        "zone.tab",
        "tzdata.zi",
        "leapseconds",
        "UTC\n",
        "UTC\0",
        " UTC",
        "\u0415urope/Berlin",
        "\udc80",
        "CEST-1",
        "+02:00",
        "A" * 5_000,
        "a/" * 5_000,
        None,
        5,
        [],
    ],
)
def test_everything_else_is_refused_in_one_line(name):
    with pytest.raises(ZoneError) as caught:
        zone(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert "Europe/Berlin" in message or "did you mean" in message


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berlon", "Europe/Berlin"),
        ("america/new york", "America/New_York"),
        ("New_York", "America/New_York"),
        ("utc", "UTC"),
    ],
)
def test_a_near_miss_is_told_the_name_that_was_meant(name, meant):
    with pytest.raises(ZoneError, match=f"did you mean '{meant}'"):
        zone(name)


def test_a_host_without_zone_data_is_told_to_install_them(monkeypatch):
    monkeypatch.setattr(room.zoneinfo, "available_timezones", set)
    with pytest.raises(ZoneError, match="install tzdata"):
        zone("Europe/Nowhere")


def test_a_naive_datetime_is_not_an_instant():
    with pytest.raises(MomentError, match="no zone"):
        utc(wall("2024-01-01"))
    with pytest.raises(MomentError, match="not a valid time"):
        utc("2024-01-01")


def test_an_ordinary_wall_time_has_one_reading():
    assert readings(wall("2024-07-01T12:00"), BERLIN) == (at("2024-07-01T10:00"),)


def test_a_wall_time_in_the_gap_has_no_reading_in_spring():
    missing = wall("2024-03-31T02:30")
    assert readings(missing, BERLIN) == ()
    assert place(missing, BERLIN) == change(missing, BERLIN) == at("2024-03-31T01:00")


def test_a_wall_time_in_the_fold_has_two_readings_in_autumn():
    twice = wall("2024-10-27T02:30")
    assert readings(twice, BERLIN) == (at("2024-10-27T00:30"), at("2024-10-27T01:30"))
    assert place(twice, BERLIN) == at("2024-10-27T00:30")
    assert change(twice, BERLIN) == at("2024-10-27T01:00")


def test_the_edges_of_the_gap_are_outside_it_in_spring():
    assert readings(wall("2024-03-31T01:59:59"), BERLIN) == (at("2024-03-31T00:59:59"),)
    assert readings(wall("2024-03-31T03:00"), BERLIN) == (at("2024-03-31T01:00"),)


def test_the_first_minute_of_the_fold_comes_twice_and_the_end_once_in_autumn():
    assert len(readings(wall("2024-10-27T02:00"), BERLIN)) == 2
    assert readings(wall("2024-10-27T03:00"), BERLIN) == (at("2024-10-27T02:00"),)


def test_the_end_of_a_gap_is_found_to_the_second_whatever_the_fraction_asked_for():
    missing = wall("2024-03-31T02:30:15.250")
    assert place(missing, BERLIN) == at("2024-03-31T01:00")


def test_a_skipped_day_ends_at_its_change():
    assert place(wall("2011-12-30T12:00"), zone("Pacific/Apia")) == at("2011-12-30T10:00")


def test_an_offset_with_odd_seconds_ends_its_gap_at_the_change():
    assert place(wall("1972-01-07T00:15"), zone("Africa/Monrovia")) == at("1972-01-07T00:44:30")


def test_a_day_is_even_unless_clocks_change_in_it_or_beside_it():
    day = timedelta(days=1)
    assert even(wall("2024-03-30"), day, BERLIN) == (at("2024-03-29T23:00"), at("2024-03-30T22:59"))
    assert even(wall("2024-03-31"), day, BERLIN) is None
    assert even(wall("2024-10-27"), day, BERLIN) is None
    # The slots of a gap that ends at midnight are taken by the day after it.
    assert even(wall("2011-12-31"), day, zone("Pacific/Apia")) is None
