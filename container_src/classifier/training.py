"""The loop: steps, schedule, early stopping. It logs nothing and writes nothing; observers are told what happens."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.data import DataLoader

from classifier import network as networks
from classifier.config import Config
from classifier.data import Photographs, batches, loader, set_epoch
from classifier.errors import InputError
from classifier.evaluation import Evaluation, evaluate
from classifier.images import Preprocessing, normalize
from classifier.precision import Precision


@dataclass(frozen=True)
class Step:
    """One optimizer step: seconds spent waiting for the batch, and computing with it."""

    number: int
    images: int
    data_s: float
    compute_s: float


@dataclass(frozen=True)
class Epoch:
    """`number` counts from 1; `images_per_s` is of the training part alone."""

    number: int
    train_loss: float
    valid: Evaluation
    images_per_s: float
    seconds: float


class Observer:
    """Is told what happens in training and changes nothing of it. Override what is of interest."""

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        """Before the first step."""

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        """Before the first batch of either part of an epoch."""

    def on_step(self, step: Step) -> None:
        """After each optimizer step."""

    def on_epoch(self, epoch: Epoch) -> None:
        """After each epoch's evaluation."""


@dataclass(frozen=True)
class Outcome:
    """`kept` is the epoch whose weights the network was left with: the best by valid:accuracy."""

    history: tuple[Epoch, ...]
    kept: Epoch
    stopped: bool


def train(
    network: torch.nn.Module,
    config: Config,
    preprocessing: Preprocessing,
    training: Photographs,
    valid: DataLoader[tuple[torch.Tensor, torch.Tensor]],
    criterion: torch.nn.Module,
    precision: Precision,
    workers: int,
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains `network` in place and leaves it with the best epoch's weights.

    `should_stop` is asked before every step; a run that it ends keeps the best epoch that was completed.

    Raises:
        InputError: the loss became NaN or infinite, or the run was stopped before its first epoch was complete.
    """
    source = loader(training, config.batch_size, workers, shuffle=True, seed=config.seed)
    if config.freeze_backbone:
        networks.freeze_backbone(network)
    optimizer = _optimizer(config, [p for p in network.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs * len(source))
    for observer in observers:
        observer.on_start(network, criterion)

    history: list[Epoch] = []
    best: Epoch | None = None
    best_state: dict[str, torch.Tensor] = {}
    step = 0
    for number in range(1, config.epochs + 1):
        began = time.perf_counter()
        set_epoch(source, number)
        # A frozen backbone keeps the statistics of its batch normalization; the head is linear and has no mode.
        network.train(not config.freeze_backbone)
        for observer in observers:
            observer.on_phase("train")
        total, seen = torch.zeros((), device=precision.device), 0
        mark = time.perf_counter()
        for pixels, labels in batches(source):
            if should_stop():
                break
            loaded = time.perf_counter()
            loss = _step(network, criterion, optimizer, preprocessing, precision, pixels, labels)
            schedule.step()
            total += loss * len(labels)
            seen += len(labels)
            done = time.perf_counter()
            step += 1
            for observer in observers:
                observer.on_step(Step(step, len(labels), loaded - mark, done - loaded))
            mark = time.perf_counter()
        if should_stop():
            break
        train_s = time.perf_counter() - began
        train_loss = float(total) / seen
        if not math.isfinite(train_loss):
            raise InputError(
                f"the training loss became {train_loss} in epoch {number} (step {step}) with "
                f"learning-rate={config.learning_rate:g}: lower learning-rate"
            )
        for observer in observers:
            observer.on_phase("eval")
        result = evaluate(network, batches(valid), criterion, preprocessing, precision)
        epoch = Epoch(number, train_loss, result, seen / train_s, time.perf_counter() - began)
        history.append(epoch)
        for observer in observers:
            observer.on_epoch(epoch)
        if best is None or _better(epoch, best):
            best, best_state = epoch, copy.deepcopy(network.state_dict())
        elif config.early_stopping_patience and number - best.number >= config.early_stopping_patience:
            break
    if best is None:
        raise InputError("the job was stopped before its first epoch was complete; there is no model to keep")
    network.load_state_dict(best_state)
    return Outcome(tuple(history), best, stopped=should_stop())


def _step(
    network: torch.nn.Module,
    criterion: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    preprocessing: Preprocessing,
    precision: Precision,
    pixels: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    pixels, labels = pixels.to(precision.device, non_blocking=True), labels.to(precision.device, non_blocking=True)
    with precision.autocast():
        logits = network(normalize(pixels, preprocessing))
    loss: torch.Tensor = criterion(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _optimizer(config: Config, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)


def _better(epoch: Epoch, best: Epoch) -> bool:
    # Among equally accurate epochs the surer one: on a small validation split ties are common.
    return (epoch.valid.accuracy, -epoch.valid.loss) > (best.valid.accuracy, -best.valid.loss)
