"""Which steps are recorded: as many as cost next to nothing."""

from __future__ import annotations

import time

SHARE = 0.02
# So much may be spent beyond the share, that short runs have their twenty steps as well.
ADVANCE_S = 0.3
# The distance of two recorded steps grows with the run: a hundred while its length doubles and a half, so that a run of
# days leaves some hundred and not millions.
SPACING = 100


class Sparingly:
    """Counts what recording costs, and lets the next step be recorded when that is affordable.

    The first step is recorded at any price: it alone shows the first weights.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0
        self._began = time.perf_counter()
        self._this_s = 0.0
        self._typical_s = float("inf")
        self._last = -1

    def start(self) -> None:
        """Training begins."""
        self._began, self._this_s, self._typical_s = time.perf_counter(), 0.0, float("inf")

    def due(self, number: int) -> bool:
        """Whether to record step `number`, counted from 0."""
        if self._last < 0:
            self._last = number
            return True
        allowed = ADVANCE_S + SHARE * (time.perf_counter() - self._began)
        if number - self._last < max(1, number // SPACING) or self.cost_s + self._typical_s > allowed:
            return False
        self._last = number
        return True

    def cost(self, seconds: float, train: bool, goes_on: bool) -> None:
        """Of one part of recording a step."""
        self.cost_s += seconds
        if train:
            self._this_s += seconds
            if not goes_on:
                # The first one warms up; the least is what the next one takes.
                self._typical_s = min(self._typical_s, self._this_s)
                self._this_s = 0.0
