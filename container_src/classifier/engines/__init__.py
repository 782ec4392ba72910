"""What computes a network's answers: one class for each way, behind one interface. Which one is `choosing`'s to say."""

from __future__ import annotations

import sys
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

# OpenVINO and NNCF report their use to their makers as soon as they are imported, unless this package is missing:
# nothing here calls anywhere that the user did not ask for.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
# logits [n, classes]; features, pooled, [n, d]; maps, the features before they are pooled, [n, d, h, w].
Output = Literal["logits", "features", "maps"]
OUTPUTS: tuple[Output, ...] = ("logits", "features", "maps")


class Misfit(Exception):
    """The weights are not those of the model; the message says which one is missing, unknown or of another shape."""


class Engine(Protocol):
    """A loaded network. Several threads may ask it at once."""

    @property
    def name(self) -> str:
        """As KENNEL_ENGINE has it."""

    @property
    def processor(self) -> str:
        """What computes, for the log."""

    @property
    def batches(self) -> tuple[int, ...]:
        """Sizes of batches whose first one takes longer than the next; the order in which to have them first."""

    def open_lanes(self) -> int:
        """Makes ready for several forward passes at once; how many of them make the most of the processor."""

    def run(self, pixels: Pixels, output: Output = "logits") -> Floats:
        """uint8 [n, crop, crop, 3] -> float32, in one forward pass; the caller's to keep."""
