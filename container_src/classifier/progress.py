"""How far a training has come: what it needs to go on, beside its weights and its optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from classifier.evaluation import Evaluation, Mistake


@dataclass(frozen=True)
class Epoch:
    """`number` counts from 1; `began`: seconds since 1970; `images_per_s` is of the training part alone, which is all
    of the epoch's seconds but `evaluation_s`. Of an epoch that was interrupted the pause between does not count."""

    number: int
    began: float
    train_loss: float
    valid: Evaluation
    images_per_s: float
    seconds: float
    evaluation_s: float

    @property
    def metrics(self) -> dict[str, float]:
        """By the names that are logged."""
        return {
            "train:loss": self.train_loss,
            "valid:loss": self.valid.loss,
            "valid:accuracy": self.valid.accuracy,
        }


@dataclass
class Progress:
    """`batches` of `epoch`, which counts from 1, are done, and `step` optimizer steps in all.

    Of that epoch: `total`, float32 [] on the device, the sum of the losses of the `seen` examples (of several processes
    each has the sum of its own, and the number of all), and the `seconds` that it has taken. `best_state`: the weights
    that training changes, as they were after the epoch `best`.
    """

    total: torch.Tensor
    epoch: int = 1
    batches: int = 0
    step: int = 0
    seen: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, loss: torch.Tensor, examples: int, whole: int) -> None:
        """One more step, of that mean loss, float32 [], of this process' `examples` of the `whole` batch's."""
        self.step += 1
        self.batches += 1
        self.total += loss * examples
        self.seen += whole

    def finish(self, epoch: Epoch) -> None:
        """The epoch is over, and the next one begins."""
        self.history.append(epoch)
        self.epoch, self.batches, self.seen, self.seconds = epoch.number + 1, 0, 0, 0.0
        self.total = torch.zeros_like(self.total)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        plain = {name: getattr(self, name) for name in ("epoch", "batches", "step", "seen", "seconds")}
        return plain | {
            "total": self.total,
            "history": [_plain(epoch) for epoch in self.history],
            "best": self.best.number if self.best else 0,
            "best_state": self.best_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        for name in ("epoch", "batches", "step", "seen", "seconds"):
            setattr(self, name, state[name])
        self.total = state["total"].to(self.total.device)
        self.history = [_epoch(values) for values in state["history"]]
        self.best = self.history[state["best"] - 1] if state["best"] else None
        self.best_state = dict(state["best_state"])


def _plain(epoch: Epoch) -> dict[str, Any]:
    valid = vars(epoch.valid) | {
        "confusion": epoch.valid.confusion.to(torch.int32),
        "mistakes": [tuple(mistake) for mistake in epoch.valid.mistakes],
    }
    return vars(epoch) | {"valid": valid}


def _epoch(values: Mapping[str, Any]) -> Epoch:
    valid = values["valid"]
    return Epoch(**{
        **values,
        "valid": Evaluation(**{
            **valid,
            "confusion": valid["confusion"].to(torch.int64),
            "mistakes": tuple(Mistake(*mistake) for mistake in valid["mistakes"]),
        }),
    })  # fmt: skip
