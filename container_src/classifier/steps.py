"""When the parts of an optimizer step began and ended, on the clock of the device that computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

PARTS = ("wait", "copy", "forward", "backward", "optimizer")


@dataclass(frozen=True)
class Step:
    """One optimizer step. `number` and `epoch` count from 1; `began`: seconds since 1970.

    `wait_s`: until the batch was there; `copy_s`: until it was on the device; `optimizer_s`: the update and the
    schedule. `loss`: float32 [] and `labels`: int64 [n] stay on the device: to read them there makes the host wait.
    """

    number: int
    epoch: int
    images: int
    began: float
    wait_s: float
    copy_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    loss: torch.Tensor
    labels: torch.Tensor

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.wait_s + self.compute_s

    @property
    def compute_s(self) -> float:
        """All but the wait."""
        return self.copy_s + self.forward_s + self.backward_s + self.optimizer_s


class _HostMark:
    """What `torch.cuda.Event` is on a GPU."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: _HostMark) -> float:
        return (end.at - self.at) * 1000

    def query(self) -> bool:
        return True


@dataclass
class _Open:
    """A step whose marks the device may not have reached yet."""

    number: int
    epoch: int
    began: float
    marks: list[Any]
    loss: torch.Tensor
    labels: torch.Tensor

    def close(self) -> Step:
        parts = zip(PARTS, self.marks[:-1], self.marks[1:], strict=True)
        return Step(
            self.number, self.epoch, len(self.labels), self.began, loss=self.loss, labels=self.labels,
            **{f"{part}_s": a.elapsed_time(b) / 1000 for part, a, b in parts},
        )  # fmt: skip


class Stopwatch:
    """Takes the times of steps without making the host wait for a GPU.

    The host only queues a GPU's work, and runs ahead of it: marks are events in its stream, and a step is told once
    the device has come to its last one. (`torch.cuda.Event.elapsed_time` is in milliseconds.)
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []
        self._open: deque[_Open] = deque()
        self._began = 0.0

    def start(self) -> None:
        """Here the next step begins."""
        self._began = time.time()
        self._marks = [self._mark()]

    def mark(self) -> None:
        """Here the part of PARTS ends that is next."""
        self._marks.append(self._mark())

    def end(self, number: int, epoch: int, loss: torch.Tensor, labels: torch.Tensor) -> None:
        """The step is over, and the next one begins."""
        self._open.append(_Open(number, epoch, self._began, self._marks, loss, labels))

    def told(self, wait: bool = False) -> Iterator[Step]:
        """The steps that are over and have not been told; all of them with `wait`."""
        if wait and self._cuda:
            torch.cuda.synchronize()
        while self._open and self._open[0].marks[-1].query():
            yield self._open.popleft().close()

    def _mark(self) -> Any:
        if not self._cuda:
            return _HostMark()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        return event
