"""The device that a job or a server computes on, decided before torch is imported: a GPU, the CPU, or a refusal.

A GPU that is there and cannot be used ends the container at once: silently, a job would take the CPU, at the price of
the GPU. Where no GPU was given to the container, the CPU is what was asked for.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifier import driver, machine
from classifier.driver import Driver, Gpu
from classifier.errors import InputError

Task = Literal["train", "serve"]
# Number formats, as torch names them. On a CPU, that of torch: the engine that answers may choose another.
GPU_SERVING, CPU_SERVING = "float16", "float32"
_AMPERE = 8  # the first with instructions for bfloat16
_VOLTA = 7  # the first whose float16 is faster than its float32, as its matrix units have it
_HIDE = "CUDA_VISIBLE_DEVICES=-1 computes on the CPU"


@dataclass(frozen=True)
class Hosts:
    """What the wheels of one major version of CUDA need, and the SageMaker hosts that have it."""

    driver: str
    """oldest one: https://docs.nvidia.com/deploy/cuda-compatibility/"""
    inference_ami: str
    """ProductionVariant.InferenceAmiVersion of CreateEndpointConfig"""
    transform_ami: str | None
    """TransformResources.TransformAmiVersion of CreateTransformJob"""
    family: str
    """instances whose hosts start with such a driver"""


HOSTS = {
    12: Hosts("525.60.13", "al2-ami-sagemaker-inference-gpu-2-1", "al2-ami-sagemaker-batch-gpu-535", "ml.g6"),
    13: Hosts("580.65.06", "al2023-ami-sagemaker-inference-gpu-4-1", None, "ml.g7e"),
}


@dataclass(frozen=True)
class Wheel:
    """The torch that is installed. `cuda` is None for a build that knows only the CPU."""

    torch: str
    cuda: tuple[int, int] | None

    def __str__(self) -> str:
        return f"torch {self.torch} " + (f"with CUDA {self.cuda[0]}.{self.cuda[1]}" if self.cuda else "without CUDA")


@dataclass(frozen=True)
class Device:
    """`gpus` that can be used; none means the CPU."""

    gpus: tuple[Gpu, ...]
    number_format: str
    """of the matrix products, as torch names it"""
    line: str
    """what the log says of all this"""


def find(task: Task, every_gpu: bool = False) -> Device:
    """The device of this container. `every_gpu`: a training uses all of them.

    Raises:
        InputError: there is a GPU, and its driver is too old for this torch, or does not start.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return choose(task, driver.read(), installed(), driver.device_files(), visible, every_gpu)


def choose(
    task: Task, found: Driver | None, wheel: Wheel, files: list[Path], visible: str | None, every_gpu: bool = False
) -> Device:
    """`find`, from what was found. `files`: the GPUs' device files; `visible`: CUDA_VISIBLE_DEVICES, None if unset.

    Raises:
        InputError: as `find`.
    """
    without = _why_not(task, found, wheel, files, visible)
    if found is None or without:
        line = f"device: {machine.cpus()} CPUs, {without}; {wheel}"
        if task == "serve":
            return Device((), CPU_SERVING, line)  # the engine says in which format it computes
        number_format = "bfloat16" if machine.has_bfloat16() else "float32"
        return Device((), number_format, f"{line}; {number_format}")
    first = found.gpus[0]
    number_format = GPU_SERVING if task == "serve" else _gpu_training_format(first)
    several, every = len(found.gpus) > 1, every_gpu or task == "serve"
    name = f"{len(found.gpus)} x {first.name}" if several and every else first.name
    of = f" (the first of {len(found.gpus)})" if several and not every else ""
    memory = f"{first.memory_bytes / 2**30:.1f} GiB"
    return Device(found.gpus, number_format, f"device: {name}, {memory}{of}; driver {found}, {wheel}; {number_format}")


def installed() -> Wheel:
    """Reads torch's version file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    assert spec and spec.submodule_search_locations, "torch is a dependency of this package"
    told = runpy.run_path(str(Path(spec.submodule_search_locations[0]) / "version.py"))
    major, _, minor = (told["cuda"] or "").partition(".")
    return Wheel(str(told["__version__"]).partition("+")[0], (int(major), int(minor)) if major else None)


def _gpu_training_format(gpu: Gpu) -> str:
    if gpu.capability >= _AMPERE:
        return "bfloat16"
    return "float16" if gpu.capability >= _VOLTA else "float32"


def _why_not(task: Task, found: Driver | None, wheel: Wheel, files: list[Path], visible: str | None) -> str | None:
    """Why the CPU is right, in words; None when a GPU can be used."""
    given = found.gpus if found else ()
    if visible is not None and visible.strip() in ("", "-1") and (found or files):
        return "CUDA_VISIBLE_DEVICES hides the GPUs"
    if wheel.cuda is None and (given or files):
        return f"{given[0].name if given else 'the GPU'} unused"
    if found is None:
        if files:
            raise InputError(
                f"a GPU is there ({files[0]}), but the driver's library libcuda.so.1 is not: start the container with "
                f"NVIDIA_DRIVER_CAPABILITIES=compute,utility; {_HIDE}"
            )
        return "no NVIDIA driver"
    if wheel.cuda and (given or files) and found.cuda[0] < wheel.cuda[0]:
        raise InputError(_too_old(task, found, wheel, HOSTS[wheel.cuda[0]]))
    if found.problem and files:
        raise InputError(
            f"a GPU is there ({files[0]}), but its driver {found} does not start: {found.problem}; start "
            f"again on another host, and on a machine of your own see what `nvidia-smi` says; {_HIDE}"
        )
    return f"NVIDIA driver {found} without a GPU ({found.problem})" if found.problem else None


def _too_old(task: Task, found: Driver, wheel: Wheel, hosts: Hosts) -> str:
    if task == "serve":
        choice = f"for an endpoint choose InferenceAmiVersion {hosts.inference_ami} (orchestrate/deploy.py does)"
        if hosts.transform_ami:
            choice += f", for a batch transform TransformAmiVersion {hosts.transform_ami}"
        choice += f", or a newer instance family such as {hosts.family}"
    else:
        choice = (
            f"a training job has no choice of AMI, so choose a newer instance family such as {hosts.family}, "
            f"or one without a GPU"
        )
    return (
        f"the NVIDIA driver {found} of this host is too old: {wheel} needs {hosts.driver} or newer; {choice}; "
        f"on a machine of your own update the driver ({_HIDE})"
    )
