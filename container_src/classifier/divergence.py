"""Finds the step at which a loss stopped being a number, without making the host wait for a GPU at each."""

from __future__ import annotations

import torch

# Steps whose losses are looked at together: for each look the host waits until the device has come to the last of them.
TOGETHER = 50


class Losses:
    """The losses that have not been looked at, on the device."""

    def __init__(self) -> None:
        self._waiting: list[torch.Tensor] = []
        self._last = 0

    def add(self, step: int, loss: torch.Tensor) -> None:
        """`loss`: float32 []."""
        self._waiting.append(loss)
        self._last = step

    @property
    def many(self) -> bool:
        """Whether it is time to look."""
        return len(self._waiting) >= TOGETHER

    def first_bad(self) -> tuple[int, float] | None:
        """(step, loss) of the first one that is NaN or infinite; the others are forgotten."""
        if not self._waiting:
            return None
        losses = torch.stack(self._waiting).cpu()
        first, self._waiting = self._last - len(self._waiting) + 1, []
        bad = (~losses.isfinite()).nonzero()
        return (first + int(bad[0]), float(losses[bad[0]])) if len(bad) else None
