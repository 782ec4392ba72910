"""Work on many things by a few threads, where the many may be millions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
# For each thread: enough that none waits for a slow neighbour.
_AHEAD = 16


def each(work: Callable[[T], R], things: Iterable[T], threads: int) -> Iterator[R]:
    """What `work` makes of each, in their order. The first error of `work` ends it.

    Executor.map would begin with a future for every one: of a million photographs more than 1 GB.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for thing in things:
                pending.append(pool.submit(work, thing))
                if len(pending) > _AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
