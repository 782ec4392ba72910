"""What the NVIDIA driver of this host says of itself and of its GPUs, asked without torch.

Two of its libraries, through ctypes. The CUDA driver API (libcuda) is what torch itself goes by: it respects
CUDA_VISIBLE_DEVICES, partitioned GPUs and the compatibility libraries that a host may put before its own driver.
https://docs.nvidia.com/cuda/cuda-driver-api/. NVML only adds the version in the form in which drivers are named:
https://docs.nvidia.com/deploy/nvml-api/. Neither call makes a context on a GPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

_COMPUTE_CAPABILITY_MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_TEXT_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """`capability` is the major number of the compute capability: 7 Volta and Turing, 8 Ampere and Ada, 9 Hopper."""

    name: str
    memory_bytes: int
    capability: int


@dataclass(frozen=True)
class Driver:
    """An installed driver. `problem`: why it gives no GPU, in its own words; None when it gives some."""

    version: str | None
    """as in 535.183.01; None where the container has no NVML"""
    cuda: tuple[int, int]
    """the newest CUDA that it runs"""
    gpus: tuple[Gpu, ...]
    problem: str | None

    def __str__(self) -> str:
        numbers = f"(CUDA {self.cuda[0]}.{self.cuda[1]})"
        return f"{self.version} {numbers}" if self.version else numbers


def read() -> Driver | None:
    """The driver that this process can use; None where there is none, as in a container without GPUs."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = number.value // 1000, number.value % 1000 // 10
    if error := cuda.cuInit(0):
        return Driver(_version(), version, (), f"CUDA error {error}, {_reason(cuda, error)}")
    cuda.cuDeviceGetCount(ctypes.byref(number))
    gpus = tuple(_gpu(cuda, index) for index in range(number.value))
    return Driver(_version(), version, gpus, None if gpus else "no GPU found")


def device_files(directory: Path = Path("/dev")) -> list[Path]:
    """What a container gets for each GPU that it was given: /dev/nvidia0, /dev/nvidia1, ..."""
    return sorted(directory.glob("nvidia[0-9]*"))


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, capability = ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(_TEXT_BYTES), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, _TEXT_BYTES, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(capability), _COMPUTE_CAPABILITY_MAJOR, device)
    return Gpu(name.value.decode(), memory.value, capability.value)


def _reason(cuda: ctypes.CDLL, error: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(error, ctypes.byref(text))
    return (text.value or b"unknown").decode()


def _version() -> str | None:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2():
        return None
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    failed = nvml.nvmlSystemGetDriverVersion(text, _TEXT_BYTES)
    nvml.nvmlShutdown()
    return None if failed else text.value.decode()
