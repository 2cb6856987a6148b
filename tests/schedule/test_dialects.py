"""Each advice that is printed is itself accepted, and means what was asked."""

import re
from datetime import UTC, datetime

import pytest

from taskrunner import Cron, Every, On
from taskrunner.errors import DurationError, ScheduleError, ZoneError
from taskrunner.schedule import dialects, durations, expression
from taskrunner.schedule.kinds import complete
from taskrunner.schedule.zones import zone

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LENGTH = re.compile(r"\b(?:\d+(?:mo|[ywdhms]))+\b")

# An item that is refused, where it stands, and what stands there once the advice is followed.
ITEMS = [
    *((f"0 0,6 * * {item}", 4) for item in ("5L", "0L", "7L", "friL", "SUNL")),
    *((f"0 0 * * {item}", 4) for item in ("monday", "Tuesday")),
    *((f"0 0 {item} * *", 2) for item in ("L-1", "L-3", "L-27", "?", "32", "0", "28-3", "*/0")),
    *((f"0 {item} * * *", 1) for item in ("22-2", "20-4/3", "24", "23-0", "?")),
    *((f"0 0 * {item} *", 3) for item in ("nov-feb", "11-2/2", "january", "13", "?")),
    *(
        (f"0 0 * * {item}", 4)
        for item in ("sat-mon", "fri-tue/2", "1/2", "MON/3", "8", "sat-mon/2")
    ),
    *((f"{item} 0 * * *", 0) for item in ("50-10", "60", "?", "*/0")),
]


@pytest.mark.parametrize(("text", "place"), ITEMS)
def test_what_is_advised_for_an_item_is_an_item(text, place):
    with pytest.raises(ScheduleError) as caught:
        Cron(text)
    advice = str(caught.value).partition(": ")[2]
    found = re.findall(
        r"\b(?:write|such as|or|as) ((?:\*(?:/\d+)?|[a-z]{3}\b|\d[\d,/-]*)(?:,\d[\d,-]*)*)", advice
    )
    assert found, advice
    for each in found:
        fields = text.split()
        fields[place] = each.rstrip(",")
        Cron(" ".join(fields))


@pytest.mark.parametrize(
    "text",
    [
        *("* * * * * *", "0 0 12 ? * MON", "0 0 12 ? * 2", "0 12 * * ? 2027", "0 0 12 1/1 * ? *"),
        *(
            "30 2 * * * /opt/backup.sh",
            "0 0 L 4 *",
            "0 0 L jan *",
            "5,35 8 L 12 ?",
            "*/5 * * * * *",
        ),
    ],
)
def test_an_expression_that_is_advised_is_one(text):
    with pytest.raises(ScheduleError) as caught:
        Cron(text)
    advice = str(caught.value).partition(text)[2]
    found = re.findall(r"'((?:\S+ ){4}\S+)'|write ((?:[\d,*/]+ ){3}[\d*a-z]+ \*)", advice)
    assert found, advice
    for pair in found:
        Cron("".join(pair))


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 L * *", ["05-31", "06-30", "07-31"]),
        ("30 8 L * *", ["05-31", "06-30", "07-31"]),
        ("0 0 L 2 *", ["02-28", "02-29", "02-28"]),
        ("0 0 L feb ?", ["02-28", "02-29", "02-28"]),
        ("0 0 LW * *", ["05-29", "06-30", "07-31"]),
        ("0 0 1W 8 *", ["08-03", "08-02", "08-01"]),
        ("30 8 * * 5L", ["05-29", "06-26", "07-31"]),
        ("30 8 ? * SUNL", ["05-31", "06-28", "07-26"]),
        ("0 23 * * fri#2", ["05-08", "06-12", "07-10"]),
        ("5 0 * 6 7#1", ["06-07", "06-06", "06-04"]),
    ],
)
def test_a_day_of_the_month_is_advised_as_a_schedule_that_has_it(text, days):
    with pytest.raises(ScheduleError) as caught:
        Cron(text)
    day, time = re.search(r"--on '([^']+)' --at-time (\S+)$", str(caught.value)).groups()
    value = On(day, time, tz="UTC")
    slots, at = [], NOW
    for _ in range(3):
        at = value.next_after(at)
        slots.append(f"{at:%m-%d}")
        assert f"{at:%-M %-H}" == " ".join(text.split()[:2])
    assert slots == days


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1M",
            "5 M",
            "1Y",
            "1Y6M",
            "1H30M",
            "2W",
            "90 s",
            "5min",
            "1 month",
            "every 5m",
            "P1M",
            "PT90M",
        ),
        *(
            "1d12h",
            "1 day 12 hours",
            "30s1h",
            "30s1d",
            "1w1h",
            "30",
            "999999",
            "monthly",
            "daily",
            "1q",
        ),
        *("1mo1d", "1M2W", "1y1h", "1.5h", "0", "0m", "PT1H", "P1DT12H", "1m1y", "x", "hourly"),
    ],
)
@pytest.mark.parametrize(
    "read", [durations.parse_interval, durations.parse, lambda text: durations.parse_ago(text, NOW)]
)
def test_a_length_that_is_advised_is_one(text, read):
    try:
        read(text)
    except DurationError as exc:
        advice = str(exc).rpartition(": ")[2]
        found = LENGTH.findall(advice)
        assert found, advice
        for each in found:
            read(each)


