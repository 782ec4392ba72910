"""What a network gets right: loss, accuracy, top-5, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from classifier.precision import Precision


@dataclass(frozen=True)
class Evaluation:
    """`confusion[i, j]`: examples of class i that were called j; int64 [classes, classes]. Shares are of 1."""

    loss: float
    accuracy: float
    top5_accuracy: float
    confusion: torch.Tensor


@torch.inference_mode()
def evaluate(
    network: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    criterion: torch.nn.Module,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: Precision,
) -> Evaluation:
    """Runs `network` in evaluation mode over batches of (inputs [n, ...], classes int64 [n]).

    `prepare` makes of a batch's inputs what the network takes. `criterion` gives the mean
    loss of a batch. The network's mode is left at evaluation.
    """
    network.eval()
    loss, seen, top5 = 0.0, 0, 0
    confusion: torch.Tensor | None = None
    for inputs, labels in batches:
        inputs, labels = inputs.to(precision.device, non_blocking=True), labels.to(precision.device, non_blocking=True)
        with precision.autocast():
            logits = network(prepare(inputs))
        logits = logits.float()
        classes = logits.shape[1]
        if confusion is None:
            confusion = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
        confusion += torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes * classes)
        top5 += int((logits.topk(min(5, classes)).indices == labels[:, None]).any(dim=1).sum())
        loss += float(criterion(logits, labels)) * len(labels)
        seen += len(labels)
    assert confusion is not None, "an empty split is refused where the data set is read"
    square = confusion.cpu().view(classes, classes)
    return Evaluation(loss / seen, int(square.diagonal().sum()) / seen, top5 / seen, square)
