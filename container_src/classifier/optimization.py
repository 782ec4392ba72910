"""What a step changes the weights with: optimizer, learning rate, loss scale, averaged weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from classifier import network as networks
from classifier.config import Config
from classifier.errors import InputError
from classifier.precision import Precision


class Optimization:
    """That of one training. `average`: the network of averaged weights, None where `ema-decay` is 0.

    Parameters that have no gradient in a step stay as they are, weight decay included: those of a backbone that is
    frozen for some epochs keep their place in the optimizer, and begin without moments when their time comes.
    """

    def __init__(self, network: torch.nn.Module, config: Config, steps: int, precision: Precision) -> None:
        """`steps`: in an epoch. Raises InputError: the warm-up leaves nothing of the training."""
        self.optimizer = _optimizer(network, config)
        self.schedule = _schedule(self.optimizer, config, steps)
        # float16 ends at 6e-8: gradients of a loss that is not scaled up would vanish in it.
        self._scaler = GradScaler(precision.device.type, enabled=precision.half is torch.float16)
        self._network, self.average = network, None
        if config.ema_decay:
            self.average = AveragedModel(network, multi_avg_fn=_ema(config.ema_decay), use_buffers=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of `loss`, float32 [], in place of those that were there."""
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Moves the weights; in float16 not where a gradient has left its range, and the scale is lowered."""
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self._network)

    def state_dict(self) -> dict[str, Any]:
        """All but the averaged weights, of which only their owner knows which ones change."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "averaged": int(self.average.n_averaged) if self.average else 0,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.n_averaged.fill_(state["averaged"])


def _optimizer(network: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
    learning = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    head = [parameter for name, parameter in learning if networks.is_head(name)]
    backbone = [parameter for name, parameter in learning if not networks.is_head(name)]
    rate = config.peak_learning_rate
    groups = [
        {"params": parameters, "lr": lr}
        for parameters, lr in ((backbone, rate * config.backbone_learning_rate_factor), (head, rate)) if parameters
    ]  # fmt: skip
    # fused: one kernel for all parameters. On a CPU, too: a step takes a fifth of the time that torch's default does.
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, config: Config, steps: int) -> LRScheduler:
    """A line up to the peak, then half a cosine down to zero."""
    warmup, total = round(config.warmup_epochs * steps), config.epochs * steps
    if warmup >= total:
        raise InputError(
            f"warmup-epochs={config.warmup_epochs:g} leaves nothing of epochs={config.epochs}: set it below"
        )
    cosine = CosineAnnealingLR(optimizer, T_max=total - warmup)
    if not warmup:
        return cosine
    linear = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [linear, cosine], [warmup])


def _ema(decay: float) -> Any:
    """An exponential moving average that is as young as the training: at first of few steps, as in TensorFlow's
    ExponentialMovingAverage; else an average of hundreds of steps would be of first weights for hundreds of steps."""

    def update(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: torch.Tensor | int) -> None:
        n = int(count)  # on the CPU: nothing is waited for
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, n)  # type: ignore[no-untyped-call]

    return update
