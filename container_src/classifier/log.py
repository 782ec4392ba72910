"""What a training job says: one line an epoch, in the form that SageMaker's metric expressions read."""

from __future__ import annotations

import os
import time
from typing import Literal

from classifier import metrics
from classifier.steps import Step
from classifier.training import Epoch, Observer

# As torchrun numbers the processes of a training.
_RANK = int(os.environ.get("RANK", "0"))


class Log(Observer):
    """Prints one line an epoch of `epochs`, each after `prefix`.

    With `steps`, the number of them in an epoch, also how far a long epoch has come: not before `patience_s` after the
    last line. Only then is a loss read, for which the host waits on a GPU. It is of the part of a batch that the first
    of several `processes` has.
    """

    def __init__(
        self, epochs: int, prefix: str = "", steps: int = 0, patience_s: float = 10.0, processes: int = 1
    ) -> None:
        self.epochs, self.prefix, self.steps, self.patience_s = epochs, prefix, steps, patience_s
        self._processes = processes
        self._since = time.monotonic()
        self._images = 0

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        if phase == "train":
            self._begin()

    def on_step(self, step: Step) -> None:
        self._images += step.images * self._processes
        elapsed = time.monotonic() - self._since
        if self.steps and elapsed >= self.patience_s:
            number = (step.number - 1) % self.steps + 1
            # No metric's name with a colon: SageMaker would read the loss of a step for that of an epoch.
            say(f"{self.prefix}step {number}/{self.steps} of epoch {step.epoch}/{self.epochs}: "
                f"loss={float(step.loss):.5g} {self._images / max(elapsed, 1e-9):.0f} images/s")  # fmt: skip
            self._begin()

    def on_epoch(self, epoch: Epoch) -> None:
        speed = f"{epoch.images_per_s:.0f} images/s, {epoch.seconds:.1f} s"
        say(f"{self.prefix}epoch {epoch.number}/{self.epochs}: {metrics.line(epoch.metrics)} ({speed})")

    def _begin(self) -> None:
        self._since, self._images = time.monotonic(), 0


def say(text: str) -> None:
    """One line, at once: whoever follows the job reads it through a pipe. Of several processes the first speaks."""
    if _RANK == 0:
        _write(text)


def say_each(text: str) -> None:
    """The same, of what each process knows by itself."""
    _write(f"process {_RANK}: {text}" if _RANK else text)


def _write(line: str) -> None:
    # torchrun has Python write without a buffer, and each write may be a line of its own to who reads it.
    print(line + "\n", end="", flush=True)
