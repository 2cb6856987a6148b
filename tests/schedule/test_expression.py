"""The grammar of cron expressions: what is read, what is refused, and what to write instead."""

import calendar
import time
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from taskrunner.errors import ScheduleError
from taskrunner.schedule.expression import SEARCH_YEARS, normalise, read


def plain(found):
    """An expression in plain lists, with * for a field that holds all its numbers."""
    times = ((found.minutes, 60), (found.hours, 24))
    lists = ["*" if len(each) == size else ",".join(map(str, each)) for each, size in times]
    return " ".join([*lists, found.calendar.canonical])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("* * * * *", "* * * * *"),
        ("0 0 1 1 0", "0 0 1 1 0"),
        ("5,1,3 * * * *", "1,3,5 * * * *"),
        ("1-5 * * * *", "1,2,3,4,5 * * * *"),
        ("*/20 * * * *", "0,20,40 * * * *"),
        ("10-30/10 * * * *", "10,20,30 * * * *"),
        ("5/20 * * * *", "5,25,45 * * * *"),
        ("0 20/2 * * *", "0 20,22 * * *"),
        ("5-5 * * * *", "5 * * * *"),
        ("59/15 * * * *", "59 * * * *"),
        ("*/9999 * * * *", "0 * * * *"),
        ("0005 * * * *", "5 * * * *"),
        ("0-59 0-23 * 1-12 *", "* * * * *"),
        ("0 0 * JAN,Mar-may *", "0 0 * 1,3,4,5 *"),
        ("0 0 * * mon-FRI", "0 0 * * 1,2,3,4,5"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * fri-sun", "0 0 * * 0,5,6"),
        ("0 0 * * 6-0", "0 0 * * 0,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * 1-7/2", "0 0 * * 0,1,3,5"),
        ("0 0 * * sun-sun", "0 0 * * 0"),
        ("0 0 * * 0-0", "0 0 * * 0"),
        ("0 0 * * 7-0", "0 0 * * 0"),
        ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 * * */7", "0 0 * * 0"),
        ("0 0 * * sun-tue", "0 0 * * 0,1,2"),
        ("0 0 1,15 * *", "0 0 1,15 * *"),
        (" \t0  0\t* * *  ", "0 0 * * *"),
        ("*,5 * * * *", "* * * * *"),
    ],
)
def test_an_expression_is_read_into_plain_lists(text, canonical):
    assert plain(read(text)) == canonical


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@DAILY", "0 0 * * *"),
    ],
)
def test_a_nickname_stands_for_its_fields(nickname, fields):
    named, spelled = read(nickname), read(fields)
    assert plain(named) == plain(spelled)
    assert named.wildcard == spelled.wildcard
    assert named.calendar.both == spelled.calendar.both


@pytest.mark.parametrize(
    ("text", "wildcard"),
    [
        ("* 5 * * *", True),
        ("*/5 5 * * *", True),
        ("5 * * * *", True),
        ("5 */2 * * *", True),
        ("@hourly", True),
        ("0-59 0-23 * * *", False),
        ("0,* 5 * * *", False),
        ("@daily", False),
    ],
)
def test_a_wildcard_task_is_one_whose_minute_or_hour_begins_with_a_star(text, wildcard):
    assert read(text).wildcard is wildcard


def days(text: str, year: int, month: int) -> list[int]:
    length = calendar.monthrange(year, month)[1]
    return [
        day for day in range(1, length + 1) if read(text).calendar.matches(date(year, month, day))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # June 2026 begins on a Monday
        ("0 0 13 * 1", [1, 8, 13, 15, 22, 29]),
        ("0 0 */2 * 1", [1, 15, 29]),
        ("0 0 1-9 * */2", [2, 4, 6, 7, 9]),
        ("0 0 * * 1", [1, 8, 15, 22, 29]),
        ("0 0 13 * *", [13]),
        ("0 0 1-31 * 1", list(range(1, 31))),
        ("0 0 13 * 0-6", list(range(1, 31))),
        ("0 0 13 6 *", [13]),
        ("0 0 13 7 1", []),
    ],
)
def test_both_days_must_match_if_either_begins_with_a_star_else_one_is_enough(text, expected):
    assert days(text, 2026, 6) == expected


