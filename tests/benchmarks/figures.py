"""Numbers to other numbers: medians, spreads, ratios of pairs, exponents of curves. It knows nothing of what they mean."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NOISE = 0.05  # a part of the smallest cost: two measurements of the same thing differ by as much


@dataclass(frozen=True)
class Spread:
    """What many values come to; half of them lie between the quartiles."""

    count: int
    lowest: float
    first: float
    median: float
    third: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of one value or more."""
    ordered = sorted(values)
    quartiles = statistics.quantiles(
        ordered * 2 if len(ordered) < 2 else ordered, method="inclusive"
    )
    return Spread(
        len(ordered),
        ordered[0],
        quartiles[0],
        statistics.median(ordered),
        quartiles[2],
        ordered[-1],
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each pair."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return k of the curve cost = c * size ** k that fits these sizes and costs best: 0 is flat, 1 is linear."""
    logs = [(math.log(size), math.log(cost)) for size, cost in points]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def added(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what each size has and costs more than the smallest, as far as that can be told from noise."""
    (smallest, base), *rest = points
    least = base * (1 + NOISE)
    return [(size - smallest, cost - base) for size, cost in rest if cost > least]


def short(value: float) -> str:
    """Return a number with three digits that count, and all of them before the point."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
