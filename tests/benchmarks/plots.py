"""Draws the plots of a report: python -m tests.benchmarks.plots FIGURES FOLDER, with a Python that has matplotlib.

The same figures give the same files, to the byte.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.benchmarks import aims, curves, results
from tests.benchmarks.figures import short, spread
from tests.benchmarks.results import Results

WIDTH, HEIGHT, ROW = 7.0, 3.6, 0.36  # inches
COLOURS = ("#1f6feb", "#d1542d", "#2da44e", "#8250df", "#9a6700")
MARKS = "os^Dv"


def main() -> None:
    """Draw all that the figures have."""
    found, folder = results.read(Path(sys.argv[1])), Path(sys.argv[2])
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "taskrunner", "font.size": 9})
    for curve in curves.measured(found):
        _save(_growth(curve, found.curves[curve.key]), folder / f"{curve.key}.svg")
    if any(row.values(found) for row in aims.ROWS):
        _save(_overview(found), folder / "aims.svg")


def _save(figure: Figure, place: Path) -> None:
    figure.savefig(place, format="svg", metadata={"Date": None}, bbox_inches="tight")
    lines = place.read_text(encoding="utf-8").splitlines()
    place.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _growth(curve: curves.Curve, found: dict[str, dict[str, list[float]]]) -> Figure:
    """Draw each series of a curve, memory and times apart."""
    kinds = sorted({curves.is_memory(series) for series in found})
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    places = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, memory in zip(places, kinds, strict=True):
        chosen = [series for series in sorted(found) if curves.is_memory(series) is memory]
        for series in chosen:
            _series(axes, curve, series, found[series], sorted(found).index(series))
        axes.set(xscale="log", yscale="log", xlabel=curve.size.replace("`", ""))
        axes.set_ylabel("MB" if memory else "milliseconds")
        axes.grid(which="major", color="#dddddd", linewidth=0.6)
        axes.minorticks_off()
        low, high = axes.get_ylim()
        axes.set_ylim(low / 2, high * 2)  # a flat line stays one
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _series(
    axes: Any, curve: curves.Curve, series: str, found: dict[str, list[float]], number: int
) -> None:
    """Draw the medians of a series, with bars from the first to the third quartile."""
    scale = 1e-6 if curves.is_memory(series) else 1e3
    sizes = sorted(found, key=float)
    spreads = [spread(found[size]) for size in sizes]
    points = [each.median * scale for each in spreads]
    bars = [
        [(each.median - each.first) * scale for each in spreads],
        [(each.third - each.median) * scale for each in spreads],
    ]
    grown = curves.grown(curve, found)
    label = series if grown is None else f"{series}: exponent {grown:.2f}"
    style = {"color": COLOURS[number], "marker": MARKS[number], "markersize": 4, "linewidth": 1.2}
    axes.errorbar([float(size) for size in sizes], points, yerr=bars, label=label, **style)


def _overview(found: Results) -> Figure:
    """Draw each row that has an aim above zero as a multiple of its limit; what is better lies to the left."""
    rows = [row for row in aims.ROWS if row.aim and row.values(found)]
    figure = Figure(figsize=(WIDTH, ROW * len(rows) + 1))
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        values = [_of_limit(row, value) for value in row.values(found) or []]
        many = spread(values)
        axes.plot([many.first, many.third], [place, place], color=COLOURS[0], linewidth=4)
        axes.plot([many.median], [place], color=COLOURS[0], marker="o")
        axes.plot([_of_limit(row, row.aim)], [place], color=COLOURS[2], marker="|", markersize=14)
    names = [f"{row.what} / {row.against}".replace("`", "") for row in reversed(rows)]
    axes.set_yticks(
        range(len(rows)), [name if len(name) < 70 else name[:67] + "..." for name in names]
    )
    axes.axvline(1, color=COLOURS[1], linewidth=1)
    axes.set(xscale="log", xlabel="parts of the limit (red); green: the aim; bar: the middle half")
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2, 5)
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.minorticks_off()
    return figure


def _of_limit(row: aims.Row, value: float) -> float:
    """Return how much of the limit a figure takes; more than 1 is beyond it."""
    return max(row.limit / value if row.more else value / row.limit, 0.01)


if __name__ == "__main__":
    main()
