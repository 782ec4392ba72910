"""Batches of photographs, made ahead of the network by threads.

Threads and not processes: the decoder, the kernels and the disk all work outside of the interpreter's lock, and what is
in one process needs no shared memory (a container has 64 MB of /dev/shm unless told otherwise, and a bus error when it
is full) and no second copy of the list of photographs.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from classifier import machine

Item = tuple[torch.Tensor, int]
Batch = tuple[torch.Tensor, torch.Tensor]
# Photographs that a thread makes in one go: little enough that all threads share a batch.
_CHUNK = 16
# Batches that wait for the network. More would only cost memory: the threads are faster than it or they are not.
_AHEAD = 2
# Beyond 16 threads the interpreter's lock is what they wait for.
_MOST_THREADS = 16
# Below this share of an epoch, and in epochs shorter than this, waiting is not worth a word.
_WORTH_A_WORD, _WORTH_A_WORD_S = 0.2, 5.0


def choose_workers(requested: int) -> int:
    """`requested`, or for -1 one thread a CPU up to 16, and none where the network keeps both of two CPUs busy."""
    if requested >= 0:
        return requested
    cpus = _cpus()
    return 0 if cpus <= 2 else min(cpus, _MOST_THREADS)


def _cpus() -> int:
    """For each of the processes that torchrun has started on this machine."""
    return max(1, machine.cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Loader:
    """Batches (uint8 [n, ...], int64 [n]) on `device` of the items that `order` names, in that order.

    `workers` threads make them, none if it is 0; the result is the same. Memory holds three batches, whatever their
    number is. `tell` gets one sentence when the network waited for them, after the first epoch in which it did.
    """

    def __init__(
        self, item: Callable[[int], Item], order: Iterable[Sequence[int]], workers: int,
        device: torch.device, tell: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._item, self._order, self._workers, self._device, self._tell = item, order, workers, device, tell
        self._told = False

    def __iter__(self) -> Iterator[Batch]:
        """What `item` raises is raised here, in its turn."""
        began, waited = time.perf_counter(), 0.0
        batches = self._in_threads() if self._workers else map(self._made, self._order)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            yield batch
        self._judge(waited, time.perf_counter() - began)

    def _in_threads(self) -> Iterator[Batch]:
        pending: deque[list[Future[Batch]]] = deque()
        # torch's own threads would be as many again in each of these. The number is a thread's own.
        with ThreadPoolExecutor(self._workers, "photographs", torch.set_num_threads, (1,)) as pool:
            try:
                for indices in self._order:
                    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
                    pending.append([pool.submit(self._made, chunk) for chunk in chunks])
                    if len(pending) > _AHEAD:
                        yield _joined([future.result() for future in pending.popleft()])
                while pending:
                    yield _joined([future.result() for future in pending.popleft()])
            finally:
                pool.shutdown(cancel_futures=True)

    def _made(self, indices: Sequence[int]) -> Batch:
        pictures, labels = zip(*map(self._item, indices), strict=True)
        return self._there(torch.stack(pictures)), self._there(torch.tensor(labels))

    def _there(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type == self._device.type:
            return tensor
        # From pinned memory the copy is queued, and this thread goes on.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _judge(self, waited: float, passed: float) -> None:
        if self._told or passed < _WORTH_A_WORD_S or waited < _WORTH_A_WORD * passed:
            return
        self._told = True
        cpus = _cpus()
        more = min(cpus, _MOST_THREADS)
        advice = (
            f"workers={more} would help" if max(1, self._workers) < more else
            "an instance with more CPUs, or photographs made smaller by prepare.py --resize 256, would help"
        )  # fmt: skip
        self._tell(f"input: {waited / passed:.0%} of the epoch went by waiting for photographs "
                   f"(workers={self._workers}, {cpus} CPUs): {advice}")  # fmt: skip


def _joined(chunks: Sequence[Batch]) -> Batch:
    if len(chunks) == 1:
        return chunks[0]
    pictures, labels = zip(*chunks, strict=True)
    return torch.cat(pictures), torch.cat(labels)
