"""A year in Berlin with three outages, under every policy, against a calendar made without our schedules."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from taskrunner import CatchUp, Cron, Overlap, State, TaskRunner

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("year")]  # played once, by one process

BERLIN = ZoneInfo("Europe/Berlin")
START, END = datetime(2026, 1, 1, 0, 30, tzinfo=UTC), datetime(2027, 1, 1, 0, 30, tzinfo=UTC)
# A long one, one across the spring night, one across the autumn night.
OUTAGES = [
    (datetime(2026, 2, 3, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
    (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)),
    (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC)),
]


SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)  # that night half past two does not exist


def sundays():
    """Every Sunday at half past two in Berlin: in the autumn night the first, in the spring night its end."""
    for week in range(52):
        day = date(2026, 1, 4) + week * timedelta(days=7)
        slot = datetime.combine(day, time(2, 30), BERLIN).astimezone(UTC)
        yield SPRING if slot.date() == SPRING.date() else slot


SLOTS = list(sundays())
OUT = [[slot for slot in SLOTS if since <= slot < until] for since, until in OUTAGES]


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """Play the year, a tick every hour, and return the runs of each task, oldest first."""
    home = tmp_path_factory.mktemp("year") / "home"
    home.mkdir(mode=0o700)
    (home / "taskrunner.toml").write_text('synchronous = "normal"\n')  # no power cut is tried here
    now = [START]
    with TaskRunner(home, clock=lambda: now[0]) as runner:
        for catch_up, overlap in product(CatchUp, Overlap):
            name = f"{catch_up}-{overlap}"
            schedule = Cron("30 2 * * sun", tz="Europe/Berlin")
            runner.add(name, ["true"], schedule, catch_up=catch_up, overlap=overlap)
        while now[0] <= END:
            if not any(since <= now[0] < until for since, until in OUTAGES):
                runner.tick()
            now[0] += timedelta(hours=1)
        names = [task.name for task in runner.tasks()]
        return {name: runner.history(name, limit=None)[::-1] for name in names}


def test_the_calendar_has_the_outages_it_should():
    assert [len(found) for found in OUT] == [3, 1, 1]
    assert OUT[1] == [datetime(2026, 3, 29, 1, 0, tzinfo=UTC)]
    assert OUT[2] == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("catch_up", CatchUp)
def test_every_sunday_of_the_year_is_accounted_for_once(year, catch_up, overlap):
    runs = year[f"{catch_up}-{overlap}"]
    covered = [s for run in runs for s in SLOTS if run.first_slot <= s <= run.slot]
    assert covered == SLOTS
    assert sum(run.coalesced for run in runs) == len(SLOTS)


@pytest.mark.parametrize("overlap", Overlap)
def test_each_policy_does_with_an_outage_what_it_says(year, overlap):
    last, every, none = (year[f"{catch_up}-{overlap}"] for catch_up in CatchUp)
    assert [run.slot for run in every] == SLOTS
    assert {run.state for run in [*last, *every]} == {State.SUCCEEDED}
    folded = [(run.first_slot, run.slot, run.coalesced) for run in last if run.coalesced > 1]
    assert folded == [(OUT[0][0], OUT[0][-1], 3)]
    missed = [(run.first_slot, run.slot) for run in none if run.state is State.MISSED]
    assert missed == [(out[0], out[-1]) for out in OUT]
    assert {run.state for run in none} == {State.SUCCEEDED, State.MISSED}


def test_what_ran_in_time_was_not_late_and_what_was_late_says_so(year):
    for run in year["all-skip"]:
        late = any(run.slot in out for out in OUT)
        assert (run.late > 3600) is late
        assert (run.trigger == "catch-up") is late
