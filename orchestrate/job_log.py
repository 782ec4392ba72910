"""The progress of a training job, out of what its log says: epochs, steps within a long epoch, findings of its rules.

The lines are those of `classifier.log` and of the container's recorder; of any other line nothing is learned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrate import curves

_EPOCH = re.compile(r"epoch (\d+)/(\d+): .*\(([\d.]+) images/s, ([\d.]+) s\)")
_STEP = re.compile(r"step (\d+)/(\d+) of epoch (\d+)/(\d+): loss=(\S+) ([\d.]+) images/s")
_FINDING = re.compile(r"finding: (\w+) \((warning|error)\) (.*)")
# Below it the speed of an epoch that has just begun is noise.
_LEAST_S = 1.0


@dataclass(frozen=True)
class Told:
    """A rule that fired, as the log told it last."""

    rule: str
    severity: str
    text: str


@dataclass
class Progress:
    """How far a job has come. `epoch`, `step`: the last that was told of, of `epochs` and `steps`; 0 before any.

    `ended`: the epochs that have ended, their metrics by name. Times are seconds since 1970, when a line was read.
    """

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    ended: dict[int, Mapping[str, float]] = field(default_factory=dict)
    findings: dict[str, Told] = field(default_factory=dict)
    _epoch_s: list[float] = field(default_factory=list)
    _steps_since: tuple[float, float] | None = None
    _at: float = 0.0

    def read(self, line: str, at: float) -> bool:
        """Learns from a line that was read at `at`; False for one that says nothing of the progress."""
        if found := _STEP.match(line):
            self.step, self.steps, self.epoch, self.epochs = (int(found[i]) for i in (1, 2, 3, 4))
            self.loss, self.images_per_s, self._at = float(found[5]), float(found[6]), at
            self._steps_since = self._steps_since or (at, self.done)
            return True
        if found := _EPOCH.match(line):
            self.epoch, self.epochs = int(found[1]), int(found[2])
            self.step = self.steps = 0
            (metrics,) = curves.read([line])
            self.ended[self.epoch] = metrics
            self.loss = metrics.get("train:loss", self.loss)
            self.images_per_s, self._at = float(found[3]), at
            self._epoch_s.append(float(found[4]))
            return True
        if found := _FINDING.match(line):
            self.findings[found[1]] = Told(found[1], found[2], found[3])
            return True
        return False

    @property
    def done(self) -> float:
        """The share of all steps that is behind; 0 before the first epoch is told of."""
        if not self.epochs:
            return 0.0
        behind = self.epoch if self.epoch in self.ended else self.epoch - 1 + self.step / self.steps
        return min(1.0, behind / self.epochs)

    def last(self, metric: str) -> float | None:
        """Of the epoch that ended last."""
        return self.ended[max(self.ended)].get(metric) if self.ended else None

    def best(self, metric: str) -> tuple[float, int] | None:
        """The largest value so far and its epoch."""
        told = [(epoch[metric], -number) for number, epoch in self.ended.items()
                if math.isfinite(epoch.get(metric, math.nan))]  # fmt: skip
        value, number = max(told, default=(0.0, 0))
        return (value, -number) if told else None

    def left_s(self, now: float) -> float | None:
        """Until the last epoch's end, at the pace so far; None while there is none to go by."""
        if self._epoch_s:
            whole = self.epochs * sum(self._epoch_s) / len(self._epoch_s)
        elif self._steps_since and self._at - self._steps_since[0] > _LEAST_S:
            since, done = self._steps_since
            whole = (self._at - since) / (self.done - done)
        else:
            return None
        return max(0.0, whole * (1 - self.done) - (now - self._at))
