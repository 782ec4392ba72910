"""Rules on recorded tensors: on smdebug's rule interface, so that they judge any trial directory as well.

During training `base_trial` is a LiveTrial; afterwards `smdebug.rules.rule_invoker.invoke_rule(DeadRelu(trial))` or
`judge` below does the same with what is in the files.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from classifier import rule_settings
from classifier.errors import InputError
from classifier.rule_settings import Setting
from classifier.watch import smdebug_client
from classifier.watch.rules.rule import Finding, Firing, Rule
from classifier.watch.smdebug_client import TensorUnavailableForStep, smd

# What Debugger records beside smdebug's tensors: the norms of each layer's update and of its weights before, float32
# [2]; of each ReLU the share of activations above zero by channel, float32 [channels].
UPDATE = "update/"
ACTIVE = "_active_"
_GRADIENT = "gradient/"
# Of the recorded steps whose mean is a ReLU's activity: a single batch may lack what excites a channel.
_ACTIVITY_STEPS = 3
Tell = Callable[[Rule, Firing], None]


class TensorRule(Rule, smdebug_client.Rule):  # type: ignore[misc]
    """`judge` is called at each step of the phase TRAIN that was recorded.

    `collection`: where the tensors are that it reads. `setting`: its default where there is none.
    """

    collection = ""

    def __init__(self, base_trial: Any, setting: Setting | None = None, tell: Tell = lambda rule, firing: None) -> None:
        Rule.__init__(self, setting or rule_settings.parse("", "").rules[type(self).__name__], tell)
        smdebug_client.Rule.__init__(self, base_trial, action_str="")
        self.unseen = f"no {self.collection} were recorded"

    def invoke_at_step(self, step: int) -> bool:
        """smdebug's: whether it fires at this global step."""
        before = self.fired
        if self.base_trial.mode(step) in (smd.modes.TRAIN, smd.modes.GLOBAL):
            self.judge(step)
        return self.fired > before

    def judge(self, step: int) -> None:
        raise NotImplementedError

    def names(self, step: int, collection: str) -> list[str]:
        """Of the collection's tensors at this step."""
        found: list[str] = self.base_trial.tensor_names(step=step, collection=collection)
        return found

    def reduced(self, step: int, collection: str, reduction: str, abs: bool = False) -> dict[str, float]:
        """Tensor -> its reduction; those whose whole or reduction was not recorded are left out."""
        values = {}
        for name in self.names(step, collection):
            try:
                values[name] = float(self.base_trial.tensor(name).reduction_value(step, reduction, abs=abs))
            except TensorUnavailableForStep:
                continue
        return values

    def trained(self, step: int, names: Iterable[str]) -> list[str]:
        """Those weights that have gradients at this step."""
        gradients = {name.removeprefix(_GRADIENT) for name in self.names(step, "gradients")}
        return [name for name in names if name in gradients]

    def saw_at(self, step: int, fires: bool, detail: str) -> None:
        """One data point."""
        number = self.base_trial.mode_step(step) + 1
        at, epoch = getattr(self.base_trial, "at", 0.0), getattr(self.base_trial, "epoch", 0)
        self.saw(fires, detail, at=at, step=number, epoch=epoch)


class VanishingGradient(TensorRule):
    """Fires at each step at which the gradients of a layer's weights are next to nothing."""

    collection = "gradients"

    def judge(self, step: int) -> None:
        means = {
            name: mean for name, mean in self.reduced(step, "gradients", "mean", abs=True).items()
            if name.endswith("weight") and math.isfinite(mean)
        }  # fmt: skip
        if means:
            least = min(means, key=means.__getitem__)
            few = sum(mean < self["threshold"] for mean in means.values())
            detail = f"{least} is {means[least]:.2g} on average, and {few} of {len(means)} layers are below the limit"
            self.saw_at(step, means[least] < self["threshold"], detail)


