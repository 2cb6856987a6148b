"""Instants as people type them: one parser for every option that takes one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from taskrunner.errors import DurationError, InputError, MomentError, ZoneError
from taskrunner.schedule.instants import moment, moment_note, note
from taskrunner.schedule.zones import local, readings, zone

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-12-01 22:00", "2026-12-01T21:00"),
        ("2026-12-01T22:00", "2026-12-01T21:00"),
        ("2026-07-01", "2026-06-30T22:00"),
        ("2026-12-01T22:00:05", "2026-12-01T21:00:05"),
        ("2026-12-01T22:00:05.123456", "2026-12-01T21:00:05.123"),
        ("2026-12-01T22:00Z", "2026-12-01T22:00"),
        ("2026-12-01t22:00z", "2026-12-01T22:00"),
        ("2026-12-01 22:00 +01:00", "2026-12-01T21:00"),
        ("2026-12-01T22:00:00+0530", "2026-12-01T16:30"),
        ("2026-12-01T22:00-08", "2026-12-02T06:00"),
        ("  2026-12-01T22:00Z  ", "2026-12-01T22:00"),
        ("now", "2026-05-01T12:00"),
        ("+30m", "2026-05-01T12:30"),
        ("-2h", "2026-05-01T10:00"),
        ("+1w2d", "2026-05-10T12:00"),
        ("2024-03-31 02:30", "2024-03-31T01:00"),
        ("2024-10-27 02:30", "2024-10-27T00:30"),
    ],
)
def test_an_instant_is_iso_8601_or_a_distance_from_now(text, instant):
    found = moment(text, tz="Europe/Berlin", now=NOW)
    assert found == at(instant) and found.tzinfo is UTC


def test_a_time_in_the_gap_says_so_in_spring():
    said = moment_note("2024-03-31 02:30", tz="Europe/Berlin")
    assert said is not None and "does not exist" in said and "2024-03-31 03:00 is taken" in said


def test_a_time_in_the_fold_says_so_in_autumn():
    said = moment_note("2024-10-27 02:30", tz="Europe/Berlin")
    assert said is not None and "comes twice in Europe/Berlin" in said and "the first" in said


@pytest.mark.parametrize("text", ["2024-10-27 02:30+02:00", "2024-10-27 12:00", "now", "+30m"])
def test_other_times_need_no_note(text):
    assert moment_note(text, tz="Europe/Berlin") is None


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "ISO 8601"),
        ("someday", "ISO 8601"),
        ("30m", r"write \+30m or -30m"),
        ("2026-12-01 24:00", "does not exist"),
        ("2026-02-30", "does not exist"),
        ("2026-13-01", "does not exist"),
        ("2026-12-01 22:60", "does not exist"),
        ("2026-12-01T22:00+24:00", "does not exist"),
        ("2026-12-01T22:00+01:99", "does not exist"),
        ("2026-12-01T22", "ISO 8601"),
        ("20261201T220000", "ISO 8601"),
        ("01.12.2026", "ISO 8601"),
        ("1969-12-31", "1970 to 9999"),
        ("1970-01-01T00:00+14:00", "1970 to 9999"),
        ("0001-01-01", "1970 to 9999"),
        ("10000-01-01", "ISO 8601"),
        ("9999-12-31T23:59-10:00", "after 9999-12-30, the last"),
        ("9999-12-31T00:00Z", "after 9999-12-30, the last"),
        ("9999-12-30 23:59-10:00", "after 9999-12-30, the last"),
        ("9999-12-31 01:00", "after 9999-12-30, the last"),
        ("-99y", "fixed length"),
        ("-57y", "fixed length"),
        ("-5217w", "1970 to 9999"),
        ("2026-12-01\n", "plain ASCII"),
        ("\u0662026-12-01", "plain ASCII"),
        ("2026-12-01\u00a022:00", "plain ASCII"),
        ("2026-12-01 22:00\0", "plain ASCII"),
        ("2" * 65, "at most 64"),
        (5, "write a text"),
        (None, "write a text"),
    ],
)
def test_anything_else_is_refused_with_advice(text, advice):
    with pytest.raises(InputError, match=advice) as caught:
        moment(text, tz="Europe/Berlin", now=NOW)
    assert isinstance(caught.value, MomentError | DurationError)
    assert str(caught.value).isprintable()


def test_a_distance_past_the_end_of_the_calendar_is_refused():
    late = datetime(9999, 12, 31, tzinfo=UTC)
    with pytest.raises(MomentError, match="1970 to 9999"):
        moment("+2d", tz="UTC", now=late)


@pytest.mark.parametrize("name", ["Pacific/Kiritimati", "America/New_York", "Europe/Berlin", "UTC"])
def test_the_last_instant_is_shown_in_every_zone(name):
    last = moment("9999-12-30T23:59:59.999Z", tz="UTC", now=NOW)
    wall = local(last, zone(name))
    assert readings(wall, zone(name)) == (last,)
    assert note(wall, name) is None


def test_a_bad_zone_is_named_even_so():
    with pytest.raises(ZoneError):
        moment("2026-01-01", tz="Europe/Nowhere", now=NOW)


# Hypothesis wants naive bounds.
BOUNDS = datetime(1970, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001


@given(st.datetimes(*BOUNDS), st.integers(-1439, 1439))
def test_what_python_writes_is_read_back(naive, minutes):
    aware = naive.replace(tzinfo=UTC) + timedelta(minutes=minutes)
    found = moment(aware.isoformat(), tz="UTC", now=NOW)
    assert timedelta(0) <= aware - found < timedelta(milliseconds=1)


@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_a_clear_error(text):
    try:
        found = moment(text, tz="UTC", now=NOW)
    except InputError as exc:
        assert str(exc).isprintable()
    else:
        assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("today", "2026-11-20T00:00"),
        ("yesterday", "2026-11-19T00:00"),
        ("Tomorrow", "2026-11-21T00:00"),
        ("tomorrow 09:00", "2026-11-21T09:00"),
        ("yesterday 9:05", "2026-11-19T09:05"),
        ("todayT18:00:30", "2026-11-20T18:00:30"),
        ("18:00", "2026-11-20T18:00"),
        (" 0:00 ", "2026-11-20T00:00"),
    ],
)
def test_days_near_by_have_names_in_the_zone_of_the_text(text, wall):
    late = datetime(2026, 11, 19, 23, 30, tzinfo=UTC)  # in Berlin it is the day after
    found = moment(text, tz="Europe/Berlin", now=late)
    assert found == moment(wall, tz="Europe/Berlin", now=late)


@pytest.mark.parametrize(
    "text", ["today18:00", "18:60", "25:00", "now 18:00", "tomorrow +1h", "noon"]
)
def test_what_only_looks_like_a_day_near_by_is_refused(text):
    with pytest.raises(InputError, match="is not a valid time"):
        moment(text, tz="UTC", now=datetime(2026, 11, 20, tzinfo=UTC))
