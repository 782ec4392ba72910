"""What this container may use of the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
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


def gpus() -> int:
    """GPUs that are visible to this process."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return len([name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name not in ("", "-1")])
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return listed.stdout.count("UUID") if listed.returncode == 0 else 0