class ExplodingTensor(TensorRule):
    """Fires at each step at which a recorded value is NaN or infinite."""

    collection = "losses"

    def judge(self, step: int) -> None:
        values = list(self._values(step))
        bad = [(name, v) for name, v in values if math.isnan(v) or (not self["only_nan"] and math.isinf(v))]
        if values:
            more = f", and {len(bad) - 1} more values" if len(bad) > 1 else ""
            self.saw_at(step, bool(bad), f"{bad[0][0]} is {bad[0][1]}{more}" if bad else "")

    def saw_loss(self, number: int, epoch: int, at: float, loss: float) -> None:
        """A loss of a step that was not recorded."""
        bad = math.isnan(loss) or (not self["only_nan"] and math.isinf(loss))
        self.saw(bad, f"the loss is {loss}", at=at, step=number, epoch=epoch)

    def _values(self, step: int) -> Iterator[tuple[str, float]]:
        for name in self.base_trial.tensor_names(step=step):
            if not name.startswith(UPDATE) and ACTIVE not in name:
                tensor = self.base_trial.tensor(name)
                for reduction in ("min", "max"):
                    try:
                        yield name, float(tensor.reduction_value(step, reduction))
                    except TensorUnavailableForStep:
                        break


class PoorWeightInitialization(TensorRule):
    """Fires at each of the first steps at which the weights of a layer are alike, or of other scale than another's."""

    collection = "weights"

    def __init__(self, base_trial: Any, setting: Setting | None = None, tell: Tell = lambda r, f: None) -> None:
        super().__init__(base_trial, setting, tell)
        self._ones: set[str] = set()

    def judge(self, step: int) -> None:
        if self.points >= self["steps"]:
            return
        low, high, std = (self.reduced(step, "weights", reduction) for reduction in ("min", "max", "std"))
        # Normalizations begin with weights that are all one, and are meant to; some steps later they still are alike.
        self._ones |= {name for name in low if low[name] == high[name] == 1}
        spread = {
            name: (high[name] - low[name], std[name] ** 2) for name in self.trained(step, low)
            if name not in self._ones and math.isfinite(high[name] - low[name] + std[name])
        }  # fmt: skip
        if not spread:
            return
        narrow = min(spread, key=lambda name: spread[name][0])
        alike = spread[narrow][0] < self["distribution_range"]
        detail = f"the weights of {narrow} are all between {low[narrow]:.3g} and {high[narrow]:.3g}"
        if not alike:
            wide = max(spread, key=lambda name: spread[name][1])
            least = min(spread, key=lambda name: spread[name][1])
            alike = spread[wide][1] > self["threshold"] * spread[least][1]
            detail = f"the weights of {wide} vary {spread[wide][1] / spread[least][1]:.0f} times as much as of {least}"
        self.saw_at(step, alike, detail)


