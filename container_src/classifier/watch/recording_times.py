"""Which steps are recorded: as many as cost next to nothing."""

from __future__ import annotations

import time

SHARE = 0.02
# So much may be spent beyond the share, that short runs have some twenty steps as well.
ADVANCE_S = 0.2
# The distance of two recorded steps is at least this part of the way behind: a run that is a hundred times as long
# leaves twice as many, and not a hundred times.
SPACING = 100


class Sparingly:
    """Counts what recording costs, and lets the next step be recorded when that is affordable.

    Never two in a row: steps have to remain that show how long one takes. The first step is recorded at any price, and
    does not count: it alone shows the first weights, and warms up.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._spent_s = self._this_s = self._typical_s = 0.0
        self._last, self._recorded = -1, 0

    def due(self, number: int) -> bool:
        """Whether to record step `number`, counted from 0."""
        allowed = ADVANCE_S + SHARE * (time.perf_counter() - self._began)
        if self._last >= 0 and (
            number - self._last < max(2, number // SPACING) or self._spent_s + self._typical_s > allowed
        ):
            return False
        self._last = number
        return True

    def cost(self, seconds: float, goes_on: bool) -> None:
        """Of a part of recording a step, and whether there are more."""
        self._this_s += seconds
        if not goes_on:
            self._recorded += 1
            if self._recorded > 1:
                self._spent_s += self._this_s
                self._typical_s = self._this_s
            self._this_s = 0.0
