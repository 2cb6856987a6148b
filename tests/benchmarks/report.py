"""The page: figures in, Markdown out. It measures nothing and draws nothing."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks import aims, curves, questions
from tests.benchmarks.figures import ratios, short, spread
from tests.benchmarks.mix import MINUTES, MIX, day_of
from tests.benchmarks.reasons import GROWTH, REASONS, Reason
from tests.benchmarks.results import Results, read

FIGURES = "figures.json"

OPENING = """\
# Performance

<!-- Written by tests/benchmarks/run. Do not edit: change tests/benchmarks/report.py or tests/benchmarks/reasons.py. -->

What taskrunner costs a machine: first in plain words, then beside what people would use instead, and beside the least
that the machine allows.
"""

METHOD = """\
## How it is measured

All in one run: `tests/benchmarks/run` in a checkout makes a page like this one on your machine, in half an hour.

Single times of one machine say little, ratios within one run say enough. Both sides of a ratio are measured in
turn, in every other round in the other order, and each round gives one ratio. A figure is the **median** of these;
the **middle half** of all rounds lies between its two numbers, and **all** lie between the two numbers after it.
taskrunner is installed as a user would install it, and its entry point is started as cron would: by its path, in
cron's small environment.
"""

SMALL = """\
**Quick: few rounds of small sizes, not of those that are named. It shows that all works, and nothing else.**
"""

SIDES = {
    "idle": {
        "tick": "idle tick, 10 tasks",
        "tick of many": "idle tick, 1,000,000 tasks",
        "sqlite3": "`python -c 'import sqlite3'`",
        "pass": "`python -c pass`",
    },
    "verbs": {
        "sqlite3": "`python -c 'import sqlite3'`",
        "version": "`taskrunner --version`",
        "help": "`taskrunner --help`",
        "list": "`taskrunner list`, 10 tasks",
        "status": "`taskrunner status`, 10 tasks",
        "history": "`taskrunner history`, empty",
    },
    "first": {
        "10 due": "from the start of a tick to that of its first command, 10 due",
        "500 due": "from the start of a tick to that of its first command, 500 due",
    },
    "others": {
        "tick": "idle tick, 10 tasks",
        "django": "`manage.py` of an empty Django project, a command that does nothing, without checks",
        "apscheduler": "one pass of APScheduler: open the SQL store with 10 tasks, none due, and end",
        "celery": "`celery beat` with 10 tasks, up to its line that it starts",
    },
    "burst": {
        "tick": "tick with 2,000 due, each by an expression of its own",
        "tick alike": "tick with 2,000 due, all by the same expression",
        "xargs": "`xargs -P4 -n1 /bin/true`",
        "spawn": "C loop over `posix_spawn`",
        "bare": "a loop in Python, 4 at a time, that keeps the state of each run in SQLite and does nothing else",
    },
    "output": {
        "tick": "tick with 2,000 due, `/bin/cat` of 1 kB each, kept in the store",
        "xargs": "`xargs -P4 -n1 sh -c 'exec /bin/cat ... >file'`",
    },
    "history": {
        "short": "last 20 runs, history of 10,000, the call of the library alone",
        "long": "last 20 runs, history of 10,000,000, the call of the library alone",
    },
    "history command": {
        "short": "`taskrunner history NAME -n 20`, history of 10,000",
        "long": "`taskrunner history NAME -n 20`, history of 10,000,000",
    },
    "apply": {
        "apply": "`taskrunner apply` of 10,000 new tasks, the whole command",
        "rows": "the same 10,000 tasks and 10,000 notes by `executemany`, from BEGIN to COMMIT",
    },
    "next": {
        "next": "`taskrunner next -n 10000`, the whole command",
        "croniter": "the calls of croniter for the same slots, without its import",
    },
}


def write(results: Results, place: Path, *, plots: bool) -> None:
    """Write the page, and its figures into a folder beside it, where its plots belong, too."""
    folder = place.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / FIGURES)
    kept = read(folder / FIGURES)  # so that the same page can be written again
    place.write_text(page(kept, folder.name if plots else None), encoding="utf-8")


def page(results: Results, plots: str | None = None) -> str:
    """Return the page; `plots` is the folder that its plots are in, if there are any."""
    sections = [
        OPENING,
        SMALL if results.quick else "",
        _plainly(results),
        METHOD,
        _machine(results),
        _aims(results, plots),
        _missed(results),
        _day(results),
        _growth(results, plots),
        _questions(),
        _times(results),
        HOW,
    ]
    return "\n".join(section for section in sections if section)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of Markdown, its columns from `numbers` on set to the right."""
    lines = [
        head,
        ["---:" if numbers and place >= numbers else "---" for place in range(len(head))],
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*lines, *rows])


