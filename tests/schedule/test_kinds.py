"""Schedules as values: intervals, one-offs and the rest, and what all kinds have in common."""

import calendar
import pickle
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from taskrunner import clock
from taskrunner.errors import DurationError, InputError, MomentError, ScheduleError, ZoneError
from taskrunner.schedule import counting
from taskrunner.schedule.counting import count, newest, newest_slots, slots
from taskrunner.schedule.kinds import (
    After,
    At,
    Boot,
    Cron,
    Every,
    Manual,
    On,
    Schedule,
    complete,
    parse,
)

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def listed(what: Schedule, after: str, until: str) -> list[str]:
    return [f"{slot:%Y-%m-%d %H:%M}" for slot in slots(what, at(after), at(until))]


NOW = at("2026-05-01T12:00")

# One of each kind, with what it is stored and shown as.
KINDS = [
    (
        Cron("  30 2\t* * *", "Europe/Berlin"),
        "cron",
        "30 2 * * *",
        "every day at 02:30 (Europe/Berlin)",
    ),
    (Cron("0 9 * * mon"), "cron", "0 9 * * mon", "Mondays at 09:00"),
    (Every("7h30m", NOW, "UTC"), "every", "7h30m", "every 7h30m"),
    (Every("15m"), "every", "15m", "every 15 minutes"),
    (Every("1h"), "every", "1h", "every hour"),
    (Every("1d", NOW, "Europe/Berlin"), "every", "1d", "every day at 14:00 (Europe/Berlin)"),
    (Every("2w", NOW, "UTC"), "every", "2w", "every 2 weeks at 12:00 (UTC)"),
    (Every("1mo", NOW, "UTC"), "every", "1mo", "every month on day 1 at 12:00 (UTC)"),
    (Every("1y6mo"), "every", "1y6mo", "every 1y6mo"),
    (Every("30m", from_finish=True), "every", "30m", "30 minutes after the end of each run"),
    (
        On(" First  MON", "9:00", "Europe/Berlin"),
        "on",
        "first monday at 09:00",
        "on the first Monday of every month at 09:00 (Europe/Berlin)",
    ),
    (
        On("last day of June, mar"),
        "on",
        "last day of march,june at 00:00",
        "on the last day of March and June at 00:00",
    ),
    (
        At("2026-12-01 22:00", "Europe/Berlin"),
        "at",
        "2026-12-01T22:00:00",
        "once at 2026-12-01 22:00 (Europe/Berlin)",
    ),
    (
        At("2026-12-01T22:00Z", "Europe/Berlin"),
        "at",
        "2026-12-01T22:00:00+00:00",
        "once at 2026-12-01 23:00 (Europe/Berlin)",
    ),
    (At(NOW), "at", "2026-05-01T12:00:00+00:00", "once at 2026-05-01 12:00 (UTC)"),
    (After("backup"), "after", "backup", "after backup succeeded"),
    (After("backup", "failed"), "after", "backup:failed", "after backup failed"),
    (After("backup", "any"), "after", "backup:any", "after backup ended"),
    (Boot(), "boot", "", "at every boot"),
    (Manual(), "manual", "", "only by hand"),
]


@pytest.mark.parametrize(("value", "kind", "text", "said"), KINDS)
def test_a_schedule_is_stored_shown_and_read_back(value, kind, text, said):
    assert (value.kind, value.text, value.describe()) == (kind, text, said)
    again = parse(
        kind,
        text,
        tz=getattr(value, "tz", None),
        anchor=getattr(value, "anchor", None),
        from_finish=getattr(value, "from_finish", False),
    )
    assert again == value and hash(again) == hash(value)
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize(("value", "kind", "text", "said"), KINDS)
def test_a_naive_datetime_is_refused_by_every_kind(value, kind, text, said):
    whole = complete(value, tz="UTC", now=NOW)
    with pytest.raises(MomentError, match="no zone"):
        whole.next_after(NAIVE)
    for ask in (slots, newest, count):
        with pytest.raises(MomentError, match="no zone"):
            ask(whole, NAIVE, NOW)
        with pytest.raises(MomentError, match="no zone"):
            ask(whole, NOW, NAIVE)


