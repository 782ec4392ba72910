"""Distributions of percentages: percentiles and distances, in memory that does not grow."""

from __future__ import annotations

import itertools
import math
from collections import deque


class Percents:
    """How often each whole percent was read, of the last `window` readings or of all. What is NaN or infinite is left
    out; what is below 0 or above 100 counts as that."""

    def __init__(self, window: int | None = None) -> None:
        self._counts = [0] * 101
        self._last: deque[int] | None = deque(maxlen=window) if window else None
        self.total = 0

    def add(self, value: float) -> None:
        """One reading."""
        if not math.isfinite(value):
            return
        percent = min(max(round(value), 0), 100)
        self._counts[percent] += 1
        self.total += 1
        if self._last is not None:
            if len(self._last) == self._last.maxlen:
                self._counts[self._last[0]] -= 1
                self.total -= 1
            self._last.append(percent)

    def percentile(self, percent: float) -> int:
        """The lowest value that `percent` of the readings do not exceed; 0 where there are none."""
        needed = self.total * percent / 100
        reached = itertools.accumulate(self._counts)
        return next((value for value, count in enumerate(reached) if count >= needed), 0)

    def shares(self) -> list[float]:
        """Of each percent, the share of the readings that do not exceed it, of 1. There must be some."""
        return [count / self.total for count in itertools.accumulate(self._counts)]


def distance(shares: list[float], others: list[float]) -> float:
    """The earth mover's distance of two distributions, of 1: the mean difference of their sorted readings."""
    return sum(abs(mine - yours) for mine, yours in zip(shares, others, strict=True)) / 100
