"""A training under way: one step of it, and its state."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from classifier import network as networks
from classifier.checkpoint import Checkpoints
from classifier.compiling import compiled
from classifier.config import Config
from classifier.distributed import ALONE, Ranks
from classifier.divergence import Losses
from classifier.errors import InputError
from classifier.mixing import Mixing
from classifier.optimization import Optimization
from classifier.precision import Precision
from classifier.progress import Progress
from classifier.steps import Stopwatch

# Files of a batch that are named in a message: the platform keeps 1,024 characters of it.
_MOST_NAMED = 8


class Running:
    """A training under way: all that its steps change, and what they need."""

    def __init__(
        self, network: torch.nn.Module, config: Config, prepare: Callable[[torch.Tensor], torch.Tensor],
        criterion: torch.nn.Module, precision: Precision, steps: int, ranks: Ranks = ALONE,
    ) -> None:  # fmt: skip
        """Freezes the backbone where `config` says so. `steps`: in an epoch."""
        if config.head_only:
            networks.freeze_backbone(network)
        elif ranks.several and precision.device.type == "cuda":
            # Statistics of whole batches, as one process would have. There is none of it for a CPU.
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network, self.config, self.prepare, self.criterion = network, config, prepare, criterion
        self.precision, self.ranks = precision, ranks
        self.optimization, self._mixing = Optimization(network, config, steps, precision), Mixing(config)
        self._is_averaged = False
        self.progress = Progress(torch.zeros((), device=precision.device))
        self.losses = Losses()
        self.watch = Stopwatch(precision.device)
        self._totals = self.progress.total[None]
        self._parallel: tuple[list[bool], torch.nn.Module] | None = None

    def learn(
        self, inputs: torch.Tensor, labels: torch.Tensor, watch: Stopwatch, whole: int | None = None
    ) -> torch.Tensor:
        """One optimizer step; gives the mean loss of what is given, float32 [] on the device.

        `whole`: the examples of the batch of which this is the process' share; None steps without the others.
        """
        watch.mark()
        inputs, labels = _on(self.precision.device, inputs, labels)
        watch.mark()
        network = self.network if whole is None else self._together()
        with self.precision.autocast():
            prepared = self.prepare(inputs)
            mix = self._mixing.draw(self.progress.step + 1, prepared.shape)
            logits = network(mix.inputs(prepared) if mix else prepared).float()
        loss: torch.Tensor = self.criterion(logits, mix.targets(labels, logits.shape[1]) if mix else labels)
        watch.mark()
        # Of the gradients the mean over the processes is taken, which is the batch's where their parts are equal.
        weight = 1.0 if whole is None else len(labels) * self.ranks.world / whole
        self.optimization.backward(loss * weight if weight != 1 else loss)
        watch.mark()
        self.optimization.step()
        watch.mark()
        return loss.detach()

    def _together(self) -> torch.nn.Module:
        """The network, or what makes of its gradients those of all processes, and what is compiled of it: another one
        when other parameters learn."""
        if not self.ranks.several and not self.config.compile:
            return self.network
        learning = [parameter.requires_grad for parameter in self.network.parameters()]
        if self._parallel is None or self._parallel[0] != learning:
            network = self.network
            if self.ranks.several:
                network = self.ranks.parallel(network, statistics=not self.config.head_only)
            self._parallel = learning, compiled(network, self.precision.device) if self.config.compile else network
        return self._parallel[1]

    def begin(self, epoch: int) -> None:
        """Before its steps: which layers learn in it, and in which mode."""
        frozen = self.config.is_frozen(epoch)
        networks.freeze_backbone(self.network, frozen)
        # A frozen backbone keeps the statistics of its batch normalization; the head is linear and has no mode.
        self.network.train(not frozen)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network has the averaged weights, where there are any: it is they that are judged and kept."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        """The network's tensors and the average's change places; the modules, with all that hangs on them, do not."""
        average = self.optimization.average
        if average:
            self._is_averaged = not self._is_averaged
            for one, other in zip(_tensors(self.network), _tensors(average.module), strict=True):
                one.data, other.data = other.data, one.data

    def learned(self) -> dict[str, torch.Tensor]:
        """The weights that training changes: a frozen backbone has its own from elsewhere, statistics included."""
        return self._learned(self.network)

    def _learned(self, network: torch.nn.Module) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = network.state_dict()
        return {name: tensor for name, tensor in state.items() if networks.is_head(name) or not self.config.head_only}

    def state_dict(self) -> dict[str, Any]:
        """All that a step changes."""
        average = self.optimization.average
        state = self.learned(), self._learned(average.module) if average else {}
        network, averaged = reversed(state) if self._is_averaged else state
        return {
            "network": network,
            "averaged": averaged,
            "optimization": self.optimization.state_dict(),
            "progress": self.progress.state_dict() | {"total": self._totals},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.network.load_state_dict(state["network"], strict=False)
        self.optimization.load_state_dict(state["optimization"])
        if self.optimization.average:
            self.optimization.average.module.load_state_dict(state["averaged"], strict=False)
        progress = state["progress"]
        self.progress.load_state_dict(progress | {"total": progress["total"][self.ranks.rank]})

    def sum_up(self) -> float:
        """The sum of the losses of the epoch's examples until now. Called by all processes, before what saves."""
        self._totals = torch.tensor(self.ranks.gather(float(self.progress.total)))
        return float(self._totals.sum())

    def save(self, checkpoints: Checkpoints) -> None:
        """As it was when it was summed up; by the first process alone."""
        checkpoints.save(self.progress.step, self.state_dict())

    def check(self, examples: Callable[[int], Sequence[str]]) -> None:
        """`examples` names what a batch of the epoch is made of. Called by all processes.

        Raises:
            InputError: one of the losses that were not looked at is no number, here or in another process.
        """
        found = self.losses.first_bad()
        if bad := [said for said in self.ranks.gather(found and self._bad(*found, examples)) if said]:
            raise InputError(min(bad)[1])

    def is_sound(self) -> bool:
        """Whether the losses that were not looked at are numbers, in all processes, which all call this."""
        return self.ranks.any(self.losses.first_bad() is not None) == (False,)

    def _bad(self, step: int, loss: float, examples: Callable[[int], Sequence[str]]) -> tuple[int, str]:
        """The step, and a sentence on it."""
        progress = self.progress
        names = examples(progress.batches - (progress.step - step) - 1)
        names = names[self.ranks.share.of(len(names))]
        whose = f", of which process {self.ranks.rank} had" if self.ranks.several else " was"
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return step, (
            f"the training loss became {loss} in epoch {progress.epoch} (step {step}) with "
            f"learning-rate={self.config.peak_learning_rate:g}: lower learning-rate; the batch{whose} "
            f"{', '.join(names[:_MOST_NAMED])}{more}"
        )


def _on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def _tensors(network: torch.nn.Module) -> Iterator[torch.Tensor]:
    return itertools.chain(network.parameters(), network.buffers())
