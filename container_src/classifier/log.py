"""What a training job says: one line an epoch, in the form that SageMaker's metric expressions read."""

from __future__ import annotations

from classifier import metrics
from classifier.training import Epoch, Observer


class Log(Observer):
    """Prints one line an epoch of `epochs`, each after `prefix`."""

    def __init__(self, epochs: int, prefix: str = "") -> None:
        self.epochs, self.prefix = epochs, prefix

    def on_epoch(self, epoch: Epoch) -> None:
        speed = f"{epoch.images_per_s:.0f} images/s, {epoch.seconds:.1f} s"
        say(f"{self.prefix}epoch {epoch.number}/{self.epochs}: {metrics.line(epoch.metrics)} ({speed})")


def say(text: str) -> None:
    """One line, at once: whoever follows the job reads it through a pipe."""
    print(text, flush=True)
