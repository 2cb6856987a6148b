"""Debian's own cron and taskrunner beside each other, through nights in which clocks change.

One fast cron for each night runs lines that note the time, and a line with `taskrunner tick`; the tasks have
the expressions of the lines. All nights pass at the same time, in less than a minute. What may differ stands
in docs/explanation/time.md, and nothing else may.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from taskrunner import Cron, InputError, TaskRunner
from taskrunner.tasks import debian_cron
from tests.system import cronbox

pytestmark = [
    pytest.mark.system,
    pytest.mark.xdist_group("nights"),
    pytest.mark.timeout(1500),  # nights that are spent anew are spent slowly
]

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs/explanation/time.md"
MINUTE = timedelta(minutes=1)
# cron has ways of its own with gaps of more than five minutes (wakeup kinds of cron.c).
STALLED = 4 * MINUTE
# cron is at its lines some seconds of its clock after the minute, on a busy machine a minute or two. The
# times of an expression are at least ten minutes apart; later than this, a line is not known to be of one.
LATE = 3 * MINUTE
# Of the first attempt, and of those for which the machine was too busy.
SPEEDS = (120, 60, 30)
BEFORE = (
    65 * MINUTE
)  # longer than any of the hours that come twice: faketime reads its start as a wall time
AFTER = 50 * MINUTE
AHEAD = 3 * MINUTE  # what cron has to come up in


@dataclass(frozen=True)
class Night:
    """One change of the clocks: its zone, and the instant at which it comes."""

    zone: str
    change: datetime

    def __str__(self) -> str:
        kind = "spring" if self.ahead else "autumn"
        return f"{self.zone.rpartition('/')[2]}-{kind}-{self.change:%Y}"

    def wall(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.zone))

    @property
    def shift(self) -> timedelta:
        after, before = self.wall(self.change), self.wall(self.change - MINUTE)
        return after.utcoffset() - before.utcoffset()

    @property
    def ahead(self) -> bool:
        return self.shift > timedelta(0)

    @property
    def odd(self) -> datetime:
        """The first wall time that is left out, or that comes twice."""
        start = self.wall(self.change).replace(tzinfo=None)
        return start - self.shift if self.ahead else start

    @property
    def first(self) -> datetime:
        """The first instant of which both are asked."""
        return self.change - BEFORE

    @property
    def end(self) -> datetime:
        """The instant up to which both are asked: in autumn the wall clock has to come by once more."""
        return self.change + AFTER + max(timedelta(0), -self.shift)


NIGHTS = [
    Night("Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
    Night("Europe/Berlin", datetime(2026, 10, 25, 1, 0, tzinfo=UTC)),
    Night("America/New_York", datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
    Night("America/New_York", datetime(2026, 11, 1, 6, 0, tzinfo=UTC)),
    # Half an hour.
    Night("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    Night("Australia/Lord_Howe", datetime(2026, 4, 4, 15, 0, tzinfo=UTC)),
    # At midnight; clocks have not changed there since 2019.
    Night("America/Sao_Paulo", datetime(2018, 11, 4, 3, 0, tzinfo=UTC)),
    Night("America/Sao_Paulo", datetime(2018, 2, 18, 2, 0, tzinfo=UTC)),
]


def expressions(night: Night) -> list[str]:
    """What is asked in a night: wildcards, and times in, before and after what is odd."""
    odd = night.odd
    hour, before, after = odd.hour, (odd.hour - 1) % 24, (odd.hour + 1) % 24
    day, month, weekday = odd.day, odd.month, odd.isoweekday() % 7
    tomorrow = (weekday + 1) % 7
    wild = ["*/15 * * * *", "*/20 * * * *", "0 * * * *", "30 * * * *", "@hourly", "0 */2 * * *"]
    wild += ["*/30 */3 * * *", "0-30/10 * * * sun", f"*/15 {hour} * * *", f"*/30 {before}-23 * * *"]
    fixed = [f"{minute} {hour} * * *" for minute in ("0", "15", "30", "45", "0,30")]
    fixed += [f"15 {before} * * *", f"0 {after} * * *", f"30 {after} * * *"]
    fixed += [f"0-59/15 {hour} * * *", "15 0-23/1 * * *", "30 1-3 * * *", "30 2 * * *"]
    if after > hour:
        fixed += [f"0 {hour},{after} * * *"]
    fixed += [f"45 {hour} * * {weekday}", f"45 {hour} * * {tomorrow}", f"30 {hour} {day} {month} *"]
    fixed += [f"30 {hour} {day} * {tomorrow}", f"30 {hour} */2 * *", f"30 {hour} */2 * {weekday}"]
    fixed += ["@daily", "@weekly", "@monthly", "0 0 * * *"]
    return list(dict.fromkeys(wild + fixed))


# ---- what cron does


@dataclass
class Notes:
    """What the lines of one cron noted, by their expressions; `beats` are the times of a line for every minute."""

    times: dict[str, list[datetime]] = field(default_factory=dict)
    beats: list[datetime] = field(default_factory=list)
    late: bool = False  # a line came so late that its time is not known

    def complete(self, since: datetime, until: datetime) -> bool:
        """Whether cron was there all the time, and neither it nor a line was held up for long."""
        gaps = [later - earlier for earlier, later in pairwise(self.beats)]
        there = bool(gaps) and self.beats[0] < since and self.beats[-1] >= until
        return there and max(gaps) <= STALLED and not self.late


def lines_for(texts: Sequence[str], place: Path) -> list[str]:
    """The lines of a crontab that note their number and the time."""
    numbered = enumerate(["* * * * *", *texts])
    return [f"{text} date '+{number} \\%s' >>{place}" for number, text in numbered]


def noted(texts: Sequence[str], place: Path, zone: str, change: datetime) -> Notes:
    """What lines made so have noted: the minutes they were of, and the beats as they were."""
    found = Notes({text: [] for text in texts})
    lines = [line.split() for line in place.read_text().splitlines()] if place.exists() else []
    for number, moment in sorted((int(n), datetime.fromtimestamp(int(at), UTC)) for n, at in lines):
        if number == 0:
            found.beats.append(moment)
        elif (minute := minute_of(texts[number - 1], moment, zone, change)) is not None:
            found.times[texts[number - 1]].append(minute)
        else:
            found.late = True
    return found


def minute_of(text: str, moment: datetime, zone: str, change: datetime) -> datetime | None:
    """The minute for which cron ran a line: one of its expression, or that in which clocks went forward."""
    named = "0" if text.startswith(("@", "*/90")) else text.partition(" ")[0]
    (minutes, *_), _ = croniter.expand(f"{named} * * * *")
    minute = moment.replace(second=0)
    while moment - minute <= LATE:
        if minute == change or minute.astimezone(ZoneInfo(zone)).minute in minutes:
            return minute
        minute -= MINUTE
    return None


# ---- what taskrunner does


def program(home: Path) -> str:
    return f"{sys.executable} -m taskrunner --home {home} tick"


def fitted(home: Path, night: Night, clock) -> TaskRunner:
    """A home with a task for each expression, as of the first instant that counts."""
    home.mkdir(mode=0o700)
    made = TaskRunner(home, clock=clock)
    for number, text in enumerate(expressions(night)):
        schedule = Cron(text, night.zone)
        made.add(f"e{number}", ["true"], schedule=schedule, catch_up="all", overlap="allow")
    return made


def slots(home: Path, night: Night) -> dict[str, list[datetime]]:
    """The slots that were decided, by their expressions."""
    found: dict[str, list[datetime]] = {}
    with TaskRunner(home) as runner:
        for number, text in enumerate(expressions(night)):
            runs = runner.history(f"e{number}", limit=1000)
            assert {run.coalesced for run in runs} <= {1}
            found[text] = sorted(run.slot for run in runs if night.first <= run.slot < night.end)
    return found


# ---- all nights at once


@dataclass
class Told:
    """What became of one night."""

    notes: Notes
    ticked: dict[str, list[datetime]]  # by real ticks, which cron called

    def differences(self, night: Night) -> list[list[str]]:
        """What is not the same, as the rows of the page have it."""
        where = f"{night.zone} {night.odd:%Y-%m-%d}"
        return [
            [text, where, walls(night, cron), walls(night, ours)]
            for text, ours in self.ticked.items()
            if (cron := self.cron(night, text)) != ours
        ]

    def cron(self, night: Night, text: str) -> list[datetime]:
        return [each for each in self.notes.times[text] if night.first <= each < night.end]


def walls(night: Night, moments: Sequence[datetime]) -> str:
    """Instants as times of the wall clock, each with how often it was."""
    counted = Counter(f"{night.wall(each):%H:%M}" for each in moments)
    return ", ".join(text if n == 1 else f"{text} {n} times" for text, n in counted.items())


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="parity-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def told(needs, folder, midnights) -> dict[Night, Told]:
    """What became of each night; one in which this machine was too busy is done again by itself."""
    cronbox.check_machine(needs)
    found: dict[Night, Told] = {}
    for speed in SPEEDS:
        missing = [night for night in NIGHTS if night not in found]
        done = spent(missing, speed, folder / f"{speed}", midnights)
        found |= {
            night: each
            for night, each in done.items()
            if each.notes.complete(night.first, night.end)
        }
    known = {*found, *midnights.times}
    assert known == {*NIGHTS, *DAYS}, "cron was held up in each attempt: the machine is too busy"
    return found


def spent(
    nights: Sequence[Night], speed: int, folder: Path, midnights: Midnights
) -> dict[Night, Told]:
    """Spends some nights at the same time, each with a cron of its own."""
    folder.mkdir()
    with contextlib.ExitStack() as boxes:
        running = {night: boxes.enter_context(one(night, speed, folder)) for night in nights}
        midnights.spend(speed // 2)
        for night, box in running.items():
            box.pass_until(night.end + 2 * MINUTE)
    for box in running.values():
        assert (box.mail, box.left) == ("", "")
    return {night: ended(night, folder) for night in nights}


@contextlib.contextmanager
def one(night: Night, speed: int, folder: Path) -> Iterator[cronbox.Box]:
    home = folder / f"{night}"
    fitted(home, night, lambda: night.first - MINUTE).close()
    (home / "taskrunner.toml").write_text("tick_period = '15m'\n")
    texts = expressions(night)
    lines = [*lines_for(texts, folder / f"{night}.notes"), f"*/15 * * * * {program(home)}"]
    start = night.wall(night.first - AHEAD)
    environment = {"TZ": night.zone, "PYTHONPATH": str(CHECKOUT)}
    with cronbox.running(lines, start, speed=speed, environment=environment) as box:
        yield box


def ended(night: Night, folder: Path) -> Told:
    """What a night has left; a last tick decides what came due after the last one of cron's."""
    home = folder / f"{night}"
    argv = ["env", f"PYTHONPATH={CHECKOUT}", *program(home).split()]
    assert cronbox.at(night.wall(night.end + 2 * MINUTE), argv, cwd="/").returncode == 0
    notes = noted(expressions(night), folder / f"{night}.notes", night.zone, night.change)
    return Told(notes, slots(home, night))


