"""Tells the rules what the training does."""

from __future__ import annotations

from classifier.steps import Step
from classifier.training import Epoch, Observer
from classifier.watch.judge import Judge
from classifier.watch.timeline import Timeline, step_time


class Witness(Observer):
    """An observer of training, to be told after `timeline`, which makes the numbers of an epoch."""

    def __init__(self, timeline: Timeline, judge: Judge) -> None:
        self._timeline, self._judge = timeline, judge
        self._last: Step | None = None

    def on_step(self, step: Step) -> None:
        self._last = step
        self._judge.on_step(step_time(step))

    def on_epoch(self, epoch: Epoch) -> None:
        self._judge.on_epoch(self._timeline.epochs[-1])

    def close(self) -> None:
        """After the last step. One that was not recorded shows here that its loss is no number: then every later one
        was none either."""
        if self._last:
            last = self._last
            self._judge.on_last_loss(last.number, last.epoch, last.began, float(last.loss))
