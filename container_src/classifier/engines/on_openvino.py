"""OpenVINO on a CPU: in float32, in bfloat16 where the processor has it, or in the integers of a calibrated graph."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping

import numpy as np
import openvino as ov

from classifier.engines import Floats, Output, Pixels

# So many passes in a row that met no other tell that there is one caller. A single one tells nothing: the next caller
# would find all threads taken.
_LONE_ENOUGH = 8


class OnOpenVino:
    """A graph of `graph.resnet`, or the calibrated one that was made of it."""

    batches = (1,)

    def __init__(self, name: str, graph: ov.Model, threads: int) -> None:
        """`name`: fp32, bf16 or int8. `threads`: CPU threads that share a forward pass."""
        self.name, self._threads, self._graph = name, threads, graph
        # What int8 leaves as it is would take most of its time in float32, where the processor has something faster.
        in_half = name == "bf16" or (name == "int8" and has_bfloat16())
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_half else "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Every process would pin its threads to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        # Threads that share a forward pass wait for each other after every layer: several passes at once, on a thread
        # each, get more done (benchmarks/engines.py), and one that is alone is done sooner with all threads.
        self._alone = self._shared = _Compiled(graph, self._settings | {"NUM_STREAMS": 1})
        self._running = self._lone = 0
        self._lock = threading.Lock()

    @property
    def processor(self) -> str:
        """`cpu, OpenVINO int8, threads=2`."""
        return f"cpu, OpenVINO {self.name}, threads={self._threads}"

    def open_lanes(self) -> int:
        """As `Engine.open_lanes`; needs the memory of a second copy of the weights."""
        if self._threads > 1:
            self._shared = _Compiled(self._graph, self._settings | {"PERFORMANCE_HINT": "THROUGHPUT"})
        return self._shared.lanes

    def run(self, pixels: Pixels, output: Output = "logits") -> Floats:
        """As `Engine.run`."""
        with self._lock:
            self._lone = 0 if self._running else self._lone + 1
            compiled = self._alone if self._lone > _LONE_ENOUGH else self._shared
            self._running += 1
        try:
            return compiled.run(pixels, output)
        finally:
            with self._lock:
                self._running -= 1


class _Compiled:
    """A graph with a request for each thread that asks."""

    def __init__(self, graph: ov.Model, settings: Mapping[str, object]) -> None:
        self._compiled = _core().compile_model(graph, "CPU", settings)
        self.lanes = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = threading.local()

    def run(self, pixels: Pixels, output: Output) -> Floats:
        request: ov.InferRequest | None = getattr(self._requests, "mine", None)
        if request is None:
            request = self._requests.mine = self._compiled.create_infer_request()
        request.infer([np.ascontiguousarray(pixels)], share_inputs=True, share_outputs=True)
        return np.array(request.get_tensor(output).data)  # a copy: the next request writes over it


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor (by AMX or AVX-512)."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def read(xml: bytes, weights: bytes) -> ov.Model:
    """A graph that was saved as OpenVINO's IR."""
    return _core().read_model(xml, ov.Tensor(np.frombuffer(weights, np.uint8)))


@functools.cache
def _core() -> ov.Core:
    return ov.Core()
