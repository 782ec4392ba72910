"""A trained network in integers of 8 bits, for the CPUs that serve it; kept only when it is as good.

By NNCF (https://github.com/openvinotoolkit/nncf), calibrated on training photographs and judged on those of `valid`.
The first convolution and the head stay what they are: a tenth of the work, and a good part of what integers spoil.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from classifier import artifact, machine
from classifier.artifact import Artifact
from classifier.config import Config
from classifier.engines import Engine, Pixels, choosing
from classifier.errors import InputError
from classifier.job import Job
from classifier.loading import Loader, choose_workers

if TYPE_CHECKING:
    import openvino as ov

    from classifier.data import Split

Labels = npt.NDArray[np.int64]
NAME = "int8"
# What the integers may cost: of the accuracy on `valid`, and of the labels that are those of float32.
MOST_DROP, LEAST_AGREEMENT = 0.005, 0.99
# Fewer photographs of `valid` than this cannot show such a drop.
ENOUGH = round(1 / MOST_DROP)
# Photographs that it is calibrated and judged on, at most: spread evenly over the split.
_CALIBRATED_ON, _JUDGED_ON = 300, 1000
_BATCH = 8


@dataclass(frozen=True)
class Judgement:
    """On photographs of `valid`: shares of 1. Photographs a second, one at a time, on `threads` CPUs."""

    photographs: int
    accuracy: float
    accuracy_of_fp32: float
    same_labels: float
    per_s: float
    per_s_of_fp32: float
    threads: int

    @property
    def is_good(self) -> bool:
        """Whether it may answer in float32's place."""
        return self.accuracy >= self.accuracy_of_fp32 - MOST_DROP and self.same_labels >= LEAST_AGREEMENT

    def __str__(self) -> str:
        return (f"{self.accuracy:.2%} of {self.photographs} photographs of valid right (fp32 "
                f"{self.accuracy_of_fp32:.2%}), {self.same_labels:.2%} of the labels fp32's, "
                f"{self.per_s / self.per_s_of_fp32:.1f} x as fast here")  # fmt: skip


def add(job: Job, config: Config) -> str:
    """Adds the network in integers to the artifact of `job.model_dir`, if it is good. Returns what became of it.

    Raises:
        OSError: it could not be written.
    """
    if reason := _why_not(job, config):
        return f"{NAME}: not made, {reason}"
    began = time.perf_counter()
    found = artifact.read(job.model_dir)
    try:
        train, valid = _splits(job, found)
        if config.quantize == "auto" and len(valid) < ENOUGH:
            return (f"{NAME}: not made, {len(valid)} photographs in valid cannot show a drop of {MOST_DROP:.1%} "
                    f"(quantize=always makes it nevertheless)")  # fmt: skip
        made, judgement, distance = make(found, sample(train, found, config, _CALIBRATED_ON),
                                         sample(valid, found, config, _JUDGED_ON))  # fmt: skip
        files = saved(made) if judgement.is_good else None
    except Exception as error:  # whatever NNCF and OpenVINO raise: the artifact is whole without it
        return f"{NAME}: not made: {' '.join(str(error).split())[:300]}"
    measured = {
        "valid": asdict(judgement), "distance": distance, "kept": judgement.is_good,
        "versions": {name: version(name) for name in ("openvino", "nncf")},
    }  # fmt: skip
    artifact.add_engine(job.model_dir, NAME, measured, files)
    kept = "kept" if judgement.is_good else "not kept"
    return f"{NAME}: {kept}, {judgement} ({time.perf_counter() - began:.0f} s)"


def _why_not(job: Job, config: Config) -> str | None:
    if config.quantize == "never":
        return "quantize=never"
    if config.quantize == "auto" and job.is_trial:
        return "this is a trial of a tuning job (quantize=always makes it nevertheless)"
    if missing := {"train", "valid"} - job.channels.keys():
        return f"its photographs are not there (channel `{min(missing)}`)"
    return "the job is being stopped" if job.stop.is_set() else None


