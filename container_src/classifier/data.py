"""Where the examples are: splits of class folders, the class index, the fingerprint, the loaders."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from classifier import machine
from classifier.errors import InputError
from classifier.images import EXTENSIONS, BadImage, Preprocessing, load, load_augmented


@dataclass(frozen=True)
class Split:
    """One folder of class folders: the photographs and, for each, the index of its class."""

    name: str
    root: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


def find_split(name: str, root: Path, classes: Sequence[str] | None = None) -> Split:
    """Lists the photographs under `root/<class>/`, at any depth, in a fixed order.

    `classes`: those of the training split, which fix the index; None takes what is there.

    Raises:
        InputError: nothing to read, a class folder without a photograph, fewer than two classes, or a class that
            `classes` lacks.
    """
    if not root.is_dir():
        raise InputError(f"the channel `{name}` is missing: no directory {root}; give the job a channel `{name}` with "
                         f"one folder of photographs for each class")  # fmt: skip
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = tuple(p.name for p in folders)
    if classes is None and len(found) < 2:
        what = f"only the class folder {found[0]!r}" if found else "no class folder"
        raise InputError(f"channel `{name}` holds {what}: at least two classes are needed, one folder for each")
    unknown = [c for c in found if classes is not None and c not in classes]
    if unknown:
        raise InputError(f"channel `{name}` has the class folder {unknown[0]!r}, which channel `train` lacks: "
                         f"remove it there or add its photographs to `train`")  # fmt: skip
    names = tuple(classes) if classes is not None else found
    index = {c: i for i, c in enumerate(names)}
    paths: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
        if not files:
            raise InputError(f"the class folder {folder.name!r} of channel `{name}` holds no photograph "
                             f"({', '.join(EXTENSIONS)}): add some or remove the folder")  # fmt: skip
        paths += files
        labels += [index[folder.name]] * len(files)
    if not paths:
        raise InputError(f"channel `{name}` holds no class folder with photographs: {root}")
    return Split(name, root, names, tuple(paths), tuple(labels))


def fingerprint(splits: Sequence[Split]) -> str:
    """SHA-256 over every split's relative paths and file sizes: tells data sets apart without reading them in full."""
    digest = hashlib.sha256()
    for split in splits:
        for path in split.paths:
            digest.update(f"{split.name}/{path.relative_to(split.root)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """Item i: (uint8 [crop, crop, 3], class index). Augmented items depend on (seed, epoch, i) alone, so that they are
    the same whatever the number of workers."""

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: bool = False, seed: int = 0) -> None:
        self.split, self.preprocessing, self.augment, self.seed = split, preprocessing, augment, seed
        # In shared memory: worker processes that live for the whole run see the change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Other augmentations in each epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        path = self.split.paths[i]
        try:
            data = path.read_bytes()
            if self.augment:
                rng = random.Random(f"{self.seed}/{int(self._epoch)}/{i}")
                pixels = load_augmented(data, self.preprocessing, rng)
            else:
                pixels = load(data, self.preprocessing)
        except BadImage as error:
            where = f"{self.split.name}/{path.relative_to(self.split.root)}"
            raise InputError(f"the photograph {where} cannot be used: {error}; replace or remove the file") from None
        return torch.from_numpy(pixels), self.split.labels[i]


def loader(
    photographs: Photographs, batch_size: int, workers: int, shuffle: bool = False, seed: int = 0
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Batches (uint8 [n, crop, crop, 3], int64 [n]); the order of a shuffled one depends on (seed, epoch) alone.

    A shuffled loader leaves out a last batch of a single photograph: batch normalization cannot train on one.
    """
    # The loader's own shuffling draws from a generator that worker processes draw from too, so that the order would
    # depend on their number. This sampler's order depends on (seed, epoch) alone.
    sampler: DistributedSampler[Any] | None = None
    if shuffle:
        sampler = DistributedSampler(photographs, num_replicas=1, rank=0, seed=seed)
    return DataLoader(
        photographs,  # type: ignore[arg-type]  # the default collation turns the int labels into a tensor
        batch_size,
        sampler=sampler,
        drop_last=shuffle and len(photographs) % batch_size == 1,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def set_epoch(source: DataLoader[tuple[torch.Tensor, torch.Tensor]], epoch: int) -> None:
    """Another order and other augmentations in each epoch of a shuffled loader."""
    cast(DistributedSampler[Any], source.sampler).set_epoch(epoch)
    cast(Photographs, source.dataset).set_epoch(epoch)


def batches(
    source: DataLoader[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterates over `source`, with the InputError of a worker process as it was raised there.

    torch raises it again with the worker's traceback for a message; the last line is the original one.
    """
    try:
        yield from source
    except InputError as error:
        last = str(error).strip().splitlines()[-1]
        raise InputError(last.removeprefix(f"{InputError.__module__}.{InputError.__qualname__}: ")) from None


def choose_workers(requested: int, image_size: int, batch_size: int) -> int:
    """`requested`, or for -1 one process a CPU up to 8, within what `/dev/shm` carries.

    Workers hand their batches over in shared memory, two a worker in flight; a container has 64 MB of it unless told
    otherwise, and running out of it is a bus error.
    """
    if requested >= 0:
        return requested
    cpus = machine.cpus()
    if cpus <= 2:
        return 0  # decoding in the training process is as fast there: the network keeps both busy
    batch_bytes = batch_size * image_size * image_size * 3
    stat = os.statvfs("/dev/shm")
    affordable = int(stat.f_bavail * stat.f_frsize * 0.8 / (3 * batch_bytes))
    return min(cpus, 8, affordable)
