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
from classifier.steps import Step, Stopwatch

Batch = tuple[torch.Tensor, torch.Tensor]


class Source(Protocol):
    """The training split in batches of (inputs [n, ...], classes int64 [n]): pixels, or features of a frozen backbone.

    Order and views depend on the seed and the epoch alone.
    """

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Epoch:
    """`number` counts from 1; `began`: seconds since 1970; `images_per_s` is of the training part alone, which is all
    of the epoch's seconds but `evaluation_s`."""

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


class Observer:
    """Is told what happens in training and changes nothing of it. Override what is of interest."""

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        """Before the first step."""

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        """Before the first batch of either part of an epoch."""

    def on_step(self, step: Step) -> None:
        """Soon after each optimizer step, in order: once the device is done with it."""

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
    watch = Stopwatch(precision.device)
    for number in range(1, config.epochs + 1):
        began, began_at = time.perf_counter(), time.time()
        training.set_epoch(number)
        # A frozen backbone keeps the statistics of its batch normalization; the head is linear and has no mode.
        network.train(not config.freeze_backbone)
        for observer in observers:
            observer.on_phase("train")
        total, seen = torch.zeros((), device=precision.device), 0
        watch.start()
        for inputs, labels in training:
            if should_stop():
                break
            watch.mark()
            inputs, labels = _on(precision.device, inputs, labels)
            watch.mark()
            with precision.autocast():
                logits = network(prepare(inputs))
            loss: torch.Tensor = criterion(logits.float(), labels)
            watch.mark()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            watch.mark()
            optimizer.step()
            schedule.step()
            watch.mark()
            step += 1
            total += loss.detach() * len(labels)
            seen += len(labels)
            watch.end(step, number, loss.detach(), labels)
            for done in watch.told():
                for observer in observers:
                    observer.on_step(done)
            watch.start()
        for done in watch.told(wait=True):
            for observer in observers:
                observer.on_step(done)
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
        evaluating = time.perf_counter()
        result = evaluate(network, valid, criterion, prepare, precision)
        ended = time.perf_counter()
        epoch = Epoch(number, began_at, train_loss, result, seen / train_s, ended - began, ended - evaluating)
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


def _on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def _optimizer(config: Config, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)


def _better(epoch: Epoch, best: Epoch) -> bool:
    # Among equally accurate epochs the surer one: on a small validation split ties are common.
    return (epoch.valid.accuracy, -epoch.valid.loss) > (best.valid.accuracy, -best.valid.loss)