@pytest.mark.parametrize(("value", "kind", "text", "said"), KINDS)
def test_the_edges_of_the_calendar_end_in_an_answer(value, kind, text, said):
    whole = complete(value, tz="America/New_York", now=NOW)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert whole.next_after(last) is None
    assert whole.next_after(at("9998-12-31T23:59")) is None
    answer = whole.next_after(first)
    assert answer is None or answer.tzinfo is UTC
    found, at_least = count(whole, first, last)
    assert at_least == (found == 10_000) and found <= 10_000
    assert newest(whole, last, first) is None and slots(whole, last, first) == []
    if found:
        assert newest(whole, first, last) is not None


def test_the_edges_of_the_calendar_in_other_zones_are_moments_too():
    cron = Cron("* * * * *", "UTC")
    for hours in (-12, 12):
        where = timezone(timedelta(hours=hours))
        assert cron.next_after(datetime.max.replace(tzinfo=where)) is None
        assert cron.next_after(datetime.min.replace(tzinfo=where)) is not None
        with pytest.raises(MomentError):
            At(datetime.min.replace(tzinfo=where))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ScheduleError, match="'weekly' is not a kind"):
        parse("weekly", "", tz=None)


@pytest.mark.parametrize(
    ("length", "second"),
    [
        *((each, 0) for each in ("30m", "7h30m", "120s", "1d", "2w", "1mo", "1y6mo")),
        *((each, 56) for each in ("30s", "90s", "1h30s", timedelta(seconds=7))),
        (timedelta(minutes=5), 0),
    ],
)
def test_an_interval_of_whole_minutes_is_due_when_a_clock_ticks(length, second):
    now = NOW + timedelta(seconds=56, milliseconds=789)
    found = complete(Every(length), tz="UTC", now=now)
    assert found.anchor == NOW + timedelta(seconds=second)
    assert found.next_after(now) == found.slot(1)
    assert complete(Every(length, anchor=now), tz="UTC", now=now).anchor.second == 56


def test_complete_fills_in_what_is_missing_and_nothing_else():
    now = NOW + timedelta(seconds=5, microseconds=7)
    assert complete(Every("1d"), tz="UTC", now=now) == Every("1d", NOW, "UTC")
    given_all = Every("1d", NOW - DAY, "Europe/Berlin", from_finish=True)
    assert complete(given_all, tz="UTC", now=now) == given_all
    assert complete(Cron("@daily"), tz="Asia/Tokyo", now=now) == Cron("@daily", "Asia/Tokyo")
    assert complete(Cron("@daily", "UTC"), tz="Asia/Tokyo", now=now) == Cron("@daily", "UTC")
    assert complete(At("2026-12-01"), tz="UTC", now=now) == At("2026-12-01", "UTC")
    assert complete(Boot(), tz="UTC", now=now) == Boot()


def test_complete_refuses_a_schedule_that_has_no_first_slot():
    with pytest.raises(ScheduleError, match="no slot after"):
        complete(Cron("@daily"), tz="UTC", now=at("9990-01-01"))


# ------------------------------------------------------------------ cron


def test_a_cron_schedule_is_checked_when_it_is_made():
    for wrong in ("", "@reboot", "0 0 31 2 *", "* * * * * *"):
        with pytest.raises(ScheduleError):
            Cron(wrong)
    with pytest.raises(ScheduleError, match="--boot"):
        Cron("@reboot")
    with pytest.raises(ZoneError):
        Cron("* * * * *", tz="Europe/Nowhere")


def test_a_cron_schedule_without_zone_uses_the_one_of_the_host(monkeypatch):
    monkeypatch.setattr(clock, "local_zone", lambda: "Asia/Kathmandu")
    assert Cron("0 0 * * *").next_after(at("2026-01-01")) == at("2026-01-01T18:15")


def test_a_moment_in_any_zone_is_the_same_moment():
    cron = Cron("0 12 * * *", "UTC")
    moment = at("2026-01-01T11:59").astimezone(ZoneInfo("Asia/Tokyo"))
    assert cron.next_after(moment) == at("2026-01-01T12:00")


