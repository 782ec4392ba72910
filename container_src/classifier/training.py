"""The loop: steps, schedule, early stopping. It logs nothing; observers are told what happens."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from classifier import out_of_memory
from classifier.config import FEWEST, Config
from classifier.distributed import ALONE, Ranks
from classifier.errors import InputError
from classifier.evaluation import evaluate
from classifier.precision import Precision
from classifier.progress import Epoch as Epoch
from classifier.progress import Progress
from classifier.running import Running
from classifier.steps import Step, Stopwatch

if TYPE_CHECKING:
    from classifier.checkpoint import Checkpoints

Batch = tuple[torch.Tensor, torch.Tensor]


class Source(Protocol):
    """The training split in batches of (inputs [n, ...], classes int64 [n]): pixels, or features of a frozen backbone.

    Order and views depend on the seed and the epoch alone. The first `done` batches of an epoch are left out, and
    nothing is read for them; the length is that of a whole epoch. `examples` names what a batch of the epoch, counted
    from 0 with those left out, is made of.
    """

    def set_epoch(self, epoch: int, done: int = 0) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def examples(self, batch: int) -> Sequence[str]: ...


class Observer:
    """Is told what happens in training and changes nothing of it. Override what is of interest."""

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        """Before the first step."""

    def on_resume(self, history: Sequence[Epoch]) -> None:
        """Before the first step of a run that was interrupted: its epochs until then."""

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
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Trains `network` in place and leaves it with the best epoch's weights.

    `prepare` makes of a batch's inputs what the network takes. `should_stop` is asked before every step; a run that it
    ends keeps the best epoch that was completed. With `checkpoints` a run goes on from the newest one, to the same
    weights (bit for bit on a CPU) as one that was never interrupted, and leaves one when it is stopped.

    Of several `ranks` each is given its share of every batch of `training`, and of `valid`; all must call this, with
    the same network. When one is to stop, all do. The first one's `checkpoints` count.

    Raises:
        InputError: the loss became NaN or infinite, a batch does not fit into the GPU, or the run was stopped before
            its first epoch was complete; too few examples for so many processes.
    """
    _check_shares(training, ranks)
    running = Running(network, config, prepare, criterion, precision, len(training), ranks)
    checkpoints = checkpoints if ranks.first else None
    saved = ranks.of_first(checkpoints.load() if checkpoints else None)
    if saved:
        running.load_state_dict(saved)
    progress = running.progress
    for observer in observers:
        observer.on_start(network, criterion)
    if progress.history:
        for observer in observers:
            observer.on_resume(progress.history)
    try:
        while not _is_over(config, progress):
            if not _epoch(running, training, valid, observers, should_stop, checkpoints):
                break
        fits = True
    except torch.OutOfMemoryError:
        fits = False  # what follows needs the memory that the error holds on to
    if not fits:
        raise _does_not_fit(running, training)
    (stopped, kept_on) = ranks.any(should_stop(), checkpoints is not None)
    if stopped and progress.step:
        running.sum_up()
        if running.is_sound() and checkpoints:
            running.save(checkpoints)
    if progress.best is None:
        kept = f": started again with its checkpoints, it goes on after step {progress.step}" if kept_on else ""
        raise InputError("the job was stopped before its first epoch was complete; there is no model to keep"
                         + kept * bool(progress.step))  # fmt: skip
    network.load_state_dict(progress.best_state, strict=False)
    return Outcome(tuple(progress.history), progress.best, stopped)


