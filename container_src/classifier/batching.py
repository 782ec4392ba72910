"""Requests of several workers -> forward passes of a batch: while one is computed, those that come meanwhile gather.

No delay is waited for: under load the batch fills by itself, and a lone request is not kept waiting.
"""

from __future__ import annotations

import queue
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
    """Computes tasks of many threads in one: an engine uses all processors by itself."""

    def __init__(self, predictor: Computing, largest: int, pulse: Pulse) -> None:
        """`largest`: images in a forward pass."""
        self._predictor, self._largest, self._pulse = predictor, largest, pulse
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._next: Task | None = None

    def compute(self, wanted: str, pixels: Pixels, class_index: int = 0) -> Array:
        """The result of one task. For any thread; blocks. Raises what the predictor raised."""
        task = Task(wanted, pixels, class_index)
        self._tasks.put(task)
        return task.result.result()

    def run(self) -> None:
        """Computes for ever."""
        while True:
            tasks = self._gather()
            self._pulse.begin()
            try:
                for task, array in zip(tasks, self._compute(tasks), strict=True):
                    task.result.set_result(array)
            except Exception as error:  # the request's end, not the server's
                for task in tasks:
                    if not task.result.done():
                        task.result.set_exception(error)
            finally:
                self._pulse.end()

    def _gather(self) -> list[Task]:
        """What waits, up to the largest batch; only predictions go together."""
        tasks = [self._next or self._tasks.get()]
        self._next = None
        images = len(tasks[0].pixels)
        while tasks[0].wanted == "predict" and images < self._largest:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task.wanted != "predict" or images + len(task.pixels) > self._largest:
                self._next = task
                break
            tasks.append(task)
            images += len(task.pixels)
        return tasks

    def _compute(self, tasks: list[Task]) -> list[Array]:
        first = tasks[0]
        if first.wanted == "activation_map":
            return [self._predictor.activation_map(first.pixels, first.class_index)]
        method = self._predictor.predict if first.wanted == "predict" else self._predictor.features
        pixels = first.pixels if len(tasks) == 1 else np.concatenate([task.pixels for task in tasks])
        rows = []
        for start in range(0, len(pixels), self._largest):
            part = pixels[start : start + self._largest]
            rows.append(method(part))
            self._pulse.predicted(len(part))
            self._pulse.step()
        ends = np.cumsum([len(task.pixels) for task in tasks])[:-1]
        return np.split(rows[0] if len(rows) == 1 else np.concatenate(rows), ends)
