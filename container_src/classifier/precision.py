"""Which device computes, and in which number format."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch


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


def choose() -> Precision:
    """The first GPU with bfloat16 if there is one, else the CPU, with bfloat16 where it has instructions for that.

    bfloat16 has float32's range, so that no loss scaling is needed; older GPUs (before Ampere) stay at float32.
    """
    if torch.cuda.is_available():
        return Precision(torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported(False) else None)
    # Without these instructions torch emulates bfloat16, which is slower than float32.
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return Precision(torch.device("cpu"), torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else None)
