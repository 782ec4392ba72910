"""Jobs of the image under test, each in a private /opt/ml."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from contract_training import lay_out
from image.containers import Container
from image.demands import NETWORK, PLATFORM_VARIABLES, SMALL_SHM, TRAIN_INPUT, Condition, Demand
from image.subject import TRAIN_STOP_S, Subject

READ_ONLY_INPUT = Condition(
    Demand(
        'of FastFile mode: "The channel directory is mounted as read-only."',
        TRAIN_INPUT,
        "write what is derived from the data (unpacked archives, caches, indexes) to /tmp, not beside it",
    )
)
CONDITIONS = {
    "network": Condition(NETWORK, options=("--network=none",)),
    "shared-memory": SMALL_SHM,
    "read-only-input": READ_ONLY_INPUT,
    "variables": Condition(
        Demand(
            '"The following environment variables are set in the container: TRAINING_JOB_NAME [...] TRAINING_JOB_ARN".',
            TRAIN_INPUT,
            "bear variables that you do not know, and credentials that cannot be fetched",
        ),
        options=(
            *PLATFORM_VARIABLES,
            "--env=TRAINING_JOB_NAME=contract-test",
            "--env=TRAINING_JOB_ARN=arn:aws:sagemaker:eu-central-1:123456789012:training-job/contract-test",
        ),
    ),
    "tuning": Condition(
        Demand(
            "A tuning job adds the hyperparameter _tuning_objective_metric, the name of its metric.",
            "https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md",
            "ignore hyperparameters whose names begin with an underscore",
        ),
        hyperparameters=(("_tuning_objective_metric", "valid:accuracy"),),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `ended` is False for one that had to be killed, `began` for one that never trained."""

    root: Path
    exit_code: int
    log: str
    tail: str
    conditions: Collection[str]
    ended: bool = True
    began: bool = True

    @property
    def model(self) -> Path:
        return self.root / "model"

    def failure(self) -> str:
        """What SageMaker would show as FailureReason; empty without a file."""
        path = self.root / "output" / "failure"
        return path.read_text(encoding="utf-8", errors="replace")[:1024].strip() if path.is_file() else ""

    def files(self) -> list[Path]:
        """What the model directory holds."""
        return sorted(path for path in self.model.rglob("*") if path.is_symlink() or not path.is_dir())


def run(
    tested: Subject, root: Path, conditions: Collection[str], channels: Mapping[str, Path] | None = None
) -> Outcome:
    """A job to its end; `conditions` are names in CONDITIONS, `channels` by default all."""
    container = _start(tested, root, conditions, tested.channels if channels is None else channels, {})
    try:
        # A test's own limit (pytest-timeout) ends one that hangs.
        container.wait(timeout_s=100_000)
        return Outcome(root, container.exit_code(), container.log(), container.tail(), conditions)
    finally:
        container.remove()


def run_and_stop(tested: Subject, root: Path) -> Outcome:
    """A long job that is stopped as StopTrainingJob does, as soon as its log says that it trains."""
    container = _start(tested, root, (), tested.channels, tested.long_hyperparameters)
    try:
        began = container.wait_for(tested.under_way)
        if began:
            container.terminate()
        ended = container.wait(tested.stop_within_s or TRAIN_STOP_S)
        return Outcome(root, container.exit_code(), container.log(), container.tail(), (), ended, began)
    finally:
        container.remove()


def _start(
    tested: Subject, root: Path, conditions: Collection[str], channels: Mapping[str, Path], more: Mapping[str, str]
) -> Container:
    hyperparameters = {**tested.hyperparameters, **more}
    options: list[str] = []
    for name, condition in CONDITIONS.items():
        options += condition.options if name in conditions else condition.otherwise
        if name in conditions:
            hyperparameters |= dict(condition.hyperparameters)
    lay_out(root, channels, hyperparameters)
    read_only = ":ro" if "read-only-input" in conditions else ""
    mounts = [f"-v={root / 'input'}:/opt/ml/input{read_only}"]
    mounts += [f"-v={root / name}:/opt/ml/{name}" for name in ("model", "output", "checkpoints")]
    for name, directory in channels.items():
        if not read_only:  # a program that writes there must not spoil the caller's data
            directory = Path(shutil.copytree(directory, root / "copies" / name))
        mounts.append(f"-v={directory}:/opt/ml/input/data/{name}{read_only}")
    return tested.start("train", *options, *mounts)
