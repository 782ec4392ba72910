"""When each step began, how long its parts took, and what training did beside its steps."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import psutil
import torch

from classifier import machine
from classifier.steps import Step
from classifier.training import Epoch, Observer
from classifier.watch import merge
from classifier.watch.collected import Collected, EpochMetrics, Span, StepTime
from classifier.watch.thinned import Thinned

# Labels are counted this many batches at a time: on a GPU the host waits for each counting.
_COUNTED_TOGETHER = 256


class Timeline(Observer):
    """An observer of training. `began`: when initialization did, in seconds since 1970; else now.

    `rank` and `host`: else those of this process and this machine.
    """

    def __init__(self, began: float | None = None, rank: int | None = None, host: str | None = None) -> None:
        self.began = time.time() if began is None else began
        self.rank = merge.ranks()[0] if rank is None else rank
        self.host = platform.node() if host is None else host
        self.epochs: list[EpochMetrics] = []
        self._steps: Thinned[StepTime] = Thinned()
        self._spans: list[Span] = []
        self._labels: list[torch.Tensor] = []
        self._counts = torch.zeros(0, dtype=torch.int64)
        self._initialized = False

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        if not self._initialized:
            self._initialized = True
            self._spans.append(Span("initialization", 0, self.began, time.time() - self.began))

    def on_step(self, step: Step) -> None:
        self._steps.append(step_time(step))
        self._labels.append(step.labels)
        if len(self._labels) == _COUNTED_TOGETHER:
            self._count()

    def on_resume(self, history: Sequence[Epoch]) -> None:
        # Of another process: its steps, and the classes that they saw, are not known.
        self.epochs += [_metrics(epoch, []) for epoch in history]

    def on_epoch(self, epoch: Epoch) -> None:
        self._spans.append(
            Span("evaluation", epoch.number, epoch.began + epoch.seconds - epoch.evaluation_s, epoch.evaluation_s)
        )
        self._count(classes=len(epoch.valid.confusion))
        self.epochs.append(_metrics(epoch, self._counts.tolist()))
        self._counts = torch.zeros(0, dtype=torch.int64)

    @contextlib.contextmanager
    def span(self, name: str, epoch: int = 0) -> Iterator[None]:
        """What happens within it is on the timeline under that name, also when it fails."""
        began, clock = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self._spans.append(Span(name, epoch, began, time.perf_counter() - clock))

    def collected(self) -> Collected:
        """What was seen until now: steps and spans."""
        return Collected(
            self.rank, self.host, self.began, machine.cpus(), psutil.virtual_memory().total,
            steps=self._steps.kept(), spans=list(self._spans), steps_thinned=self._steps.every,
        )  # fmt: skip

    def _count(self, classes: int = 0) -> None:
        seen = torch.cat(self._labels) if self._labels else torch.zeros(0, dtype=torch.int64)
        counts = torch.bincount(seen, minlength=max(classes, len(self._counts))).cpu()
        counts[: len(self._counts)] += self._counts
        self._counts, self._labels = counts, []


def _metrics(epoch: Epoch, train_counts: list[int]) -> EpochMetrics:
    return EpochMetrics(
        epoch.number, epoch.began, epoch.seconds, epoch.images_per_s, epoch.train_loss, epoch.valid.loss,
        epoch.valid.accuracy, epoch.valid.top5_accuracy, epoch.valid.confusion.tolist(), train_counts,
    )  # fmt: skip


def step_time(step: Step) -> StepTime:
    """The plain numbers of a step."""
    return StepTime(
        step.number, step.epoch, step.images, step.began, step.wait_s, step.copy_s, step.forward_s, step.backward_s,
        step.optimizer_s,
    )  # fmt: skip
