"""Expressions through clock changes: Debian cron's rule, by hand and against a model that walks.

Expected instants in the tables were worked out by hand from the offsets of the zones; all changes
lie in the past, so no later zone data can move them.
"""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, strategies as st

from taskrunner.schedule.counting import count, newest, newest_slots, slots
from taskrunner.schedule.kinds import Cron

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(expression: str, tz: str, after: str, until: str) -> list[str]:
    found = slots(Cron(expression, tz), at(after), at(until))
    return [f"{slot:%m-%d %H:%M}" for slot in found]


# ------------------------------------------------------------------ by hand, a spring and an autumn


def test_a_fixed_time_in_the_gap_fires_once_at_its_end_in_spring():
    found = fired("30 2 * * *", "Europe/Berlin", "2024-03-30T00:00", "2024-04-01T12:00")
    assert found == ["03-30 01:30", "03-31 01:00", "04-01 00:30"]


def test_a_fixed_time_in_the_fold_fires_in_the_first_pass_only_in_autumn():
    found = fired("30 2 * * *", "Europe/Berlin", "2024-10-26T00:00", "2024-10-28T12:00")
    assert found == ["10-26 00:30", "10-27 00:30", "10-28 01:30"]


def test_fixed_times_that_fall_into_one_gap_collapse_into_one_slot_in_spring():
    found = fired("0,30 1-3 * * *", "Europe/Berlin", "2024-03-30T23:00", "2024-03-31T12:00")
    assert found == ["03-31 00:00", "03-31 00:30", "03-31 01:00", "03-31 01:30"]


def test_each_fixed_time_of_the_fold_fires_once_in_autumn():
    found = fired("0,30 1-3 * * *", "Europe/Berlin", "2024-10-26T22:59", "2024-10-27T12:00")
    hours = ["10-26 23:00", "10-26 23:30", "10-27 00:00", "10-27 00:30", "10-27 02:00"]
    assert found == [*hours, "10-27 02:30"]


def test_a_wildcard_minute_skips_the_gap_in_spring():
    assert fired("*/30 2 * * *", "Europe/Berlin", "2024-03-31T00:00", "2024-03-31T12:00") == []


def test_a_wildcard_minute_fires_in_both_passes_of_the_fold_in_autumn():
    found = fired("*/30 2 * * *", "Europe/Berlin", "2024-10-26T12:00", "2024-10-27T12:00")
    assert found == ["10-27 00:00", "10-27 00:30", "10-27 01:00", "10-27 01:30"]


def test_a_wildcard_hour_keeps_its_real_cadence_in_spring():
    found = fired("30 * * * *", "Europe/Berlin", "2024-03-31T00:00", "2024-03-31T03:00")
    assert found == ["03-31 00:30", "03-31 01:30", "03-31 02:30"]


def test_a_wildcard_hour_keeps_its_real_cadence_in_autumn():
    found = fired("30 * * * *", "Europe/Berlin", "2024-10-27T00:00", "2024-10-27T03:00")
    assert found == ["10-27 00:30", "10-27 01:30", "10-27 02:30"]


def test_a_stepped_hour_gets_no_extra_run_after_the_gap_in_spring():
    found = fired("20 */2 * * *", "Europe/Berlin", "2024-03-30T23:00", "2024-03-31T05:00")
    assert found == ["03-30 23:20", "03-31 02:20", "03-31 04:20"]


def test_a_stepped_hour_fires_in_both_passes_in_autumn():
    found = fired("20 */2 * * *", "Europe/Berlin", "2024-10-26T22:00", "2024-10-27T05:00")
    assert found == ["10-26 22:20", "10-27 00:20", "10-27 01:20", "10-27 03:20"]


def test_a_list_that_holds_every_hour_is_still_fixed_time_in_autumn():
    found = fired("0 0-23 * * *", "Europe/Berlin", "2024-10-26T23:30", "2024-10-27T03:30")
    assert found == ["10-27 00:00", "10-27 02:00", "10-27 03:00"]


