"""Where the examples are: splits of class folders or of shards, the class index, the batches."""

from __future__ import annotations

import bisect
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import torch

from classifier import fingerprint as fingerprints
from classifier import shards
from classifier.errors import InputError
from classifier.fingerprint import EXTENSIONS, by_folder, is_photograph
from classifier.images import BadImage, load, load_views
from classifier.loading import Batch, Loader
from classifier.preprocessing import Preprocessing
from classifier.shuffling import EVERYTHING, Share, Shuffled

_MOST_NAMED = 10
_CPU = torch.device("cpu")


class Store(Protocol):
    """Where the bytes of a split's photographs are."""

    def sizes(self) -> Iterator[int]: ...

    def read(self, i: int) -> bytes: ...


@dataclass(frozen=True)
class Folder:
    """A file each."""

    root: Path
    names: tuple[str, ...]

    def sizes(self) -> Iterator[int]:
        """Bytes of each photograph."""
        return ((self.root / name).stat().st_size for name in self.names)

    def read(self, i: int) -> bytes:
        """The bytes of photograph i. Raises OSError."""
        return (self.root / self.names[i]).read_bytes()


@dataclass(frozen=True)
class Photograph:
    """Number `number` of a split, to be read as a `Path` is. `where` it is for people: `train/class/file.jpg`."""

    where: str
    store: Store
    number: int

    @property
    def name(self) -> str:
        """Of the file."""
        return PurePosixPath(self.where).name

    @property
    def parent(self) -> PurePosixPath:
        """Its folder, the last part of which is the class where there are no deeper ones."""
        return PurePosixPath(self.where).parent

    def read_bytes(self) -> bytes:
        """All of it. Raises OSError."""
        return self.store.read(self.number)


@dataclass(frozen=True)
class Split:
    """The photographs of one channel in a fixed order, class by class: `class/file.jpg`, the index of the class, and
    the bytes."""

    name: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    store: Store

    def __len__(self) -> int:
        return len(self.names)

    def photograph(self, i: int) -> Photograph:
        """Number i of them."""
        return Photograph(f"{self.name}/{self.names[i]}", self.store, i)

    def of_class_of(self, i: int) -> Iterator[int]:
        """Photograph i and then the others of its class, from the one after it on."""
        first, end = bisect.bisect_left(self.labels, self.labels[i]), bisect.bisect_right(self.labels, self.labels[i])
        yield from range(i, end)
        yield from range(first, i)


