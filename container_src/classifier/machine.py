"""What this container may use of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def cpus() -> int:
    """CPUs that this process may use: its affinity, and the container's quota (cgroup v2, then v1) rounded down."""
    ours = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # "max" and a missing file both mean that there is no quota
        quota, period = (int(value) for value in (_GROUP / "cpu.max").read_text().split())
        return max(1, min(ours, quota // period))
    with contextlib.suppress(OSError):
        quota, period = (int((_GROUP / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:
            return max(1, min(ours, quota // period))
    return ours


def memory_mb() -> int | None:
    """Megabytes that the container may use (cgroup v2, then v1); None where there is no limit."""
    for file in (_GROUP / "memory.max", _GROUP / "memory" / "memory.limit_in_bytes"):
        text = file.read_text().strip() if file.exists() else "max"
        if text != "max":
            return int(text) // 1024**2
    return None


def processes_killed() -> int:
    """How many processes of the container Linux has killed because its memory was at the limit."""
    for file in (_GROUP / "memory.events", _GROUP / "memory" / "memory.oom_control"):
        if file.exists():
            return int(dict(line.split() for line in file.read_text().splitlines()).get("oom_kill", 0))
    return 0


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16. Without them torch emulates it, slower than float32."""
    info = Path("/proc/cpuinfo")
    return info.exists() and bool({"avx512_bf16", "amx_bf16"} & set(info.read_text().split()))
