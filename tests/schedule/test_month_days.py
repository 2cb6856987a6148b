"""Days of the month in words: the days are those of dateutil, the times follow the rule for fixed times."""

import re
import time
from datetime import UTC, date, datetime, time as clock_time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule
from hypothesis import given, strategies as st

from taskrunner import Cron, On, clock
from taskrunner.errors import ScheduleError, ZoneError
from taskrunner.schedule.counting import count, newest, newest_slots, slot_note, slots
from taskrunner.schedule.month_days import DAYS, POSITIONS
from taskrunner.schedule.names import LONG_DAYS, LONG_MONTHS
from tests.schedule.test_wall_time import CHANGES, changes_of

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WEEKDAYS = (rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR)
NUMBERS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(day: str, at_time: str, tz: str, after: str, until: str) -> list[str]:
    found = slots(On(day, at_time, tz), at(after), at(until))
    return [f"{slot:%m-%d %H:%M}" for slot in found]


def days_of_dateutil(position: str, day: str, first: date, last: date) -> list[date]:
    """Return the same days as dateutil finds them."""
    number = NUMBERS[position]
    if day == "day":
        how = {"bymonthday": number}
    elif day == "workday":
        how = {"byweekday": WEEKDAYS, "bysetpos": number}
    else:
        how = {"byweekday": getattr(rrule, day[:2].upper())(number)}
    start, end = (datetime.combine(each, clock_time()) for each in (first, last))
    return [each.date() for each in rrule.rrule(rrule.MONTHLY, dtstart=start, until=end, **how)]


# ------------------------------------------------------------------ days


@pytest.mark.slow
@pytest.mark.parametrize(("position", "day"), [*product(NUMBERS, DAYS)])
def test_the_days_of_130_years_are_those_of_dateutil(position, day):
    found = slots(On(f"{position} {day}", tz="UTC"), at("1969-12-31T23:59"), at("2100-01-01"))
    expected = days_of_dateutil(position, day, date(1970, 1, 1), date(2100, 1, 1))
    assert [slot.date() for slot in found] == expected and len(expected) in (1560, 1561)


def test_the_words_are_those_of_the_grammar():
    assert {*POSITIONS} == {*NUMBERS}
    assert {*DAYS} == {*LONG_DAYS, "day", "workday"}


def test_the_last_day_of_february_follows_the_leap_years():
    found = slots(On("last day of february", "09:00", "UTC"), at("2023-01-01"), at("2029-01-01"))
    assert [f"{slot:%m-%d}" for slot in found] == ["02-28", "02-29", *["02-28"] * 3, "02-29"]
    found = slots(On("last day of february", tz="UTC"), at("2096-01-01"), at("2105-01-01"))
    assert [slot.day for slot in found] == [29, *[28] * 7, 29]  # 2100 is no leap year


def test_a_workday_is_monday_to_friday():
    found = fired("last workday", "18:00", "UTC", "2026-01-01T00:00", "2026-07-01T00:00")
    assert found == [
        f"{day} 18:00" for day in ("01-30", "02-27", "03-31", "04-30", "05-29", "06-30")
    ]
    found = fired("first workday", "18:00", "UTC", "2026-01-01T00:00", "2026-04-01T00:00")
    assert found == ["01-01 18:00", "02-02 18:00", "03-02 18:00"]


def test_months_limit_the_days_and_may_come_in_any_order_and_length():
    value = On("first monday of June, MAR,jun", "09:00", "UTC")
    assert value == On("first monday of march,june at 09:00", tz="UTC")
    found = [f"{slot:%m-%d}" for slot in slots(value, at("2026-01-01"), at("2027-12-31"))]
    assert found == ["03-02", "06-01", "03-01", "06-07"]


def test_all_twelve_months_are_every_month():
    assert On(f"last day of {','.join(LONG_MONTHS)}").text == "last day at 00:00"


# ------------------------------------------------------------------ clock changes


def test_a_time_in_the_gap_comes_at_its_end_in_spring():
    found = fired("last sunday", "02:30", "Europe/Berlin", "2026-02-01T00:00", "2026-05-01T00:00")
    assert found == ["02-22 01:30", "03-29 01:00", "04-26 00:30"]


