"""The tasks of an ordinary day: how many are due every so many minutes, 50 in all. Plain numbers."""

from collections.abc import Mapping

MIX = {1: 5, 5: 10, 15: 10, 60: 15, 1440: 10}
MINUTES = 1440  # a day


def due_at(minute: int) -> int:
    """Return how many tasks are due at a minute of the day."""
    return sum(tasks for period, tasks in MIX.items() if minute % period == 0)


def day_of(ticks: Mapping[int, float]) -> float:
    """Return what a day of ticks costs, by what one costs with so many due."""
    return sum(ticks[due_at(minute)] for minute in range(MINUTES))
