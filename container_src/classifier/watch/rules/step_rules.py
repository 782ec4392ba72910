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
        count, seconds = self.points + 1, step.seconds
        off = seconds - self._mean
        self._mean += off / count
        self._squares += off * (seconds - self._mean)
        limit = self._mean + self["stddev"] * math.sqrt(self._squares / count)
        outlier = seconds > max(limit, self["slower"] * self._mean)
        self._outliers += outlier
        fires = outlier and self._outliers > self["n_outliers"]
        detail = ""
        if fires:
            longest = max(_PARTS, key=lambda part: float(getattr(step, f"{part}_s")))
            detail = f"it took {seconds:.3f} s, mostly {longest}; the mean is {self._mean:.3f} s"
        self.saw(fires, detail, at=step.began, step=step.number, epoch=step.epoch)


class Dataloader(Rule):
    """Fires at each step while too much of the time of the last `window` was spent waiting for photographs. The first
    step of an epoch and the longest wait of the window are left out: one hiccup is no loader that is too slow."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._epoch = self._seen = 0
        self._window: deque[tuple[float, float]] = deque(maxlen=int(self["window"]))
        self._waited = self._took = 0.0
        self._longest = (0.0, 0.0)

    def on_step(self, step: StepTime) -> None:
        first, self._epoch = step.epoch != self._epoch, step.epoch
        if first or not math.isfinite(step.seconds):
            return
        self._seen += 1
        self._slide(step.wait_s, step.seconds)
        if self._seen <= self["patience"]:
            return
        hiccup = self._longest
        waited, took = self._waited - hiccup[0], self._took - hiccup[1]
        share = 100 * waited / took if took > 0 else 0.0
        fires = share > self["wait"]
        last = f"of the last {len(self._window)} steps"
        detail = f"{share:.0f} % of the time {last} was spent waiting for photographs" if fires else ""
        self.saw(fires, detail, at=step.began, step=step.number, epoch=step.epoch)

    def _slide(self, wait_s: float, seconds: float) -> None:
        """Steps may take a tenth of a millisecond: the sums are carried on, and made anew now and then, as rounding
        adds up."""
        full = len(self._window) == self._window.maxlen
        out = self._window[0] if full else (0.0, 0.0)
        self._window.append((wait_s, seconds))
        if full and (out == self._longest or self._seen % 1000 == 0):
            self._longest = max(self._window)
            self._waited, self._took = (math.fsum(values) for values in zip(*self._window, strict=True))
        else:
            self._longest = max(self._longest, (wait_s, seconds))
            self._waited += wait_s - out[0]
            self._took += seconds - out[1]


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