@pytest.mark.parametrize("night", NIGHTS, ids=str)
def test_cron_and_ticks_run_the_same_expressions_at_the_same_instants(told, night):
    listed = cells("Debian's cron runs at")
    assert [row for row in told[night].differences(night) if row not in listed] == []


def test_the_page_lists_what_differs_and_nothing_else(told):
    found = [row for night in NIGHTS for row in told[night].differences(night)]
    assert found == cells("Debian's cron runs at")


@pytest.mark.parametrize("night", NIGHTS, ids=str)
def test_each_night_has_times_before_in_and_after_its_odd_hour(told, night):
    """So that what is compared is not two empty lists."""
    assert sum(bool(told[night].cron(night, text)) for text in expressions(night)) >= 20
    times = {each for text in expressions(night) for each in told[night].cron(night, text)}
    assert min(times) < night.change < max(times)
    assert night.change in times
    assert len(told[night].notes.beats) > (night.end - night.first) / MINUTE * 0.95


@pytest.mark.parametrize("night", NIGHTS, ids=str)
def test_a_tick_a_minute_decides_the_same_slots_as_ticks_that_come_less_often(
    told, night, tmp_path
):
    now = night.first - MINUTE
    with fitted(tmp_path / "home", night, lambda: now) as runner:
        while now < night.end:
            now += MINUTE
            runner.tick()
    assert slots(tmp_path / "home", night) == told[night].ticked