def find_split(name: str, root: Path, classes: Sequence[str] | None = None) -> Split:
    """Lists the photographs under `root/<class>/`, at any depth, or those of the shards in `root`, in one fixed order.

    `classes`: those of the training split, which fix the index; None takes what is there.

    Raises:
        InputError: nothing to read, a class folder without a photograph, fewer than two classes, a class that
            `classes` lacks, folders and shards side by side, or a shard that cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"the channel `{name}` is missing: no directory {root}; give the job a channel `{name}` with "
                         f"one folder of photographs for each class")  # fmt: skip
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    tars = shards.find(root)
    if folders and tars:
        raise InputError(f"channel `{name}` holds the class folder {folders[0]!r} and the shard {tars[0].name!r}: give "
                         f"it class folders or shards, not both")  # fmt: skip
    store: Store
    if tars:
        index = shards.read_index(root)
        names = tuple(member.name for member in index.members)
        store, found = shards.Shards(root, index), tuple(dict.fromkeys(map(_class_of, names)))
    else:
        names, found = _listed(root), tuple(folders)
        store = Folder(root, names)
    _check_classes(name, root, found, names, classes)
    every = tuple(classes) if classes is not None else found
    number = {label: i for i, label in enumerate(every)}
    return Split(name, every, names, tuple(number[_class_of(photograph)] for photograph in names), store)


def _listed(root: Path) -> tuple[str, ...]:
    paths = (path.relative_to(root) for folder in root.iterdir() if folder.is_dir() for path in folder.rglob("*"))
    return tuple(sorted((path.as_posix() for path in paths if is_photograph(path)), key=by_folder))


def _class_of(name: str) -> str:
    return name.partition("/")[0]


def _check_classes(
    name: str, root: Path, found: Sequence[str], photographs: Sequence[str], classes: Sequence[str] | None
) -> None:
    if classes is None and len(found) < 2:
        what = f"only the class folder {found[0]!r}" if found else "no class folder and no shard (*.tar) of them"
        other = next((p.name for p in sorted(root.iterdir()) if p.is_file()), None) if not found else None
        raise InputError(f"channel `{name}` holds {what}{f', but {other}' if other else ''}: at least two classes are "
                         f"needed, one folder for each")  # fmt: skip
    unknown = [c for c in found if classes is not None and c not in classes]
    if unknown:
        raise InputError(f"channel `{name}` has the class folder {unknown[0]!r}, which channel `train` lacks: "
                         f"remove it there or add its photographs to `train`")  # fmt: skip
    if empty := sorted(set(found) - set(map(_class_of, photographs))):
        raise InputError(f"the class folder {empty[0]!r} of channel `{name}` holds no photograph "
                         f"({', '.join(EXTENSIONS)}): add some or remove the folder")  # fmt: skip
    if not photographs:
        raise InputError(f"channel `{name}` holds no class folder with photographs: {root}")


def find_splits(channels: Mapping[str, Path]) -> dict[str, Split]:
    """`train`, `valid` and, where it is given, `test`, with the classes of `train`. Raises InputError as above."""
    splits = {"train": find_split("train", channels["train"])}
    for name in ("valid", "test"):
        if name in channels:
            splits[name] = find_split(name, channels[name], splits["train"].classes)
    return splits


def fingerprint(splits: Sequence[Split]) -> str:
    """The data set's fingerprint: of names and sizes, without reading the photographs; shards have that of the folders
    they were made of."""
    return fingerprints.fingerprint(
        (split.name, PurePosixPath(name), size)
        for split in splits for name, size in zip(split.names, split.store.sizes(), strict=True)
    )  # fmt: skip


class BadImages:
    """The photographs of a job that cannot be used, up to `limit`; each is told of once."""

    def __init__(self, limit: int = 0, tell: Callable[[str], None] = lambda _: None) -> None:
        self._limit, self._tell = limit, tell
        self._found: dict[str, str] = {}
        self._lock = threading.Lock()

    def __contains__(self, photograph: Photograph) -> bool:
        return photograph.where in self._found

    def add(self, photograph: Photograph, reason: str) -> None:
        """Raises InputError: there are too many."""
        with self._lock:
            if photograph.where in self._found:
                return
            self._found[photograph.where] = reason
            count = len(self._found)
            if not self._limit:
                raise InputError(f"the photograph {photograph.where} cannot be used: {reason}; replace or remove the "
                                 f"file")  # fmt: skip
            if count > self._limit:
                last = list(self._found.items())[-_MOST_NAMED:]
                more = f", and {count - len(last)} more" if count > len(last) else ""
                raise InputError(f"{count} photographs cannot be used, and max-bad-images={self._limit}: "
                                 f"{', '.join(f'{where} ({why})' for where, why in last)}{more}; replace or remove "
                                 f"them, or raise max-bad-images")  # fmt: skip
        self._tell(f"input: the photograph {photograph.where} cannot be used and is skipped: {reason} "
                   f"({count} of at most {self._limit})")  # fmt: skip


class Views:
    """Item i: (uint8 [views, crop, crop, 3], class index), the photograph decoded once. View k of 1 to `views` is what
    `Photographs` shows in epoch k; without augmentation there is one.

    Views depend on (seed, view, i) alone. They are cut out on `device`. A photograph in `bad` has the next one of its
    class in its place, so that every number stands for the same photograph as before.
    """

    def __init__(
        self, split: Split, preprocessing: Preprocessing, augment: bool, seed: int, views: int,
        bad: BadImages | None = None, device: torch.device = _CPU,
    ) -> None:  # fmt: skip
        self.split, self.preprocessing, self.seed = split, preprocessing, seed
        self.views: Sequence[int] = range(1, views + 1) if augment else ()
        self._bad, self._device = bad or BadImages(), device

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.of(i, self.views), self.split.labels[i]

    def of(self, i: int, views: Sequence[int]) -> torch.Tensor:
        """uint8 [max(1, len(views)), crop, crop, 3]; no views: the whole photograph. Raises InputError: too many
        photographs are bad, or all of a class."""
        for j in self.split.of_class_of(i):
            photograph = self.split.photograph(j)
            if photograph in self._bad:
                continue
            try:
                data = photograph.read_bytes()
                if not views:
                    return torch.from_numpy(load(data, self.preprocessing))[None]
                rngs = [random.Random(f"{self.seed}/{view}/{i}") for view in views]
                return load_views(data, self.preprocessing, rngs, self._device)
            except BadImage as error:
                self._bad.add(photograph, str(error))
            except OSError as error:
                self._bad.add(photograph, f"it cannot be read: {error.strerror}")
        label = self.split.classes[self.split.labels[i]]
        raise InputError(f"no photograph of the class {label!r} in channel `{self.split.name}` can be used: replace "
                         f"them or remove the class")  # fmt: skip


class Photographs:
    """Item i: (uint8 [crop, crop, 3], class index). Each epoch has a view of its own, or the next of `views` in turn;
    see `Views`."""

    def __init__(
        self, split: Split, preprocessing: Preprocessing, augment: bool = False, seed: int = 0, views: int = 0,
        bad: BadImages | None = None, device: torch.device = _CPU,
    ) -> None:  # fmt: skip
        self._every, self._augment, self._views, self._view = (
            Views(split, preprocessing, augment, seed, views, bad, device), augment, views, 1
        )  # fmt: skip

    @property
    def split(self) -> Split:
        """Where they are."""
        return self._every.split

    def set_epoch(self, epoch: int) -> None:
        """Other augmentations in each epoch."""
        self._view = (epoch - 1) % self._views + 1 if self._views else epoch

    def __len__(self) -> int:
        return len(self._every)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self._every.of(i, [self._view] if self._augment else [])[0], self._every.split.labels[i]


class Batches:
    """Batches (uint8 [n, crop, crop, 3], int64 [n]) of photographs on `device`: in order, or `shuffle`d by (seed,
    epoch). `share`: of a process, of each batch that is shuffled, and of all photographs in a row that are not."""

    def __init__(
        self, photographs: Photographs, batch_size: int, workers: int, shuffle: bool = False, seed: int = 0,
        device: torch.device = _CPU, tell: Callable[[str], None] = lambda _: None, share: Share = EVERYTHING,
    ) -> None:  # fmt: skip
        self._photographs = photographs
        self._shuffled = Shuffled(len(photographs), batch_size, seed, share) if shuffle else None
        mine = range(len(photographs))[share.of(len(photographs))]
        self._order = self._shuffled or [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        self._loader = Loader(photographs.__getitem__, self._order, workers, device, tell)

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Another order and other augmentations in each epoch; its first `done` batches are not made."""
        self._photographs.set_epoch(epoch)
        if self._shuffled:
            self._shuffled.begin(epoch, done)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)

    def examples(self, batch: int) -> list[str]:
        """What is in a batch of the epoch: `train/class/file.jpg`."""
        indices = self._shuffled.batches()[batch].tolist() if self._shuffled else list(self._order)[batch]
        return [self._photographs.split.photograph(i).where for i in indices]