def test_a_list_that_holds_every_hour_is_still_fixed_time_in_spring():
    found = fired("0 0-23 * * *", "Europe/Berlin", "2024-03-30T23:30", "2024-03-31T02:30")
    assert found == ["03-31 00:00", "03-31 01:00", "03-31 02:00"]


GAPS = [
    # expression, zone, from, the one slot of the day after
    ("30 2 * * *", "America/New_York", "2024-03-10T00:00", "2024-03-10T07:00"),
    ("15 2 * * *", "Australia/Lord_Howe", "2024-10-05T00:00", "2024-10-05T15:30"),
    ("30 1 * * *", "Antarctica/Troll", "2024-03-31T00:00", "2024-03-31T01:00"),
    ("30 2 * * *", "Antarctica/Troll", "2024-03-31T00:00", "2024-03-31T01:00"),
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00"),
    ("30 0 * * *", "America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00"),
    ("0 0 * * *", "Asia/Beirut", "2022-03-26T12:00", "2022-03-26T22:00"),
    ("15 0 * * *", "America/Santiago", "2022-09-11T00:00", "2022-09-11T04:00"),
    ("30 1 * * *", "Europe/Dublin", "2024-03-31T00:00", "2024-03-31T01:00"),
    ("30 2 * * *", "Africa/Casablanca", "2023-04-23T00:00", "2023-04-23T02:00"),
    ("30 0 * * *", "America/St_Johns", "2010-03-14T00:00", "2010-03-14T03:31"),
    ("0 3 * * *", "Pacific/Chatham", "2024-09-28T00:00", "2024-09-28T14:00"),
]


@pytest.mark.parametrize(("expression", "tz", "after", "slot"), GAPS)
def test_every_kind_of_gap_ends_in_one_slot(expression, tz, after, slot):
    assert slots(Cron(expression, tz), at(after), at(after) + 20 * HOUR) == [at(slot)]


FOLDS = [
    ("30 1 * * *", "America/New_York", "2024-11-03T00:00", "2024-11-03T05:30"),
    ("45 1 * * *", "Australia/Lord_Howe", "2024-04-06T12:00", "2024-04-06T14:45"),
    ("30 1 * * *", "Antarctica/Troll", "2024-10-26T12:00", "2024-10-26T23:30"),
    ("30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00", "2018-02-18T01:30"),
    ("0 0 * * *", "America/Sao_Paulo", "2018-02-17T12:00", "2018-02-18T03:00"),
    ("30 23 * * *", "Asia/Beirut", "2022-10-29T12:00", "2022-10-29T20:30"),
    ("0 0 * * *", "Asia/Beirut", "2022-10-29T12:00", "2022-10-29T22:00"),
    ("30 23 * * *", "America/Santiago", "2022-04-02T12:00", "2022-04-03T02:30"),
    ("30 1 * * *", "Europe/Dublin", "2024-10-27T00:00", "2024-10-27T00:30"),
    ("30 2 * * *", "Africa/Casablanca", "2023-03-19T00:00", "2023-03-19T01:30"),
    ("30 23 * * *", "America/St_Johns", "2010-11-06T12:00", "2010-11-07T02:00"),
    ("0 3 * * *", "Pacific/Chatham", "2024-04-06T00:00", "2024-04-06T13:15"),
]


@pytest.mark.parametrize(("expression", "tz", "after", "slot"), FOLDS)
def test_every_kind_of_fold_fires_in_its_first_pass(expression, tz, after, slot):
    assert slots(Cron(expression, tz), at(after), at(after) + 20 * HOUR) == [at(slot)]


def test_a_half_hour_fold_is_walked_twice_by_a_wildcard_in_autumn():
    found = fired("*/15 1 * * *", "Australia/Lord_Howe", "2024-04-06T12:00", "2024-04-07T00:00")
    assert [text[6:] for text in found] == ["14:00", "14:15", "14:30", "14:45", "15:00", "15:15"]


