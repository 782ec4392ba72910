"""How many trials run at once on this machine, whichever tuning jobs they belong to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Slots:
    """A number of places, given in the order in which they were asked for, so that no tuning job starves.

    Who asks is known by its callback `wake`, which is called when it should ask again.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def take(self, wake: Callable[[], None]) -> bool:
        """Takes a place; False when it is not one's turn yet."""
        with self._lock:
            if wake not in self._waiting:
                self._waiting.append(wake)
            if self._waiting[0] != wake or not self._free:
                return False
            self._waiting.popleft()
            self._free -= 1
            self._call()
            return True

    def give_back(self) -> None:
        with self._lock:
            self._free += 1
            self._call()

    def leave(self, wake: Callable[[], None]) -> None:
        """Waits no longer."""
        with self._lock:
            if wake in self._waiting:
                self._waiting.remove(wake)
                self._call()

    def _call(self) -> None:
        if self._free and self._waiting:
            self._waiting[0]()
