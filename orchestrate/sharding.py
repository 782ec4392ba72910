"""Photographs in tar files of some 150 MB: what a job reads in large pieces. `classifier.shards` tells of the form."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from classifier import shards
from classifier.fingerprint import by_folder
from classifier.shards import INDEX, Index, Shards
from orchestrate import dataset, side_by_side, storage
from orchestrate.errors import InputError

SHARD_BYTES = 150_000_000
# Of a split's summary, which JSON tells as lists.
_SIZES = ("smallest", "median", "largest")


def write(files: Mapping[str, Path], classes: Sequence[str], folder: Path) -> None:
    """Writes `folder/<split>/<split>-<number>.tar` and their indices; `files`: `split/class/name` -> photograph.

    The same photographs give the same bytes. They come class by class, in the order in which evaluation reads them.
    """
    for split in dict.fromkeys(target.partition("/")[0] for target in files):
        (folder / split).mkdir(parents=True)
        ours = {target.partition("/")[2]: path for target, path in files.items() if target.startswith(f"{split}/")}
        written = [
            _write_one(folder / split / f"{split}-{number:06}.tar", names, ours, classes)
            for number, names in enumerate(_divided(ours))
        ]
        (folder / split / INDEX).write_text(Index.of(written).to_json(), encoding="utf-8")


def is_sharded(folder: Path) -> bool:
    """Whether the splits of a data set are shards. Raises InputError: some are and some are not."""
    kinds = {split: bool(shards.find(folder / split)) for split in ("train", "valid", "test")
             if (folder / split).is_dir()}  # fmt: skip
    if len(set(kinds.values())) > 1:
        names = [next(split for split, sharded in kinds.items() if sharded is wanted) for wanted in (True, False)]
        raise InputError(f"{folder / names[0]} holds shards and {folder / names[1]} holds none: make all splits again "
                         f"with prepare.py, with --shards or without")  # fmt: skip
    return True in kinds.values()


def check(folder: Path) -> None:
    """Reads every index, shard and photograph. Raises InputError: one cannot be used."""
    from classifier.decoding import BadImage, decode

    bad: dict[Path, str] = {}
    for split in (path for path in sorted(folder.iterdir()) if shards.find(path)):
        index = shards.read_index(split)
        store = Shards(split, index)

        def fault(i: int, store: Shards = store) -> str | None:
            try:
                decode(store.read(i), dataset.CHECK_PIXELS)
            except BadImage as error:
                return str(error)
            return None

        reasons = side_by_side.each(fault, range(len(index.members)), os.cpu_count() or 1)
        bad.update({split / member.name: reason for member, reason in zip(index.members, reasons, strict=True)
                    if reason})  # fmt: skip
    dataset.require_readable(bad, folder)


def names(split: Path) -> tuple[str, ...]:
    """`class/name` of each photograph in the shards of a folder, class by class."""
    return tuple(member.name for member in shards.read_index(split).members)


def told(manifest: Path) -> tuple[dict[str, dataset.SplitSummary], str]:
    """What `prepare` told of the splits, and the fingerprint. Raises InputError: it did not make this data set."""
    try:
        document = json.loads(manifest.read_text("utf-8"))
        splits = {
            name: dataset.SplitSummary(**(values | {size: tuple(values[size]) for size in _SIZES}))
            for name, values in document["splits"].items()
        }
        return splits, str(document["fingerprint"])
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{manifest} does not tell of the shards beside it: make them with prepare.py --shards"
        ) from None


def photographs(store: storage.Storage, uri: str) -> Iterator[tuple[str, int]]:
    """(`class/name`, bytes) of each photograph under the URI of a split, in files or in shards.

    Raises:
        InputError: shards without an index, which cannot be told of without reading them.
    """
    if are_there(store, uri):
        yield from ((member.name, member.size) for member in _index(store, uri).members)
    else:
        yield from store.list(uri)


def are_there(store: storage.Storage, uri: str) -> bool:
    """Whether the photographs under the URI of a split are in shards."""
    return any(name.endswith(".tar") and "/" not in name for name, _ in store.list(uri))


def samples(store: storage.Storage, uri: str, folder: Path) -> dict[str, Path]:
    """Class -> the first photograph of it in the shards under the URI of a split, as a file in `folder`."""
    index = _index(store, uri)
    first = {}
    for i in reversed(range(len(index.members))):
        first[index.members[i].name.partition("/")[0]] = i
    for number in {index.members[i].shard for i in first.values()}:
        name = index.shards[number][0]
        store.download(storage.child(uri, name), folder / name)
    read = Shards(folder, index).read
    found = {}
    for label, i in sorted(first.items()):
        found[label] = folder / f"{label}{PurePosixPath(index.members[i].name).suffix}"
        found[label].write_bytes(read(i))
    return found


def _index(store: storage.Storage, uri: str) -> Index:
    where = storage.join(uri, INDEX)
    if store.size(where) is None:
        raise InputError(f"the shards at {uri} have no {INDEX}: make them with prepare.py --shards")
    return Index.parse(store.read(where), where)


def _divided(files: Mapping[str, Path]) -> Iterator[list[str]]:
    """Names in order, in lists whose photographs have `SHARD_BYTES` at most together."""
    names: list[str] = []
    size = 0
    for name in sorted(files, key=by_folder):
        more = files[name].stat().st_size
        if names and size + more > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += more
    yield names


def _write_one(path: Path, names: Sequence[str], files: Mapping[str, Path], classes: Sequence[str]) -> Path:
    number = {label: str(i).encode() for i, label in enumerate(classes)}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            for member, content in (
                (name, files[name].read_bytes()),
                (str(PurePosixPath(name).with_suffix(".cls")), number[name.partition("/")[0]]),
            ):
                entry = tarfile.TarInfo(member)  # of no time and no owner: the same photographs give the same bytes
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path
