"""Artifact -> a predictor for the processor at hand: pixels in, probabilities out."""

from __future__ import annotations

import numpy as np
from safetensors import safe_open

from classifier.artifact import Artifact
from classifier.engines import Floats, Pixels
from classifier.engines.choosing import choose, pictures, softmax
from classifier.errors import InputError


class Predictor:
    """The network of an artifact, on the engine that `engines.choosing` finds for it. Several threads may ask at once.

    On a CPU nothing of torch is imported, unless it is the engine. `choice`: why it is this engine, for the log.
    """

    def __init__(self, artifact: Artifact, gpu: int | None = None) -> None:
        """Loads the weights, and measures the engines against each other. `gpu`: its index; None means the CPU.

        Raises:
            InputError: the weights do not fit the model that the artifact names, torch cannot use the GPU, or the
                environment's KENNEL_ENGINE names no engine that can be had.
        """
        self._artifact = artifact
        self._engine, self.choice = choose(artifact, gpu)
        # Now, and not when it is asked for: the file may be gone by then.
        with safe_open(artifact.weights_path, framework="numpy") as file:
            self._head: Floats = file.get_tensor("fc.weight").astype(np.float32)

    @property
    def processor(self) -> str:
        """What computes, for the log: `cpu, OpenVINO int8, threads=2` or `NVIDIA A10G, float16`."""
        return self._engine.processor

    def open_lanes(self) -> int:
        """Makes ready for several threads that ask all the time; how many of them make the most of the processor."""
        return self._engine.open_lanes()

    def predict(self, pixels: Pixels) -> Floats:
        """uint8 [n, crop, crop, 3] -> probabilities, float32 [n, classes]; one forward pass."""
        return softmax(self._engine.run(pixels))

    def features(self, pixels: Pixels) -> Floats:
        """uint8 [n, crop, crop, 3] -> what the head sees of each, float32 [n, d]."""
        return self._engine.run(pixels, "features")

    def activation_map(self, pixels: Pixels, class_index: int) -> Floats:
        """uint8 [n, crop, crop, 3] -> how much each part of a picture speaks for a class, float32 [n, h, w].

        The class activation map (Zhou et al., "Learning deep features for discriminative localization", 2016), exact
        for a network that ends with pooling and a linear head: its mean is the class's logit, less the head's bias.
        """
        maps = self._engine.run(pixels, "maps")
        activations: Floats = np.einsum("d,ndhw->nhw", self._head[class_index], maps)
        return activations

    def warm_up(self) -> None:
        """Predicts on generated pictures, so that the first caller does not pay for lazy initialization.

        Raises:
            InputError: the answer is not a number: the weights are useless.
        """
        picture = pictures(self._artifact.preprocessing.crop)[:1]
        answers = [self.predict(np.repeat(picture, size, axis=0)) for size in self._engine.batches]
        if not all(np.isfinite(answer).all() for answer in answers):
            raise InputError(
                "the model answers with NaN: its training diverged; train it again with a smaller learning-rate"
            )
