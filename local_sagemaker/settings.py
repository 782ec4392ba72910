"""The settings of one server, decided on its command line and unchanged while it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Times are seconds."""

    state: Path
    process_path: Path | None = None
    training_stop_s: float = 120.0  # from SIGTERM to SIGKILL, as on SageMaker
    endpoint_stop_s: float = 30.0  # the same for endpoints
    ping_interval_s: float = 5.0  # between two health checks of a container in service
    shutdown_stop_s: float = 10.0  # the same when the server itself ends: nobody waits two minutes for a Ctrl-C


def default_state() -> Path:
    """LOCAL_SAGEMAKER_STATE, else the user's state directory."""
    named = os.environ.get("LOCAL_SAGEMAKER_STATE")
    if named:
        return Path(named).absolute()
    from platformdirs import user_state_dir

    return Path(user_state_dir("local-sagemaker", appauthor=False))