def test_a_time_in_the_fold_comes_in_the_first_pass_only_in_autumn():
    found = fired("last sunday", "02:30", "Europe/Berlin", "2026-09-01T00:00", "2026-12-01T00:00")
    assert found == ["09-27 00:30", "10-25 00:30", "11-29 01:30"]


def test_a_midnight_in_the_gap_comes_at_its_end_in_spring():
    found = fired(
        "first sunday", "00:00", "America/Sao_Paulo", "2018-10-01T00:00", "2018-12-31T00:00"
    )
    assert found == ["10-07 03:00", "11-04 03:00", "12-02 02:00"]


def test_a_midnight_that_a_fold_reaches_again_is_one_slot_in_autumn():
    found = fired(
        "third sunday", "00:00", "America/Sao_Paulo", "2018-01-01T00:00", "2018-04-01T00:00"
    )
    assert found == ["01-21 02:00", "02-18 03:00", "03-18 03:00"]


def test_a_day_that_a_zone_skipped_comes_at_its_end():
    found = fired("last friday", "09:00", "Pacific/Apia", "2011-11-01T00:00", "2012-02-01T00:00")
    assert found == ["11-25 19:00", "12-30 10:00", "01-26 19:00"]  # there was no 30 December


def lived(wall: datetime, tz: str) -> datetime:
    """Return the first minute at which clocks show a wall time or a later one."""
    moment = wall.replace(tzinfo=UTC) - timedelta(hours=27)
    while moment.astimezone(ZoneInfo(tz)).replace(tzinfo=None) < wall:
        moment += MINUTE
    return moment


@pytest.mark.parametrize(("tz", "year"), CHANGES)
def test_slots_are_those_of_living_through_every_minute(tz, year):
    for change in changes_of(tz, year):
        local = change.astimezone(ZoneInfo(tz)).replace(tzinfo=None)
        for minutes in (-90, -45, -30, 0, 15, 60):
            wall = local + timedelta(minutes=minutes)
            number = (wall.day - 1) // 7
            position = [*POSITIONS][number] if number < 4 else "last"
            value = On(f"{position} {LONG_DAYS[wall.isoweekday() % 7]}", f"{wall:%H:%M}", tz)
            expected = lived(wall.replace(second=0), tz)
            for before in (timedelta(seconds=1), 3 * DAY, 20 * DAY):
                assert value.next_after(expected - before) == expected, value
            assert newest(value, change - 40 * DAY, expected) == expected
            later = value.next_after(expected)
            assert later is not None and later - expected > 20 * DAY


def test_a_moved_or_chosen_slot_says_so():
    value = On("last sunday", "02:30", "Europe/Berlin")
    told = [slot_note(value, slot) for slot in slots(value, at("2026-02-01"), at("2026-11-01"))]
    assert "does not exist in Europe/Berlin" in told[1]
    assert "comes twice in Europe/Berlin" in told[8]
    assert [each for number, each in enumerate(told) if number not in (1, 8)] == [None] * 7


def test_without_a_zone_it_is_that_of_the_host(monkeypatch):
    monkeypatch.setattr(clock, "local_zone", lambda: "Asia/Tokyo")
    assert On("last day", "09:00").next_after(at("2026-02-01")) == at("2026-02-28T00:00")


# ------------------------------------------------------------------ counting


def test_slots_far_ahead_are_counted_and_found_without_walking_there():
    value, start, end = (
        On("last workday", "09:00", "Europe/Berlin"),
        at("1970-01-01"),
        at("9000-01-01"),
    )
    began = time.process_time()
    assert count(value, start, end) == (10_000, True)
    assert count(value, start, end, 100_000) == ((9000 - 1970) * 12, False)
    assert newest(value, start, end) == at("8999-12-31T08:00")
    assert len(newest_slots(value, start, end, 100)) == 100
    assert value.next_after(at("8000-01-01")) == at("8000-01-31T08:00")
    assert time.process_time() - began < 1


