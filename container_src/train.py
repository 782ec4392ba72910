"""The entry point of `train`: the job's files -> Config -> classifier.training -> artifact and report.

Called by sagemaker-training (SAGEMAKER_TRAINING_MODULE=train:main), which has read the container contract's files:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from classifier import device, metrics
from classifier.config import Config
from classifier.errors import InputError

# Where the image keeps its pretrained weights; the channel `weights` comes first.
BAKED_WEIGHTS = Path(os.environ.get("KENNEL_WEIGHTS", "/opt/kennel/weights"))
_stop = threading.Event()


def start() -> None:
    """What `train` runs: sagemaker-training, which reads the contract's files and calls `main`."""
    # Before anything that takes time: as process 1 Python ignores SIGTERM until it is handled, and what SageMaker sends
    # while libraries are imported would be lost. SIGKILL follows 120 s later.
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    from sagemaker_training.cli import train

    train.main()


def main() -> None:
    """Runs the job of this container.

    Raises:
        sagemaker_training.errors.ClientError: bad input; sagemaker-training writes its message to
            /opt/ml/output/failure and exits 1. (A SystemExit would be reported as success.)
    """
    from sagemaker_training import environment, errors, logging_config

    # It tells of each string among the hyperparameters that it is no JSON; its errors are worth reading.
    logging_config.get_logger().setLevel(logging.WARNING)
    env = environment.Environment()
    try:
        config = Config.parse(env.hyperparameters)
        run(
            config,
            job=env.job_name or "local",
            channels={name: Path(path) for name, path in env.channel_input_dirs.items()},
            model_dir=Path(env.model_dir),
            output_dir=Path(env.output_data_dir),
            hook_file=Path(env.input_config_dir) / "debughookconfig.json",
            stop=_stop,
        )
    except InputError as error:
        raise errors.ClientError(str(error)) from None


def run(
    config: Config,
    *,
    job: str,
    channels: Mapping[str, Path],
    model_dir: Path,
    output_dir: Path,
    hook_file: Path,
    stop: threading.Event,
) -> None:
    """Trains, evaluates and writes the artifact; with `debug` (or a hook file) also the report.

    Raises:
        InputError: anything that the user gave is wrong.
    """
    for name in ("train", "valid"):
        if name not in channels:
            given = ", ".join(sorted(channels)) or "none"
            raise InputError(f"the channel `{name}` is missing (given: {given}): add it to the job's input data")
    found = device.find("train")
    print(found.line, flush=True)
    # After the cheap checks: torch takes seconds to import.
    import torch

    from classifier import artifact, data, network, precision, training
    from classifier.evaluation import evaluate
    from classifier.images import Preprocessing
    from classifier.log import Log, say
    from classifier.watch.recorder import Recorder

    torch.manual_seed(config.seed)
    splits = {"train": data.find_split("train", channels["train"])}
    classes = splits["train"].classes
    for name in ("valid", "test"):
        if name in channels:
            splits[name] = data.find_split(name, channels[name], classes)
    compute = precision.choose(found)
    preprocessing = Preprocessing.for_size(config.image_size)
    net = network.build(config.model, len(classes))
    weights: Path | None = None
    if config.weights == "pretrained":
        directories = [channels["weights"]] if "weights" in channels else []
        weights = network.find_pretrained(config.model, [*directories, BAKED_WEIGHTS])
        network.load_pretrained(net, weights)
    net.to(compute.device)
    workers = data.choose_workers(config.workers, config.image_size, config.batch_size)
    say(f"data: {', '.join(f'{len(s)} {name}' for name, s in splits.items())} photographs of {len(classes)} classes")
    say(f"network: {config.model}, backbone {'frozen' if config.freeze_backbone else 'trained'}, "
         f"weights {weights.name if weights else 'random'}; {compute}, {workers} data workers")  # fmt: skip

    def batches(name: str) -> Any:
        return data.loader(data.Photographs(splits[name], preprocessing), config.batch_size, workers)

    recorder = None
    if config.debug or hook_file.is_file():
        recorder = Recorder(output_dir, config.save_interval, hook_file if hook_file.is_file() else None)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    outcome = training.train(
        net, config, preprocessing,
        data.Photographs(splits["train"], preprocessing, config.augment, config.seed), batches("valid"),
        criterion, compute, workers,
        observers=[Log(config.epochs), *(recorder.observers if recorder else [])], should_stop=stop.is_set,
    )  # fmt: skip
    kept, judged_split, judged = outcome.kept, "valid", outcome.kept.valid
    measured = {"train:loss": kept.train_loss, "valid:loss": kept.valid.loss, "valid:accuracy": kept.valid.accuracy}
    # SageMaker's tuner takes the last value that a metric had in the log: that must be the kept epoch's.
    say(f"kept epoch {kept.number} of {len(outcome.history)}: {metrics.line(measured)}")
    if "test" in splits and not outcome.stopped:
        judged_split, judged = "test", evaluate(net, data.batches(batches("test")), criterion, preprocessing, compute)
        measured |= {"test:loss": judged.loss, "test:accuracy": judged.accuracy}
        say(f"test: {metrics.line({k: v for k, v in measured.items() if k.startswith('test:')})} "
             f"top5={judged.top5_accuracy:.5g}")  # fmt: skip
    provenance = {
        "job": job,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stopped_early": outcome.stopped,
        "kept_epoch": kept.number,
        "hyperparameters": config.to_hyperparameters(),
        "pretrained_weights": weights.name if weights else None,
        "dataset": {"fingerprint": data.fingerprint(list(splits.values())), **{n: len(s) for n, s in splits.items()}},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "smdebug", "sagemaker-training")},
        "hardware": f"{compute}, {os.cpu_count()} CPUs",
    }
    artifact.write(
        model_dir, model=config.model, classes=classes, preprocessing=preprocessing, metrics=measured,
        provenance=provenance, state=net.state_dict(),
    )  # fmt: skip
    # By name: the platform collects both directories, and their paths in the container are gone afterwards.
    say(f"artifact: {artifact.WEIGHTS} and {artifact.DESCRIPTION}")
    if recorder:
        summary = {**provenance, "metrics": measured, "judged_split": judged_split}
        page, findings = recorder.report(summary, classes, judged.confusion)
        for finding in findings:
            if finding.fired:
                say(f"finding: {finding.rule} fired at {finding.fired} of {finding.points}: {finding.advice}")
        say(f"report: {page.name}")


if __name__ == "__main__":
    # The module of that name, which sagemaker-training imports as well, and not this second copy of it.
    from train import start as _start

    _start()
