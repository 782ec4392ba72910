"""What a network gets right: loss, accuracy, top-5, confusion matrix; and its worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from classifier.distributed import ALONE, Ranks
from classifier.precision import Precision

# Most that are kept of an evaluation.
MISTAKES = 24


class Mistake(NamedTuple):
    """Example `number` of the split, counted from 0, of class `label`, was called `called` with that probability."""

    number: int
    label: int
    called: int
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """`confusion[i, j]`: examples of class i that were called j; int64 [classes, classes]. Shares are of 1.

    `mistakes`: those that the network was surest of, the surest first.
    """

    loss: float
    accuracy: float
    top5_accuracy: float
    confusion: torch.Tensor
    mistakes: tuple[Mistake, ...] = ()


def evaluate(
    network: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    criterion: torch.nn.Module,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: Precision,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Runs `network` in evaluation mode over batches of (inputs [n, ...], classes int64 [n]).

    `prepare` makes of a batch's inputs what the network takes. `criterion` gives the mean
    loss of a batch. The network's mode is left at evaluation. Of several `ranks`, which all must call this, each is
    given its part of the split, and has the evaluation of all of it.
    """
    network.eval()
    # Those on a CPU have seen different batches.
    ranks.take_buffers_of_first(network)
    return _merged(ranks.gather(_evaluated(network, batches, criterion, prepare, precision)))


@torch.inference_mode()
def _evaluated(
    network: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    criterion: torch.nn.Module,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: Precision,
) -> Evaluation | None:
    """None where there is nothing: a split may have fewer examples than there are processes."""
    loss, seen, top5 = 0.0, 0, 0
    confusion: torch.Tensor | None = None
    examples: list[tuple[torch.Tensor, ...]] = []
    for inputs, labels in batches:
        inputs, labels = inputs.to(precision.device, non_blocking=True), labels.to(precision.device, non_blocking=True)
        with precision.autocast():
            logits = network(prepare(inputs))
        logits = logits.float()
        classes = logits.shape[1]
        if confusion is None:
            confusion = torch.zeros(classes * classes, dtype=torch.int64, device=logits.device)
        sure, called = logits.softmax(dim=1).max(dim=1)
        confusion += torch.bincount(labels * classes + called, minlength=classes * classes)
        examples.append((sure.masked_fill_(called == labels, -1.0), labels, called))
        top5 += int((logits.topk(min(5, classes)).indices == labels[:, None]).any(dim=1).sum())
        loss += float(criterion(logits, labels)) * len(labels)
        seen += len(labels)
    if confusion is None:
        return None
    square = confusion.cpu().view(classes, classes)
    mistakes = _surest(*map(torch.cat, zip(*examples, strict=True)))
    return Evaluation(loss / seen, int(square.diagonal().sum()) / seen, top5 / seen, square, mistakes)


def _merged(parts: Sequence[Evaluation | None]) -> Evaluation:
    """Of parts of a split that follow each other."""
    found = [part for part in parts if part is not None]
    assert found, "an empty split is refused where the data set is read"
    if len(found) == 1:
        return found[0]
    counts = [int(part.confusion.sum()) for part in found]
    seen, confusion = sum(counts), torch.stack([part.confusion for part in found]).sum(0)
    loss = sum(part.loss * count for part, count in zip(found, counts, strict=True)) / seen
    top5 = sum(round(part.top5_accuracy * count) for part, count in zip(found, counts, strict=True)) / seen
    mistakes = [
        mistake._replace(number=mistake.number + sum(counts[:i])) for i, part in enumerate(found)
        for mistake in part.mistakes
    ]  # fmt: skip
    mistakes.sort(key=lambda mistake: mistake.probability, reverse=True)
    return Evaluation(loss, int(confusion.diagonal().sum()) / seen, top5, confusion, tuple(mistakes[:MISTAKES]))


def _surest(sure: torch.Tensor, labels: torch.Tensor, called: torch.Tensor) -> tuple[Mistake, ...]:
    """`sure`: float32 [n], the probability of what an example was called, -1 where that was right."""
    top, index = sure.topk(min(MISTAKES, len(sure)))
    rows = zip(index.tolist(), labels[index].tolist(), called[index].tolist(), top.tolist(), strict=True)
    # A network that diverged says NaN, which is at least nothing.
    return tuple(Mistake(*row) for row in rows if row[3] >= 0)