def test_the_slots_of_a_29_february_on_a_sunday_are_those_of_the_calendar():
    expected = [
        datetime(year, 2, 29, tzinfo=UTC)
        for year in range(1880, 2400, 4)
        if calendar.isleap(year) and date(year, 2, 29).weekday() == 6
    ]
    found = slots(Cron("0 0 29 2 */7", "UTC"), at("1880-03-01"), at("2399-01-01"))
    assert found == [slot for slot in expected if slot > at("1880-03-01")]


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 29 2 */7", "0 0 31 12 */7", "0 0 1 1 *"])
def test_looking_far_ahead_stays_quick(text):
    cron = Cron(text, "Europe/Berlin")
    cron.next_after(NOW)
    start = time.perf_counter()
    for year in range(1, 9999, 500):
        cron.next_after(datetime(year, 3, 1, tzinfo=UTC))
    newest(cron, at("1970-01-01"), at("2100-01-01"))
    assert time.perf_counter() - start < 0.5


def test_croniter_agrees_on_days_and_is_handed_nothing_it_reads_differently():
    croniter = pytest.importorskip("croniter").croniter
    for text in ("0 0 13 * 5", "*/7 3 1-7 * *", "0 0 * 2,4 1-5", "5 4 31 * *", "0 12 */5 * 2"):
        cron = Cron(text, "UTC")
        theirs = croniter(
            text, NOW.replace(tzinfo=None), ret_type=datetime, implement_cron_bug=True
        )
        for slot in slots(cron, NOW, NOW + 9 * YEAR, 50):
            assert slot == theirs.get_next().replace(tzinfo=UTC), text


def test_croniter_is_asked_once_for_the_days_that_many_expressions_share(monkeypatch):
    module, asked = pytest.importorskip("croniter"), []

    class Counted(module.croniter):
        def __init__(self, text, *given, **named):
            asked.append(text)
            super().__init__(text, *given, **named)

    monkeypatch.setattr(module, "croniter", Counted)
    days, start = "13 6,11 *", at("2026-03-01T00:00")
    found = [Cron(f"{minute} 4 {days}", "UTC").next_after(start) for minute in range(60)]
    assert found == [at("2026-06-13T04:00") + timedelta(minutes=minute) for minute in range(60)]
    assert asked == [f"0 0 {days}"]


def test_croniter_decides_which_day_comes_next(monkeypatch):
    module = pytest.importorskip("croniter")

    class Other(module.croniter):
        def get_next(self, *given, **named):
            return super().get_next(*given, **named) + timedelta(days=2)

    cron, start = Cron("30 4 14 8 *", "UTC"), at("2031-01-05T00:00")
    monkeypatch.setattr(module, "croniter", Other)
    assert cron.next_after(start) == at("2031-08-16T04:30")


@given(
    st.sampled_from(["*", "31", "30,31", "29", "1-7", "*/13", "13"]),
    st.sampled_from(["*", "2", "2,6", "4", "1,12", "*/5"]),
    st.sampled_from(["*", "1", "*/7", "0-2", "5"]),
    st.dates(date(1970, 1, 2), date(9790, 12, 31)),
)
def test_croniter_and_our_own_walk_over_the_calendar_find_the_same_days(day, month, weekday, first):
    try:
        cron = Cron(f"0 0 {day} {month} {weekday}", "UTC")
    except ScheduleError:  # it can never fire
        return
    before = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(minutes=1)
    assert cron.next_after(before).date() == cron.meaning.calendar.day_from(first)


def test_years_of_missed_minutes_are_counted_quickly_and_as_at_least():
    cron, until = Cron("* * * * *", "Europe/Berlin"), NOW + 10 * YEAR
    start = time.perf_counter()
    assert count(cron, NOW, until) == (10_000, True)
    assert newest(cron, NOW, until) == until
    assert time.perf_counter() - start < 0.5


def test_a_count_is_exact_up_to_its_limit():
    cron = Cron("* * * * *", "UTC")
    assert count(cron, NOW, NOW + timedelta(minutes=10_000)) == (10_000, False)
    assert count(cron, NOW, NOW + timedelta(minutes=10_001)) == (10_000, True)
    assert count(cron, NOW, NOW + timedelta(minutes=10), 3) == (3, True)