# ---- days


# A week, the end of a month, of a short February and of a year.
DAYS = [
    *(datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 8)),
    datetime(2026, 5, 31, tzinfo=UTC),
    datetime(2028, 2, 29, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
]
OF_DAYS = [
    *("0 0 * * sun", "0 0 * * SUN-tue", "0 0 * * 0-7", "0 0 * * 7", "0 0 * * fri-sun"),
    *("0 0 * * 5-7", "0 0 * * 6-0", "0 0 * * sun-sun", "0 0 * * 0-0", "0 0 * * 7-7"),
    *("0 0 * * mon,wed-fri", "0 0 * * */2", "0 0 * * */3", "0 0 * * */8", "0 0 * * 1-7/2"),
    *("0 0 * * 0-7/3", "0 0 * * mon-fri/2", "0 0 */2 * 1", "0 0 */2 * *", "0 0 1 * 1"),
    *("0 0 1-31 * 1", "0 0 1-7 * mon", "0 0 */5 * */2", "0 0 31 * *", "0 0 31 * mon"),
    *("0 0 29 2 *", "0 0 29 2 */2", "0 0 * feb,5 *", "0 0 1 jan-mar/2 *", "0 0 1 */2 *"),
    *("@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"),
    *("0 0 * jan-DEC *", "0 0 5-5 * *", "0 0 4-7/2 3 *", "0 0 0003 * *", "*/90 0-2/9 * * *"),
]


