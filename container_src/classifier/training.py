"""The loop: steps, schedule, early stopping. It logs nothing and writes nothing; observers are told what happens."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from classifier import network as networks
from classifier.config import Config
from classifier.errors import InputError
from classifier.evaluation import Evaluation, evaluate
from classifier.precision import Precision

Batch = tuple[torch.Tensor, torch.Tensor]


class Source(Protocol):
    """The training split in batches of (inputs [n, ...], classes int64 [n]): pixels, or features of a frozen backbone.

    Order and views depend on the seed and the epoch alone.
    """

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


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
    training: Source,
    valid: Iterable[Batch],
    prepare: Callable[[torch.Tensor], torch.Tensor],
    criterion: torch.nn.Module,
    precision: Precision,
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains `network` in place and leaves it with the best epoch's weights.

    `prepare` makes of a batch's inputs what the network takes. `should_stop` is asked before every step; a run that it
    ends keeps the best epoch that was completed.

    Raises:
        InputError: the loss became NaN or infinite, or the run was stopped before its first epoch was complete.
    """
    if config.freeze_backbone:
        networks.freeze_backbone(network)
    optimizer = _optimizer(config, [p for p in network.parameters() if p.requires_grad])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs * len(training))
    for observer in observers:
        observer.on_start(network, criterion)

    history: list[Epoch] = []
    best: Epoch | None = None
    best_state: dict[str, torch.Tensor] = {}
    step = 0
    for number in range(1, config.epochs + 1):
        began = time.perf_counter()
        training.set_epoch(number)
        # A frozen backbone keeps the statistics of its batch normalization; the head is linear and has no mode.
        network.train(not config.freeze_backbone)
        for observer in observers:
            observer.on_phase("train")
        total, seen = torch.zeros((), device=precision.device), 0
        mark = time.perf_counter()
        for inputs, labels in training:
            if should_stop():
                break
            loaded = time.perf_counter()
            loss = _step(network, criterion, optimizer, prepare, precision, inputs, labels)
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
        result = evaluate(network, valid, criterion, prepare, precision)
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
    prepare: Callable[[torch.Tensor], torch.Tensor],
    precision: Precision,
    inputs: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    inputs, labels = inputs.to(precision.device, non_blocking=True), labels.to(precision.device, non_blocking=True)
    with precision.autocast():
        logits = network(prepare(inputs))
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
