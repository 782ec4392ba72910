"""What the platform gives a job: its directories, its channels, its place among the hosts. Pure Python."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import InputError


@dataclass(frozen=True)
class Job:
    """One job. `weights`: where the image keeps its pretrained weights; `hook_file`: Debugger's, if SageMaker wrote it.

    `rank` of `hosts`: which of the instances of the job this is, counted from 0. `divided`: the channels of which each
    host has only its part (ShardedByS3Key). `is_trial`: a tuning job started it.
    """

    name: str
    channels: Mapping[str, Path]
    model_dir: Path
    output_dir: Path
    checkpoints: Path
    hook_file: Path
    weights: Path
    stop: threading.Event
    rank: int = 0
    hosts: int = 1
    divided: frozenset[str] = frozenset()
    is_trial: bool = False

    @property
    def weights_directories(self) -> list[Path]:
        """Where pretrained weights are looked for, in this order."""
        return [*([self.channels["weights"]] if "weights" in self.channels else []), self.weights]

    def need(self, *names: str) -> None:
        """Raises InputError: one of these channels is missing."""
        for name in names:
            if name not in self.channels:
                given = ", ".join(sorted(self.channels)) or "none"
                raise InputError(f"the channel `{name}` is missing (given: {given}): add it to the job's input data")
