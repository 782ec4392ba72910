"""What a process of the server lets the one that watches it know: that it lives, gets on, and how fast it answers.

A file of numbers that is mapped into memory: writing costs nothing, and what was written outlives a kill. One writer,
one reader; a number is written at once (8 bytes, aligned).
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

BEAT_S = 1.0
# Where each number is. `BUSY` is 1 while there is work; `PROGRESS` counts its steps.
PARENT, BEATS, BUSY, PROGRESS, REQUESTS, CLIENT_ERRORS, SERVER_ERRORS, BATCHES, IMAGES = range(9)
TIMES = 16
# Times of answers are counted in classes, each a tenth longer than the last: 0.1 ms to 20 minutes.
CLASSES = 170
_SHORTEST_MS, _GROWTH = 0.1, 1.1

Numbers = npt.NDArray[np.uint64]


class Pulse:
    """The writer's side. Beats by itself once a second, unless the process is stopped or keeps Python's lock."""

    def __init__(self, directory: Path, kind: str) -> None:
        path = directory / f"{kind}-{os.getpid()}"
        self._numbers: Numbers = np.memmap(path, np.uint64, "w+", shape=TIMES + CLASSES)
        self._numbers[PARENT] = os.getppid()
        threading.Thread(target=self._beat, daemon=True, name="pulse").start()

    def _beat(self) -> None:
        while True:
            self._numbers[BEATS] += 1
            time.sleep(BEAT_S)

    def begin(self) -> None:
        """There is work, of which `step` tells that it gets on."""
        self._numbers[PROGRESS] += 1
        self._numbers[BUSY] = 1

    def step(self) -> None:
        """A part of the work is done: one image decoded, one batch predicted."""
        self._numbers[PROGRESS] += 1

    def end(self) -> None:
        """The work is done."""
        self._numbers[BUSY] = 0

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request, answered with this HTTP status after so long."""
        self._numbers[REQUESTS] += 1
        self._numbers[CLIENT_ERRORS] += 400 <= status < 500
        self._numbers[SERVER_ERRORS] += status >= 500
        rank = np.log(max(seconds * 1000 / _SHORTEST_MS, 1.0)) / np.log(_GROWTH)
        self._numbers[TIMES + min(int(rank), CLASSES - 1)] += 1

    def predicted(self, images: int) -> None:
        """Counts a forward pass of so many images."""
        self._numbers[BATCHES] += 1
        self._numbers[IMAGES] += images


def read(path: Path) -> Numbers | None:
    """The reader's side: a copy; None where the file is being made or was removed."""
    try:
        numbers = np.fromfile(path, np.uint64)
    except FileNotFoundError:
        return None
    return numbers if len(numbers) == TIMES + CLASSES else None


def percentile_ms(numbers: Numbers, share: float) -> float:
    """The time in milliseconds that this share of the requests did not exceed, to a tenth; 0 where there were none."""
    counts = numbers[TIMES:].cumsum()
    if not counts[-1]:
        return 0.0
    rank = int(np.searchsorted(counts, share * counts[-1]))
    return float(_SHORTEST_MS * _GROWTH ** (rank + 1))
