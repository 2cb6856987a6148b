"""The curves of growth: what they are of, how they should run, and how they do."""

from dataclasses import dataclass

from tests.benchmarks.figures import added, exponent, spread
from tests.benchmarks.results import Results

FLAT, LINEAR = "flat", "linear"
NEARLY_FLAT = 0.05  # exponent; 12 % for ten times as much
NEARLY_LINEAR = 0.15  # beside 1


@dataclass(frozen=True)
class Curve:
    """One plot: costs of a kind against a size."""

    key: str
    title: str
    size: str
    should: str


CURVES = (
    Curve("tasks", "Number of tasks", "tasks, none of which is due", FLAT),
    Curve("due", "Tasks that are due at once", "tasks due in one minute, each `/bin/true`", LINEAR),
    Curve("runs", "Length of the history", "runs in the history, of 400 tasks", FLAT),
    Curve("running", "Running children", "children that run at once", LINEAR),
)


def medians(found: dict[str, list[float]]) -> list[tuple[float, float]]:
    """Return the sizes and the median costs of a series."""
    return sorted((float(size), spread(values).median) for size, values in found.items())


def grown(curve: Curve, found: dict[str, list[float]]) -> float | None:
    """Return the exponent of a series, None when there are too few points.

    Of what should be flat it is that of the cost; of what should be linear, of what a size costs more than the smallest.
    """
    points = medians(found) if curve.should == FLAT else added(medians(found))
    return exponent(points) if len(points) > 1 else None


def verdict(curve: Curve, found: float) -> str:
    """Return how a series runs, in a word or two."""
    if curve.should == FLAT:
        return "flat" if abs(found) <= NEARLY_FLAT else "**not flat**"
    if found < 1 - NEARLY_LINEAR:
        return "less than linear"
    return "linear" if found <= 1 + NEARLY_LINEAR else "**more than linear**"


def measured(results: Results) -> list[Curve]:
    """Return the curves that there are figures of."""
    return [curve for curve in CURVES if curve.key in results.curves]


def is_memory(series: str) -> bool:
    """Return whether a series counts bytes; else it counts seconds."""
    return "memory" in series
