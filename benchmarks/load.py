"""Closed-loop load: clients, each with a connection of its own, that ask again as soon as they are answered.

In one thread, so that it takes little from the server beside it. What happens to a connection that breaks is for
tests/closed_loop.py to tell.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

# A body and its Content-Type: what one request sends.
Body = tuple[bytes, str]
_PATIENCE_S = 120


@dataclass
class Load:
    """What came of it. `latencies_s`: of the requests that were answered with 200."""

    clients: int
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent) * 1000) if self.latencies_s else float("nan")


def run(
    url: str, bodies: Sequence[Body], clients: int, seconds: float | None = None, requests: int | None = None,
    after: Callable[[int], None] = lambda done: None,
) -> Load:  # fmt: skip
    """For `seconds`, or until there were `requests`; `after` is told how many there were."""
    return asyncio.run(_run(url, bodies, clients, seconds, requests, after))


async def _run(
    url: str, bodies: Sequence[Body], clients: int, seconds: float | None, requests: int | None,
    after: Callable[[int], None],
) -> Load:  # fmt: skip
    load, turn = Load(clients), itertools.count()
    began = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        while (number := next(turn)) < (requests or 1 << 62):
            asked = time.perf_counter()
            if seconds is not None and asked - began >= seconds:
                return
            body, kind = bodies[number % len(bodies)]
            try:
                async with session.post(url, data=body, headers={"Content-Type": kind}) as answer:
                    said = await answer.read()
                    problem = "" if answer.status == 200 else f"{answer.status} {said[:80].decode(errors='replace')}"
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                problem = type(error).__name__
            if problem:
                load.errors[problem] = load.errors.get(problem, 0) + 1
            else:
                load.latencies_s.append(time.perf_counter() - asked)
            after(number + 1)

    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    load.seconds = time.perf_counter() - began
    return load
