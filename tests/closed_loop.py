"""Clients that ask a server again as soon as they are answered, and what became of every request."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class ClosedLoop:
    """`clients` threads, every second one on connections that it keeps. One that is refused has ended.

    `answered`: statuses; `lost`: why requests that were sent on an open connection got no answer; `refused`: clients
    that were not let in any more.
    """

    port: int
    body: bytes
    headers: Mapping[str, str]
    clients: int = 16
    path: str = "/invocations"
    answered: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def __enter__(self) -> ClosedLoop:
        self._ends = False
        self._lock = threading.Condition()
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends = True
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, limit_s: float = 600) -> None:
        """Until so many more requests are answered."""
        with self._lock:
            wanted = sum(self.answered.values()) + more
            done = self._lock.wait_for(lambda: sum(self.answered.values()) >= wanted or self._idle(), limit_s)
        assert done and sum(self.answered.values()) >= wanted, (self.answered, self.lost, self.refused)

    def _idle(self) -> bool:
        return self.refused + sum(self.lost.values()) >= self.clients

    def _ask(self, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._ends:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                try:
                    connection.connect()
                except OSError:
                    with self._lock:
                        self.refused += 1
                        self._lock.notify_all()
                    return
            try:
                connection.request("POST", self.path, self.body, dict(self.headers))
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost[f"{type(error).__name__}: {error}"] += 1
                    self._lock.notify_all()
                return
            with self._lock:
                self.answered[response.status] += 1
                self._lock.notify_all()
            if not keeps or response.will_close:
                connection.close()
                connection = None


def until(condition: Callable[[], bool], limit_s: float = 600) -> None:
    """Waits for a state: `condition` is called until it is true."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
