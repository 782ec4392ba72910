"""Rules on the times of steps and epochs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from classifier.rule_settings import Setting
from classifier.watch.collected import EpochMetrics, StepTime
from classifier.watch.rules.rule import Firing, Rule

_PARTS = ("wait", "copy", "forward", "backward", "optimizer")
Tell = Callable[[Rule, Firing], None]


class StepOutlier(Rule):
    """Fires at each outlier after the first `n_outliers`. Mean and deviation are of all steps until then, the outlier
    among them: so a tenth of the steps at most can be outliers.

    `recorded`: whether our own recording slowed the step of that number.
    """

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.recorded: Callable[[int], bool] = lambda number: False
        self._epoch = self._outliers = 0
        self._mean = self._squares = 0.0

    def on_step(self, step: StepTime) -> None:
        first, self._epoch = step.epoch != self._epoch, step.epoch
        if first or not math.isfinite(step.seconds) or self.recorded(step.number):
            return
        count = self.points + 1
        off = step.seconds - self._mean
        self._mean += off / count
        self._squares += off * (step.seconds - self._mean)
        limit = self._mean + self["stddev"] * math.sqrt(self._squares / count)
        outlier = step.seconds > max(limit, self["slower"] * self._mean)
        self._outliers += outlier
        longest = max(_PARTS, key=lambda part: float(getattr(step, f"{part}_s")))
        detail = f"it took {step.seconds:.3f} s, mostly {longest}; the mean is {self._mean:.3f} s"
        self.saw(outlier and self._outliers > self["n_outliers"], detail, at=step.began, step=step.number,
                 epoch=step.epoch)  # fmt: skip


class Dataloader(Rule):
    """Fires at each step while too much of the time of the last `window` was spent waiting for photographs. The first
    step of an epoch and the longest wait of the window are left out: one hiccup is no loader that is too slow."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._epoch = self._seen = 0
        self._window: deque[tuple[float, float]] = deque(maxlen=int(self["window"]))

    def on_step(self, step: StepTime) -> None:
        first, self._epoch = step.epoch != self._epoch, step.epoch
        if first or not math.isfinite(step.seconds):
            return
        self._seen += 1
        self._window.append((step.wait_s, step.seconds))
        if self._seen <= self["patience"]:
            return
        hiccup = max(self._window)
        waited = sum(wait for wait, _ in self._window) - hiccup[0]
        took = sum(seconds for _, seconds in self._window) - hiccup[1]
        share = 100 * waited / took if took > 0 else 0.0
        detail = f"{share:.0f} % of the time of the last {len(self._window)} steps was spent waiting for photographs"
        self.saw(share > self["wait"], detail, at=step.began, step=step.number, epoch=step.epoch)


class MaxInitializationTime(Rule):
    """Fires once, at the first step, if it was done too late. `began`: when the job did, in seconds since 1970."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.began = time.time()
        self.unseen = "no step was done"

    def on_step(self, step: StepTime) -> None:
        if self.points == 0:
            minutes = (step.began + step.seconds - self.began) / 60
            detail = f"the first step was done {minutes:.1f} minutes after the job began"
            self.saw(minutes > self["threshold"], detail, at=step.began, step=step.number, epoch=step.epoch)


class OverallFrameworkMetrics(Rule):
    """Fires at each epoch, from the second on, while too much of these epochs' time went into something else than
    steps."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._parts = dict.fromkeys(_PARTS, 0.0)
        self._seconds, self._summary = 0.0, ""
        self.unseen = "there was no second epoch"

    def on_step(self, step: StepTime) -> None:
        if math.isfinite(step.seconds):
            for part in _PARTS:
                self._parts[part] += getattr(step, f"{part}_s")

    def on_epoch(self, epoch: EpochMetrics) -> None:
        self._seconds += epoch.seconds
        if not self._seconds > 0:
            return
        shares = {part: 100 * seconds / self._seconds for part, seconds in self._parts.items()}
        rest = max(100 - sum(shares.values()), 0.0)
        shown = ", ".join(f"{part} {share:.0f} %" for part, share in shares.items())
        self._summary = f"of the epochs' time: {shown}, evaluation and the rest {rest:.0f} %"
        if epoch.number == 1:
            # What is made for the first time takes its time, once.
            self._seconds, self._parts = 0.0, dict.fromkeys(_PARTS, 0.0)
        else:
            self.saw(rest > self["rest"], self._summary, at=epoch.began, epoch=epoch.number)

    def summary(self) -> str:
        return self._summary


RULES: tuple[type[Rule], ...] = (StepOutlier, Dataloader, MaxInitializationTime, OverallFrameworkMetrics)
