"""Windows of PyTorch's profiler: a few steps here and there, so that the cost stays bounded."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from classifier.steps import Step
from classifier.training import Observer
from classifier.watch import trace
from classifier.watch.collected import Operator

WARM_UP = 10  # steps until the first window: they choose algorithms and take their memory
STEPS = 3
WINDOWS = 5
SPACING = 4  # a window's first step is at least so many times that of the one before
BUDGET = 0.01  # of the time since training began; the first window is made at any price
KEPT_TRACES = 3
TRACE_BYTES = 8 << 20


class Operators(Observer):
    """An observer of training. `traces/step-N.json.gz` in `directory` are Chrome traces of the newest windows.

    PyTorch's profiler is started and stopped between steps: the steps of a window are a fifth slower, and the time for
    starting, stopping and writing is in no step. On a GPU the window's edges are those of the host, which runs ahead.
    """

    def __init__(self, directory: Path, device: torch.device) -> None:
        self.traces: list[str] = []
        self.missing: list[str] = []
        self.cost_s = 0.0
        self._directory, self._cuda = directory / "traces", device.type == "cuda"
        shutil.rmtree(self._directory, ignore_errors=True)  # those of another run
        self._table = trace.Operators()
        self._profile: Any = None
        self._profiled: list[int] = []
        self._window: list[int] = []
        self._windows, self._next_step, self._last_cost_s = 0, WARM_UP, 0.0
        self._at_next_epoch = False
        self._began = self._opened = 0.0

    @property
    def profiled_steps(self) -> list[int]:
        """Those of all windows, of one that is open as well."""
        return self._profiled + self._window

    def operators(self, limit: int = 60) -> list[Operator]:
        """Summed over the windows until now, the longest first."""
        return self._table.rows(limit)

    def on_start(self, network: torch.nn.Module, criterion: torch.nn.Module) -> None:
        self._began = time.perf_counter()

    def on_phase(self, phase: Literal["train", "eval"]) -> None:
        if phase == "eval" and self._profile:
            # An epoch that has no step left begins the window with the next one.
            self._at_next_epoch = not self._window
            self._guarded(self._close)
        elif phase == "train" and self._at_next_epoch:
            self._at_next_epoch = False
            self._guarded(self._open)

    def on_step(self, step: Step) -> None:
        if self._profile:
            if step.began >= self._opened:  # on a GPU steps from before are told as well
                self._window.append(step.number)
            if len(self._window) >= STEPS:
                self._guarded(self._close)
        elif step.number >= self._next_step and self._affordable():
            self._guarded(self._open)

    def close(self) -> None:
        """Ends a window that is open."""
        if self._profile:
            self._guarded(self._close)

    def _affordable(self) -> bool:
        if self._windows == 0:
            return True
        cost_s = self.cost_s + self._last_cost_s
        return self._windows < WINDOWS and cost_s <= BUDGET * (time.perf_counter() - self._began)

    def _guarded(self, act: Callable[[], None]) -> None:
        began = time.perf_counter()
        try:
            act()
        except Exception as error:  # the profiler's and the disk's are of many kinds, and training goes on
            self._profile, self._window, self._windows, self._at_next_epoch = None, [], WINDOWS, False
            reason = " ".join(str(error).split()) or type(error).__name__
            self.missing.append(f"operators after step {max(self.profiled_steps, default=0)} are missing: PyTorch's "
                                f"profiler failed ({reason})")  # fmt: skip
        self.cost_s += time.perf_counter() - began

    def _open(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
            torch.cuda.synchronize()
        else:
            # On a machine without an NVIDIA driver the profiler complains of it on standard error.
            os.environ.setdefault("KINETO_LOG_LEVEL", "5")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that a second window forgets the first one
            profile = torch.profiler.profile(activities=activities, profile_memory=self._cuda)
            profile.start()
        self._profile, self._window, self._opened = profile, [], time.time()

    def _close(self) -> None:
        began = time.perf_counter()
        profile, self._profile = self._profile, None
        profile.stop()
        if not self._window:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trace.json"
            profile.export_chrome_trace(str(file))
            written = file.read_bytes()
        self._table.add(json.loads(written))
        first = self._window[0]
        self._profiled, self._window = self.profiled_steps, []
        self._windows, self._next_step = self._windows + 1, first * SPACING
        self._keep(f"step-{first}.json.gz", gzip.compress(written, 5))
        self._last_cost_s = time.perf_counter() - began

    def _keep(self, name: str, packed: bytes) -> None:
        if len(packed) > TRACE_BYTES:
            self.missing.append(f"the Chrome trace {name} is left out: it has {len(packed) >> 20} MiB")
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / name).write_bytes(packed)
        self.traces.append(name)
        for old in self.traces[:-KEPT_TRACES]:
            (self._directory / old).unlink()
        del self.traces[:-KEPT_TRACES]
