"""Mixup and CutMix: each example of a batch is mixed with another one, and so is its label.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2017), https://arxiv.org/abs/1710.09412; Yun et al., "CutMix"
(2019), https://arxiv.org/abs/1905.04899. Of a frozen backbone's features mixup mixes the features.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from classifier.config import Config


@dataclass(frozen=True)
class Mix:
    """Of one batch: a `share` of each example stays, the rest is its neighbour's; `box` (top, bottom, left, right, in
    pixels): the part of a picture that is, None where every value is mixed."""

    share: float
    box: tuple[int, int, int, int] | None = None

    def inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float [n, ...], a new tensor in the same memory layout."""
        others = _neighbours(inputs)
        if self.box is None:
            return inputs.lerp(others, 1 - self.share)
        top, bottom, left, right = self.box
        mixed = inputs.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return mixed

    def targets(self, labels: torch.Tensor, classes: int) -> torch.Tensor:
        """int64 [n] -> float32 [n, classes], as CrossEntropyLoss takes probabilities."""
        certain = one_hot(labels, classes).float()
        return certain.lerp(_neighbours(certain), 1 - self.share)


class Mixing:
    """Draws the mix of every step; where both are asked for, either takes half of the steps."""

    def __init__(self, config: Config) -> None:
        self._seed = config.seed
        alphas = {"mixup": config.mixup_alpha, "cutmix": config.cutmix_alpha}
        self._alphas = [(kind, alpha) for kind, alpha in alphas.items() if alpha]

    def draw(self, step: int, shape: torch.Size) -> Mix | None:
        """That of step `step`, counted from 1; depends on (seed, step) and on the inputs' `shape` alone, so that a
        training that is taken up again draws the same."""
        if not self._alphas:
            return None
        rng = random.Random(f"{self._seed}/mix/{step}")
        kind, alpha = rng.choice(self._alphas)
        share = rng.betavariate(alpha, alpha)
        return Mix(share) if kind == "mixup" else _cut(share, rng, *shape[-2:])


def _cut(share: float, rng: random.Random, height: int, width: int) -> Mix:
    """Where the box reaches beyond the picture it is smaller than was drawn, and the share is what stays in truth."""
    side = math.sqrt(1 - share)
    y, x = rng.randrange(height), rng.randrange(width)
    rows, columns = round(height * side / 2), round(width * side / 2)
    top, bottom = max(0, y - rows), min(height, y + rows)
    left, right = max(0, x - columns), min(width, x + columns)
    return Mix(1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))


def _neighbours(tensor: torch.Tensor) -> torch.Tensor:
    # Batches are shuffled: the one before is any other one.
    return tensor.roll(1, 0)