REFUSED = [
    ("", "five fields"),
    ("   ", "five fields"),
    ("0 0 * *", "4 of the five fields"),
    ("0 0 2 * * *", "'0 2 * * *' if its seconds come first (Quartz, Spring)"),
    ("0 2 * * * 0", "'0 2 * * *' if its seconds come last (croniter) or its year does (AWS)"),
    ("0 2 * * * 2026", "write '0 2 * * *' if its seconds come last"),
    ("0 0 12 * * MON", "'0 12 * * MON' if its seconds come first"),
    ("0 0 12 1 * ?", "'0 12 1 * *' if its seconds come first"),
    ("0 0 12 ? * MON-FRI *", "Quartz"),
    ("0 0 * * * 99999", "write '0 0 * * *' if its seconds come last"),
    ("0 99 77 * * 0", "only minute, hour, day of month, month, day of week"),
    ("0 2 * * * root /bin/x", "give only '0 2 * * *'"),
    ("0 2 * * MON /bin/x -v", "give only '0 2 * * MON'"),
    ("0 2 * * * a b c d e", "whole crontab line"),
    ("@daily /bin/x", "give only '@daily'"),
    ("@reboot", "--boot"),
    ("@REBOOT", "Boot()"),
    ("@every 5m", "--every"),
    ("@fortnightly", "@weekly"),
    ("CRON_TZ=UTC 0 2 * * *", "tz of the task"),
    ("TZ=UTC 0 2 * * *", "tz of the task"),
    ("0 22-2 * * *", "write 22,23,0-2"),
    ("0 23-2 * * *", "write 23,0-2"),
    ("0 20-0 * * *", "write 20-23,0 "),
    ("0 22-4/2 * * *", "write 22,0,2,4"),
    ("30-10 * * * *", "write 30-59,0-10"),
    ("0 0 28-3 * *", "write 28-31,1-3"),
    ("0 0 * nov-feb *", "write 11,12,1,2"),
    ("0 0 * * sat-mon", "write 6,0,1"),
    ("*/0 * * * *", "from 1 to 9999"),
    ("*/10000 * * * *", "from 1 to 9999"),
    ("1-5/0 * * * *", "from 1 to 9999"),
    ("0 0 * * 5/2", "5-6/2"),
    ("0 0 ? * 1", "write *"),
    ("0 0 L * *", "--on 'last day'"),
    ("0 0,12 L * *", "no days from the end"),
    ("0 0 15W * *", "nearest weekday"),
    ("0 0 LW * *", "--on 'last workday'"),
    ("0 0 3,LW * *", "nearest weekday"),
    ("0 0 * * 5L", "--on 'last friday'"),
    ("* 0 * * 5L", "no last weekday"),
    ("0 0 * * friL", "--on 'last friday'"),
    ("0 0 * * mon#1", "--on 'first monday'"),
    ("0 0 * * mon#5", "29-31"),
    ("* * * * mon#1", "1-7"),
    ("H * * * *", "jitter"),
    ("H/15 * * * *", "jitter"),
    ("H(0-29) * * * *", "jitter"),
    ("R * * * *", "jitter"),
    ("0~30 * * * *", "jitter"),
    ("0 0 * * monday", "write mon"),
    ("0 0 * * Mon-Friday", "write fri"),
    ("0 0 * january *", "write jan"),
    ("0 0 * mon *", "day of week field"),
    ("0 0 * * mar", "month field"),
    ("0 0 * may-foo *", "jan-dec"),
    ("60 * * * *", "0-59"),
    ("0 24 * * *", "0 for midnight"),
    ("0 25 * * *", "0-23"),
    ("0 0 0 * *", "1-31"),
    ("0 0 32 * *", "1-31"),
    ("0 0 * 0 *", "1-12"),
    ("0 0 * 13 *", "1-12"),
    ("0 0 * * 8", "0-7"),
    ("-5 * * * *", "0-59"),
    ("+5 * * * *", "0-59"),
    ("1.5 * * * *", "0-59"),
    ("1,,2 * * * *", "0-59"),
    (", * * * *", "0-59"),
    ("1- * * * *", "0-59"),
    ("*/ * * * *", "0-59"),
    ("/5 * * * *", "0-59"),
    ("*-5 * * * *", "0-59"),
    ("** * * * *", "0-59"),
    ("1-2-3 * * * *", "0-59"),
    ("1/2/3 * * * *", "0-59"),
    ("00005 * * * *", "0-59"),
    ("jan * * * *", "month field"),
    ("0 0 31 2 *", "up to 29"),
    ("0 0 30 2 */2", "up to 29"),
    ("0 0 31 2,4,6,9,11 *", "up to 30"),
    ("\u0661 * * * *", "plain ASCII"),
    ("\uff11 * * * *", "plain ASCII"),
    ("0\u00a00 * * *", "plain ASCII"),
    ("0 0 * *\n*", "blanks or tabs"),
    ("0 0 * * *\n", "blanks or tabs"),
    ("0 0 * *\v*", "blanks or tabs"),
    ("0 0 * * *\0", "plain ASCII"),
    ("0 0 * * \x1b[2J", "plain ASCII"),
]


