"""Requests of several workers -> forward passes of a batch: while some are computed, those that come meanwhile gather.

No delay is waited for: under load the batch fills by itself, and a lone request is not kept waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from classifier.predictor_wire import Array
from classifier.pulse import Pulse

Pixels = npt.NDArray[np.uint8]


class Computing(Protocol):
    """What is asked of a predictor (`classifier.predictor.Predictor`)."""

    def predict(self, pixels: Pixels) -> npt.NDArray[np.float32]: ...

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]: ...

    def activation_map(self, pixels: Pixels, class_index: int) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Task:
    """`wanted` is a method of `Computing`; `pixels` is uint8 [n, crop, crop, 3]."""

    wanted: str
    pixels: Pixels
    class_index: int = 0
    result: Future[Array] = field(default_factory=Future)


class Batcher:
    """Computes tasks of many threads in a few: as many as the engine makes the most of."""

    def __init__(self, predictor: Computing, largest: int) -> None:
        """`largest`: images in a forward pass."""
        self._predictor, self._largest = predictor, largest
        self._tasks: deque[Task] = deque()
        self._come = threading.Condition()

    def compute(self, wanted: str, pixels: Pixels, class_index: int = 0) -> Array:
        """The result of one task. For any thread; blocks. Raises what the predictor raised."""
        task = Task(wanted, pixels, class_index)
        with self._come:
            self._tasks.append(task)
            self._come.notify()
        return task.result.result()

    def run(self, pulse: Pulse) -> None:
        """Computes for ever. For several threads, a pulse each."""
        while True:
            tasks = self._gather()
            pulse.begin()
            try:
                for task, array in zip(tasks, self._compute(tasks, pulse), strict=True):
                    task.result.set_result(array)
            except Exception as error:  # the request's end, not the server's
                for task in tasks:
                    if not task.result.done():
                        task.result.set_exception(error)
            finally:
                pulse.end()

    def _gather(self) -> list[Task]:
        """What waits, up to the largest batch; only predictions go together."""
        with self._come:
            self._come.wait_for(lambda: self._tasks)
            tasks = [self._tasks.popleft()]
            images = len(tasks[0].pixels)
            while tasks[0].wanted == "predict" and self._tasks:
                images += len(self._tasks[0].pixels)
                if self._tasks[0].wanted != "predict" or images > self._largest:
                    break
                tasks.append(self._tasks.popleft())
            return tasks

    def _compute(self, tasks: list[Task], pulse: Pulse) -> list[Array]:
        first = tasks[0]
        if first.wanted == "activation_map":
            return [self._predictor.activation_map(first.pixels, first.class_index)]
        method = self._predictor.predict if first.wanted == "predict" else self._predictor.features
        pixels = first.pixels if len(tasks) == 1 else np.concatenate([task.pixels for task in tasks])
        rows = []
        for start in range(0, len(pixels), self._largest):
            part = pixels[start : start + self._largest]
            rows.append(method(part))
            pulse.predicted(len(part))
            pulse.step()
        ends = np.cumsum([len(task.pixels) for task in tasks])[:-1]
        return np.split(rows[0] if len(rows) == 1 else np.concatenate(rows), ends)