def _machine(results: Results) -> str:
    known = {**results.machine, "rounds": str(results.rounds)}
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    rows = [*known.items(), *([("compared with", versions)] if versions else [])]
    return "## The machine\n\n" + table(["what", "is"], rows)


# ---- in plain words


def _plainly(results: Results) -> str:
    """Return what the figures mean for a user, as far as they were measured."""
    said = []
    idle = _median(results, "idle", "tick")
    if idle is not None:
        wrote = _median(results, "written", "idle")
        disk = "" if wrote is None else f" and writes {wrote / 1e3:.0f} kB to the disk"
        daily = "" if wrote is None else f" and {wrote * MINUTES / 1e6:.0f} MB"
        said.append(
            f"An idle tick, one with nothing due, takes {short(idle * 1e3)} ms{disk}. Most of the {MINUTES:,} ticks of a "
            f"day are idle: together they take {idle * MINUTES:.0f} s{daily} a day."
        )
    due = _median(results, "written", "due")
    if due is not None:
        said.append(f"A tick with one task due writes {due / 1e3:.0f} kB.")
    for many in ("10", "500"):
        first = _median(results, "first", f"{many} due")
        if first is not None:
            said.append(
                f"With {many} tasks due, the first command starts {short(first * 1e3)} ms after the tick."
            )
    hundred = results.curves.get("due", {}).get("tick", {}).get("100")
    if hundred:
        said.append(
            f"100 tasks that are due together have all run {short(spread(hundred).median * 1e3)} ms after the tick, when "
            "their commands take no time."
        )
    help_, list_ = _median(results, "verbs", "help"), _median(results, "verbs", "list")
    if help_ is not None and list_ is not None:
        said.append(
            f"`taskrunner --help` takes {short(help_ * 1e3)} ms, `taskrunner list` {short(list_ * 1e3)} ms."
        )
    lines = "".join(f"- {each}\n" for each in said)
    return f"## In plain words\n\nOn the machine below:\n\n{lines}" if said else ""


def _median(results: Results, part: str, side: str) -> float | None:
    values = results.sides.get(part, {}).get(side)
    return spread(values).median if values else None


# ---- the aims


def _aims(results: Results, plots: str | None) -> str:
    head = ["what", "against", "aim", "limit", "median", "middle half", "all", "rounds", "verdict"]
    rows = [_aim(row, results) for row in aims.ROWS]
    shown = ["CPU per day, 50 tasks each minute-to-day", "residents as memory x time, cron as CPU"]
    rows.append([*shown, "shown", "shown", "[below](#a-day)", "", "", "", "shown"])
    picture = _picture(plots, "aims", "each figure as a part of its limit")
    note = "Times that taskrunner is faster are better when higher; everything else when lower.\n"
    return f"## Aims\n\n{table(head, rows)}\n{note}{picture}"


def _aim(row: aims.Row, results: Results) -> list[str]:
    start = [row.what, row.against, _goal(row, row.aim), _goal(row, row.limit)]
    values = row.values(results)
    if values is None:
        return [
            *start,
            "-",
            "",
            "",
            "",
            f"not measured: {results.skipped.get(row.key, 'left out')}",
        ]
    many, unit = spread(values), f" {row.unit}" if row.unit else ""
    middle, whole = (
        f"{_two(many.first)} to {_two(many.third)}",
        f"{_two(many.lowest)} to {_two(many.highest)}",
    )
    verdict = aims.verdict(row, many.median)
    return [*start, f"**{_two(many.median)}**{unit}", middle, whole, str(many.count), verdict]