def _epoch(
    running: Running, training: Source, valid: Iterable[Batch], observers: Sequence[Observer],
    should_stop: Callable[[], bool], checkpoints: Checkpoints | None,
) -> bool:  # fmt: skip
    """What is left of the epoch under way, and its evaluation. False: the run was stopped before it was complete.

    Raises InputError: the loss became NaN or infinite.
    """
    config, network, progress, watch = running.config, running.network, running.progress, running.watch
    ranks = running.ranks
    number = progress.epoch
    began, began_at = time.perf_counter() - progress.seconds, time.time() - progress.seconds
    training.set_epoch(number, progress.batches)
    running.begin(number)
    for observer in observers:
        observer.on_phase("train")
    watch.start()
    (stop,) = ranks.any(should_stop())
    for inputs, labels in () if stop else training:
        whole = len(labels) if not ranks.several else _size(training, progress.batches, config)
        loss = running.learn(inputs, labels, watch, whole)
        progress.add(loss, len(labels), whole)
        running.losses.add(progress.step, loss)
        watch.end(progress.step, number, loss, labels)
        for done in watch.told():
            for observer in observers:
                observer.on_step(done)
        stop, is_due = ranks.any(should_stop(), checkpoints is not None and checkpoints.due(progress.step))
        if is_due or running.losses.many:
            running.check(training.examples)
        if is_due:
            progress.seconds = time.perf_counter() - began
            running.sum_up()
            if checkpoints:
                running.save(checkpoints)
        if stop:
            break
        watch.start()
    for done in watch.told(wait=True):
        for observer in observers:
            observer.on_step(done)
    progress.seconds = train_s = time.perf_counter() - began
    if ranks.any(stop or should_stop()) == (True,):
        return False
    running.check(training.examples)
    train_loss = running.sum_up() / progress.seen
    if not math.isfinite(train_loss):
        raise InputError(f"the losses of epoch {number} have no finite sum, with "
                         f"learning-rate={config.learning_rate:g}: lower learning-rate")  # fmt: skip
    for observer in observers:
        observer.on_phase("eval")
    evaluating = time.perf_counter()
    if checkpoints:
        valid = _saving(valid, should_stop, functools.partial(running.save, checkpoints))
    with running.averaged():
        result = evaluate(network, valid, running.criterion, running.prepare, running.precision, ranks)
        ended = time.perf_counter()
        images_per_s = progress.seen / train_s
        epoch = Epoch(number, began_at, train_loss, result, images_per_s, ended - began, ended - evaluating)
        progress.finish(epoch)
        if progress.best is None or _better(epoch, progress.best):
            progress.best = epoch
            progress.best_state = {name: tensor.detach().clone() for name, tensor in running.learned().items()}
    for observer in observers:
        observer.on_epoch(epoch)
    return True


def _size(training: Source, batch: int, config: Config) -> int:
    """Examples of a batch of the epoch, of which each process has a share: all but the last are full."""
    return config.batch_size if batch < len(training) - 1 else len(training.examples(batch))


def _check_shares(training: Source, ranks: Ranks) -> None:
    """Raises InputError: there is too little for so many processes."""
    if not len(training):
        raise InputError(f"the channel `train` has fewer than {FEWEST * ranks.world} photographs, {FEWEST} for each of "
                         f"the {ranks.world} processes: add some, or take fewer instances or processes")  # fmt: skip


def _saving(batches: Iterable[Batch], should_stop: Callable[[], bool], save: Callable[[], None]) -> Iterator[Batch]:
    """The same batches. An evaluation goes on to its end when the run is stopped, which may take longer than the run
    has: what it evaluates is saved first."""
    saved = False
    for batch in batches:
        if not saved and should_stop():
            save()
            saved = True
        yield batch


def _is_over(config: Config, progress: Progress) -> bool:
    without = len(progress.history) - (progress.best.number if progress.best else 0)
    patience = config.early_stopping_patience
    return progress.epoch > config.epochs or (patience > 0 and progress.best is not None and without >= patience)


def _does_not_fit(running: Running, training: Source) -> InputError:
    """The job is lost: its network, without the other processes', may be stepped on to see what would fit."""
    running.network.zero_grad(set_to_none=True)
    running.begin(running.progress.epoch)
    training.set_epoch(running.progress.epoch)
    inputs, labels = next(iter(training))  # the share of this process

    def step(size: int) -> None:
        watch = Stopwatch(running.precision.device)
        watch.start()
        running.learn(inputs[:size], labels[:size], watch)

    return out_of_memory.explained(running.config, running.precision.device, step, running.ranks.world)


def _better(epoch: Epoch, best: Epoch) -> bool:
    # Among equally accurate epochs the surer one: on a small validation split ties are common.
    return (epoch.valid.accuracy, -epoch.valid.loss) > (best.valid.accuracy, -best.valid.loss)
