"""Artifact -> a predictor for the processor at hand: pixels in, probabilities out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from classifier import device, images, network, precision
from classifier.artifact import Artifact
from classifier.errors import InputError


class Predictor:
    """The network of an artifact on a GPU in half precision, or on the CPU in float32."""

    def __init__(self, artifact: Artifact, gpu: int | None = None) -> None:
        """Loads the weights. `gpu` is the index of the GPU; None means the CPU.

        Raises:
            InputError: the weights do not fit the model that the artifact names, or torch cannot use the GPU.
        """
        self._preprocessing = artifact.preprocessing
        self._device = torch.device("cpu") if gpu is None else precision.gpu(gpu)
        self._dtype = getattr(torch, device.CPU_SERVING if gpu is None else device.GPU_SERVING)
        try:
            loaded = network.load(artifact)
        except RuntimeError as error:  # what load_state_dict raises for missing, unknown and ill-shaped tensors
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{artifact.weights_path} fits no {artifact.model} of {len(artifact.classes)} classes: {reason}; "
                f"fetch or train the model again"
            ) from None
        self._network = loaded.to(self._device, self._dtype)

    @property
    def processor(self) -> str:
        """What computes, for the log: `cpu, float32, threads=2` or `NVIDIA A10G, float16`."""
        dtype = str(self._dtype).removeprefix("torch.")
        if self._device.type == "cuda":
            return f"{torch.cuda.get_device_name(self._device)}, {dtype}"
        return f"cpu, {dtype}, threads={torch.get_num_threads()}"

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 [n, crop, crop, 3] -> probabilities, float32 [n, classes]; one forward pass."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self._device)
            logits = self._network(images.normalize(batch, self._preprocessing).to(self._dtype))
            probabilities: npt.NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
            return probabilities

    def warm_up(self) -> None:
        """Predicts on a generated picture, so that the first caller does not pay for lazy initialization.

        Raises:
            InputError: the answer is not a number: the weights are useless.
        """
        side = self._preprocessing.crop
        picture = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        if not np.isfinite(self.predict(picture)).all():
            raise InputError(
                "the model answers with NaN: its training diverged; train it again with a smaller learning-rate"
            )