def test_a_month_is_not_advised_as_a_minute():
    with pytest.raises(DurationError, match=r"write 1mo for months or 1m for minutes"):
        durations.parse_interval("1M")
    with pytest.raises(DurationError, match=r"write 1y6mo$"):
        durations.parse_interval("1Y6M")
    with pytest.raises(DurationError, match=r"write 1m$"):
        durations.parse("1M")


@pytest.mark.parametrize(
    "name", ["europe/berlin", "Berlin", "New York", "Europa/Berlin", "utc", "X"]
)
def test_a_zone_that_is_advised_is_one(name):
    with pytest.raises(ZoneError) as caught:
        zone(name)
    (found,) = re.findall(r"'([^']+)'", str(caught.value).partition(": ")[2])
    zone(found)


def test_an_interval_of_a_nickname_is_advised_as_it_was_asked():
    with pytest.raises(ScheduleError, match=r"--every 90m$"):
        Cron("@every 90m")


@pytest.mark.parametrize("item", ["5#2", "mon#1", "7#5"])
def test_the_nth_weekday_is_advised_as_the_days_it_falls_on(item):
    told = dialects.advice(item, "day of week")
    low, high = map(int, re.search(r"and (\d+)-(\d+) as the day of month", told).groups())
    assert 1 <= low <= high <= 31
    number = 1 if item.startswith("mon") else int(item[0])
    assert f"$(date +%u) = {number or 7}" in told
    Cron(f"0 0 {low}-{high} * *")


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("0 9 1-7 * 1", "for the first Monday alone use --on 'first monday' --at-time 09:00"),
        ("0 9 22-28 3,6 7", "use --on 'fourth sunday of march,june' --at-time 09:00"),
        ("0 9,18 1-7 * 1", "on days 1-7 of the month and on all Mondays too; for those Mondays"),
        ("0 9 2-8 * 1", "on days 2-8 of the month and on all Mondays too; for those Mondays"),
        ("0 9 13 * fri", "on day 13 of the month and on all Fridays too"),
        ("0 9 */2 * 1", None),
        ("0 9 1-7 * *", None),
        ("0 9 * * 1", None),
        ("0 9 1-31 * 1", None),
    ],
)
def test_who_gives_both_kinds_of_day_is_told_that_either_is_enough(runner, text, warned):
    task = runner.add("x", ["true"], Cron(text))
    told = " ".join(runner.advice(task))
    assert (warned in told) if warned else "either" not in told


def test_a_year_is_described_with_its_month():
    value = Every("1y", anchor=datetime(2028, 2, 29, 8, 0, tzinfo=UTC), tz="UTC")
    assert value.describe() == "every year on 29 February at 08:00 (UTC)"
    value = complete(Every("24mo"), tz="UTC", now=NOW)
    assert value.describe() == "every 24 months on 1 May at 12:00 (UTC)"
    value = complete(Every("1y6mo"), tz="UTC", now=NOW)
    assert value.describe() == "every 1y6mo on day 1 at 12:00 (UTC)"


def test_a_sign_of_another_dialect_is_only_read_where_that_has_it():
    with pytest.raises(ScheduleError, match=r"write . or numbers 0-59"):
        Cron("5,L * * * *")
    assert expression.read("0 0 28-31 * *").calendar.days == (28, 29, 30, 31)