def test_spans_are_open_at_their_start_and_closed_at_their_end():
    cron = Cron("0 * * * *", "UTC")
    assert listed(cron, "2026-01-01T01:00", "2026-01-01T03:00") == [
        "2026-01-01 02:00",
        "2026-01-01 03:00",
    ]
    assert count(cron, at("2026-01-01T01:00"), at("2026-01-01T03:00")) == (2, False)
    assert newest(cron, at("2026-01-01T03:00"), at("2026-01-01T03:59")) is None
    assert slots(cron, at("2026-01-01"), at("2026-01-09"), 2)[-1] == at("2026-01-01T02:00")


# ------------------------------------------------------------------ every


def test_slot_zero_is_the_anchor_cut_to_the_second():
    every = Every("1h", NOW + timedelta(microseconds=999_999), "UTC")
    assert every.anchor == NOW
    assert every.next_after(NOW - timedelta(microseconds=1)) == NOW
    assert every.next_after(NOW - 9 * YEAR) == NOW
    assert every.next_after(NOW) == NOW + timedelta(hours=1)


def test_elapsed_hours_ignore_the_clock_change_in_spring():
    every = Every("24h", at("2024-03-30T11:00"), "Europe/Berlin")
    assert listed(every, "2024-03-30T11:00", "2024-04-01T12:00") == [
        "2024-03-31 11:00",
        "2024-04-01 11:00",
    ]


def test_days_keep_the_wall_clock_in_spring():
    every = Every("1d", at("2024-03-30T11:00"), "Europe/Berlin")
    assert listed(every, "2024-03-30T10:00", "2024-04-01T12:00") == [
        "2024-03-30 11:00",
        "2024-03-31 10:00",
        "2024-04-01 10:00",
    ]


def test_elapsed_hours_ignore_the_clock_change_in_autumn():
    every = Every("12h", at("2024-10-26T10:00"), "Europe/Berlin")
    found = listed(every, "2024-10-26T10:00", "2024-10-27T12:00")
    assert found == ["2024-10-26 22:00", "2024-10-27 10:00"]


def test_days_keep_the_wall_clock_in_autumn():
    every = Every("1w", at("2024-10-20T10:00"), "Europe/Berlin")
    assert every.next_after(at("2024-10-20T10:00")) == at("2024-10-27T11:00")


def test_a_day_that_lands_in_the_gap_takes_its_end_in_spring():
    every = Every("1d", at("2024-03-30T01:30"), "Europe/Berlin")
    found = listed(every, "2024-03-30T02:00", "2024-04-01T12:00")
    assert found == ["2024-03-31 01:00", "2024-04-01 00:30"]


def test_a_day_that_lands_in_the_fold_takes_its_first_pass_in_autumn():
    every = Every("1d", at("2024-10-26T00:30"), "Europe/Berlin")
    found = listed(every, "2024-10-26T02:00", "2024-10-28T12:00")
    assert found == ["2024-10-27 00:30", "2024-10-28 01:30"]


def test_an_anchor_in_the_second_pass_is_itself_a_slot_in_autumn():
    every = Every("1d", at("2024-10-27T01:30"), "Europe/Berlin")
    found = listed(every, "2024-10-27T00:00", "2024-10-28T12:00")
    assert found == ["2024-10-27 01:30", "2024-10-28 01:30"]
    assert newest(every, at("2024-10-27"), at("2024-10-27T12:00")) == every.slot(0) == every.anchor


def test_a_day_that_was_skipped_shares_the_slot_of_the_next_midnight():
    every = Every("1d", at("2011-12-28T10:00"), "Pacific/Apia")
    after, until = at("2011-12-28T09:00"), at("2012-01-01T12:00")
    found = slots(every, after, until)
    assert [slot.day for slot in found] == [28, 29, 30, 31, 1]
    assert count(every, after, until) == (5, False)


def test_months_are_counted_from_the_anchor_and_clamped():
    every = Every("1mo", at("2026-01-31T12:00"), "UTC")
    assert listed(every, "2026-01-01", "2026-06-01") == [
        "2026-01-31 12:00",
        "2026-02-28 12:00",
        "2026-03-31 12:00",
        "2026-04-30 12:00",
        "2026-05-31 12:00",
    ]


