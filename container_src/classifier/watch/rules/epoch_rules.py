"""Rules on the losses and on the confusion matrix of each epoch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from classifier.rule_settings import Setting
from classifier.watch.collected import EpochMetrics
from classifier.watch.rules.rule import Firing, Rule

# A share of fewer photographs than this is no measure.
_FEW = 5
Tell = Callable[[Rule, Firing], None]


class LossNotDecreasing(Rule):
    """Fires at each epoch whose training loss has risen, and had in the epoch before, or stands still before much was
    learned. (A network that has learned all but an odd batch is surprised by it now and then.)"""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.unseen = "there was no second epoch"
        self._losses: list[float] = []
        self._rose = False

    def on_epoch(self, epoch: EpochMetrics) -> None:
        loss, before = epoch.train_loss, self._losses
        if before:
            first, lowest = before[0], min(before)
            earlier = before[-int(self["num_epochs"])] if len(before) >= self["num_epochs"] else math.inf
            rose = not loss <= lowest + first * self["increase_threshold_percent"] / 100
            still = loss > earlier * (1 - self["diff_percent"] / 100)
            learned = loss <= first * (1 - self["learned_percent"] / 100)
            detail = (f"the training loss is {loss:.4g} after {before[-1]:.4g} in the epoch before; its lowest is "
                      f"{lowest:.4g}")  # fmt: skip
            fires = (rose and self._rose) or (still and not learned)
            self.saw(fires, detail, at=_ended(epoch), epoch=epoch.number)
            self._rose = rose
        if math.isfinite(loss):
            self._losses.append(loss)


class Overfit(Rule):
    """Fires at each epoch from the `patience`-th in a row on whose validation loss is above both its lowest and the
    training loss."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._first = self._lowest = math.inf
        self._row = 0

    def on_epoch(self, epoch: EpochMetrics) -> None:
        loss = epoch.valid_loss
        if not math.isfinite(loss):
            return
        if math.isinf(self._first):
            self._first = loss
        ratio = self["ratio_threshold"]
        above = loss > epoch.train_loss * (1 + ratio) and loss > self._lowest + ratio * self._first
        self._row = self._row + 1 if above else 0
        detail = (f"the validation loss is {loss:.4g} after {self._lowest:.4g} at its lowest, the training loss "
                  f"{epoch.train_loss:.4g}")  # fmt: skip
        self.saw(self._row >= self["patience"], detail, at=_ended(epoch), epoch=epoch.number)
        self._lowest = min(self._lowest, loss)


class Overtraining(Rule):
    """Fires at each epoch while the losses have not become better for a while."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self._train, self._valid = _Best(self["delta"]), _Best(self["delta"])

    def on_epoch(self, epoch: EpochMetrics) -> None:
        train, valid = self._train.since(epoch.train_loss), self._valid.since(epoch.valid_loss)
        both = min(train, valid) >= self["patience_train"]
        detail = f"no better validation loss for {valid} epochs" + (f", nor training loss for {train}" if both else "")
        self.saw(both or valid >= self["patience_validation"], detail, at=_ended(epoch), epoch=epoch.number)


class _Best:
    def __init__(self, delta: float) -> None:
        self._delta, self._lowest, self._since = delta, math.inf, 0

    def since(self, loss: float) -> int:
        """Epochs since the best one."""
        if loss < self._lowest * (1 - self._delta):
            self._lowest, self._since = loss, 0
        else:
            self._since += 1
        return self._since


class _OnClasses(Rule):
    """`classes`: their names, by which they are told."""

    classes: Sequence[str] = ()

    def name(self, index: int) -> str:
        return self.classes[index] if self.classes else f"class {index}"


class ClassImbalance(_OnClasses):
    """Fires at each epoch whose largest class has too many times the photographs of the smallest, or in which a rare
    class is mistaken though the others are not."""

    def on_epoch(self, epoch: EpochMetrics) -> None:
        counts = epoch.train_counts
        fewest, most = min(counts), max(counts)
        imbalance = most / fewest if fewest else math.inf
        if imbalance > self["threshold_imbalance"]:
            detail = (f"{self.name(counts.index(most))} has {most} photographs in training, "
                      f"{self.name(counts.index(fewest))} has {fewest}")  # fmt: skip
            self.saw(True, detail, at=_ended(epoch), epoch=epoch.number)
            return
        mean = sum(counts) / len(counts)
        mistaken = {
            index: 1 - row[index] / sum(row) for index, row in enumerate(epoch.valid_confusion) if sum(row) >= _FEW
        }
        rare = {index: share for index, share in mistaken.items() if counts[index] * 2 <= mean}
        others = [share for index, share in mistaken.items() if index not in rare]
        limit = self["threshold_misprediction"]
        fires = bool(rare and others) and max(rare.values()) > limit and sum(others) / len(others) < limit / 2
        worst = max(rare, key=rare.__getitem__, default=0)
        detail = (f"{self.name(worst)} has {counts[worst]} photographs in training; of those in valid "
                  f"{mistaken.get(worst, 0):.0%} are mistaken")  # fmt: skip
        self.saw(fires, detail, at=_ended(epoch), epoch=epoch.number)


class Confusion(_OnClasses):
    """Fires at each epoch from the `patience`-th in a row on in which the same two classes are taken for each other."""

    def __init__(self, setting: Setting, tell: Tell = lambda rule, firing: None) -> None:
        super().__init__(setting, tell)
        self.unseen = f"no two classes have {self['samples']:g} photographs in valid"
        self._row: dict[tuple[int, int], int] = {}

    def on_epoch(self, epoch: EpochMetrics) -> None:
        matrix = epoch.valid_confusion
        sums = [sum(row) for row in matrix]
        right = sum(matrix[i][i] for i in range(len(matrix)))
        confused: dict[tuple[int, int], float] = {}
        judged = [i for i, count in enumerate(sums) if count >= self["samples"]]
        for i, j in itertools.combinations(judged, 2):
            both, other = sums[i] + sums[j], sum(sums) - sums[i] - sums[j]
            share = (matrix[i][j] + matrix[j][i]) / both
            if share > self["max_off_diag"] and (
                not other or right - matrix[i][i] - matrix[j][j] >= self["min_diag"] * other
            ):
                confused[i, j] = share
        self._row = {pair: self._row.get(pair, 0) + 1 for pair in confused}
        lasting = [pair for pair, row in self._row.items() if row >= self["patience"]]
        detail = ""
        if lasting:
            i, j = max(lasting, key=confused.__getitem__)
            detail = (f"{matrix[i][j]} of {sums[i]} photographs of {self.name(i)} are called {self.name(j)}, and "
                      f"{matrix[j][i]} of {sums[j]} the other way round")  # fmt: skip
        if len(judged) > 1:
            self.saw(bool(lasting), detail, at=_ended(epoch), epoch=epoch.number)


def _ended(epoch: EpochMetrics) -> float:
    return epoch.began + epoch.seconds


RULES: tuple[type[Rule], ...] = (LossNotDecreasing, Overfit, Overtraining, ClassImbalance, Confusion)
