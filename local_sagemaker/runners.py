"""What runs a container's verb: Docker for an image, a process of this machine for the image named `process`.

A runner gets a `Work`, a directory laid out as /opt/ml included, and gives back a `Running`. It knows nothing of jobs
and endpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

PROCESS_IMAGE = "process"
ENGINE_LOST = -1  # instead of an exit code: what ran the work is gone, and nobody knows how it ended


class RunnerError(Exception):
    """The work cannot be started; one sentence that says why and what to do."""


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine that appears at a path below /opt/ml."""

    source: Path
    target: str  # relative to /opt/ml
    writable: bool = False


@dataclass(frozen=True)
class Hosts:
    """The hosts of one job: names that resolve on each of them, and the network that they share."""

    names: tuple[str, ...]
    interface: str  # the network interface on which they see each other
    network: str | None = None


@dataclass(frozen=True)
class Work:
    """One container to run."""

    name: str
    image: str
    verb: Literal["train", "serve"]
    base: Path  # its private /opt/ml; also its identity when leftovers are looked for
    environment: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    isolated: bool = False  # without a network, but for the one of its job, or the way in to a `serve`
    host: str = "algo-1"  # its own name
    network: str | None = None  # of Hosts; None for a host that is alone
    memory_mb: int | None = None  # at most, where the runner can limit it


class Running(Protocol):
    """A container that was started."""

    @property
    def url(self) -> str:
        """Where a `serve` answers: http://127.0.0.1:PORT."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code, 128 + N after signal N, ENGINE_LOST; None when it still runs after the time-out.

        Once it is there, nothing is left.
        """

    def stop(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace; returns at once. Asked again, the last grace counts."""


class Runner(Protocol):
    def hosts(self, count: int, base: Path, isolated: bool) -> AbstractContextManager[Hosts]:
        """What several hosts of one job share, until the block ends. Raises RunnerError.

        `base` is the job's own directory; `isolated` hosts reach each other and nothing else.
        """

    def start(self, work: Work, write: Callable[[bytes], None]) -> Running:
        """Starts the work; what it prints goes to `write`, from one thread. Raises RunnerError."""

    def sweep(self, base: Path) -> None:
        """Ends what was left running on this directory, networks included. Raises RunnerError."""
