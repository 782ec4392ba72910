"""Values -> places between 0 and 1 on an axis, with the marks that belong on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from classifier.watch.page.scales import numbers as round_numbers

# From this ratio on numbers are told apart by their logarithms; what is measured, from a larger one on.
_WIDE = 8
_MEASURED_WIDE = 100
_MOST_MARKS = 6


class Scale(Protocol):
    """An axis."""

    def at(self, value: str) -> float:
        """The place of a value: 0 is its lower end, 1 its upper."""

    def marks(self) -> list[tuple[float, str]]:
        """(place, text)."""


@dataclass(frozen=True)
class Numbers:
    """`low` is below `high`; `told`: the values to mark, where they are few."""

    low: float
    high: float
    log: bool = False
    told: tuple[float, ...] = ()

    def at(self, value: str | float) -> float:
        if self.log:
            return math.log(float(value) / self.low) / math.log(self.high / self.low)
        return (float(value) - self.low) / (self.high - self.low)

    def marks(self) -> list[tuple[float, str]]:
        if not self.told and not self.log:
            return [(self.at(value), text) for value, text in round_numbers(self.low, self.high, _MOST_MARKS)]
        return [(self.at(value), f"{value:.4g}") for value in self.told or self._decades()]

    def _decades(self) -> Sequence[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1,), (1, 3), (1, 2, 5)):
            apart = max(1, math.ceil((last - first) / _MOST_MARKS))
            found = [f * 10.0**e for e in range(first, last + 1, apart) for f in factors]
            inside = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(inside) >= 3:
                break
        return inside or [self.low, self.high]


@dataclass(frozen=True)
class Names:
    """Each value a place of its own, evenly apart."""

    values: tuple[str, ...]

    def at(self, value: str) -> float:
        return self.values.index(value) / (len(self.values) - 1) if len(self.values) > 1 else 0.5

    def marks(self) -> list[tuple[float, str]]:
        return [(self.at(value), value) for value in self.values]


def of(values: Sequence[str]) -> Scale:
    """The scale that suits the values of a hyperparameter."""
    distinct = list(dict.fromkeys(values))
    try:
        numbers = sorted({float(value) for value in distinct})
    except ValueError:
        return Names(tuple(sorted(distinct)))
    if len(numbers) == 1:
        return Names(tuple(distinct[:1]))
    few = tuple(numbers) if len(numbers) <= _MOST_MARKS and len(values) > len(numbers) else ()
    return Numbers(numbers[0], numbers[-1], is_wide(numbers), few)


def around(values: Sequence[float]) -> Numbers:
    """A scale with some room around the values; logarithmic where one that diverged would flatten all others."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= _MEASURED_WIDE:
        room = (high / low) ** 0.06
        return Numbers(low / room, high * room, log=True)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Numbers(low - room, high + room)


def is_wide(numbers: Sequence[float]) -> bool:
    """Whether a logarithmic scale shows them better."""
    return min(numbers) > 0 and max(numbers) / min(numbers) >= _WIDE