@dataclass
class Midnights:
    """The midnights at which cron runs expressions that are about days; all of them, once."""

    folder: Path
    times: dict[datetime, dict[str, list[datetime]]] = field(default_factory=dict)

    def spend(self, speed: int) -> None:
        """Spends those that are not known yet, one after another; some may be left, as the machine is too busy."""
        for day in DAYS:
            if day in self.times:
                continue
            place = self.folder / f"{day:%Y-%m-%d}.notes"
            lines = lines_for(OF_DAYS, place)
            with cronbox.running(lines, day - AHEAD, speed=speed) as box:
                # A minute is over for cron when it has begun the next one.
                box.pass_until(day + 2 * MINUTE)
            assert (box.mail, box.left) == ("", "")
            notes = noted(OF_DAYS, place, "UTC", day)
            place.unlink(missing_ok=True)
            if notes.complete(day, day + MINUTE):
                self.times[day] = notes.times


@pytest.fixture(scope="module")
def midnights(needs, folder) -> Midnights:
    cronbox.check_machine(needs)
    return Midnights(folder)


@pytest.mark.parametrize("day", DAYS, ids="{:%Y-%m-%d}".format)
def test_the_same_days_are_meant(told, midnights, day):
    """Steps, names, Sunday at both ends of a week, and days of the month and of the week together."""
    ours = {text: at(text, day) for text in OF_DAYS}
    theirs = {text: day in times for text, times in midnights.times[day].items()}
    listed = {text for text, *_ in cells("Debian's cron runs on")}
    assert {text for text in OF_DAYS if ours[text] != theirs[text]} <= listed
    assert True in theirs.values()


