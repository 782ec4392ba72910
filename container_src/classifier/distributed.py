"""Several processes that train one network: which of them this is, and what they agree on.

torchrun starts them (launching.py) and torch.distributed connects them: NCCL between GPUs, gloo for everything that is
on the CPU. A collective must be called by all of them, in the same order.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from classifier.shuffling import Share

T = TypeVar("T")
# How long one that has failed waits for the others to fail for the same reason.
_PATIENCE_S = 5.0
# How long the others wait for the first, which alone evaluates nothing but exports and writes the model.
_AT_THE_END_S = 3600.0


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`, counted from 0. One alone agrees with itself.

    `control`: a gloo group of its own, whose barrier no other collective meets.
    """

    rank: int = 0
    world: int = 1
    control: Any = None

    @property
    def first(self) -> bool:
        """The one that speaks and writes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world > 1

    @property
    def share(self) -> Share:
        """What this one does of the work."""
        return Share(self.rank, self.world)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag whether it is set anywhere."""
        if not self.several:
            return flags
        found = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return tuple(map(bool, found.tolist()))

    def gather(self, value: T) -> list[T]:
        """That of each, by rank, on all of them."""
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def of_first(self, value: T) -> T:
        """That of the first, on all of them."""
        if not self.several:
            return value
        found: list[Any] = [value]
        dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        return found[0]  # type: ignore[no-any-return]

    def take_buffers_of_first(self, network: torch.nn.Module) -> None:
        """What batch normalization has seen: each process has seen its own part of the batches."""
        if self.several:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def parallel(self, network: torch.nn.Module, statistics: bool) -> torch.nn.Module:
        """`network`, whose gradients become the mean of all processes' in each backward pass.

        It is to be made anew when other parameters learn. `statistics`: batch normalization does; then the first
        process' are everybody's before each forward pass.
        """
        device = next(network.parameters()).device
        return torch.nn.parallel.DistributedDataParallel(
            network, [device] if device.type == "cuda" else None, broadcast_buffers=statistics
        )

    def part_together(self, failed: bool) -> bool:
        """At the end, in good and in bad: whether all have come here. One that failed waits for seconds only."""
        if not self.several:
            return True
        try:
            dist.monitored_barrier(self.control, timedelta(seconds=_PATIENCE_S if failed else _AT_THE_END_S))
        except RuntimeError:  # every failure of a backend is one
            return False
        return True


ALONE = Ranks()


def join(device: torch.device) -> Ranks:
    """Becomes the process that torchrun's environment says, once all are there."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL takes the current one
    with _quiet():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size(), gloo_group(_AT_THE_END_S))


def gloo_group(patience_s: float) -> Any:
    """A group of all processes, for what is on the CPU; its collectives wait so long. All must call this."""
    with _quiet():
        return dist.new_group(backend="gloo", timeout=timedelta(seconds=patience_s))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # gloo writes a line on standard output for each process of each group.
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def is_lost(error: Exception) -> bool:
    """Whether a collective failed because another process is gone. gloo has no exceptions of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
