"""What the gallery provokes rules with: a machine, GPUs, data and networks with one thing wrong each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import torch

from classifier.training import Batch, Source
from photographs import jpeg

TICKS = 1.0  # seconds of each core that pass between two readings of `Cores`


class NVMLError(Exception):
    pass


class Nvml:
    """Stands for pynvml where there is no GPU; `gpus`: (utilization, used memory) of each, in percent."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *gpus: tuple[float, float]) -> None:
        self.gpus = gpus

    def nvmlInit(self) -> None: ...

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=self.gpus[handle][0])

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=int(self.gpus[handle][1] * (1 << 30)), total=100 << 30)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 200_000


class Cores:
    """Stands for `psutil.cpu_times` where the machine's own cores cannot be made to do that: they are shared, so that
    nobody can make them idle, and their disk is too fast to wait for. Shares are of 1."""

    def __init__(self, busy: float, waiting: float = 0.0) -> None:
        self._shares = {"user": busy, "iowait": waiting, "idle": 1 - busy - waiting}
        self._passed = 0.0
        self._times: Any = type(psutil.cpu_times())
        self._cores = psutil.cpu_count() or 1

    def __call__(self, percpu: bool) -> list[Any]:
        assert percpu
        self._passed += TICKS
        row = self._times(*(self._shares.get(field, 0.0) * self._passed for field in self._times._fields))
        return [row] * self._cores


class Given:
    """The same batches in every epoch; `before` is called with the number of each."""

    def __init__(self, batches: Sequence[Batch], before: Callable[[int], None] = lambda number: None) -> None:
        self._batches, self._before = batches, before

    def set_epoch(self, epoch: int, done: int = 0) -> None: ...

    def examples(self, batch: int) -> list[str]:
        return [f"#{batch}"]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self._batches):
            self._before(number)
            yield batch


def repeated(source: Source, times: int = 1, before: Callable[[int], None] = lambda number: None) -> Given:
    """The batches of one epoch of `source`, `times` over in each."""
    source.set_epoch(1)
    return Given(list(source) * times, before)


def pictures(folder: Path, classes: dict[str, tuple[float, int]]) -> None:
    """Writes `folder/<class>/<n>.jpg`; `classes`: its hue and how many of it."""
    rng = np.random.default_rng(0)
    for name, (hue, count) in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").write_bytes(jpeg(hue, rng))


class NowAndThen(torch.nn.Module):
    """Sleeps in one forward pass of `every`, while it is trained."""

    def __init__(self, network: torch.nn.Module, every: int, seconds: float) -> None:
        super().__init__()
        self.network, self._every, self._seconds, self._calls = network, every, seconds, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._calls += self.training
        if self.training and self._calls % self._every == self._every // 2:
            time.sleep(self._seconds)
        found: torch.Tensor = self.network(x)
        return found


def small(classes: int) -> torch.nn.Sequential:
    """A network that learns the colours in some epochs, and whose steps take far longer than to decode their
    photographs."""
    layers: list[torch.nn.Module] = []
    for before, after in ((3, 48), (48, 96), (96, 192)):
        convolution = torch.nn.Conv2d(before, after, 3, stride=1 if before == 3 else 2, padding=1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(192, classes)]
    return torch.nn.Sequential(*layers)


def tiny(classes: int, hidden: Sequence[int] = (8,)) -> torch.nn.Sequential:
    """A network whose steps take a millisecond."""
    layers: list[torch.nn.Module] = []
    width = 3
    for wide in hidden:
        layers += [torch.nn.Conv2d(width, wide, 3, stride=2), torch.nn.ReLU()]
        width = wide
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, classes)
    )
