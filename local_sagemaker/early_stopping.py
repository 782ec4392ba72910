"""Early stopping `Auto`: AWS's rule, as its developer guide has it ("Stop Training Jobs Early").

A trial is stopped when its value is worse than the median, over the completed trials before it, of the averages of
their values up to the same epoch. (Optuna's MedianPruner is another rule: it compares the best value so far with the
values at that epoch, so it stops less.)
"""

from __future__ import annotations

import statistics
from array import array

# With fewer completed trials the median says more about luck than about the trial that is judged.
FROM = 3


class MedianRule:
    """Judges values as they come. `lag`: a trial is compared with those whose number is at least so much smaller."""

    def __init__(self, direction: str, lag: int) -> None:
        self._sign = 1 if direction == "Maximize" else -1
        self._lag = lag
        self._averages: dict[int, array[float]] = {}  # of each trial, up to each epoch
        self._completed: set[int] = set()

    def is_worse(self, number: int, value: float) -> bool:
        """Takes the next value of a trial; True when the trial is to be stopped."""
        averages = self._averages.setdefault(number, array("d"))
        last = averages[-1] if averages else 0.0
        averages.append(last + (value - last) / (len(averages) + 1))
        epoch = len(averages) - 1
        before = [
            self._averages[other][epoch]
            for other in self._completed
            if other <= number - self._lag and epoch < len(self._averages[other])
        ]
        return len(before) >= FROM and self._sign * value < self._sign * statistics.median(before)

    def complete(self, number: int) -> None:
        """The trial ended by itself: later ones are compared with it."""
        self._averages.setdefault(number, array("d"))
        self._completed.add(number)