@pytest.mark.parametrize("months", [1, 3, 5, 12, 18])
@pytest.mark.parametrize("day", [28, 29, 30, 31])
def test_month_ends_over_forty_years_are_those_of_the_calendar(day, months):
    start = datetime(2019, 12, day, 23, 30, tzinfo=UTC)
    expected, where = [], start.year * 12 + start.month - 1
    while len(expected) < 480 // months:
        year, month = divmod(where, 12)
        last = calendar.monthrange(year, month + 1)[1]
        expected.append(datetime(year, month + 1, min(day, last), 23, 30, tzinfo=UTC))
        where += months
    every = Every(f"{months}mo", start, "UTC")
    assert slots(every, start - DAY, expected[-1]) == expected
    assert count(every, start - DAY, expected[-1]) == (len(expected), False)


def test_months_keep_the_wall_clock_in_spring_and_in_autumn():
    every = Every("1mo", at("2024-02-29T01:30"), "Europe/Berlin")
    assert every.next_after(at("2024-03-28T00:00")) == at("2024-03-29T01:30")
    assert every.next_after(at("2024-04-01T00:00")) == at("2024-04-29T00:30")
    last = Every("1mo", at("2024-01-31T01:30"), "Europe/Berlin")
    assert last.next_after(at("2024-03-30T12:00")) == at("2024-03-31T01:00")
    autumn = Every("1mo", at("2024-09-27T00:30"), "Europe/Berlin")
    assert autumn.next_after(at("2024-10-01T00:00")) == at("2024-10-27T00:30")


def test_a_timedelta_is_elapsed_time_in_whole_seconds():
    assert Every(timedelta(days=1)).text == "24h"
    assert Every(timedelta(minutes=90, seconds=1)) == Every("1h30m1s")
    for wrong in (timedelta(seconds=1.5), timedelta(0), timedelta(days=40_000)):
        with pytest.raises(DurationError):
            Every(wrong)


def test_an_interval_without_anchor_says_that_add_completes_it():
    with pytest.raises(ScheduleError, match="no anchor yet: add completes it"):
        Every("1h").next_after(NOW)
    with pytest.raises(ScheduleError, match="no zone yet: add completes it"):
        Every("1d", NOW).next_after(NOW)
    assert Every("1h", NOW).next_after(NOW) == NOW + timedelta(hours=1)


def test_a_bad_interval_anchor_or_zone_is_refused_when_it_is_made():
    for wrong in ("", "1d12h", "0s", "101y", "1.5h", "soon"):
        with pytest.raises(DurationError):
            Every(wrong)
    with pytest.raises(MomentError):
        Every("1h", NAIVE)
    with pytest.raises(ZoneError):
        Every("1h", NOW, "Nowhere")
    with pytest.raises(InputError):
        Every(None)


@pytest.mark.parametrize(
    ("interval", "finished", "due"),
    [
        ("30m", "2026-05-01T12:00:00", "2026-05-01T12:30:00"),
        ("30m", "2026-05-01T12:00:00.001", "2026-05-01T12:30:01"),
        ("1d", "2024-03-30T11:00:00", "2024-03-31T10:00:00"),
        ("1d", "2024-10-26T00:30:00", "2024-10-27T00:30:00"),
        ("1d", "2024-10-27T01:30:00", "2024-10-28T01:30:00"),
        ("1mo", "2026-01-31T12:00:00", "2026-02-28T12:00:00"),
    ],
)
def test_a_delay_is_measured_from_the_end_of_a_run_in_the_way_of_its_family(
    interval, finished, due
):
    every = Every(interval, NOW, "Europe/Berlin", from_finish=True)
    assert every.after_finish(at(finished)) == at(due)


def test_a_delay_has_its_anchor_as_the_only_slot_known_in_advance():
    every = Every("1h", NOW, "UTC", from_finish=True)
    assert every.next_after(NOW - DAY) == NOW
    assert every.next_after(NOW) is None
    assert slots(every, NOW - DAY, NOW + DAY) == [NOW]
    assert newest(every, NOW - DAY, NOW + DAY) == NOW
    assert count(every, NOW - DAY, NOW + DAY) == (1, False)
    assert count(every, NOW, NOW + DAY) == (0, False)


