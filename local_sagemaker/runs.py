"""What runs on this server, by name: found again to be stopped, forgotten when it has ended, ended with the server."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar

UNFINISHED = ("InProgress", "Stopping")
KILLED = (
    "InternalServerError: the local SageMaker server ended while this job ran; start the job again under another name."
)


class Run(Protocol):
    """The life of one job or endpoint, in a thread of its own."""

    def stop(self, grace_s: float) -> None:
        """Begins its end, SIGKILL after the grace; returns at once."""

    def join(self) -> None:
        """Returns when nothing of it is left."""


R = TypeVar("R", bound=Run)


class Runs(Generic[R]):
    """Runs of one kind. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._runs: dict[str, R] = {}
        self._lock = threading.Lock()

    def add(self, name: str, run: R) -> None:
        """Remembers a run: before it starts, since one that ends at once is forgotten at once."""
        with self._lock:
            self._runs[name] = run

    def find(self, name: str) -> R | None:
        """The run of that name; None when it has ended."""
        with self._lock:
            return self._runs.get(name)

    def forget(self, name: str) -> None:
        with self._lock:
            self._runs.pop(name, None)

    def shutdown(self, grace_s: float) -> None:
        """Stops every run and waits for the last one."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop(grace_s)
        for run in runs:
            run.join()
