"""torch: on a GPU in half precision, by CUDA graphs; on a CPU in float32, where OpenVINO cannot be used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

from classifier import network
from classifier.artifact import Artifact
from classifier.engines import OUTPUTS, Floats, Output, Pixels
from classifier.precision import gpu as find_gpu
from classifier.preprocessing import Preprocessing

# Sizes of the batches that a GPU has a graph for; a batch in between is filled up, a longer one is divided.
BATCHES = (1, 2, 4, 8, 16, 32)


class Forward(torch.nn.Module):
    """Pixels uint8 [n, crop, crop, 3] -> logits, features and maps, of a network whose normalizations are folded.

    Copies nothing from the host, so that a CUDA graph can record it.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, net: torch.nn.Module, preprocessing: Preprocessing, dtype: torch.dtype) -> None:
        super().__init__()
        *layers, _, head = network.fuse(net).children()  # the last but one pools
        self.layers, self.head, self.dtype = torch.nn.Sequential(*layers).to(dtype), head.to(dtype), dtype
        self.register_buffer("mean", torch.tensor(preprocessing.mean).mul_(255))
        self.register_buffer("std", torch.tensor(preprocessing.std).mul_(255))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # A permuted view of NHWC memory is what torch calls channels_last.
        normalized = pixels.float().sub_(self.mean).div_(self.std).to(self.dtype).permute(0, 3, 1, 2)
        maps = self.layers(normalized)
        features = maps.float().mean((2, 3))
        return self.head(features.to(self.dtype)).float(), features, maps


class OnCpu:
    """Eager, in float32."""

    name = "torch"
    batches = (1,)

    def __init__(self, artifact: Artifact, threads: int) -> None:
        """Raises RuntimeError: the weights do not fit the model that the artifact names."""
        torch.set_num_threads(threads)
        self._forward = Forward(network.load(artifact), artifact.preprocessing, torch.float32)

    @property
    def processor(self) -> str:
        """`cpu, torch fp32, threads=2`."""
        return f"cpu, torch fp32, threads={torch.get_num_threads()}"

    def open_lanes(self) -> int:
        """As `Engine.open_lanes`."""
        return 1

    @torch.inference_mode()
    def run(self, pixels: Pixels, output: Output = "logits") -> Floats:
        """As `Engine.run`."""
        answer: Floats = self._forward(torch.from_numpy(pixels))[OUTPUTS.index(output)].contiguous().numpy()
        return answer


class OnGpu:
    """In float16, a CUDA graph for each of `BATCHES`: one launch instead of one a kernel."""

    name = "fp16"
    batches = BATCHES[::-1]  # the first recorded has the memory that the others share

    def __init__(self, artifact: Artifact, gpu: int) -> None:
        """Raises RuntimeError: the weights do not fit the model that the artifact names. InputError: torch cannot use
        the GPU."""
        self._device = find_gpu(gpu)
        self._forward = Forward(network.load(artifact), artifact.preprocessing, torch.float16).to(self._device)
        self._side = artifact.preprocessing.crop
        self._recorded: dict[int, _Recorded] = {}
        # A graph has one place for its input and its output.
        self._lock = threading.Lock()

    @property
    def processor(self) -> str:
        """`NVIDIA A10G, float16`."""
        return f"{torch.cuda.get_device_name(self._device)}, float16"

    def open_lanes(self) -> int:
        """As `Engine.open_lanes`."""
        return 1

    def run(self, pixels: Pixels, output: Output = "logits") -> Floats:
        """As `Engine.run`."""
        host = torch.from_numpy(pixels).pin_memory()
        with self._lock:
            parts = [self._of(size).run(part, OUTPUTS.index(output)) for part, size in divided(host)]
        answer: Floats = torch.cat(parts).contiguous().numpy()
        return answer

    def _of(self, size: int) -> _Recorded:
        if size not in self._recorded:
            pool = next((r.graph.pool() for r in self._recorded.values()), None)
            self._recorded[size] = _Recorded(self._forward, size, self._side, self._device, pool)
        return self._recorded[size]


def divided(pixels: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    """Parts of at most the largest of `BATCHES`, each with the size of the graph that takes it."""
    return [(part, next(size for size in BATCHES if size >= len(part))) for part in torch.split(pixels, BATCHES[-1])]


class _Recorded:
    """A forward pass of one size (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)."""

    @torch.inference_mode()
    def __init__(self, forward: Forward, size: int, side: int, device: torch.device, pool: Any) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self._pixels = torch.zeros(size, side, side, 3, dtype=torch.uint8, device=device)
        with torch.cuda.device(device):
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):  # cuDNN chooses its algorithms, which a recording cannot
                for _ in range(3):
                    forward(self._pixels)
            torch.cuda.current_stream(device).wait_stream(aside)
            with torch.cuda.graph(self.graph, pool=pool):
                self._outputs: Sequence[torch.Tensor] = forward(self._pixels)

    @torch.inference_mode()
    def run(self, pixels: torch.Tensor, output: int) -> torch.Tensor:
        """float32 on the host, of at most `size` pixels."""
        with torch.cuda.device(self._pixels.device):
            self._pixels[: len(pixels)].copy_(pixels, non_blocking=True)
            self.graph.replay()
            return self._outputs[output][: len(pixels)].float().cpu()
