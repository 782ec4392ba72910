"""The entry point of `train`: the job's files -> Config and Job -> what `mode` says.

Called by sagemaker-training (SAGEMAKER_TRAINING_MODULE=train:main), which has read the container contract's files:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import launching
from classifier import device, rule_settings, search_space
from classifier.config import Config
from classifier.errors import InputError
from classifier.job import Job

if TYPE_CHECKING:
    from classifier.distributed import Ranks
    from classifier.precision import Precision
    from classifier.training import Observer

# Where the image keeps its pretrained weights; the channel `weights` comes first.
BAKED_WEIGHTS = Path(os.environ.get("KENNEL_WEIGHTS", "/opt/kennel/weights"))
_stop = threading.Event()
# Why the job failed, or nothing once it has ended well.
_failure: list[str] = ["it did not end"]


def start() -> None:
    """What `train` runs: sagemaker-training, which reads the contract's files and calls `main`."""
    # Before anything that takes time: as process 1 Python ignores SIGTERM until it is handled, and what SageMaker sends
    # while libraries are imported would be lost. SIGKILL follows 120 s later.
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    from sagemaker_training.cli import train

    try:
        train.main()
    except SystemExit as end:
        # On a full disk sagemaker-training cannot write the failure file, and then exits 0.
        if _failure and not end.code:
            print(f"the job failed, and its failure file could not be written: {_failure[0]}", flush=True)
            sys.exit(1)
        raise


def main() -> None:
    """Runs the job of this container.

    Raises:
        sagemaker_training.errors.ClientError: bad input; sagemaker-training writes its message to
            /opt/ml/output/failure and exits 1. (A SystemExit would be reported as success.)
    """
    from sagemaker_training import errors

    try:
        run(*asked(_stop))
    except InputError as error:
        _failure[0] = str(error)
        raise errors.ClientError(str(error)) from None
    except Exception as error:
        _failure[0] = f"{type(error).__name__}: {error}"
        raise
    _failure.clear()


def asked(stop: threading.Event) -> tuple[Config, Job]:
    """What the platform's files ask for. Raises InputError: a hyperparameter is wrong."""
    from sagemaker_training import environment, logging_config, params

    # It tells of each string among the hyperparameters that it is no JSON; its errors are worth reading.
    logging_config.get_logger().setLevel(logging.WARNING)
    env = environment.Environment()
    # It decodes what looks like JSON, as the text of mode=search does.
    config = Config.parse({k: json.dumps(v) if isinstance(v, dict) else v for k, v in env.hyperparameters.items()})
    return config, Job(
        name=env.job_name or "local",
        channels={name: Path(path) for name, path in env.channel_input_dirs.items()},
        model_dir=Path(env.model_dir),
        output_dir=Path(env.output_data_dir),
        checkpoints=Path(environment.base_dir) / "checkpoints",
        hook_file=Path(env.input_config_dir) / "debughookconfig.json",
        weights=BAKED_WEIGHTS,
        stop=stop,
        rank=env.hosts.index(env.current_host),
        hosts=len(env.hosts),
        is_trial=params.TUNING_METRIC_PARAM in environment.read_hyperparameters(),
        divided=frozenset(
            name
            for name, channel in env.input_data_config.items()
            if channel.get("S3DistributionType") == "ShardedByS3Key"
        ),
    )