@pytest.mark.parametrize(("text", "advice"), REFUSED)
def test_what_is_refused_is_told_what_to_write_instead(text, advice):
    with pytest.raises(ScheduleError) as caught:
        read(text)
    message = str(caught.value)
    assert advice in message and message.isprintable()
    assert " ".join(text.split())[:5] in message or not text.isprintable() or not text.strip()


def test_the_message_names_the_field_and_the_item_that_is_wrong():
    with pytest.raises(ScheduleError) as caught:
        read("0 1,25,3 * * *")
    assert str(caught.value).startswith("'0 1,25,3 * * *' has '25' as its hour: ")


@pytest.mark.parametrize("value", [None, 5, b"* * * * *", ["* * * * *"], ("*",) * 5])
def test_only_text_is_read(value):
    with pytest.raises(ScheduleError):
        read(value)


@pytest.mark.parametrize(
    "text",
    ["1" * 10**6, ",".join(["1"] * 10**5) + " * * * *", " " * 10**6, "*/" * 10**5, "\0" * 300],
)
def test_a_huge_text_is_refused_before_it_is_read(text):
    start = time.perf_counter()
    with pytest.raises(ScheduleError, match="longer than the 256 characters") as caught:
        read(text)
    assert time.perf_counter() - start < 0.1
    assert len(str(caught.value)) < 500


def test_the_longest_texts_are_read_quickly():
    lists = ",".join(["*"] * 124)
    start = time.perf_counter()
    assert plain(read(f"{lists} * * * *")) == "* * * * *"
    with pytest.raises(ScheduleError):
        read(f"{'9' * 248} * * * *")
    assert time.perf_counter() - start < 0.1


@given(st.text(alphabet="0123456789*/,-?LWH#~@ \tmonfri", max_size=40))
def test_any_text_is_an_expression_or_a_clear_error(text):
    try:
        found = read(text)
    except ScheduleError as exc:
        assert str(exc).isprintable()
    else:
        assert found.calendar.day_from(date(2026, 1, 1)) is not None


def test_blanks_are_normalised_and_the_rest_is_kept_as_given():
    assert normalise("  0\t 0 * *  MON ") == "0 0 * * MON"


def test_days_are_found_across_the_forty_years_without_a_29_february_on_a_sunday():
    leap_sunday = read("0 0 29 2 */7")
    assert leap_sunday.calendar.day_from(date(1880, 3, 1)) == date(1920, 2, 29)
    assert leap_sunday.calendar.day_from(date(2088, 3, 1)) == date(2128, 2, 29)


def test_every_expression_that_can_fire_does_so_within_the_years_that_are_searched():
    for weekday in range(7):
        found = [
            date(year, 2, 29)
            for year in range(1600, 2004, 4)
            if calendar.isleap(year) and date(year, 2, 29).isoweekday() % 7 == weekday
        ]
        gaps = [later.year - before.year for before, later in pairwise(found)]
        assert max(gaps) < SEARCH_YEARS


def test_there_is_no_day_past_the_end_of_the_calendar():
    assert read("0 0 1 1 *").calendar.day_from(date(9999, 6, 1)) is None
    assert read("* * * * *").calendar.day_from(date.max) == date.max
