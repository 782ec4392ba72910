"""The order of the training split: one rule, whatever a batch is made of."""

from __future__ import annotations

from collections.abc import Iterator

import torch


class Shuffled:
    """Batches of indices, in another order in each epoch; the order depends on (seed, epoch) alone.

    A last batch of a single example is left out: batch normalization cannot train on one.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 1

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 1)

    def batches(self) -> list[torch.Tensor]:
        """int64 [n] each, of this epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return list(torch.split(torch.randperm(self.count, generator=generator), self.batch_size))[: len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        """As torch's DataLoader takes them from a batch sampler."""
        for batch in self.batches():
            yield batch.tolist()
