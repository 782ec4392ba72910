"""The GPUs that the job may use, read through NVML. https://docs.nvidia.com/deploy/nvml-api/"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from classifier import driver
from classifier.watch.collected import Gpu


class Gpus:
    """A context. `nvml`: the module pynvml, or what stands for it in a test.

    What fails is NaN (bytes of memory: 0) in the reading, and `miss` is called with a sentence on it, once for each
    call of NVML. A machine without GPUs lacks nothing.
    """

    def __init__(self, miss: Callable[[str], None], nvml: Any = None) -> None:
        import pynvml

        self._nvml = nvml or pynvml
        self._miss = miss
        self._failed: set[str] = set()
        self._started = False
        self._handles: list[tuple[int, Any]] = []

    def __enter__(self) -> Gpus:
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            if driver.device_files():
                self._miss(f"the GPUs could not be watched: NVML does not start ({error})")
            return self
        self._started = True
        try:
            self._handles = list(enumerate(self._visible()))
        except self._nvml.NVMLError as error:
            self._miss(f"the GPUs could not be watched: NVML does not list them ({error})")
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def read(self) -> tuple[Gpu, ...]:
        """Each GPU now."""
        return tuple(self._read(index, handle) for index, handle in self._handles)

    def _read(self, index: int, handle: Any) -> Gpu:
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        degrees = self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU)
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", handle)
        nan = float("nan")
        return Gpu(
            index,
            nan if rates is None else float(rates.gpu),
            0 if memory is None else int(memory.used),
            0 if memory is None else int(memory.total),
            nan if degrees is None else float(degrees),
            nan if milliwatts is None else milliwatts / 1000,
        )

    def _visible(self) -> list[Any]:
        """Handles, in the order of CUDA_VISIBLE_DEVICES, which NVML itself does not go by."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            return [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]
        handles = []
        for name in filter(None, (part.strip() for part in named.split(","))):
            if name.startswith("-"):
                break  # as CUDA does: what follows is hidden
            by = self._nvml.nvmlDeviceGetHandleByIndex if name.isdigit() else self._nvml.nvmlDeviceGetHandleByUUID
            handles.append(by(int(name) if name.isdigit() else name))
        return handles

    def _ask(self, call: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, call)(*arguments)
        except self._nvml.NVMLError as error:
            if call not in self._failed:
                self._failed.add(call)
                self._miss(f"the GPUs could not be watched in full: NVML's {call} failed ({error})")
            return None
