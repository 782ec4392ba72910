"""What this container may use of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cpus() -> int:
    """CPUs that this process may use: its affinity, and the container's quota (cgroup v2, then v1) rounded down."""
    ours = len(os.sched_getaffinity(0))
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max" and a missing file both mean that there is no quota
        quota, period = (int(value) for value in (group / "cpu.max").read_text().split())
        return max(1, min(ours, quota // period))
    with contextlib.suppress(OSError):
        quota, period = (int((group / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:
            return max(1, min(ours, quota // period))
    return ours


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16. Without them torch emulates it, slower than float32."""
    info = Path("/proc/cpuinfo")
    return info.exists() and bool({"avx512_bf16", "amx_bf16"} & set(info.read_text().split()))
