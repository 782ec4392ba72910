"""Photographs -> features of a backbone: the forward pass, and how the processor at hand is kept busy with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from classifier import data, machine
from classifier.images import normalize
from classifier.loading import Loader
from classifier.precision import Precision, threads
from classifier.preprocessing import Preprocessing

Batch = tuple[torch.Tensor, torch.Tensor]


class Forward:
    """Pixels uint8 [n, views, crop, crop, 3] -> features float16 [n, views, dimension]."""

    def __init__(self, backbone: torch.nn.Module, preprocessing: Preprocessing, precision: Precision) -> None:
        self._backbone, self._preprocessing, self._precision = backbone, preprocessing, precision
        for module in backbone.modules():
            if precision.half and isinstance(module, torch.nn.Conv2d):
                module.to(precision.half)  # once; autocast would do it again for every batch

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._precision.device

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        pictures = pixels.flatten(0, 1).to(self._precision.device, non_blocking=True)
        # Both contexts are a thread's own, so they are entered here and not around the loop.
        with torch.inference_mode(), self._precision.autocast():
            vectors: torch.Tensor = self._backbone(normalize(pictures, self._preprocessing))
            return vectors.to("cpu", torch.float16).view(*pixels.shape[:2], -1)


def on_cores(views: data.Views, batches: Sequence[range], forward: Forward, workers: int) -> Iterator[Batch]:
    """Decodes and computes whole batches side by side, a thread each. Threads that share one batch would wait for each
    other at every layer, and while one decodes."""

    def one(rows: range) -> Batch:
        pictures, labels = zip(*(views[i] for i in rows), strict=True)
        return forward(torch.stack(pictures)), torch.tensor(labels)

    count = workers if workers > 0 else machine.cpus()
    pending: deque[Future[Batch]] = deque()
    # Each thread sets its own number, and with it the one that is taken from now on.
    with threads(1), ThreadPoolExecutor(count, "embed", torch.set_num_threads, (1,)) as pool:
        try:
            for rows in batches:
                pending.append(pool.submit(one, rows))
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def on_gpu(views: data.Views, batches: Sequence[range], forward: Forward, workers: int) -> Iterator[Batch]:
    """Threads decode while the GPU computes."""
    for pixels, labels in Loader(views.__getitem__, batches, workers, forward.device):
        yield forward(pixels), labels.cpu()