WORDS = st.tuples(st.sampled_from([*POSITIONS]), st.sampled_from([*DAYS])).map(" ".join)
MONTHS = st.lists(st.sampled_from(LONG_MONTHS), max_size=3).map(
    lambda some: " of " * bool(some) + ",".join(some)
)
TIMES = st.times().map(lambda value: f"{value:%H:%M}")
# Hypothesis wants naive bounds.
BOUNDS = datetime(1990, 1, 1), datetime(2037, 1, 1)  # noqa: DTZ001
MOMENTS = st.datetimes(*BOUNDS, timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"])


@given(WORDS, MONTHS, TIMES, ZONES, MOMENTS, st.integers(0, 2000))
def test_counts_and_the_newest_agree_with_the_list(day, months, at_time, tz, moment, days):
    value, until = On(day + months, at_time, tz), moment + days * DAY
    listed = slots(value, moment, until)
    assert listed == sorted(set(listed)) and all(moment < slot <= until for slot in listed)
    assert count(value, moment, until) == (len(listed), False)
    assert newest(value, moment, until) == (listed[-1] if listed else None)
    assert newest_slots(value, moment, until, 3) == listed[-3:]


# ------------------------------------------------------------------ text


@pytest.mark.parametrize("given_time", ["9:05", "09:05", " 09:05 ", "09:05:00", clock_time(9, 5)])
def test_a_time_of_day_has_one_spelling(given_time):
    assert On("last day", given_time).text == "last day at 09:05"


REFUSED = [
    ("fifth monday", "is not in every month: for the last Monday write 'last monday'"),
    ("the 5th fri of march", "write 'last friday'"),
    ("day 15", "--cron '30 9 15 * *'"),
    ("the 1st", "--cron '30 9 1 * *'"),
    ("29 of february, march", "--cron '30 9 29 2,3 *'"),
    ("monday", "write 'first monday' or 'last monday'; for every Monday use --cron '30 9 * * mon'"),
    ("every weekday", "--cron '30 9 * * mon-fri'"),
    ("day", "for every day use --cron '30 9 * * *'"),
    ("first monday, third monday", "give each a task of its own"),
    ("first and third monday", "give each a task of its own"),
    ("1st Mondays of the month", "did you mean 'first monday'?"),
    ("first mondya of mrch", "did you mean 'first monday of march'?"),
    ("last day of every month", "did you mean 'last day'?"),
    ("final business day in march and june", "did you mean 'last workday of march,june'?"),
    ("last weekday", "did you mean 'last workday'?"),
    ("last day of foo", "has no month 'foo': write one such as"),
    ("last day of mar,foo", "has no month 'foo': write one such as"),
    ("first mon of jan-mar", "write one such as 'first monday'"),
    *((text, "write one such as 'first monday'") for text in ("", "L", "31 of april", "last", "é")),
    *((text, "write one such as") for text in ("second last friday", "last day of 3", "of of", "\x1b")),
    ("x" * 300, "longer than the 256 characters"),
    (None, "write one such as"),
]  # fmt: skip


@pytest.mark.parametrize(("day", "advice"), REFUSED)
def test_what_is_refused_is_told_what_to_write_instead(day, advice):
    with pytest.raises(ScheduleError) as caught:
        On(day, "09:30")
    message = str(caught.value)
    assert advice in message and message.isprintable()
    for cron in re.findall(r"--cron '([^']+)'", message):
        Cron(cron)
    for each in re.findall(r"(?:write|write one such as|mean|or) '([^']+)'", message):
        On(f"last day of {each}" if "has no month" in message else each)


@pytest.mark.parametrize("wrong", ["9am", "24:00", "9", "09:60", "09:00:30", "", "٠٩:٠٠", 9])
def test_a_wrong_time_of_day_is_refused(wrong):
    with pytest.raises(ScheduleError, match="is not a time of day: write hours and minutes"):
        On("last day", wrong)


def test_a_time_is_given_once_and_the_zone_must_exist():
    with pytest.raises(ScheduleError, match="leave it out, or leave out --at-time '10:00'"):
        On("last day at 09:00", "10:00")
    with pytest.raises(ZoneError):
        On("last day", tz="Mars/Base")
