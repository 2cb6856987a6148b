"""Expressions in words: what is said is true, and short where a person would be short."""

import pytest

from taskrunner.schedule.describe import words
from taskrunner.schedule.expression import read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,15,30,45 * * * *", "every 15 minutes"),
        ("@hourly", "every hour"),
        ("5 * * * *", "every hour at minute 5"),
        ("5,35 * * * *", "every hour at minutes 5, 35"),
        ("*/7 * * * *", "every hour at minutes 0, 7, 14, 21, 28, 35, 42, 49, 56"),
        ("0 */2 * * *", "every 2 hours"),
        ("20 */6 * * *", "every 6 hours at minute 20"),
        ("0 */5 * * *", "every day at 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("30 2 * * *", "every day at 02:30"),
        ("0 6,18 * * *", "every day at 06:00 and 18:00"),
        ("0,30 9 * * *", "every day at 09:00 and 09:30"),
        ("0 9 * * 1", "Mondays at 09:00"),
        ("0 9 * * mon-fri", "Mondays to Fridays at 09:00"),
        ("0 9 * * 0,6", "Saturdays and Sundays at 09:00"),
        ("0 9 * * 1,3,5", "Mondays, Wednesdays and Fridays at 09:00"),
        ("@monthly", "on day 1 of every month at 00:00"),
        ("@yearly", "on day 1 of January at 00:00"),
        ("0 0 1-3,15 1,7 *", "on days 1-3, 15 of January and July at 00:00"),
        ("0 0 * 12 *", "every day in December at 00:00"),
        ("0 0 * 12 5", "Fridays in December at 00:00"),
        ("0 0 13 * 5", "on day 13 of every month and on Fridays at 00:00"),
        ("0 0 13 6 5", "on day 13 of June and on Fridays in June at 00:00"),
        ("0 0 29 2 */7", "Sundays that fall on day 29 of February at 00:00"),
        ("0 0 1-31 * 5", "every day at 00:00"),
        ("*/10 9-17 * * *", "every 10 minutes from 09:00 to 17:50"),
        ("* 3 * * *", "every minute from 03:00 to 03:59"),
        ("*/5 9-17 * * 1-5", "every 5 minutes from 09:00 to 17:55, Mondays to Fridays"),
        ("1-9,30 1,3,5-8 * * *", "at minutes 1-9, 30 of hours 1, 3, 5-8"),
        ("0 * 1 * *", "every hour, on day 1 of every month"),
    ],
)
def test_an_expression_is_said_in_words(text, said):
    assert words(read(text)) == said
