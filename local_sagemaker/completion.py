"""When a search is over before its last trial: AWS's completion criteria, as its service model describes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

IMPROVEMENT = 0.01  # AWS: "failed to improve model performance by 1% or greater over prior training jobs"
# AWS does not publish its own criterion. No trial of ten that is a hundredth better is what we call converged.
CONVERGED_AFTER = 10


@dataclass
class Progress:
    """What the values so far say. `criteria` is the request's TuningJobCompletionCriteria."""

    direction: str
    criteria: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    not_improving: int = 0
    converged_at: float | None = None  # seconds since 1970

    def take(self, value: float) -> bool:
        """The value of a trial that ended; True when it is the best of all."""
        sign = 1 if self.direction == "Maximize" else -1
        gain = sign * (value - self.best) if self.best is not None else float("inf")
        enough = IMPROVEMENT * abs(self.best or 0.0)
        self.not_improving = 0 if gain > 0 and gain >= enough else self.not_improving + 1
        if self.not_improving >= CONVERGED_AFTER and self.converged_at is None:
            self.converged_at = time.time()
        if gain > 0:
            self.best = value
        return gain > 0

    def is_better(self, than: float) -> bool:
        """Whether the best value is better than another one."""
        if self.best is None:
            return False
        return self.best > than if self.direction == "Maximize" else self.best < than

    def is_complete(self) -> bool:
        """Whether one of the criteria is met."""
        target = self.criteria.get("TargetObjectiveMetricValue")
        if target is not None and (self.best == target or self.is_better(target)):
            return True
        most = self.criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if most is not None and self.not_improving >= most:
            return True
        on_convergence = self.criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled"
        return on_convergence and self.converged_at is not None

    def details(self) -> dict[str, Any]:
        """TuningJobCompletionDetails of DescribeHyperParameterTuningJob."""
        shown: dict[str, Any] = {"NumberOfTrainingJobsObjectiveNotImproving": self.not_improving}
        if self.converged_at is not None:
            shown["ConvergenceDetectedTime"] = self.converged_at
        return shown
