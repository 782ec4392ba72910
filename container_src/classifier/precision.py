"""Which device computes, and in which number format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from classifier.device import Device
from classifier.errors import InputError


@dataclass(frozen=True)
class Precision:
    """`half` is the format of matrix products and convolutions; weights, losses and the optimizer stay float32."""

    device: torch.device
    half: torch.dtype | None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which the forward pass runs."""
        if self.half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.half)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {'float32' if self.half is None else str(self.half).removeprefix('torch.')}"


def choose(found: Device, watched: bool = False, index: int = 0) -> Precision:
    """GPU number `index` if there is one, else the CPU, with the number format that was found to be right for it.

    bfloat16 has float32's range, so that no loss scaling is needed; float16, of GPUs before Ampere, has not. The scale
    would be on every gradient that is recorded, so that a training that is `watched` stays at float32 there.

    Raises:
        InputError: torch cannot use the GPU that the driver offers.
    """
    number_format = "float32" if watched and found.number_format == "float16" else found.number_format
    half = None if number_format == "float32" else getattr(torch, number_format)
    return Precision(gpu(index) if found.gpus else torch.device("cpu"), half)


def gpu(index: int = 0) -> torch.device:
    """A GPU that the driver offers.

    Raises:
        InputError: torch cannot use it. (`torch.cuda.is_available` would say no more than False.)
    """
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"the driver offers a GPU and torch cannot use it: {reason}; start again on another host or instance type"
        ) from None
    return torch.device("cuda", index)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it, `count` CPU threads share each operation of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
