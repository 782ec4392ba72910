"""The settings of one server, decided on its command line and unchanged while it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """Times are seconds."""

    state: Path
    process_path: Path | None = None
    training_stop_s: float = 120.0  # from SIGTERM to SIGKILL, as on SageMaker
    endpoint_stop_s: float = 30.0  # the same for endpoints
    ping_interval_s: float = 5.0  # between two health checks of a container in service
    shutdown_stop_s: float = 10.0  # the same when the server itself ends: nobody waits two minutes for a Ctrl-C
    max_parallel: int = field(default_factory=cpus)  # trials of tuning jobs that run at once


def default_state() -> Path:
    """LOCAL_SAGEMAKER_STATE, else the user's state directory."""
    named = os.environ.get("LOCAL_SAGEMAKER_STATE")
    if named:
        return Path(named).absolute()
    from platformdirs import user_state_dir

    return Path(user_state_dir("local-sagemaker", appauthor=False))
