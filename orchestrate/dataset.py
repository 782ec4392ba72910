"""A data set on disk: `train/ valid/ test/` of class folders, or class folders alone; read, checked, split, told of."""

from __future__ import annotations

import hashlib
import os
import random
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classifier import shards
from classifier.fingerprint import EXTENSIONS
from orchestrate import scaling, side_by_side
from orchestrate.errors import InputError

# split -> class -> photographs; the split "" holds what is not split yet.
Layout = dict[str, dict[str, list[Path]]]

_SPLIT_NAMES = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test",
    "testing": "test",
}  # fmt: skip
_JUNK = ("__MACOSX",)
_MOST_NAMED = 10
_CPUS = os.cpu_count() or 1
# Damage shows at any size, and JPEG decodes small sizes many times faster.
CHECK_PIXELS = 64


@dataclass(frozen=True)
class SplitSummary:
    """`smallest`, `median` and `largest` are (width, height) in pixels, ordered by area."""

    photographs: int
    classes: int
    fewest: int
    most: int
    bytes: int
    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


def read(root: Path) -> Layout:
    """Finds the class folders below `root`, through folders that hold nothing but one folder.

    Raises:
        InputError: no class folders, one class only, an empty class folder, a class that `train` lacks.
    """
    while True:
        folders = _folders(root)
        if len(folders) != 1 or folders[0].name.lower() in _SPLIT_NAMES or not _folders(folders[0]):
            break
        root = folders[0]
    if any((folder / shards.INDEX).is_file() and shards.find(folder) for folder in (root, *folders)):
        raise InputError(f"{root} holds shards already: give the photographs that they were made of")
    splits = {_SPLIT_NAMES[f.name.lower()]: f for f in folders if f.name.lower() in _SPLIT_NAMES}
    if "train" not in splits:
        if splits:
            raise InputError(f"{root} has {', '.join(sorted(splits))} but no train/ folder: add it, "
                             f"or give a folder of class folders to be split")  # fmt: skip
        splits = {"": root}
    layout: Layout = {}
    for split, folder in splits.items():
        layout[split] = {
            label.name: sorted(
                p for p in label.rglob("*")
                if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()
            )
            for label in _folders(folder)
        }  # fmt: skip
    require_classes(layout, root)
    return layout


def require_classes(layout: Layout, root: Path) -> None:
    """Raises InputError unless there are two classes, each with photographs, and `train` has those of every split."""
    known = layout.get("train", layout.get("", {}))
    if len(known) < 2:
        found = f"only one class folder, {next(iter(known))}" if known else "no class folders"
        raise InputError(f"{root} holds {found}: give one folder of photographs for each of at least two classes")
    empty = [_name(s, c) for s, classes in layout.items() for c, photos in classes.items() if not photos]
    if empty:
        raise InputError(f"no photograph is in {_listed(empty)}: add some or remove the folder")
    unknown = [_name(s, c) for s, classes in layout.items() for c in classes if c not in known]
    if unknown:
        raise InputError(f"train/ lacks the class of {_listed(unknown)}: remove the folder or add the class to train/")


def unreadable(layout: Layout) -> dict[Path, str]:
    """Decodes every photograph as training will; those that it would refuse, with the reason."""
    from classifier.decoding import BadImage, decode

    def fault(path: Path) -> str | None:
        try:
            decode(path.read_bytes(), CHECK_PIXELS)
        except BadImage as error:
            return str(error)
        return None

    paths = [path for _, _, path in photographs(layout)]
    faults = side_by_side.each(fault, paths, _CPUS)  # the decoders work outside of the interpreter's lock
    return {path: reason for path, reason in zip(paths, faults, strict=True) if reason}


def require_readable(bad: dict[Path, str], root: Path) -> None:
    """Raises InputError naming the photographs."""
    if bad:
        named = [f"{path.relative_to(root).as_posix()} ({reason})" for path, reason in bad.items()]
        count, them = ("1 photograph", "it") if len(bad) == 1 else (f"{len(bad)} photographs", "them")
        raise InputError(f"{count} cannot be used: {_listed(named)}; replace or remove {them}, "
                         f"or add --drop-bad to prepare.py to leave {them} out")  # fmt: skip


def without(layout: Layout, paths: set[Path]) -> Layout:
    """The layout less some photographs."""
    return {s: {c: [p for p in photos if p not in paths] for c, photos in classes.items()}
            for s, classes in layout.items()}  # fmt: skip