class DeadRelu(TensorRule):
    """Fires at each step at which most channels of a ReLU are hardly ever active."""

    collection = "relu"

    def __init__(self, base_trial: Any, setting: Setting | None = None, tell: Tell = lambda r, f: None) -> None:
        super().__init__(base_trial, setting, tell)
        self._active: dict[str, deque[np.ndarray[Any, Any]]] = {}

    def judge(self, step: int) -> None:
        dead = {}
        for name, active in self._channels(step):
            recent = self._active.setdefault(name, deque(maxlen=_ACTIVITY_STEPS))
            if recent and recent[-1].shape != active.shape:
                recent.clear()
            recent.append(active)
            dead[name] = 100 * float((np.mean(recent, axis=0) * 100 < self["threshold_inactivity"]).mean())
        if dead:
            worst = max(dead, key=dead.__getitem__)
            detail = f"{dead[worst]:.0f} % of the channels of {worst} are dead"
            self.saw_at(step, dead[worst] > self["threshold_layer"], detail)

    def _channels(self, step: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """(ReLU, share of each channel's activations above zero), as Debugger recorded it or of the whole output."""
        shares = [name for name in self.base_trial.tensor_names(step=step) if ACTIVE in name]
        for name in shares:
            yield name.replace(ACTIVE, "_output_"), np.asarray(self.base_trial.tensor(name).value(step))
        if not shares:
            for name in self.base_trial.tensor_names(step=step, regex=[r".*relu_output", r".*relu\d*_output"]):
                try:
                    output = np.asarray(self.base_trial.tensor(name).value(step))
                except TensorUnavailableForStep:
                    continue
                yield name, (output > 0).mean(axis=tuple(i for i in range(output.ndim) if i != 1))


class WeightUpdateRatio(TensorRule):
    """Fires at each step whose update of a layer is too large or too small against its weights."""

    collection = "weights"

    def __init__(self, base_trial: Any, setting: Setting | None = None, tell: Tell = lambda r, f: None) -> None:
        super().__init__(base_trial, setting, tell)
        self._before: dict[str, np.ndarray[Any, Any]] = {}

    def judge(self, step: int) -> None:
        ratios = {name: ratio for name, ratio in self._ratios(step) if math.isfinite(ratio)}
        if not ratios:
            return
        large, small = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
        too_large, too_small = ratios[large] > self["large_threshold"], ratios[small] < self["small_threshold"]
        told = large if too_large or not too_small else small
        detail = f"the update of {told} is {ratios[told]:.2g} of its weights"
        self.saw_at(step, too_large or too_small, detail)

    def _ratios(self, step: int) -> Iterator[tuple[str, float]]:
        """As Debugger recorded norms, or between two recorded steps of whole weights."""
        recorded = [name for name in self.base_trial.tensor_names(step=step) if name.startswith(UPDATE)]
        for name in recorded:
            update, norm = np.asarray(self.base_trial.tensor(name).value(step))
            yield name.removeprefix(UPDATE) + ".weight", float(update / (norm + self["epsilon"]))
        if recorded:
            return
        for name in self.trained(step, self.names(step, "weights")):
            try:
                weights = np.asarray(self.base_trial.tensor(name).value(step))
            except TensorUnavailableForStep:
                continue
            if weights.ndim > 1 and name in self._before:
                before = self._before[name]
                norm = np.linalg.norm(before) + self["epsilon"]
                yield name, float(np.linalg.norm(weights - before) / norm)
            self._before[name] = weights


class UnchangedTensor(TensorRule):
    """Fires at each step at which the weights of a layer that has gradients are what they were some steps ago."""

    collection = "weights"

    def __init__(self, base_trial: Any, setting: Setting | None = None, tell: Tell = lambda r, f: None) -> None:
        super().__init__(base_trial, setting, tell)
        self._earlier: dict[str, deque[np.ndarray[Any, Any]]] = {}

    def judge(self, step: int) -> None:
        unchanged, judged = [], 0
        for name in self.trained(step, self.names(step, "weights")):
            values = self._of(name, step)
            if values is None:
                continue
            earlier = self._earlier.setdefault(name, deque(maxlen=int(self["num_steps"])))
            earlier.append(values)
            if len(earlier) == earlier.maxlen:
                judged += 1
                if all(np.allclose(values, e, self["rtol"], self["atol"]) for e in earlier):
                    unchanged.append(name)
        if judged:
            detail = (f"{unchanged[0]} has not changed over {self['num_steps']:g} recorded steps, and "
                      f"{len(unchanged)} of {judged} layers have not") if unchanged else ""  # fmt: skip
            self.saw_at(step, bool(unchanged), detail)

    def _of(self, name: str, step: int) -> np.ndarray[Any, Any] | None:
        tensor = self.base_trial.tensor(name)
        try:
            return np.asarray(tensor.value(step))
        except TensorUnavailableForStep:
            pass
        try:
            reduced = [tensor.reduction_value(step, reduction) for reduction in ("min", "max", "mean", "std")]
        except TensorUnavailableForStep:
            return None
        return np.asarray(reduced, dtype=np.float64)


RULES: tuple[type[TensorRule], ...] = (
    VanishingGradient, ExplodingTensor, PoorWeightInitialization, DeadRelu, WeightUpdateRatio, UnchangedTensor,
)  # fmt: skip


def judge(directory: Path, settings: rule_settings.Settings) -> list[Finding]:
    """What these rules say of the trial in `directory`, of whichever run.

    Raises:
        InputError: it holds no trial.
    """
    if not (directory / "index").is_dir():
        raise InputError(f"{directory} holds no tensors of smdebug: give the folder `tensors` of a job's output")
    trial = smd.create_trial(str(directory))
    rules = [rule(trial, settings.rules[rule.__name__]) for rule in RULES]
    for step in trial.steps():
        for rule in rules:
            rule.invoke_at_step(step)
    return [rule.finding() for rule in rules]
