"""Lengths of time: the grammar, its refusals and the way back to text."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from taskrunner.errors import DurationError, InputError, MomentError
from taskrunner.schedule import durations
from taskrunner.schedule.durations import Interval


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("30m", 1_800),
        ("1h30m", 5_400),
        ("7h30m", 27_000),
        ("1d", 86_400),
        ("2d12h", 216_000),
        ("1w2d3h4m5s", 788_645),
        ("999999s", 999_999),
        ("000001s", 1),
    ],
)
def test_a_length_is_the_sum_of_its_parts(text, seconds):
    assert durations.parse(text) == timedelta(seconds=seconds)


def test_a_timedelta_passes_through_when_it_is_positive():
    assert durations.parse(timedelta(minutes=1)) == timedelta(minutes=1)
    for wrong in (timedelta(0), timedelta(seconds=-1), timedelta(days=36_526)):
        with pytest.raises(DurationError):
            durations.parse(wrong)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "such as 90s, 1h30m"),
        ("90", "write 90s, 90m or 90h"),
        ("0s", "start at 1"),
        ("1h0m", "start at 1"),
        ("30m1h", "write 1h30m"),
        ("1h1h", "'h' twice"),
        ("1234567s", "at most 6 digits"),
        ("1H", "write 1h"),
        ("1h 30m", "write 1h30m"),
        ("5 min", "write 5m"),
        ("1hour", "write 1h"),
        ("2 days, 3 hours", "write 2d3h"),
        ("1.5h", "whole numbers"),
        ("-5m", "units w d h m s"),
        ("+5m", "units w d h m s"),
        ("5x", "units w d h m s"),
        ("h", "units w d h m s"),
        ("1h\n", "write 1h"),
        ("\u0661h", "units w d h m s"),
        ("1m\u03bf", "units w d h m s"),
        ("1mo", "write days"),
        ("2y", "write days"),
        ("99999w", "over 100 years"),
        ("1s" * 100, "too long"),
    ],
)
def test_an_invalid_length_is_refused_with_advice(text, advice):
    with pytest.raises(DurationError) as caught:
        durations.parse(text)
    message = str(caught.value)
    assert advice in message and "\n" not in message
    assert repr(text)[1:30] in message  # the value, with control characters shown
    assert isinstance(caught.value, InputError | ValueError)


def test_a_hundred_years_is_the_longest():
    assert durations.parse("36525d") == timedelta(days=36_525)
    with pytest.raises(DurationError, match="over 100 years"):
        durations.parse("36525d1s")


@pytest.mark.parametrize("value", [None, 5, 1.5, b"1h", ["1h"]])
def test_only_text_is_read(value):
    with pytest.raises(DurationError):
        durations.parse(value)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("30m", Interval(seconds=1_800)),
        ("7h30m", Interval(seconds=27_000)),
        ("36h", Interval(seconds=129_600)),
        ("1d", Interval(days=1)),
        ("2w", Interval(days=14)),
        ("1w1d", Interval(days=8)),
        ("1mo", Interval(months=1)),
        ("1y6mo", Interval(months=18)),
        ("100y", Interval(months=1_200)),
    ],
)
def test_an_interval_is_of_one_family(text, interval):
    assert durations.parse_interval(text) == interval


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1d12h", "write 36h"),
        ("1w1s", "write 168h1s"),
        ("1mo1d", "only one, such as 1mo"),
        ("1y1h", "only one, such as 12mo"),
        ("101y", "over 100 years"),
        ("1201mo", "over 100 years"),
        ("36526d", "over 100 years"),
        ("999999h", "over 100 years"),
        ("0s", "start at 1"),
        ("500ms", "not a valid length of time"),
    ],
)
def test_an_interval_of_mixed_families_or_absurd_length_is_refused(text, advice):
    with pytest.raises(DurationError, match=advice):
        durations.parse_interval(text)


NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("7d", datetime(2026, 3, 24, 12, tzinfo=UTC)),
        ("1h30m", datetime(2026, 3, 31, 10, 30, tzinfo=UTC)),
        ("1mo", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("1y1mo1d", datetime(2025, 2, 27, 12, tzinfo=UTC)),
        ("100y", datetime(1926, 3, 31, 12, tzinfo=UTC)),
    ],
)
def test_ago_counts_months_by_the_calendar_and_the_rest_in_elapsed_time(text, then):
    assert durations.parse_ago(text, NOW) == then


def test_ago_takes_elapsed_hours_across_a_clock_change():
    now = datetime(2024, 3, 31, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert durations.parse_ago("24h", now) == datetime(2024, 3, 30, 10, tzinfo=UTC)


def test_ago_needs_an_aware_now_and_a_sane_length():
    with pytest.raises(MomentError, match="no zone"):
        durations.parse_ago("1d", datetime(2026, 1, 1))  # noqa: DTZ001
    for text in ("101y", "999999d", "1d1y"):
        with pytest.raises(DurationError):
            durations.parse_ago(text, NOW)
    with pytest.raises(DurationError, match="before the calendar"):
        durations.parse_ago("100y", datetime(50, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5_400, "1h30m"),
        (86_400, "1d"),
        (604_800, "7d"),
        (0, "0s"),
        (61, "1m1s"),
        (0.5, "0.5s"),
        (-90, "-1m30s"),
        (90.4, "1m30s"),
    ],
)
def test_a_length_is_written_in_the_same_grammar(seconds, text):
    assert durations.format(seconds) == text
    assert durations.format(timedelta(seconds=seconds)) == text


@given(st.integers(1, 36_525 * 86_400))
def test_what_is_written_reads_back_as_the_same_length(seconds):
    assert durations.parse(durations.format(seconds)) == timedelta(seconds=seconds)
    if seconds < 999_999 * 3_600:
        text = durations.absolute(timedelta(seconds=seconds))
        assert durations.parse_interval(text) == Interval(seconds=seconds)


@given(st.text(max_size=20))
def test_any_text_is_a_length_or_a_clear_error(text):
    try:
        assert durations.parse(text) > timedelta(0)
    except DurationError as exc:
        assert "\n" not in str(exc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.012, "12ms"),
        (0.3, "0.3s"),
        (2.3, "2.3s"),
        (9.96, "10s"),
        (12, "12s"),
        (59.7, "59s"),
        (60, "1m 00s"),
        (250, "4m 10s"),
        (11_100, "3h 05m"),
        (187_200, "2d 4h"),
        (-12, "-12s"),
    ],
)
def test_tables_show_the_two_largest_units(seconds, text):
    assert durations.human(seconds) == text