def test_a_half_hour_gap_is_left_out_by_a_wildcard_in_spring():
    found = fired("*/15 2 * * *", "Australia/Lord_Howe", "2024-10-05T12:00", "2024-10-06T00:00")
    assert [text[6:] for text in found] == ["15:30", "15:45"]


def test_a_skipped_day_gives_one_slot_at_its_end():
    found = fired("30 2 * * *", "Pacific/Apia", "2011-12-29T00:00", "2011-12-31T00:00")
    assert found == ["12-29 12:30", "12-30 10:00", "12-30 12:30"]


def test_a_skipped_day_and_the_midnight_after_it_share_a_slot():
    found = fired("0 0 * * *", "Pacific/Apia", "2011-12-29T00:00", "2011-12-31T12:00")
    assert found == ["12-29 10:00", "12-30 10:00", "12-31 10:00"]


def test_a_date_that_was_skipped_still_has_its_slot():
    found = fired("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00", "2012-01-31T00:00")
    assert found == ["12-30 10:00"]


def test_a_wildcard_has_no_slots_on_a_skipped_day_and_finds_its_end_at_once():
    found = fired("* * * * *", "Pacific/Apia", "2011-12-30T09:58", "2011-12-30T10:02")
    assert found == ["12-30 09:59", "12-30 10:00", "12-30 10:01", "12-30 10:02"]


def test_a_slot_just_after_the_second_pass_is_found_from_inside_it():
    cron = Cron("0 3 * * *", "Europe/Berlin")
    assert cron.next_after(at("2024-10-27T01:59:59")) == at("2024-10-27T02:00")


def test_the_second_pass_is_found_from_the_last_minute_of_the_first():
    cron = Cron("*/30 * * * *", "Europe/Berlin")
    assert cron.next_after(at("2024-10-27T00:30")) == at("2024-10-27T01:00")


def test_seconds_of_the_moment_do_not_show_in_the_slot():
    cron = Cron("*/5 * * * *", "Asia/Kathmandu")
    found = cron.next_after(at("2024-05-01T00:00:59") + timedelta(microseconds=999_999))
    assert found == at("2024-05-01T00:05")


# ------------------------------------------------------------------ against a model that walks


CHANGES = [
    ("Europe/Berlin", 2024), ("America/New_York", 2024), ("Australia/Lord_Howe", 2024),
    ("Antarctica/Troll", 2024), ("America/Sao_Paulo", 2018), ("Asia/Beirut", 2022),
    ("America/Santiago", 2022), ("Pacific/Apia", 2011), ("Europe/Dublin", 2024),
    ("Africa/Casablanca", 2023), ("America/St_Johns", 2010), ("Pacific/Chatham", 2024),
    ("America/Havana", 2024), ("Asia/Tehran", 2021), ("Asia/Pyongyang", 2018),
    ("Asia/Pyongyang", 2015), ("America/Caracas", 2007), ("America/Caracas", 2016),
    ("Asia/Kathmandu", 1985), ("Pacific/Kwajalein", 1993), ("Atlantic/Azores", 2024),
    ("Europe/Istanbul", 2016), ("America/Nuuk", 2023), ("Africa/Cairo", 2024),
]  # fmt: skip


def changes_of(tz: str, year: int) -> list[datetime]:
    """Find the clock changes of a year by the offset every six hours, then each minute."""
    where, found = ZoneInfo(tz), []
    moment = datetime(year, 1, 1, tzinfo=UTC)
    while moment.year == year:
        later = moment + timedelta(hours=6)
        if moment.astimezone(where).utcoffset() != later.astimezone(where).utcoffset():
            change = moment
            while change.astimezone(where).utcoffset() == moment.astimezone(where).utcoffset():
                change += MINUTE
            found.append(change)
        moment = later
    return found


