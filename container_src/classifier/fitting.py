"""Config and material -> a trained network -> the artifact: what a training job and each trial of a search do."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch
from safetensors import SafetensorError

from classifier import artifact, calibration, metrics, training
from classifier.checkpoint import Checkpoints
from classifier.config import Config
from classifier.distributed import ALONE, Ranks
from classifier.errors import InputError
from classifier.evaluation import Evaluation, evaluate
from classifier.job import Job
from classifier.log import say
from classifier.loss import criterion
from classifier.material import Material
from classifier.precision import Precision, threads
from classifier.search_space import NOT_VARIED


@dataclass(frozen=True)
class Fitted:
    """`kept`: the number of the epoch whose weights `state` (of the material's network) holds; `metrics` and `valid`:
    its own, the latter None where it was another process that evaluated."""

    epochs: int
    kept: int
    metrics: Mapping[str, float]
    state: Mapping[str, torch.Tensor]
    stopped: bool
    valid: Evaluation | None = None


@dataclass(frozen=True)
class Delivered:
    """`judged`: the evaluation of `split`, `test` where there is one."""

    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    split: str
    judged: Evaluation


def versions() -> dict[str, str]:
    """Of what trains."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "torchvision", "smdebug", "sagemaker-training")
    }


def identity(config: Config, material: Material, ranks: Ranks = ALONE) -> dict[str, str]:
    """What the weights that a training ends with depend on, by name: only then may it go on from a checkpoint.

    All hyperparameters but those that no trial varies; `epochs` too, for the learning rate's cosine depends on it.
    """
    settings = {name: value for name, value in config.to_hyperparameters().items() if name not in NOT_VARIED}
    return settings | {
        "data": material.fingerprint,  # of the classes' names as well
        "first weights": material.weights or "random",
        "trained on": "features" if material.frozen else "photographs",
        "steps in an epoch": str(len(material.training)),
        "processes": str(ranks.world),
        "torch": version("torch"),
    }


def fit(
    config: Config,
    material: Material,
    precision: Precision,
    observers: Sequence[training.Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> Fitted:
    """Trains the material's network. Raises InputError as `training.train` does."""
    with _threads(material, precision):
        outcome = training.train(
            material.network, config, material.training, material.held_out["valid"], material.prepare,
            criterion(config, material.counts).to(precision.device), precision, observers, should_stop, checkpoints,
            ranks,
        )  # fmt: skip
    kept = outcome.kept
    return Fitted(
        len(outcome.history), kept.number, kept.metrics, material.network.state_dict(), outcome.stopped, kept.valid
    )


def deliver(
    job: Job,
    config: Config,
    material: Material,
    fitted: Fitted,
    precision: Precision,
    span: Callable[[str], contextlib.AbstractContextManager[None]] = lambda name: contextlib.nullcontext(),
    ranks: Ranks = ALONE,
) -> Delivered:
    """Logs the kept epoch's metrics, evaluates on `test` unless the job is being stopped, and writes the artifact.
    Of several `ranks` all evaluate, and the first writes.

    `span`: within what it gives for them happen the `evaluation` and the `checkpoint`, which is the artifact.

    Raises:
        InputError: the artifact could not be written.
    """
    # SageMaker's tuner takes the last value that a metric had in the log: that must be the kept epoch's.
    say(f"kept epoch {fitted.kept} of {fitted.epochs}: {metrics.line(fitted.metrics)}")
    net = material.network
    net.load_state_dict(fitted.state)
    (stopped,) = ranks.any(job.stop.is_set())
    split = "test" if "test" in material.held_out and not stopped else "valid"
    judged = fitted.valid if split == "valid" else None
    if judged is None:
        with span("evaluation"), _threads(material, precision):
            loss = criterion(config, material.counts).to(precision.device)
            judged = evaluate(net, material.held_out[split], loss, material.prepare, precision, ranks)
    measured = dict(fitted.metrics)
    if split == "test":
        measured |= {"test:loss": judged.loss, "test:accuracy": judged.accuracy}
        say(f"test: {metrics.line({k: v for k, v in measured.items() if k.startswith('test:')})} "
            f"top5={judged.top5_accuracy:.5g}")  # fmt: skip
    provenance = {
        "job": job.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stopped_early": fitted.stopped,
        "kept_epoch": fitted.kept,
        "hyperparameters": config.to_hyperparameters(),
        "pretrained_weights": material.weights,
        "dataset": {"fingerprint": material.fingerprint, **material.sizes},
        "versions": versions(),
        "hardware": f"{precision}, {os.cpu_count()} CPUs",
        "processes": ranks.world,
    }
    if not ranks.first:
        return Delivered(measured, provenance, split, judged)
    try:
        with span("checkpoint"):
            artifact.write(
                job.model_dir, model=config.model, classes=material.classes, preprocessing=material.preprocessing,
                metrics=measured, provenance=provenance, state={**material.frozen, **net.state_dict()},
            )  # fmt: skip
        say(calibration.add(job, config))
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"the model could not be written to {job.model_dir} ({reason}): give the job a larger volume, "
                         f"and a directory that it may write to") from None  # fmt: skip
    # By name: the platform collects both directories, and their paths in the container are gone afterwards.
    say(f"artifact: {artifact.WEIGHTS} and {artifact.DESCRIPTION}")
    return Delivered(measured, provenance, split, judged)


def _threads(material: Material, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """One for a head on features: its steps take microseconds, in which threads that share them wait for each other
    longer than they compute."""
    return threads(1) if material.frozen and precision.device.type == "cpu" else contextlib.nullcontext()
