"""A training under way: one step of it, and its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from classifier import network as networks
from classifier.checkpoint import Checkpoints
from classifier.config import Config
from classifier.divergence import Losses
from classifier.errors import InputError
from classifier.precision import Precision
from classifier.progress import Progress
from classifier.steps import Stopwatch

# Files of a batch that are named in a message: the platform keeps 1,024 characters of it.
_MOST_NAMED = 8


class Running:
    """A training under way: all that its steps change, and what they need."""

    def __init__(
        self, network: torch.nn.Module, config: Config, prepare: Callable[[torch.Tensor], torch.Tensor],
        criterion: torch.nn.Module, precision: Precision, steps: int,
    ) -> None:  # fmt: skip
        """Freezes the backbone where `config` says so. `steps`: in an epoch."""
        if config.head_only:
            networks.freeze_backbone(network)
        self.network, self.config, self.prepare, self.criterion = network, config, prepare, criterion
        self.precision = precision
        self.optimizer = _optimizer(config, [p for p in network.parameters() if p.requires_grad])
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=config.epochs * steps)
        self.progress = Progress(torch.zeros((), device=precision.device))
        self.losses = Losses()
        self.watch = Stopwatch(precision.device)

    def learn(self, inputs: torch.Tensor, labels: torch.Tensor, watch: Stopwatch) -> torch.Tensor:
        """One optimizer step; gives the batch's mean loss, float32 [] on the device."""
        watch.mark()
        inputs, labels = _on(self.precision.device, inputs, labels)
        watch.mark()
        with self.precision.autocast():
            logits = self.network(self.prepare(inputs))
        loss: torch.Tensor = self.criterion(logits.float(), labels)
        watch.mark()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        watch.mark()
        self.optimizer.step()
        self.schedule.step()
        watch.mark()
        return loss.detach()

    def learned(self) -> dict[str, torch.Tensor]:
        """The weights that training changes: a frozen backbone has its own from elsewhere, statistics included."""
        state: dict[str, torch.Tensor] = self.network.state_dict()
        if not self.config.head_only:
            return state
        trained = {name for name, parameter in self.network.named_parameters() if parameter.requires_grad}
        return {name: tensor for name, tensor in state.items() if name in trained}

    def state_dict(self) -> dict[str, Any]:
        """All that a step changes."""
        return {
            "network": self.learned(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "progress": self.progress.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.network.load_state_dict(state["network"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.progress.load_state_dict(state["progress"])

    def save(self, checkpoints: Checkpoints) -> None:
        """As it is now."""
        checkpoints.save(self.progress.step, self.state_dict())

    def check(self, examples: Callable[[int], Sequence[str]]) -> None:
        """`examples` names what a batch of the epoch is made of.

        Raises:
            InputError: one of the losses that were not looked at is no number.
        """
        found = self.losses.first_bad()
        if found is None:
            return
        (step, loss), progress = found, self.progress
        batch = progress.batches - (progress.step - step) - 1
        names = examples(batch)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise InputError(
            f"the training loss became {loss} in epoch {progress.epoch} (step {step}) with "
            f"learning-rate={self.config.learning_rate:g}: lower learning-rate; the batch was "
            f"{', '.join(names[:_MOST_NAMED])}{more}"
        )


def _on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def _optimizer(config: Config, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