class Drawn:
    """A random expression with its text and, apart from any parser, the numbers it holds."""

    def __init__(self, dice: random.Random):
        bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
        drawn = [self.field(dice, low, high) for low, high in bounds]
        if dice.random() < 0.7:  # most of them on most days, or the change would rarely be hit
            drawn[2:] = [("*", set(range(1, 32))), ("*", set(range(1, 13))), ("*", set(range(7)))]
        self.text = " ".join(text for text, _ in drawn)
        self.sets = [numbers for _, numbers in drawn]
        self.wildcard = drawn[0][0][0] == "*" or drawn[1][0][0] == "*"
        self.both = drawn[2][0][0] == "*" or drawn[4][0][0] == "*"

    @staticmethod
    def field(dice: random.Random, low: int, high: int) -> tuple[str, set[int]]:
        match dice.randrange(6):
            case 0:
                return "*", set(range(low, high + 1))
            case 1:
                step = dice.choice([2, 5, 7, 15, 20, 30, 90])
                return f"*/{step}", {n for n in range(low, high + 1) if (n - low) % step == 0}
            case 2:
                first = dice.randint(low, high)
                last = dice.randint(first, high)
                return f"{first}-{last}", set(range(first, last + 1))
            case _:
                numbers = {dice.randint(low, high) for _ in range(dice.randint(1, 4))}
                return ",".join(map(str, sorted(numbers))), numbers

    def matches(self, wall: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.sets
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        in_days, in_week = wall.day in days, wall.isoweekday() % 7 in weekdays
        return (in_days and in_week) if self.both else (in_days or in_week)


def walked(drawn: Drawn, tz: str, after: datetime, until: datetime) -> list[datetime]:
    """Apply Debian's rule by living through every minute in (after, until]."""
    where, found = ZoneInfo(tz), []
    moment = after - 2 * HOUR
    furthest = moment.astimezone(where).replace(tzinfo=None)
    while moment < until:
        moment += MINUTE
        wall = moment.astimezone(where).replace(tzinfo=None)
        if drawn.wildcard:
            due = drawn.matches(wall)
        else:  # all wall minutes that were passed since the furthest one seen, each of them once
            due = False
            while furthest < wall:
                furthest += MINUTE
                due |= drawn.matches(furthest)
        if due and moment > after:
            found.append(moment)
    return found


@pytest.mark.parametrize(("tz", "year"), CHANGES)
def test_slots_are_those_of_living_through_every_minute(tz, year):
    dice = random.Random(f"{tz} {year}")
    changes = changes_of(tz, year)
    assert changes, f"{tz} has no clock change in {year}"
    for change in changes:
        after, until = change - timedelta(hours=26), change + timedelta(hours=27)
        for _ in range(6):
            drawn = Drawn(dice)
            try:
                cron = Cron(drawn.text, tz)
            except ValueError:
                assert min(drawn.sets[2]) > 28  # 30 February and its like
                continue
            expected = walked(drawn, tz, after, until)[:300]
            assert slots(cron, after, until, 300) == expected, drawn.text


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"])
def test_each_minute_of_a_change_asks_for_the_same_slots(tz):
    change = changes_of(tz, 2011 if tz == "Pacific/Apia" else 2024)[-1]
    dice = random.Random(tz)
    for drawn in (Drawn(dice) for _ in range(4)):
        expected = walked(drawn, tz, change - timedelta(hours=3), change + timedelta(days=3))
        cron = Cron(drawn.text, tz)
        for minutes in range(-170, 170, 7):
            moment = change + timedelta(minutes=minutes, seconds=minutes % 60)
            later = [slot for slot in expected if slot > moment]
            if later:
                assert cron.next_after(moment) == later[0], (drawn.text, moment)


# ------------------------------------------------------------------ against another implementation


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/New_York", "Europe/Dublin"])
def test_slots_around_changes_of_a_whole_hour_agree_with_cronsim(tz):
    """Where both follow Debian, that is with changes of a whole hour in the middle of a day: beside
    others cronsim misses minutes of wildcard tasks, as it looks for the hour in whole hours."""
    dice = random.Random(tz)
    for change in changes_of(tz, 2024):
        for drawn in (Drawn(dice) for _ in range(25)):
            try:
                cron = Cron(drawn.text, tz)
            except ValueError:
                continue
            moment = change - timedelta(hours=dice.randrange(40), minutes=dice.randrange(60))
            theirs = CronSim(drawn.text, moment.astimezone(ZoneInfo(tz)))
            for _ in range(40):
                moment = cron.next_after(moment)
                assert moment == next(theirs).astimezone(UTC), drawn.text


# ------------------------------------------------------------------ properties

ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Antarctica/Troll"]
SEEDS = st.integers(0, 10**9)
# Hypothesis wants naive bounds.
BOUNDS = datetime(2000, 1, 1), datetime(2037, 1, 1)  # noqa: DTZ001
MOMENTS = st.datetimes(*BOUNDS, timezones=st.just(UTC))


def drawn_cron(seed: int, tz: str) -> tuple[Drawn, Cron] | None:
    drawn = Drawn(random.Random(seed))
    try:
        return drawn, Cron(drawn.text, tz)
    except ValueError:
        return None


@given(SEEDS, MOMENTS, st.sampled_from(ZONES))
def test_slots_increase_and_each_matches_or_ends_a_gap(seed, moment, tz):
    if not (pair := drawn_cron(seed, tz)):
        return
    drawn, cron = pair
    previous = moment
    for _ in range(5):
        slot = cron.next_after(previous)
        assert slot is not None and slot > previous
        assert slot.tzinfo is UTC and not slot.second and not slot.microsecond
        wall = slot.astimezone(ZoneInfo(tz))
        jump = wall.utcoffset() - (slot - MINUTE).astimezone(ZoneInfo(tz)).utcoffset()
        assert drawn.matches(wall) or (jump > timedelta(0) and not drawn.wildcard)
        previous = slot


@given(SEEDS, MOMENTS, st.sampled_from(ZONES), st.floats(0, 1))
def test_asking_from_anywhere_before_a_slot_gives_that_slot(seed, moment, tz, share):
    if not (pair := drawn_cron(seed, tz)):
        return
    slot = pair[1].next_after(moment)
    assert pair[1].next_after(moment + (slot - moment) * share * 0.999) == slot


@given(SEEDS, MOMENTS, st.sampled_from(ZONES), st.timedeltas(timedelta(0), timedelta(days=9)))
def test_counting_and_the_newest_agree_with_the_list_of_slots(seed, moment, tz, length):
    if not (pair := drawn_cron(seed, tz)):
        return
    cron, until = pair[1], moment + length
    listed = slots(cron, moment, until, 250)
    assert count(cron, moment, until, 249) == (min(len(listed), 249), len(listed) > 249)
    if len(listed) < 250:
        assert newest(cron, moment, until) == (listed[-1] if listed else None)
        assert newest_slots(cron, moment, until, 3) == listed[-3:]


@pytest.mark.parametrize(("tz", "year"), CHANGES)
@pytest.mark.parametrize("expression", ["*/20 * * * *", "10,50 0-4,22 * * *", "0 0 * * *"])
def test_counting_by_whole_days_misses_nothing_at_a_clock_change(expression, tz, year):
    cron = Cron(expression, tz)
    for change in changes_of(tz, year):
        for hours in (30, 50):
            after, until = (
                change - timedelta(hours=hours),
                change + timedelta(hours=hours, minutes=7),
            )
            listed = slots(cron, after, until)
            assert count(cron, after, until) == (len(listed), False)
            assert newest(cron, after, until) == listed[-1]
