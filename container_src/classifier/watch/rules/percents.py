"""Distributions of percentages: percentiles and distances, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator


class Percents:
    """How often each whole percent was read. What is NaN or infinite is left out."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._counts = [0] * 101
        self.total = 0
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """One reading; what is below 0 or above 100 counts as that."""
        if math.isfinite(value):
            self._counts[min(max(round(value), 0), 100)] += 1
            self.total += 1

    def percentile(self, percent: float) -> int:
        """The lowest value that `percent` of the readings do not exceed; 0 where there are none."""
        needed = self.total * percent / 100
        return next((value for value, reached in enumerate(self._reached()) if reached >= needed), 0)

    def distance(self, other: Percents) -> float:
        """The earth mover's distance, of 1: the mean difference of the sorted readings. Both must have some."""
        pairs = zip(self._reached(), other._reached(), strict=True)
        return sum(abs(mine / self.total - yours / other.total) for mine, yours in pairs) / 100

    def _reached(self) -> Iterator[int]:
        """Of each percent: how many readings do not exceed it."""
        reached = 0
        for count in self._counts:
            reached += count
            yield reached