def test_the_page_lists_the_expressions_that_mean_other_days(told, midnights):
    week = DAYS[:7]
    for text in OF_DAYS:
        theirs = [day for day in week if day in midnights.times[day][text]]
        ours = [day for day in week if at(text, day)]
        listed = [row[1:] for row in cells("Debian's cron runs on") if row[0] == text]
        assert listed == ([] if theirs == ours else [[names(theirs), names(ours)]]), text


def names(days: Sequence[datetime]) -> str:
    """Days of the week, from Monday on."""
    ordered = sorted(days, key=datetime.weekday)
    return ", ".join(f"{day:%a}" for day in ordered) or "no day"


def at(text: str, moment: datetime) -> bool:
    return Cron(text, "UTC").next_after(moment - timedelta(seconds=1)) == moment


# ---- what is an expression


AGREED = [
    *(*OF_DAYS, "*/0 * * * *", "0 0 ? * *", "0 0 L * *", "0 0 * * monday", "0 0 * january *"),
    *("+5 0 * * *", "-5 0 * * *", "1, 0 * * *", ",1 0 * * *", "60 0 * * *", "0 24 * * *"),
    *("0 0 0 * *", "0 0 32 * *", "0 0 * 13 *", "0 0 * 0 *", "0 0 * * 8", "0 0 1W * *"),
    *("H 0 * * *", "@fortnightly", "mon * * * *", "0 0 mon * *", "0 0 * * 1/2", "*,5 0 * * *"),
    *("5,* 0 * * *", "1-5,10-20/3,7 * * * *", "0-59/90 * * * *", "5-5 0 * * *", "a * * * *"),
]


def test_the_same_texts_are_expressions_but_for_those_that_the_page_lists(needs):
    cronbox.check_machine(needs)
    listed = {text: (cron, ours) for text, cron, ours, _ in cells("Debian's cron accepts")}
    assert not {*listed} & {*AGREED}
    asked = [*AGREED, *listed]
    found = {
        text: (theirs, taken(text))
        for text, theirs in zip(asked, taken_by_cron(asked), strict=True)
        if theirs != taken(text)
    }
    assert found == listed


def test_what_debians_crontab_refuses_is_known(needs):
    cronbox.check_machine(needs)
    more = [
        "0/5 * * * *",
        "5/10,7 * * * *",
        "*/5,7 * * * *",
        "1-5/2,*/7 3 * * *",
        "@Daily",
        "@Reboot",
    ]
    more += ["@reboot", "@midnight", "1/2 * * * *", "0 0 1/7 * *", "0 0 * jan/2 *", "0 0 * * mon/2"]
    asked = [each for each in (*AGREED, *OF_DAYS, *more) if taken(each) == "yes" or each[0] == "@"]
    theirs = taken_by_cron(asked)
    ours = ["no" if debian_cron.refuses(each) else "yes" for each in asked]
    assert dict(zip(asked, ours, strict=True)) == dict(zip(asked, theirs, strict=True))
    assert "no" in theirs and "yes" in theirs


def taken(text: str) -> str:
    try:
        Cron(text, "UTC")
    except InputError:
        return "no"
    return "yes"


def taken_by_cron(texts: Sequence[str]) -> list[str]:
    """Whether crontab(1) takes lines with these expressions, in a namespace with crontabs of its own."""
    script = """
        mount -t tmpfs -o mode=1730,gid=crontab tmpfs /var/spool/cron/crontabs
        while IFS= read -r text; do
            printf '%s true\\n' "$text" | crontab - 2>/dev/null && echo yes || echo no
        done
    """
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    told = "".join(f"{text}\n" for text in texts)
    done = subprocess.run(argv, input=told, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


# ---- the page


def cells(heading: str) -> list[list[str]]:
    """The rows of the table of the page that has this heading."""
    lines = PAGE.read_text().splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith("|") and heading in line)
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" `") for cell in line.strip("|").split("|")])
    return rows