def _goal(row: aims.Row, value: float) -> str:
    if row.unit == "%" and value == 0:
        return "none"
    return f"{value:g}{' ' + row.unit if row.unit else ''}{' times' if row.more else ''}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _missed(results: Results) -> str:
    """Return what is to be said of each aim that is missed, whether or not it is within its limit."""
    told = []
    for row in aims.ROWS:
        median = aims.median(row, results)
        if median is not None and aims.verdict(row, median) != aims.MET:
            told.append(_reason(row, median))
    return "## Missed aims\n\n" + ("\n".join(told) or "Nothing.\n")


def _reason(row: aims.Row, median: float) -> str:
    unit = f" {row.unit}" if row.unit else ""
    by = f" ({abs(median / row.aim - 1):.0%} {'less' if row.more else 'more'})" if row.aim else ""
    much = f"{_two(median)}{unit} instead of {_goal(row, row.aim)}{by}; {aims.verdict(row, median)}"
    title = f"{row.what[0].upper()}{row.what[1:]} / {row.against}"
    return f"### {title}\n\n{much}.\n\n{_told(REASONS.get(row.key))}"


def _told(reason: Reason | None) -> str:
    if reason is None:
        return "Why is not understood yet.\n"
    return f"Why: {reason.why}\n\nWhat would be needed: {reason.needed}\n"


# ---- a day


def _day(results: Results) -> str:
    sides = results.sides.get("day")
    if sides is None:
        return ""
    ticks = {int(many): spread(values).median for many, values in sides.items()}
    parts = [f"{tasks} every {_period(period)}" for period, tasks in MIX.items()]
    rows = [
        ["taskrunner, nothing due all day (1,440 idle ticks)", f"{MINUTES * ticks[0]:.1f}", "none"],
        ["taskrunner, the 50 tasks", f"{day_of(ticks):.1f}", "none"],
        *_cron(results),
        *_residents(results),
    ]
    skipped = "".join(
        f"\n{results.skipped[key]}.\n" for key in ("cron", "residents") if key in results.skipped
    )
    return (
        "## A day\n\n"
        f"Fifty tasks, {', '.join(parts)}, each `/bin/true`: what a day of them costs, computed from the measured "
        "processor time of a tick with as many tasks due as each minute of the day has, that of the commands "
        "included. Who is resident holds its memory all day and does nothing here.\n\n"
        f"{table(['what', 'CPU seconds a day', 'memory x time'], rows, 1)}{skipped}"
    )


def _period(minutes: int) -> str:
    names = {1: "minute", 60: "hour", 1440: "day"}
    return names.get(minutes, f"{minutes} minutes")


