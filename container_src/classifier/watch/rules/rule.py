"""What a rule is: it sees a run as it goes on, counts what it saw, and says when it fired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from classifier.rule_settings import RULES, Setting
from classifier.watch.collected import EpochMetrics, Sample, StepTime

# Of a rule that fires often the first ones are kept, and the last.
KEPT_FIRINGS = 50


class Firing(NamedTuple):
    """When a rule fired, and what it saw; `at`: seconds since 1970; 0 for a step or an epoch that does not apply."""

    at: float
    step: int
    epoch: int
    detail: str


@dataclass(frozen=True)
class Finding:
    """What a rule has to say. `points`: how many data points it saw; `fired`: at how many of them it fired.

    `unseen`: why it saw nothing, where that is so. `severity`: `warning` or `error`. `summary`: what it saw, in
    numbers, whether it fired or not.
    """

    rule: str
    subject: str
    severity: str
    what: str
    advice: str
    source: str
    parameters: Mapping[str, float]
    points: int
    fired: int
    firings: tuple[Firing, ...]
    unseen: str = ""
    summary: str = ""


class Rule:
    """Override what is to be seen, and call `saw` with it. The class's name is the rule's.

    Steps and epochs come from the training's thread, samples from another: a rule takes one of the two.
    `tell` is called at each firing.
    """

    def __init__(self, setting: Setting, tell: Callable[[Rule, Firing], None] = lambda rule, firing: None) -> None:
        self.spec, self.setting, self._tell = RULES[type(self).__name__], setting, tell
        self.points, self.fired = 0, 0
        self.firings: list[Firing] = []
        self.unseen = ""

    def __getitem__(self, parameter: str) -> float:
        return self.setting.parameters[parameter]

    def on_step(self, step: StepTime) -> None:
        """After each step."""

    def on_epoch(self, epoch: EpochMetrics) -> None:
        """After each epoch's evaluation."""

    def on_sample(self, sample: Sample) -> None:
        """After each reading of the machine."""

    def on_end(self) -> None:
        """After the last of them, however the run ended."""

    def summary(self) -> str:
        """What was seen so far, in numbers: for rules that are read also where they do not fire."""
        return ""

    def saw(self, fires: bool, detail: str = "", *, at: float, step: int = 0, epoch: int = 0) -> None:
        """One data point, and whether it is one to fire at; `detail`: what was seen, with its number."""
        self.points += 1
        if not fires:
            return
        self.fired += 1
        firing = Firing(at, step, epoch, detail)
        del self.firings[KEPT_FIRINGS - 1 :]
        self.firings.append(firing)
        self._tell(self, firing)

    def finding(self) -> Finding:
        """Of what was seen so far."""
        return Finding(
            self.spec.name, self.spec.subject, self.setting.severity, self.spec.what, self.spec.advice,
            self.spec.source, dict(self.setting.parameters), self.points, self.fired, tuple(self.firings),
            "" if self.points else self.unseen or "the run was too short", self.summary(),
        )  # fmt: skip
