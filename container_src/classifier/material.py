"""What a network is trained on: photographs, or the features that a frozen backbone made of them."""

from __future__ import annotations

import functools
import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from classifier import network
from classifier.config import Config
from classifier.errors import InputError
from classifier.features import FeatureBatches, Features, check, read
from classifier.job import Job
from classifier.log import say, say_each
from classifier.precision import Precision
from classifier.preprocessing import Preprocessing
from classifier.shuffling import EVERYTHING, Share
from classifier.training import Batch, Source

if TYPE_CHECKING:
    from classifier.data import Photograph, Split

# Rows that the head takes at once where nothing is learned from them.
_EVALUATED_AT_ONCE = 4096
_FREEZING = {"true": "frozen", "false": "trained"}


@dataclass(frozen=True)
class Material:
    """The two ways differ in what is here, and in nothing after it.

    `sizes`: split -> photographs. `counts`: training photographs of each class. `weights`: the file name of the
    pretrained weights. `network`: with its first weights, on the device. `prepare`: of a batch's inputs, what the
    network takes. `frozen`: the weights of the model that `network` lacks. `photographs`: split -> its photographs, in
    the order of `held_out`; empty where there are features instead.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    sizes: Mapping[str, int]
    fingerprint: str
    weights: str | None
    network: torch.nn.Module
    training: Source
    held_out: Mapping[str, Iterable[Batch]]
    prepare: Callable[[torch.Tensor], torch.Tensor]
    frozen: Mapping[str, torch.Tensor]
    line: str
    counts: Sequence[int]
    photographs: Mapping[str, Split] = field(default_factory=dict)

    def photograph(self, split: str, index: int) -> Photograph | None:
        """Photograph `index` of a held-out split; None where there are features instead."""
        return self.photographs[split].photograph(index) if split in self.photographs else None


def open(config: Config, job: Job, precision: Precision, share: Share = EVERYTHING) -> Material:
    """That of the channel `features`, or of the photographs. `share`: of this process. Raises InputError: see below."""
    directories = job.weights_directories
    if "features" in job.channels:
        return of_features(config, read_features(job.channels["features"]), directories, precision, share)
    return of_photographs(config, job.channels, directories, precision, share)


def of_photographs(
    config: Config, channels: Mapping[str, Path], directories: Sequence[Path], precision: Precision,
    share: Share = EVERYTHING,
) -> Material:  # fmt: skip
    """The ordinary way: photographs are decoded and go through the whole network in every epoch.

    Raises:
        InputError: the data set or the pretrained weights (looked for in `directories`) cannot be used.
    """
    from classifier import data
    from classifier.images import normalize
    from classifier.loading import choose_workers

    splits = data.find_splits(channels)
    fingerprint = data.fingerprint(list(splits.values()))
    check_data(config, fingerprint)
    preprocessing = Preprocessing.for_size(config.image_size)
    net, weights = first_network(config, len(splits["train"].classes), directories)
    workers, device = choose_workers(config.workers), precision.device
    bad = data.BadImages(config.max_bad_images, say_each)
    training = data.Photographs(splits["train"], preprocessing, config.augment, config.seed, config.views, bad, device)
    return Material(
        splits["train"].classes, preprocessing, {name: len(split) for name, split in splits.items()}, fingerprint,
        weights, net.to(precision.device),
        training=data.Batches(training, config.batch_size, workers, True, config.seed, device, say, share),
        held_out={
            name: data.Batches(
                data.Photographs(split, preprocessing, bad=bad), config.batch_size, workers, device=device, share=share
            )
            for name, split in splits.items() if name != "train"
        },
        prepare=functools.partial(normalize, preprocessing=preprocessing),
        frozen={},
        line=f"backbone {_FREEZING.get(config.freeze_backbone, 'trained later')}, weights {weights or 'random'}; "
        f"{precision}, {workers} data workers",
        counts=_counts(torch.tensor(splits["train"].labels)),
        photographs={name: split for name, split in splits.items() if name != "train"},
    )  # fmt: skip


def of_features(
    config: Config, features: Features, directories: Sequence[Path], precision: Precision, share: Share = EVERYTHING
) -> Material:
    """The head alone, on features in memory. `directories`: where the ordinary way would look for the weights.

    Raises:
        InputError: the features were made of other data, by another backbone, or from other pictures than `config`
            asks for; or CutMix is asked for.
    """
    check(config, features.key, directories)
    if config.cutmix_alpha:
        raise InputError("cutmix-alpha cuts photographs, and this training has a frozen backbone's features alone: "
                         "leave it out for mixup-alpha, or train the backbone as well")  # fmt: skip
    splits = {name: split.to(precision.device) for name, split in features.splits.items()}
    return Material(
        features.classes, features.key.preprocessing, {name: len(split) for name, split in splits.items()},
        features.key.data_fingerprint, features.key.weights,
        network.head(features.dimension, len(features.classes), config.seed).to(precision.device),
        training=FeatureBatches(splits["train"], config.batch_size, config.seed, share),
        held_out={
            name: split.chunks(_EVALUATED_AT_ONCE, share)
            for name, split in splits.items() if name != "train"
        },
        prepare=torch.Tensor.float,
        frozen=features.backbone,
        line=f"features of the frozen backbone, {features.key.views} a training photograph, "
        f"weights {features.key.weights or 'random'}; {precision}",
        counts=_counts(splits["train"].labels),
    )  # fmt: skip


def _counts(labels: torch.Tensor) -> list[int]:
    return torch.bincount(labels).tolist()


def read_features(channel: Path) -> Features:
    """The folder that mode=embed left, or the `model.tar.gz` that the platform made of it. Raises InputError."""
    archive = channel / "model.tar.gz"
    if not archive.is_file():
        return read(channel)
    with tempfile.TemporaryDirectory() as unpacked:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    # Plain files alone, under their bare names: an archive cannot write elsewhere.
                    if (content := tar.extractfile(member)) and member.isfile():
                        with (Path(unpacked) / Path(member.name).name).open("wb") as file:
                            shutil.copyfileobj(content, file)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{archive} is damaged ({error}): copy it again, or embed the photographs again") from None
        return read(Path(unpacked))


def first_network(config: Config, classes: int, directories: Sequence[Path]) -> tuple[torch.nn.Module, str | None]:
    """The network before training, and the name of the file that its backbone's weights came from."""
    torch.manual_seed(config.seed)
    net = network.build(config.model, classes, config.seed)
    if config.weights == "none":
        return net, None
    file = network.find_pretrained(config.model, directories)
    network.load_pretrained(net, file)
    return net, file.name


def check_data(config: Config, fingerprint: str) -> None:
    """Raises InputError: the data set is not the one that the job was sent for."""
    if config.data_fingerprint not in ("", fingerprint):
        raise InputError(
            f"the data set has the fingerprint {fingerprint}, and data-fingerprint={config.data_fingerprint}: "
            f"give the channels the data set that the job was made for, or leave data-fingerprint out"
        )
