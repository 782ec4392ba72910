"""The readings of the machine. No GPU was there when this was written: the NVML of these tests is a fake."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from classifier.watch.collected import Sample
from classifier.watch.gpus import Gpus
from classifier.watch.system import Reader, System


class NVMLError(Exception):
    pass


class Nvml:
    """Two GPUs, as pynvml tells of them; the calls in `failing` fail."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("nvml") and name in self.failing:
            return self._fail
        return found

    def _fail(self, *_: object) -> None:
        raise NVMLError("Not Supported")

    def nvmlInit(self) -> None: ...

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-one": 1}[uuid]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=50 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=1 << 30, total=1 << 34)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 250_500


CALLS = {
    "nvmlDeviceGetUtilizationRates": ("utilization", math.nan),
    "nvmlDeviceGetMemoryInfo": ("memory_bytes", 0),
    "nvmlDeviceGetTemperature": ("temperature_c", math.nan),
    "nvmlDeviceGetPowerUsage": ("power_w", math.nan),
}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_samples_until_it_is_closed() -> None:
    three, samples = threading.Event(), list[Sample]()

    def on_sample(sample: Sample) -> None:
        samples.append(sample)
        if len(samples) >= 3:
            three.set()

    system = System(0.02, on_sample)
    system.start()
    assert three.wait(60)
    system.close()
    assert system.samples == samples
    assert [s.at for s in samples] == sorted(s.at for s in samples)
    for sample in samples:
        assert len(sample.cpu) == len(os.sched_getaffinity(0))
        assert all(0 <= busy <= 100 for busy in (*sample.cpu, sample.iowait))
        assert sample.memory_bytes > 1_000_000
        rates = (sample.read_bytes_s, sample.written_bytes_s, sample.received_bytes_s, sample.sent_bytes_s)
        assert all(rate >= 0 or math.isnan(rate) for rate in rates)


def test_a_busy_core_is_seen() -> None:
    reader = Reader(Gpus(pytest.fail, Nvml()), pytest.fail)
    seen = 0.0
    for _ in range(200):  # the kernel counts in hundredths of a second
        sum(range(200_000))
        seen = max(seen, *reader.read().cpu)
    assert seen > 50


def test_only_the_cores_of_the_job_are_read() -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two cores")
    try:
        os.sched_setaffinity(0, {max(before)})
        assert len(Reader(Gpus(pytest.fail, Nvml()), pytest.fail).read().cpu) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_memory_is_that_of_the_children_as_well() -> None:
    size = 150 << 20
    program = f"held = b'1' * {size}; print('held', flush=True); input()"
    before = Reader(Gpus(pytest.fail, Nvml()), pytest.fail).read().memory_bytes
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout and child.stdout.readline() == b"held\n"
        reader = Reader(Gpus(pytest.fail, Nvml()), pytest.fail)
        assert reader.read().memory_bytes > before + size // 2
    finally:
        child.communicate(b"\n", timeout=60)
    assert reader.read().memory_bytes > 0  # the child that it knew has ended


def test_disks_that_cannot_be_read_are_missing_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise FileNotFoundError("/proc/diskstats")

    monkeypatch.setattr("psutil.disk_io_counters", fail)
    system = System(0.02)
    seen = threading.Event()
    system._on_sample = lambda sample: seen.set()
    system.start()
    assert seen.wait(60)
    system.close()
    assert math.isnan(system.samples[0].read_bytes_s) and system.samples[0].memory_bytes > 0
    assert [m for m in system.missing if "disks" in m and "/proc/diskstats" in m]


def test_who_is_told_of_samples_cannot_end_the_sampling() -> None:
    calls, three = list[int](), threading.Event()

    def on_sample(sample: Sample) -> None:
        calls.append(1)
        if len(calls) == 3:
            three.set()
        raise ValueError("a rule of mine")

    system = System(0.02, on_sample)
    system.start()
    assert three.wait(60)
    system.close()
    assert [m for m in system.missing if "a rule of mine" in m] == system.missing[-1:]
    assert len(system.missing) == 1 + (len(system.missing) > 1)


@pytest.fixture
def missing() -> Iterator[list[str]]:
    yield []


def test_reads_every_gpu(missing: list[str]) -> None:
    with Gpus(missing.append, Nvml()) as gpus:
        first, second = gpus.read()
    assert tuple(first) == (0, 50.0, 1 << 30, 1 << 34, 60.0, 250.5)
    assert (second.number, second.utilization) == (1, 51.0)
    assert not missing


@pytest.mark.parametrize(
    ("visible", "utilizations"),
    [("1", [51]), ("1,0", [51, 50]), ("GPU-one", [51]), ("", []), ("-1", []), ("0,-1,1", [50])],
)
def test_only_the_gpus_of_the_job_are_read(
    visible: str, utilizations: list[float], missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Gpus(missing.append, Nvml()) as gpus:
        assert [gpu.utilization for gpu in gpus.read()] == utilizations
    assert not missing


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_nvml_that_fails_takes_only_its_own_number(call: str, missing: list[str]) -> None:
    with Gpus(missing.append, Nvml(call)) as gpus:
        readings = [gpus.read() for _ in range(3)]
    lost, value = CALLS[call]
    for gpu in (gpu for reading in readings for gpu in reading):
        assert getattr(gpu, lost) == pytest.approx(value, nan_ok=True)
        kept = [number for name, number in gpu._asdict().items() if name not in (lost, "memory_total", "number")]
        assert all(number > 0 for number in kept)
    (sentence,) = missing
    assert call in sentence and "Not Supported" in sentence


@pytest.mark.parametrize("call", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_gpus_that_nvml_does_not_list_are_missing(call: str, missing: list[str]) -> None:
    with Gpus(missing.append, Nvml(call)) as gpus:
        assert gpus.read() == ()
    (sentence,) = missing
    assert "Not Supported" in sentence


@pytest.mark.parametrize("files", [[], ["/dev/nvidia0"]])
def test_without_nvml_a_machine_lacks_something_only_if_it_has_a_gpu(
    files: list[str], missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.driver.device_files", lambda: files)
    with Gpus(missing.append, Nvml("nvmlInit")) as gpus:
        assert gpus.read() == ()
    assert len(missing) == len(files)