def _cron(results: Results) -> list[list[str]]:
    cron = results.sides.get("cron")
    if cron is None:
        return []
    idle, busy = cron["idle"][0], cron["busy"][0]
    each = max(0.0, busy - idle) / sum(MIX.values())
    runs = sum(MINUTES // period * tasks for period, tasks in MIX.items())
    held = _held(cron["memory"][0])
    return [
        ["cron alone, nothing due all day", f"{MINUTES * idle:.1f}", held],
        ["cron alone, the 50 tasks, nothing recorded", f"{MINUTES * idle + runs * each:.1f}", held],
    ]


def _residents(results: Results) -> list[list[str]]:
    sides = results.sides.get("residents", {})
    names = [name.removesuffix(": memory") for name in sides if name.endswith(": memory")]
    return [
        [
            f"{name}, resident, nothing due",
            f"{sides[f'{name}: cpu'][0] * MINUTES * 60:.1f}",
            _held(sides[f"{name}: memory"][0]),
        ]
        for name in sorted(names)
    ]


def _held(memory: float) -> str:
    return f"{memory / 1e6:.0f} MB x 24 h"


# ---- growth


def _growth(results: Results, plots: str | None) -> str:
    parts = [_curve(curve, results, plots) for curve in curves.measured(results)]
    if not parts:
        return ""
    return (
        "## Growth\n\n"
        "Medians, and the exponent k of the curve c x sizeᵏ that fits best: 0 is flat, 1 is linear. Of what should be "
        "flat it is that of the cost itself; of what should be linear, that of what a size costs more than the "
        "smallest, as every tick has to start.\n\n" + "\n".join(parts)
    )


def _questions() -> str:
    """Return the section of the figures that `questions` has written."""
    kept = json.loads(questions.FILE.read_text(encoding="utf-8"))
    rows = [
        [f"`{words}`", *(f"{ms:.2f} ms" for ms in found)] for words, found in kept["ms"].items()
    ]
    return (
        "## Questions to a large home\n\n"
        "How long the library takes to answer, medians of one run of `python -m tests.benchmarks.questions`: a page of "
        "50 rows costs about the same in both homes. `stats()` of all tasks reads some of the newest runs of each.\n\n"
        + table(["call", *kept["sizes"]], rows, 1)
    )


def _curve(curve: curves.Curve, results: Results, plots: str | None) -> str:
    found = results.curves[curve.key]
    sizes = sorted({float(size) for series in found.values() for size in series})
    head = [curve.size, *(f"{size:,.0f}" for size in sizes), "exponent", "runs"]
    rows = [_series(curve, name, found[name]) for name in sorted(found)]
    reason = f"\n{results.skipped[curve.key]}.\n" if curve.key in results.skipped else ""
    picture = _picture(plots, curve.key, f"costs by {curve.size}".replace("`", ""))
    text = f"It should be {curve.should}.\n"
    odd = any("**" in row[-1] for row in rows)
    told = f"\n{_told(GROWTH.get(curve.key))}" if odd else ""
    return f"### {curve.title}\n\n{text}\n{table(head, rows, 1)}{reason}{told}{picture}"


def _series(curve: curves.Curve, name: str, found: dict[str, list[float]]) -> list[str]:
    memory = curves.is_memory(name)
    costs = [cost * (1e-6 if memory else 1e3) for _, cost in curves.medians(found)]
    grown = curves.grown(curve, found)
    ends = ["-", "-"] if grown is None else [f"{grown:.2f}", curves.verdict(curve, grown)]
    return [f"{name}, {'MB' if memory else 'ms'}", *map(short, costs), *ends]


def _picture(plots: str | None, name: str, words: str) -> str:
    return f"\n![{words}]({plots}/{name}.svg)\n" if plots else ""


# ---- times


def _times(results: Results) -> str:
    """Return the times that the ratios are made of, with some that no aim is about."""
    rows = []
    for part, names in SIDES.items():
        sides = results.sides.get(part, {})
        first = next((sides[name] for name in names if name in sides), [])
        for name, words in names.items():
            if name in sides:
                rows.append(_time(words, sides[name], ratios(sides[name], first)))
    if not rows:
        return ""
    head = ["what", "median, ms", "middle half", "to the first", "rounds"]
    text = "Where several lines were measured together, `to the first` is the ratio to the first of them.\n"
    return f"## Times\n\n{text}\n{table(head, rows, 1)}"


def _time(words: str, values: Sequence[float], to_first: Sequence[float]) -> list[str]:
    many = spread([value * 1e3 for value in values])
    middle = f"{short(many.first)} to {short(many.third)}"
    return [words, short(many.median), middle, _two(spread(to_first).median), str(many.count)]


HOW = """\
## How it is measured

- An idle home is one that was ticked a moment ago, so that its heartbeat is fresh, and in which nothing is due. After
  the rounds it must hold no new run and no new note, else the run fails: a tick in between was not idle.
- Large homes are filled by SQL: one row of each kind is written by taskrunner and then copied, with other names and
  times. They are read from memory, not from a cold disk.
- For a burst each round gets a fresh copy of a home with all tasks due, written to the disk before the clock starts.
  Afterwards every run must stand in its history as succeeded, with its output where there is one. Commits are durable,
  as they are by default.
- A command of ours counts from its start to its end. What it is compared with counts without its start where that is
  better for it: a bare transaction from BEGIN to COMMIT, bare calls of croniter without the import.
- `celery beat` counts up to its line that it starts, not to a first message, and its end does not count.
- Memory is what a process shares with nobody (USS), from a supervisor with one child to one with 1,000, so that what
  it loads when it first starts anything is not counted for each child.
- The processor time of a supervisor is what the kernel has counted for it over the time (`schedstat`), to the
  nanosecond.
- cron is a Debian cron of our own in namespaces of its own, where root runs the benchmark. It is watched over two
  minutes, one with all 50 tasks due and one with none.
- The plain figures are in `benchmarks/figures.json` beside this page; `tests/benchmarks/run --render` writes the page from
  them again.
"""
