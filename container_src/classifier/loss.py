"""What training lowers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from classifier.config import Config


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """torch's, with the mean taken over the examples. torch's own divides by the weights of the labels that a batch
    happens to have, so that the losses of parts of a batch do not add up to that of the whole."""

    def __init__(self, weight: torch.Tensor, label_smoothing: float) -> None:
        super().__init__(weight, reduction="sum", label_smoothing=label_smoothing)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().forward(input, target) / len(input)


def criterion(config: Config, counts: Sequence[int] = ()) -> torch.nn.Module:
    """The mean loss of a batch, of logits [n, classes] and labels int64 [n] or probabilities [n, classes].

    `counts`: training photographs of each class. With class-weights=balanced a class of twice as many weighs half; the
    mean over the training photographs is 1.
    """
    if config.class_weights == "none":
        return torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    numbers = torch.tensor(counts, dtype=torch.float32)
    return CrossEntropyLoss(numbers.sum() / (len(numbers) * numbers), config.label_smoothing)