def test_years_of_seconds_are_counted_by_arithmetic():
    every = Every("1s", NOW, "UTC")
    assert count(every, NOW, NOW + 50 * YEAR) == (10_000, True)
    assert newest(every, NOW, NOW + 50 * YEAR) == NOW + 50 * YEAR


INTERVALS = st.sampled_from(["1s", "7m", "7h30m", "1d", "3d", "2w", "1mo", "5mo", "1y"])
# Hypothesis wants naive bounds.
BOUNDS = datetime(2000, 1, 1), datetime(2037, 1, 1)  # noqa: DTZ001
MOMENTS = st.datetimes(*BOUNDS, timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe"])


@given(INTERVALS, MOMENTS, MOMENTS, ZONES)
def test_any_moment_finds_its_place_on_the_grid(interval, anchor, moment, tz):
    every = Every(interval, anchor, tz)
    slot = every.next_after(moment)
    assert slot is not None and slot > moment and slot >= every.anchor
    assert every.next_after(slot - timedelta(microseconds=1)) == slot
    number = 0 if slot == every.anchor else every.number(slot)
    assert every.slot(number) == slot
    assert number == 0 or every.slot(number - 1) <= moment or every.slot(number - 1) == slot


@given(INTERVALS, MOMENTS, MOMENTS, ZONES, st.integers(1, 40))
def test_counts_and_the_newest_agree_with_the_list(interval, anchor, moment, tz, number):
    every = Every(interval, anchor, tz)
    found = slots(every, moment, at("2099-01-01"), number)
    until = found[-1] + timedelta(microseconds=1)
    assert count(every, moment, until) == (number, False)
    assert newest(every, moment, until) == found[-1]
    assert newest_slots(every, moment, until, 3) == found[-3:]


# ------------------------------------------------------------------ at


def test_a_one_off_has_one_slot():
    once = At("2026-12-01 22:00", "Europe/Berlin")
    assert once.instant == at("2026-12-01T21:00") and once.note is None
    assert once.next_after(at("2026-12-01T20:59:59")) == once.instant
    assert once.next_after(once.instant) is None
    assert newest(once, NOW, NOW + YEAR) == once.instant
    assert newest_slots(once, NOW, NOW + YEAR, 5) == [once.instant]
    assert count(once, NOW, NOW + YEAR) == (1, False)


def test_a_one_off_in_the_gap_stands_at_its_end_and_says_so_in_spring():
    once = At("2024-03-31 02:30", "Europe/Berlin")
    assert once.instant == at("2024-03-31T01:00")
    assert "does not exist" in once.note


def test_a_one_off_in_the_fold_stands_in_the_first_pass_and_says_so_in_autumn():
    once = At("2024-10-27 02:30", "Europe/Berlin")
    assert once.instant == at("2024-10-27T00:30")
    assert "comes twice" in once.note


def test_a_one_off_with_an_offset_keeps_its_instant_in_any_zone():
    once = At("2026-12-01T22:00:00+01:00", "Asia/Tokyo")
    assert once.instant == at("2026-12-01T21:00") and once.note is None
    assert At("2026-12-01T22:00+01:00").instant == once.instant
    aware = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    assert At(aware).instant == at("2024-10-27T01:30")


def test_a_one_off_in_a_zone_with_odd_seconds_keeps_its_instant():
    aware = datetime(1971, 1, 1, tzinfo=ZoneInfo("Africa/Monrovia"))
    assert At(aware).instant == at("1971-01-01T00:44:30")


def test_a_one_off_keeps_milliseconds_as_the_store_does():
    assert At(NOW + timedelta(microseconds=1_999)).instant == NOW + timedelta(milliseconds=1)


def test_a_one_off_without_zone_says_that_add_completes_it():
    once = At("2026-12-01 22:00")
    assert once.describe() == "once at 2026-12-01 22:00"
    with pytest.raises(ScheduleError, match="no zone yet: add completes it"):
        once.next_after(NOW)


@pytest.mark.parametrize(
    "wrong", ["", "soon", "+30m", "-2h", "2026-02-30", "9999-12-31T23:59-10:00", NAIVE, None, 5]
)
def test_a_bad_one_off_is_refused_when_it_is_made(wrong):
    with pytest.raises(MomentError):
        At(wrong)


def test_a_distance_is_told_to_be_resolved_first():
    with pytest.raises(MomentError, match="moment"):
        At("+30m")
    with pytest.raises(MomentError) as caught:
        At("+" * 10_000)
    assert len(str(caught.value)) < 500


def test_a_wall_time_past_the_end_of_the_calendar_is_refused():
    with pytest.raises(MomentError, match="after 9999-12-30, the last"):
        At("9999-12-31 23:59", "America/New_York")


# ------------------------------------------------------------------ after, boot, manual


@pytest.mark.parametrize("value", [After("backup"), Boot(), Manual()])
def test_a_schedule_no_clock_drives_has_no_slots(value):
    assert value.next_after(NOW) is None
    assert slots(value, NOW, NOW + YEAR) == [] and newest(value, NOW, NOW + YEAR) is None
    assert count(value, NOW, NOW + YEAR) == (0, False)


@pytest.mark.parametrize("parent", ["", "a:b", "a\nb", None, 5])
def test_a_parent_must_look_like_a_task(parent):
    with pytest.raises(ScheduleError, match="not a valid task to run after"):
        After(parent)


def test_a_condition_must_be_one_of_three():
    with pytest.raises(ScheduleError, match="succeeded, failed or any"):
        After("backup", "done")
    with pytest.raises(ScheduleError, match="'lost' is not a valid end of a run"):
        parse("after", "backup:lost", tz=None)


# ------------------------------------------------------------------ the cost of imports


def test_making_schedules_and_what_comes_until_tomorrow_import_neither_croniter_nor_dateutil():
    program = """
import sys
from datetime import datetime, UTC
from taskrunner import At, Cron, Every
Cron("*/5 * * * *", "Europe/Berlin").describe()
now = datetime(2026, 1, 1, tzinfo=UTC)
Cron("*/5 * * * *", "UTC").next_after(now), Cron("0 22 1 * *", "UTC").next_after(now)
Cron("0 0 * * *", "UTC").next_after(now), Cron("30 2 2 * *", "UTC").next_after(now)
Every("1h", now).next_after(now), Every("1d", now, "UTC").next_after(now)
At("2026-01-01", "UTC").next_after(now)
print([name for name in ("croniter", "dateutil") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# ---- what is odd about a slot


@pytest.mark.parametrize(
    ("value", "slot", "said"),
    [
        (
            Cron("30 2 * * *", "Europe/Berlin"),
            (2026, 3, 29, 1, 0),
            "does not exist in Europe/Berlin",
        ),
        (Cron("30 2 * * *", "Europe/Berlin"), (2026, 10, 25, 0, 30), "comes twice"),
        (Cron("30 2 * * *", "Europe/Berlin"), (2026, 3, 28, 1, 30), None),
        (Cron("*/15 * * * *", "Europe/Berlin"), (2026, 3, 29, 1, 0), None),
        (Cron("*/15 * * * *", "Europe/Berlin"), (2026, 10, 25, 0, 30), None),
        (At("2026-03-29 02:30", "Europe/Berlin"), (2026, 3, 29, 1, 0), "does not exist"),
        (At("2026-03-29 04:30", "Europe/Berlin"), (2026, 3, 29, 2, 30), None),
        (Every("12h", datetime(2026, 3, 28, 13, tzinfo=UTC), "UTC"), (2026, 3, 29, 1, 0), None),
    ],
)
def test_a_slot_moved_or_chosen_by_a_change_of_the_clocks_says_so(value, slot, said):
    moment = datetime(*slot, tzinfo=UTC)
    assert value.next_after(moment - timedelta(seconds=1)) == moment
    note = counting.slot_note(value, moment)
    assert note is None if said is None else said in note


def test_a_day_of_an_interval_that_falls_into_a_gap_says_so():
    daily = Every("1d", datetime(2026, 3, 27, 1, 30, tzinfo=UTC), "Europe/Berlin")
    assert counting.slot_note(daily, datetime(2026, 3, 28, 1, 30, tzinfo=UTC)) is None
    assert "after the gap" in counting.slot_note(daily, datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
