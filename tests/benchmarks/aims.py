"""What is aimed at, what is still borne, and whether measured figures keep to it."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.figures import ratios, spread
from tests.benchmarks.results import Results

Values = Callable[[Results], list[float] | None]


@dataclass(frozen=True)
class Row:
    """One aim: figures are ratios unless they have a unit; `more` is better where that is said."""

    key: str
    what: str
    against: str
    aim: float
    limit: float
    values: Values
    unit: str = ""
    more: bool = False


def _ratio(part: str, ours: str, theirs: str) -> Values:
    """Return how a row is computed of two sides that were measured in turn."""

    def values(results: Results) -> list[float] | None:
        sides = results.sides.get(part, {})
        return ratios(sides[ours], sides[theirs]) if {ours, theirs} <= sides.keys() else None

    return values


def _plain(part: str, side: str, unit: float = 1.0) -> Values:
    """Return how a row is taken from one side, counted in a unit."""

    def values(results: Results) -> list[float] | None:
        found = results.sides.get(part, {}).get(side)
        return None if found is None else [each / unit for each in found]

    return values


ROWS = (
    Row(
        "idle",
        "idle tick, 10 tasks",
        "`python -c 'import sqlite3'` of the same interpreter",
        0.75,
        1.0,
        _ratio("idle", "tick", "sqlite3"),
    ),
    Row(
        "help",
        "`taskrunner --help`",
        "`python -c 'import sqlite3'`",
        3,
        4,
        _ratio("verbs", "help", "sqlite3"),
    ),
    Row(
        "version",
        "`taskrunner --version`",
        "the same",
        3,
        4,
        _ratio("verbs", "version", "sqlite3"),
    ),
    Row(
        "written",
        "written to disk by a day of 1,440 idle ticks, blocks of 4 kB",
        "none",
        30,
        45,
        _plain("written", "idle", 1e6 / 1440),
        unit="MB",
    ),
    Row(
        "one-due",
        "written to disk by a tick with one task due",
        "none",
        300,
        400,
        _plain("written", "due", 1e3),
        unit="kB",
    ),
    Row(
        "many",
        "idle tick, 1,000,000 tasks",
        "idle tick, 10 tasks",
        1.0,
        1.1,
        _ratio("idle", "tick of many", "tick"),
    ),
    Row(
        "django",
        "idle tick, times faster",
        "`manage.py` of an empty Django project",
        10,
        5,
        _ratio("others", "django", "tick"),
        more=True,
    ),
    Row(
        "apscheduler",
        "idle tick, times faster",
        "one pass of APScheduler with its SQL store",
        10,
        5,
        _ratio("others", "apscheduler", "tick"),
        more=True,
    ),
    Row(
        "celery",
        "idle tick, times faster",
        "the start of `celery beat`",
        10,
        5,
        _ratio("others", "celery", "tick"),
        more=True,
    ),
    Row(
        "burst",
        "2,000 due `/bin/true`, each durable in history",
        "`xargs -P4 -n1 /bin/true`, which records nothing",
        1.5,
        2.0,
        _ratio("burst", "tick", "xargs"),
    ),
    Row(
        "spawn",
        "the same",
        "a C loop over `posix_spawn`, 4 at a time",
        1.3,
        1.6,
        _ratio("burst", "tick", "spawn"),
    ),
    Row(
        "output",
        "the same, with 1 kB of output each",
        "`xargs` with a redirected shell per run",
        1.3,
        1.6,
        _ratio("output", "tick", "xargs"),
    ),
    Row(
        "memory",
        "memory per running child, 1,000 children",
        "a supervisor with one child",
        1,
        20,
        _plain("memory", "child", 1000),
        unit="kB",
    ),
    Row(
        "quiet",
        "processor time of a supervisor over 60 s, 100 quiet children",
        "idle",
        0,
        0.1,
        _plain("quiet", "share"),
        unit="%",
    ),
    Row(
        "history",
        "last 20 runs of one task, history of 10,000,000 runs",
        "the same at 10,000",
        1.1,
        2,
        _ratio("history", "long", "short"),
    ),
    Row(
        "apply",
        "`add` of 10,000 tasks by `apply`",
        "one SQLite transaction of as many rows",
        3,
        6,
        _ratio("apply", "apply", "rows"),
    ),
    Row(
        "next",
        "`next` over 10,000 tasks",
        "the bare croniter calls it needs",
        1.2,
        2,
        _ratio("next", "next", "croniter"),
    ),
)

MET, WITHIN, MISSED = "aim met", "within the limit", "**missed**"


def verdict(row: Row, median: float) -> str:
    """Return whether a figure keeps to the aim or at least the limit, taken to two decimals, as it is shown."""
    figure = round(median, 2)
    if row.more:
        return MET if figure >= row.aim else WITHIN if figure >= row.limit else MISSED
    return MET if figure <= row.aim else WITHIN if figure <= row.limit else MISSED


def median(row: Row, results: Results) -> float | None:
    """Return the figure of a row, None when it was not measured."""
    values = row.values(results)
    return None if values is None else spread(values).median
