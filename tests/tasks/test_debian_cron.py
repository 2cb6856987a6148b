"""Debian's rules worked out a second time: they agree with schedules and with others, and see what differs."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings, strategies as st

from taskrunner.schedule.kinds import Cron
from taskrunner.tasks import debian_cron
from tests.samples import NOON

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)


def times(text, day):
    return [f"{each:%H:%M}" for each in sorted(debian_cron.instants(text, day, BERLIN))]


def test_a_fixed_time_in_the_gap_of_spring_is_at_its_end():
    assert times("30 2 * * *", SPRING) == ["01:00"]
    assert times("15,45 2 * * *", SPRING) == ["01:00"]


def test_a_fixed_time_in_the_fold_of_autumn_is_its_first_pass():
    assert times("30 2 * * *", AUTUMN) == ["00:30"]


def test_a_wildcard_follows_the_clock_in_spring():
    assert times("30 */1 * * *", SPRING)[:3] == ["23:30", "00:30", "01:30"]
    assert len(times("* * * * *", SPRING)) == 23 * 60


def test_a_wildcard_follows_the_clock_in_autumn():
    assert times("30 */1 * * *", AUTUMN)[:5] == ["22:30", "23:30", "00:30", "01:30", "02:30"]
    assert len(times("* * * * *", AUTUMN)) == 25 * 60


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "UTC"])
@pytest.mark.parametrize(
    "text", ["30 2 * * *", "*/30 * * * *", "@daily", "0 0 13 * fri", "5 */2 1-7 * mon"]
)
def test_schedules_are_identical(text, tz):
    assert debian_cron.differences(text, tz, NOON) == (0, ())


FIELDS = st.tuples(
    st.sampled_from(["0", "*/17", "5-50/9", "30", "7/13"]),
    st.sampled_from(["*", "2", "1-3", "0-23/5", "*/3"]),
    st.sampled_from(["*", "1", "*/2", "13-20"]),
    st.sampled_from(["*", "mar,oct", "3-11/4"]),
    st.sampled_from(["*", "sun", "mon-fri", "5-7", "0"]),
).map(" ".join)


@settings(max_examples=40)
@given(FIELDS, st.dates(date(2026, 1, 1), date(2027, 12, 1)))
def test_the_walk_agrees_with_another_implementation_of_the_rules(text, day):
    start = datetime(day.year, day.month, day.day, tzinfo=BERLIN) - timedelta(seconds=60)
    end = datetime(day.year, day.month, day.day, tzinfo=BERLIN) + timedelta(days=10)
    theirs, walker = set(), CronSim(text, start)
    for moment in walker:
        if moment >= end:
            break
        theirs.add(moment.astimezone(UTC))
    found = set()
    for number in range(-1, 11):
        found |= debian_cron.instants(text, day + timedelta(days=number), BERLIN)
    assert {each for each in found if start < each < end} == theirs


def test_differences_are_counted_and_the_first_is_shown(monkeypatch):
    class Other(Cron):
        """An hour late on Mondays."""

        def next_after(self, moment):
            slot = super().next_after(moment)
            return slot + timedelta(hours=1) if slot.weekday() == 0 else slot

    monkeypatch.setattr(debian_cron, "Cron", Other)
    count, first = debian_cron.differences.__wrapped__("30 2 * * *", "UTC", NOON)
    assert count > 200
    assert first[0] == "2026-11-23 02:30 UTC"
    assert len(first) == 3


@pytest.mark.slow
def test_what_differs_in_a_dense_schedule_is_seen_by_its_count(monkeypatch):
    real = debian_cron.counting.count

    def count(schedule, after, until):
        found, more = real(schedule, after, until)
        return (found // 2 if after.year == 2028 else found), more

    monkeypatch.setattr(debian_cron.counting, "count", count)
    found, first = debian_cron.differences.__wrapped__("* * * * *", "UTC", NOON)
    assert found > 100_000
    assert first[0].startswith("720 on 2028-01-0")


def test_a_range_to_sunday_is_reported_as_what_debian_s_cron_never_runs():
    count, told = debian_cron.differences(
        "0 0 * * fri-sun", "UTC", datetime(2026, 11, 21, tzinfo=UTC)
    )
    assert count > 300  # every Friday, Saturday and Sunday of two years
    assert told
