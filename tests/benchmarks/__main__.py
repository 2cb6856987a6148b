"""Measures and writes the report; started by tests/benchmarks/run with the environment it has made."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    commands,
    growth,
    machine,
    places,
    report,
    residents,
    results,
    starts,
    timing,
)
from tests.benchmarks.bench import QUICK, Bench, Sizes
from tests.benchmarks.results import Results

PARTS: dict[str, Callable[[Bench], None]] = {
    "idle": commands.idle,
    "verbs": starts.verbs,
    "first": starts.first,
    "written": starts.written,
    "others": commands.others,
    "burst": commands.burst,
    "output": commands.output,
    "memory": residents.memory,
    "quiet": residents.quiet,
    "apply": commands.apply,
    "next": commands.next_slots,
    "day": residents.day,
    "growth-tasks": growth.tasks,
    "growth-due": growth.due,
    "growth-running": growth.running,
    "history": commands.history,
    "growth-runs": growth.runs,
}
ROUNDS, QUICK_ROUNDS = 40, 3
NEEDED = 3_000_000_000  # bytes of disk


def main() -> None:
    """Do what the command line says."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    given = _parsed()
    os.chdir(given.place)  # as cron starts things in a folder where nothing of Python's lies
    found = results.read(_figures(given.output)) if given.render else _measured(given)
    if given.output is None:
        sys.stdout.write(report.page(found))
        return
    report.write(found, given.output, plots=given.plots)
    if given.plots:
        _draw(given.place, given.base, given.output)


def _leave(number: int, _: object) -> None:
    """End as a signal asks, by way of everything that tidies up."""
    sys.exit(128 + number)


def _parsed() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks/run",
        description="Measures what taskrunner costs and writes docs/benchmarks.md, with its plots and figures beside it.",
    )
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, default=Path(sys.executable), help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help="of what takes a moment; fewer of what takes longer",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="NAME", help=f"only these of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rounds and small sizes: to see whether it works"
    )
    parser.add_argument(
        "--no-rivals", action="store_true", help="leave out what has to be installed from PyPI"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="where to write; what is quick or in parts is printed instead, unless this is given",
    )
    parser.add_argument(
        "--render",
        action="store_true",
        help="measure nothing: write the page anew from its figures",
    )
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: give 1 or more")
    if given.output is None and not (given.quick or given.only):
        given.output = given.page
    given.output = given.output and given.output.absolute()
    if given.render and given.output is None:
        parser.error("--render goes without --quick and --only")
    given.plots = given.output is not None and not given.no_rivals
    return given


def _figures(output: Path) -> Path:
    return output.with_suffix("") / report.FIGURES


def _measured(given: argparse.Namespace) -> Results:
    """Measure all that is asked for."""
    rounds = QUICK_ROUNDS if given.quick else given.rounds
    free = shutil.disk_usage(given.place).free
    if free < NEEDED and not given.quick:
        sys.exit(
            f"{given.place} has {free / 1e9:.1f} GB free, {NEEDED / 1e9:g} are needed: set TMPDIR"
        )
    bench = Bench(
        place=given.place,
        base=given.base,
        python=Path(sys.executable),
        rounds=rounds,
        sizes=QUICK if given.quick else Sizes(),
        with_rivals=not given.no_rivals,
        results=Results(rounds, given.quick, machine.described(given.place)),
    )
    for name, part in PARTS.items():
        if given.only is None or name in given.only:
            timing.tell(name)
            part(bench)
    return bench.results


def _draw(place: Path, base: Path, output: Path) -> None:
    """Draw the plots with a Python of their own."""
    python = places.environment(place, base, "matplotlib")
    folder = output.with_suffix("")
    code = {"PYTHONPATH": str(Path(__file__).parents[2]), "MPLCONFIGDIR": str(place)}
    timing.run(python, "-P", "-m", "tests.benchmarks.plots", _figures(output), folder, more=code)


if __name__ == "__main__":
    main()
