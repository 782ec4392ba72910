"""The order of the training split, and whose part of it is whose: one rule, whatever a batch is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from classifier.config import FEWEST


@dataclass(frozen=True)
class Share:
    """The part of process `rank` of `ranks`, counted from 0."""

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """Its part of `count` things in a row. The parts are as equal as can be, and follow each other."""
        return slice(self.rank * count // self.ranks, (self.rank + 1) * count // self.ranks)


EVERYTHING = Share()


class Shuffled:
    """Batches of indices, in another order in each epoch; the order depends on (seed, epoch) alone.

    What is given is the `share` of each batch; sizes and numbers are of whole batches. The first `done` of an epoch are
    not given: they were before the training was interrupted. A last batch of less than `FEWEST` examples for each
    process is left out.
    """

    def __init__(self, count: int, batch_size: int, seed: int, share: Share = EVERYTHING) -> None:
        self.count, self.batch_size, self.seed, self._share = count, batch_size, seed, share
        self.begin(1)

    def begin(self, epoch: int, done: int = 0) -> None:
        """What comes next is this epoch, without its first `done` batches."""
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest >= FEWEST * self._share.ranks)

    def batches(self) -> list[torch.Tensor]:
        """int64 [n] each, of this epoch: all of them, and whole."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return list(torch.split(torch.randperm(self.count, generator=generator), self.batch_size))[: len(self)]

    def parts(self) -> Iterator[torch.Tensor]:
        """int64 [n] each: of what is still to come, this process' share."""
        for batch in self.batches()[self.done :]:
            yield batch[self._share.of(len(batch))]

    def __iter__(self) -> Iterator[list[int]]:
        """The same, as torch's DataLoader takes it from a batch sampler."""
        return (part.tolist() for part in self.parts())
