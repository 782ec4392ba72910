"""Where the examples are: splits of class folders, the class index, the batches."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from classifier import fingerprint as fingerprints
from classifier import machine
from classifier.errors import InputError
from classifier.fingerprint import EXTENSIONS, is_photograph
from classifier.images import BadImage, Pixels, load, load_views
from classifier.preprocessing import Preprocessing
from classifier.shuffling import Shuffled


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
        files = sorted(p for p in folder.rglob("*") if is_photograph(p.relative_to(root)))
        if not files:
            raise InputError(f"the class folder {folder.name!r} of channel `{name}` holds no photograph "
                             f"({', '.join(EXTENSIONS)}): add some or remove the folder")  # fmt: skip
        paths += files
        labels += [index[folder.name]] * len(files)
    if not paths:
        raise InputError(f"channel `{name}` holds no class folder with photographs: {root}")
    return Split(name, root, names, tuple(paths), tuple(labels))


def find_splits(channels: Mapping[str, Path]) -> dict[str, Split]:
    """`train`, `valid` and, where it is given, `test`, with the classes of `train`. Raises InputError as above."""
    splits = {"train": find_split("train", channels["train"])}
    for name in ("valid", "test"):
        if name in channels:
            splits[name] = find_split(name, channels[name], splits["train"].classes)
    return splits


def fingerprint(splits: Sequence[Split]) -> str:
    """The data set's fingerprint: of names and sizes, without reading the photographs."""
    return fingerprints.fingerprint(
        (split.name, path.relative_to(split.root), path.stat().st_size) for split in splits for path in split.paths
    )


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """Item i: (uint8 [crop, crop, 3], class index). Augmented items depend on (seed, view, i) alone, so that they are
    the same whatever the number of workers. Each epoch has a view of its own, or the next of `views` in turn."""

    def __init__(
        self, split: Split, preprocessing: Preprocessing, augment: bool = False, seed: int = 0, views: int = 0
    ) -> None:
        self.split, self.preprocessing, self.augment, self.seed, self.views = split, preprocessing, augment, seed, views
        # In shared memory: worker processes that live for the whole run see the change.
        self._view = torch.ones((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Other augmentations in each epoch."""
        self._view.fill_((epoch - 1) % self.views + 1 if self.views else epoch)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        views = [int(self._view)] if self.augment else []
        return _views(self.split, i, self.preprocessing, self.seed, views)[0], self.split.labels[i]


class Views(Dataset[tuple[torch.Tensor, int]]):
    """Item i: (uint8 [views, crop, crop, 3], class index), the photograph decoded once. View k of 1 to `views` is what
    `Photographs` shows in epoch k; without augmentation there is one."""

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: bool, seed: int, views: int) -> None:
        self.split, self.preprocessing, self.seed = split, preprocessing, seed
        self.views = range(1, views + 1) if augment else range(0)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return _views(self.split, i, self.preprocessing, self.seed, self.views), self.split.labels[i]


def _views(split: Split, i: int, preprocessing: Preprocessing, seed: int, views: Sequence[int]) -> torch.Tensor:
    """uint8 [max(1, len(views)), crop, crop, 3]; no views: the whole photograph."""
    path = split.paths[i]
    try:
        data = path.read_bytes()
        pixels: Pixels
        if views:
            pixels = load_views(data, preprocessing, [random.Random(f"{seed}/{view}/{i}") for view in views])
        else:
            pixels = load(data, preprocessing)[None]
    except BadImage as error:
        where = f"{split.name}/{path.relative_to(split.root)}"
        raise InputError(f"the photograph {where} cannot be used: {error}; replace or remove the file") from None
    return torch.from_numpy(pixels)


class Batches:
    """Batches (uint8 [n, crop, crop, 3], int64 [n]) of photographs, in order or `shuffle`d by (seed, epoch)."""

    def __init__(
        self, photographs: Photographs, batch_size: int, workers: int, shuffle: bool = False, seed: int = 0
    ) -> None:
        self._photographs = photographs
        # A loader's own shuffling draws from a generator that worker processes draw from too: the order would depend
        # on their number.
        self._order = Shuffled(len(photographs), batch_size, seed) if shuffle else None
        self._loader = load_batches(photographs, workers, self._order or batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Another order and other augmentations in each epoch."""
        self._photographs.set_epoch(epoch)
        if self._order:
            self._order.epoch = epoch

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return unwrapped(self._loader)


def load_batches(dataset: Dataset[Any], workers: int, batches: Any) -> DataLoader[Any]:
    """A loader of batches of that size, or of those indices; its worker processes live as long as it does."""
    how = {"batch_size": batches} if isinstance(batches, int) else {"batch_sampler": batches}
    return DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, **how)


def unwrapped(loader: DataLoader[Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterates over `loader`, with the InputError of a worker process as it was raised there.

    torch raises it again with the worker's traceback for a message; the last line is the original one.
    """
    try:
        yield from loader
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
