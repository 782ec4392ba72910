"""Features of a frozen backbone on disk, and a head's training on them.

The folder: `features.json`, `backbone.safetensors`, and for each split shards `<split>-<rank>-<number>.safetensors` of
vectors float16 [n, views, dimension] and labels int64 [n]. Imports neither torchvision nor an image decoder: a trial
that trains a head for a tenth of a second must not pay for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors

from classifier.config import Config
from classifier.errors import InputError
from classifier.preprocessing import Preprocessing
from classifier.shuffling import EVERYTHING, Share, Shuffled

DESCRIPTION = "features.json"
BACKBONE = "backbone.safetensors"
VERSION = 1
# Photographs in a shard.
SHARD = 4096


@dataclass(frozen=True)
class Key:
    """What the features depend on. `seed` is None where nothing random went into them."""

    data_fingerprint: str
    model: str
    backbone_sha256: str
    weights: str | None
    preprocessing: Preprocessing
    augment: bool
    views: int
    seed: int | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Key:
        """The inverse of `to_dict`. Raises KeyError or TypeError where a value is missing or unknown."""
        return cls(**{**values, "preprocessing": Preprocessing.from_dict(values["preprocessing"])})

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """`vectors`: float16 [n, views, dimension]; `labels`: int64 [n]."""

    vectors: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def chunks(self, rows: int, share: Share = EVERYTHING) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The first view of a process' share in batches (float16 [n, dimension], int64 [n]), in order."""
        mine = share.of(len(self))
        return list(zip(torch.split(self.vectors[mine, 0], rows), torch.split(self.labels[mine], rows), strict=True))

    def to(self, device: torch.device) -> Split:
        """The same on another device."""
        return Split(self.vectors.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Features:
    """A folder of features, in memory. `backbone`: the weights that made them, by their names in the network."""

    key: Key
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    backbone: Mapping[str, torch.Tensor]

    @property
    def dimension(self) -> int:
        """Of one vector."""
        return self.splits["train"].vectors.shape[2]


class FeatureBatches:
    """The training split in batches (float16 [n, dimension], int64 [n]): the order, and in each epoch the view, of the
    photographs that the ordinary way shows."""

    def __init__(self, split: Split, batch_size: int, seed: int, share: Share = EVERYTHING) -> None:
        self._split, self._view = split, 0
        self._order = Shuffled(len(split), batch_size, seed, share)

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Another order, and the next view."""
        self._order.begin(epoch, done)
        self._view = (epoch - 1) % self._split.vectors.shape[1]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        vectors, labels = self._split.vectors[:, self._view], self._split.labels
        for batch in self._order.parts():
            batch = batch.to(labels.device)
            yield vectors[batch], labels[batch]

    def examples(self, batch: int) -> list[str]:
        """What is in a batch of the epoch, for people."""
        return [f"train #{i}" for i in self._order.batches()[batch].tolist()]


def check(config: Config, key: Key, directories: Sequence[Path]) -> None:
    """Compares what a job asks for with what its features are.

    `directories`: where the job's pretrained weights are; where there are none, those of the features are taken.

    Raises:
        InputError: they differ.
    """
    preprocessing = Preprocessing.for_size(config.image_size)
    weights = key.weights or "random"
    if config.weights == "none":
        weights = "random"
    elif files := [path for directory in directories for path in sorted(directory.glob(f"{config.model}-*.pth"))]:
        weights = files[0].name
    elif key.weights is None:
        weights = "pretrained"
    pairs = [
        ("model", key.model, config.model),
        ("image-size", key.preprocessing.crop, config.image_size),
        ("the preprocessing", key.preprocessing.to_dict(), preprocessing.to_dict()),
        ("augment", key.augment, config.augment),
        ("views", key.views, config.stored_views),
        ("the weights", key.weights or "random", weights),
        ("seed", key.seed, config.stored_seed),
        ("data-fingerprint", key.data_fingerprint, config.data_fingerprint or key.data_fingerprint),
    ]
    for name, have, asked in pairs:
        if have != asked:
            raise InputError(
                f"the features do not fit this job: {name} is {_shown(have)} in the channel `features` and "
                f"{_shown(asked)} in the job; embed the photographs again, or give the job what they were made with"
            )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(directory: Path) -> Features:
    """Reads a folder that `embedding.embed` wrote, all of it, and checks every checksum.

    Raises:
        InputError: a file is missing, damaged, of another version or of other features.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{directory} holds no features: {DESCRIPTION} is missing; give what a job with mode=embed left"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != VERSION:
            raise InputError(
                f"{path} has version {values['version']!r}, this image reads {VERSION}: embed again with it"
            )
        key = Key.from_dict(values["key"])
        classes, shards = tuple(values["classes"]), {n: list(s["shards"]) for n, s in values["splits"].items()}
        counts = {name: int(split["photographs"]) for name, split in values["splits"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); embed the photographs again") from None
    splits = {}
    for name, files in shards.items():
        parts = [read_shard(directory / file, key.digest) for file in files]
        split = Split(torch.cat([part.vectors for part in parts]), torch.cat([part.labels for part in parts]))
        if len(split) != counts[name]:
            raise InputError(f"{path} tells of {counts[name]} photographs in {name}, its shards hold {len(split)}; "
                             f"embed the photographs again")  # fmt: skip
        splits[name] = split
    backbone = _content(directory / BACKBONE)
    if hashlib.sha256(backbone).hexdigest() != key.backbone_sha256:
        raise _damaged(directory / BACKBONE, "its SHA-256 is another")
    return Features(key, classes, splits, load_tensors(backbone))


def read_shard(path: Path, digest: str) -> Split:
    """One shard; `digest` is that of the key under which it must have been made.

    Raises:
        InputError: it is missing, damaged, or of other features.
    """
    content = _content(path)
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None
    if told.get("key") != digest:
        raise InputError(f"the shard {path} belongs to other features than {DESCRIPTION} beside it: copy the whole "
                         f"folder again, or embed the photographs again")  # fmt: skip
    split = Split(tensors["vectors"], tensors["labels"])
    if told.get("sha256") != checksum(split):
        raise _damaged(path, "its SHA-256 is another")
    return split


def checksum(split: Split) -> str:
    """SHA-256 of vectors and labels."""
    digest = hashlib.sha256(split.vectors.numpy().data)
    digest.update(split.labels.numpy().data)
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: copy the whole folder again, or embed the photographs again") from None


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}): copy the folder again, or embed the photographs again")