def split(layout: Layout, valid: float, test: float, seed: int) -> Layout:
    """Takes the splits that are missing out of the rest, class by class; the same for the same photographs and seed.

    `valid`, `test`: share of each class. A class gives at least one photograph to each.

    Raises:
        InputError: a class has too few photographs.
    """
    rest = layout.get("train", layout.get("", {}))
    wanted = {name: share for name, share in (("valid", valid), ("test", test)) if name not in layout}
    done: Layout = {name: layout[name] for name in ("valid", "test") if name in layout}
    for name in ("train", *wanted):
        done[name] = {}
    for label, photos in rest.items():
        counts = {name: max(1, round(share * len(photos))) for name, share in wanted.items()}
        if sum(counts.values()) >= len(photos):
            raise InputError(f"the class {label} has {len(photos)} photographs, too few to give some to "
                             f"{' and '.join(('train', *wanted))}: add photographs or remove the class")  # fmt: skip
        shuffled = photos.copy()
        random.Random(f"{seed}/{label}").shuffle(shuffled)
        for name, count in counts.items():
            done[name][label] = sorted(shuffled[:count])
            shuffled = shuffled[count:]
        done["train"][label] = sorted(shuffled)
    return {name: done[name] for name in ("train", "valid", "test")}


def photographs(layout: Layout) -> Iterator[tuple[str, str, Path]]:
    """(split, class, path), in a fixed order."""
    for name, classes in layout.items():
        for label, photos in classes.items():
            for path in photos:
                yield name, label, path


def targets(layout: Layout) -> dict[str, Path]:
    """Path in the prepared data set -> photograph. Two of a class with one name (in sub-folders) stay apart.

    A name keeps one dot, that of its suffix: readers of shards take what follows the first one for the suffix.
    """
    found: dict[str, Path] = {}
    for name, label, path in photographs(layout):
        stem, copy = path.stem.replace(".", "-"), 1
        target = f"{name}/{label}/{stem}{path.suffix}"
        while target in found:
            copy += 1
            target = f"{name}/{label}/{stem}-{copy}{path.suffix}"
        found[target] = path
    return found


def resized(layout: Layout, side: int, folder: Path) -> Layout:
    """Copies of all photographs in the new `folder`, the shorter side of those that are larger scaled to `side` pixels.

    What is scaled becomes a JPEG; the rest keeps its bytes.
    """
    new: Layout = {name: {label: [] for label in classes} for name, classes in layout.items()}

    def copy(photograph: tuple[str, Path]) -> Path:
        target, path = photograph
        made = folder / target
        data = path.read_bytes()
        smaller = scaling.shrink(data, side)
        if smaller is not None and path.suffix.lower() not in (".jpg", ".jpeg"):
            made = made.with_name(f"{made.stem}-{path.suffix[1:].lower()}.jpg")
        made.write_bytes(data if smaller is None else smaller)
        return made

    for name, classes in layout.items():
        for label in classes:
            (folder / name / label).mkdir(parents=True)
    for made in side_by_side.each(copy, targets(layout).items(), _CPUS):
        new[made.parent.parent.name][made.parent.name].append(made)
    return {name: {label: sorted(photos) for label, photos in classes.items()} for name, classes in new.items()}


def fingerprint(files: dict[str, Path], form: str = "") -> str:
    """SHA-256 over the paths and contents of a prepared data set, and the form that it has if that is not folders."""
    digest = hashlib.sha256(form.encode())
    for target in sorted(files):
        digest.update(f"{target}\0{hashlib.sha256(files[target].read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def summarize(layout: Layout) -> dict[str, SplitSummary]:
    """By split."""
    return {name: _summary(classes) for name, classes in layout.items()}


def to_json(summary: dict[str, SplitSummary]) -> dict[str, Any]:
    """For manifest.json."""
    return {name: asdict(s) for name, s in summary.items()}


def _summary(classes: dict[str, list[Path]]) -> SplitSummary:
    from PIL import Image

    paths = [path for photos in classes.values() for path in photos]
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    sizes.sort(key=lambda size: size[0] * size[1])
    counts = [len(photos) for photos in classes.values()]
    return SplitSummary(
        photographs=len(paths),
        classes=len(classes),
        fewest=min(counts),
        most=max(counts),
        bytes=sum(path.stat().st_size for path in paths),
        smallest=sizes[0],
        median=sizes[statistics.median_low(range(len(sizes)))],
        largest=sizes[-1],
    )


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in _JUNK)


def _name(split: str, label: str) -> str:
    return f"{split}/{label}" if split else label


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
