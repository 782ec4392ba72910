"""A training that is watched, in this process: the files of a job and `train.run` on them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import train
from classifier.config import Config
from classifier.job import Job

QUICK = {
    "weights": "none", "freeze-backbone": "false", "image-size": "32", "epochs": "2", "batch-size": "8",
    "workers": "0", "debug": "true", "save-interval": "2",
}  # fmt: skip


def job(root: Path, data: Path) -> Job:
    """Of three classes, 24 photographs in `train`: three steps an epoch."""
    for name in ("model", "output", "checkpoints"):
        (root / name).mkdir(parents=True)
    return Job(
        name="watched", channels={name: data / name for name in ("train", "valid")}, model_dir=root / "model",
        output_dir=root / "output", checkpoints=root / "checkpoints", hook_file=root / "hook.json", weights=root,
        stop=threading.Event(),
    )  # fmt: skip


def run(job: Job, **hyperparameters: str) -> dict[str, Any]:
    """Its report."""
    given = QUICK | {name.replace("_", "-"): value for name, value in hyperparameters.items()}
    train.run(Config.parse(given), job)
    return report(job)


def report(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.output_dir / "report.json").read_text())
    return found
