"""A worker's predictor where the model lives in a process of its own (`classifier.predictor_process`)."""

from __future__ import annotations

import contextlib
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier import predictor_wire
from classifier.predictor_wire import Array
from classifier.preprocessing import Preprocessing
from classifier.pulse import Pulse

Pixels = npt.NDArray[np.uint8]
_RETRY_S = 0.05
# A prediction changes nothing, so it is asked for again where the process ended over it. More often it is to blame.
_ATTEMPTS = 2


class PredictionFailed(Exception):
    """The predictor could not compute; its log says why."""


class RemotePredictor:
    """`classifier.predictor.Predictor`'s methods, computed by the process behind a socket. For one thread."""

    def __init__(self, path: Path, patience_s: float, pulse: Pulse) -> None:
        """Waits until the process answers. Raises TimeoutError when the patience is over."""
        self._path, self._patience_s, self._pulse = path, patience_s, pulse
        self._connect()

    def _connect(self) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            with contextlib.suppress(OSError, EOFError):
                link = socket.socket(socket.AF_UNIX)
                link.connect(str(self._path))
                self._connection = Connection(link.detach())
                about, _ = predictor_wire.receive(self._connection)
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"the predictor did not come within {self._patience_s:.0f} s")
            time.sleep(_RETRY_S)
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.preprocessing = Preprocessing.from_dict(about["preprocessing"])
        self.processor: str = about["processor"]

    def predict(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """uint8 [n, crop, crop, 3] -> probabilities, float32 [n, classes]."""
        return self._ask({"wanted": "predict"}, pixels)

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """uint8 [n, crop, crop, 3] -> pooled features of the backbone, float32 [n, d]."""
        return self._ask({"wanted": "features"}, pixels)

    def activation_map(self, pixels: Pixels, class_index: int) -> npt.NDArray[np.float32]:
        """uint8 [n, crop, crop, 3] -> class activation map, float32 [n, h, w]."""
        return self._ask({"wanted": "activation_map", "class_index": class_index}, pixels)

    def _ask(self, head: dict[str, Any], pixels: Pixels) -> Array:
        self._pulse.end()  # now it is the other process that must get on
        try:
            return self._try(head, pixels)
        finally:
            self._pulse.begin()

    def _try(self, head: dict[str, Any], pixels: Pixels) -> Array:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                predictor_wire.send(self._connection, head, pixels)
                answer, array = predictor_wire.receive(self._connection)
            except (OSError, EOFError):
                self._connection.close()
                self._connect()
                if attempt == _ATTEMPTS:
                    raise PredictionFailed(f"the predictor's process ended {attempt} times over a request") from None
                continue
            if "error" in answer:
                raise PredictionFailed(answer["error"])
            return array
        raise AssertionError