def _splits(job: Job, found: Artifact) -> tuple[Split, Split]:
    """Raises InputError: they are of other classes, or cannot be read."""
    from classifier import data

    train = data.find_split("train", job.channels["train"])
    if train.classes != found.classes:
        raise InputError("the channel `train` has other classes than the channel `features`")
    return train, data.find_split("valid", job.channels["valid"], train.classes)


class Sample:
    """Some of a split, read again each time: one after the other as uint8 [1, crop, crop, 3], as NNCF takes them."""

    def __init__(self, loader: Loader, count: int) -> None:
        self._loader, self.count = loader, count

    def __iter__(self) -> Iterator[Pixels]:
        return (one[np.newaxis] for pixels, _ in self.batches() for one in pixels)

    def batches(self) -> Iterator[tuple[Pixels, Labels]]:
        """uint8 [n, crop, crop, 3] and int64 [n]."""
        return ((pixels.numpy(), labels.numpy()) for pixels, labels in self._loader)


def sample(split: Split, found: Artifact, config: Config, most: int) -> Sample:
    from classifier import data  # a job on features has no use for decoders, unless it comes to this

    count = min(most, len(split))
    chosen = np.linspace(0, len(split) - 1, count).round().astype(int).tolist()
    photographs = data.Photographs(split, found.preprocessing, bad=data.BadImages(config.max_bad_images))
    batches = [chosen[start : start + _BATCH] for start in range(0, count, _BATCH)]
    loader = Loader(photographs.__getitem__, batches, choose_workers(config.workers), torch.device("cpu"))
    return Sample(loader, count)


def make(found: Artifact, training: Sample, valid: Sample) -> tuple[ov.Model, Judgement, float]:
    """The calibrated graph, what it is worth, and its distance as `choosing.distance` has it."""
    from safetensors.numpy import load_file

    from classifier.engines import graph
    from classifier.engines.on_openvino import OnOpenVino

    network = graph.resnet(found.model, len(found.classes), found.preprocessing, load_file(found.weights_path))
    made, threads = _calibrated(network, training), machine.cpus()
    fp32, int8 = OnOpenVino("fp32", network, threads), OnOpenVino(NAME, made, threads)
    pictures = choosing.pictures(found.preprocessing.crop)
    distance = choosing.distance(int8, fp32, pictures)
    slow, fast = choosing.seconds([fp32, int8], pictures[:1])
    return made, _judge(int8, fp32, valid, 1 / fast, 1 / slow, threads), distance


def _calibrated(network: ov.Model, training: Sample) -> ov.Model:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it looks for a compiler of CUDA
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    from classifier.engines.graph import HEAD

    nncf.set_log_level(logging.ERROR)
    convolutions = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"]
    # Bias correction and averaged ranges, the defaults, double the error of the logits.
    advanced = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
    )
    ignored = nncf.IgnoredScope(names=[convolutions[0].get_friendly_name(), HEAD])
    with contextlib.redirect_stdout(io.StringIO()):  # a bar of progress
        return nncf.quantize(
            network, nncf.Dataset(training), subset_size=training.count, ignored_scope=ignored,
            advanced_parameters=advanced,
        )  # fmt: skip


def _judge(int8: Engine, fp32: Engine, valid: Sample, per_s: float, per_s_of_fp32: float, threads: int) -> Judgement:
    right, right_of_fp32, same = 0, 0, 0
    for pixels, labels in valid.batches():
        called, reference = int8.run(pixels).argmax(1), fp32.run(pixels).argmax(1)
        right += int((called == labels).sum())
        right_of_fp32 += int((reference == labels).sum())
        same += int((called == reference).sum())
    n = valid.count
    return Judgement(n, right / n, right_of_fp32 / n, same / n, per_s, per_s_of_fp32, threads)


def saved(graph: ov.Model) -> tuple[bytes, bytes]:
    """As OpenVINO saves it."""
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NAME}.xml"
        ov.save_model(graph, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
