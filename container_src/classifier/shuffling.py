"""The order of the training split: one rule, whatever a batch is made of."""

from __future__ import annotations

from collections.abc import Iterator

import torch


class Shuffled:
    """Batches of indices, in another order in each epoch; the order depends on (seed, epoch) alone.

    The first `done` of an epoch are not given: they were before the training was interrupted. A last batch of a single
    example is left out: batch normalization cannot train on one.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.begin(1)

    def begin(self, epoch: int, done: int = 0) -> None:
        """What comes next is this epoch, without its first `done` batches."""
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 1)

    def batches(self) -> list[torch.Tensor]:
        """int64 [n] each, of this epoch: all of them."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return list(torch.split(torch.randperm(self.count, generator=generator), self.batch_size))[: len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        """What is still to come, as torch's DataLoader takes it from a batch sampler."""
        for batch in self.batches()[self.done :]:
            yield batch.tolist()