def run(config: Config, job: Job) -> None:
    """Does what `mode` says.

    Raises:
        InputError: anything that the user gave is wrong.
    """
    if "features" in job.channels and not config.head_only:
        raise InputError("the channel `features` holds what a frozen backbone made, and "
                         f"freeze-backbone={config.freeze_backbone} trains the backbone: leave the channel out, or "
                         f"set freeze-backbone=true")  # fmt: skip
    if "features" not in job.channels or config.mode == "embed":
        job.need("train", "valid")
    if config.mode != "search" and job.hosts > 1 and job.divided:
        raise InputError(f"the channel `{min(job.divided)}` is divided among the hosts (ShardedByS3Key), and "
                         f"{config.mode} divides the work itself: give it FullyReplicated")  # fmt: skip
    if config.mode == "search" and job.hosts > 1:
        raise InputError(f"mode=search runs on one instance, and the job has {job.hosts}: set InstanceCount to 1")
    if config.mode != "train" and config.processes > 1:
        raise InputError(f"processes={config.processes} is for one training, which mode={config.mode} is not: leave it "
                         f"out")  # fmt: skip
    if config.debug and config.mode != "train":
        raise InputError(f"debug=true records one training, which mode={config.mode} is not: set mode=train")
    if config.compile and is_watched(config, job):
        raise InputError("debug=true records by hooks, which compile=true would compile away: set one of them to false")
    rule_settings.parse(config.rules, config.stop_on)
    rule_settings.collections(config.collections)
    if config.stop_on and not is_watched(config, job):
        raise InputError("stop-on ends a job that its rules watch, which debug=false has none of: set debug=true, or "
                         "leave stop-on out")  # fmt: skip
    space = search_space.parse(config) if config.mode == "search" else None
    found = device.find("train", every_gpu=config.mode == "train" and config.processes != 1)
    print(found.line, flush=True)
    on_features = "features" in job.channels
    count = launching.processes(config, found, job.hosts, on_features) if config.mode == "train" else 1
    if config.mode == "train" and count * job.hosts > 1:
        print(f"processes: {count} on each of {job.hosts} hosts, on {'GPUs' if found.gpus else 'CPUs'}", flush=True)
        launching.launch(count, job.stop)
        return
    # After the cheap checks: torch takes seconds to import.
    from classifier import precision

    compute = precision.choose(found, is_watched(config, job))
    if space:
        from classifier import search

        search.run(config, space, job, compute)
    elif config.mode == "embed":
        embed(config, job, compute)
    else:
        train(config, job, compute)


def embed(config: Config, job: Job, compute: Precision) -> None:
    """Leaves the photographs' features as the artifact."""
    from classifier import embedding

    folder = embedding.embed(config, job, compute)
    for pattern in ("*.safetensors", "*.json"):
        for path in folder.glob(pattern):
            shutil.copyfile(path, job.model_dir / path.name)


def train(config: Config, job: Job, compute: Precision, ranks: Ranks | None = None) -> None:
    """Trains, evaluates and writes the artifact; with `debug` (or a hook file) it is watched, and leaves a report.

    Of several `ranks` all must call this; the first speaks, and writes what is written.
    """
    from classifier import distributed, fitting, machine, material
    from classifier.checkpoint import Checkpoints
    from classifier.log import Log, say

    ranks = ranks or distributed.ALONE
    _check_writable(job.model_dir)
    recorder = None
    if is_watched(config, job):
        import psutil

        from classifier.watch.recorder import Recorder

        recorder = Recorder(config, job, compute.device, psutil.Process().create_time(), say)
    with recorder or contextlib.nullcontext():
        given = material.open(config, job, compute, ranks.share)
        say(f"data: {', '.join(f'{n} {name}' for name, n in given.sizes.items())} photographs of "
            f"{len(given.classes)} classes")  # fmt: skip
        say(f"network: {config.model}, {given.line}")
        span = recorder.timeline.span if recorder else lambda name: contextlib.nullcontext()
        checkpoints = None
        if job.checkpoints.is_dir() and ranks.first:  # there is none where the platform keeps nothing of it
            checkpoints = Checkpoints(
                job.checkpoints / "training", fitting.identity(config, given, ranks), config.checkpoint_steps,
                config.checkpoint_minutes, say, span,
            )  # fmt: skip
        observers: list[Observer] = []
        if ranks.first:
            observers.append(Log(config.epochs, steps=len(given.training), processes=ranks.world))
        should_stop = job.stop.is_set
        if recorder:
            recorder.know(given, fitting.versions(), {"device": str(compute), "cpus": machine.cpus()})
            observers += recorder.observers
            should_stop = lambda: job.stop.is_set() or recorder.should_stop()  # noqa: E731
        fitted = fitting.fit(config, given, compute, observers, should_stop, checkpoints, ranks)
        delivered = fitting.deliver(job, config, given, fitted, compute, span, ranks)
        if recorder:
            recorder.conclude(given, delivered.metrics, fitted.kept, delivered.split, delivered.judged)
    # It may be another host's process that was asked to stop.
    if checkpoints and not (fitted.stopped or job.stop.is_set()):
        checkpoints.remove()


def _check_writable(directory: Path) -> None:
    """Raises InputError: what is learned in hours could not be written there at the end."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise InputError(f"the model cannot be written to {directory} ({error.strerror}): give the job a directory "
                         f"that it may write to") from None  # fmt: skip


def is_watched(config: Config, job: Job) -> bool:
    """Whether what happens in the training is recorded."""
    return config.debug or job.hook_file.is_file()


if __name__ == "__main__":
    # The module of that name, which sagemaker-training imports as well, and not this second copy of it.
    from train import start as _start

    _start()
