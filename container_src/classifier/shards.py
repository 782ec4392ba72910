"""Photographs in tar files, to be read in large pieces and without unpacking: shards in the form of WebDataset.

A split's folder holds `*.tar` and `index.json`. In a shard a photograph is `class/name.jpg`, followed by
`class/name.cls`, the number of its class, for other readers (https://github.com/webdataset/webdataset). The index says
where each photograph lies; without one the shards are read through once. Pure Python: `prepare` writes what the
container reads.
"""

from __future__ import annotations

import functools
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from classifier.errors import InputError
from classifier.fingerprint import by_folder, is_photograph

INDEX = "index.json"
FORMAT = "kennel-shards/1"
_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A photograph: its path `class/name.jpg`, the number of its shard, where in it its bytes are."""

    name: str
    shard: int
    offset: int
    size: int


@dataclass(frozen=True)
class Index:
    """`shards`: (file name, bytes) of each; `members`: in the order of their names, which is that of class folders."""

    shards: tuple[tuple[str, int], ...]
    members: tuple[Member, ...]

    @classmethod
    def of(cls, shards: Sequence[Path]) -> Index:
        """Reads the headers of every shard. Raises InputError: one is no tar file, damaged or cut off."""
        members = [member for number, path in enumerate(shards) for member in _scan(path, number)]
        return cls(tuple((path.name, path.stat().st_size) for path in shards), in_order(members))

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Index:
        """The inverse of `to_json`. Raises InputError: it is none."""
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise InputError(f"{where} has format {values['format']!r}, this version reads {FORMAT!r}: make the "
                                 f"shards again with prepare.py")  # fmt: skip
            shards = tuple((str(name), int(size)) for name, size in values["shards"])
            members = (Member(str(n), int(s), int(o), int(size)) for n, s, o, size in values["photographs"])
            return cls(shards, in_order(members))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} is damaged ({type(error).__name__}: {error}): copy the shards again, or make "
                             f"them again with prepare.py") from None  # fmt: skip

    def to_json(self) -> str:
        """One line a photograph."""
        head = json.dumps({"format": FORMAT, "shards": self.shards})
        rows = ",\n".join(json.dumps(member, ensure_ascii=False) for member in self.members)
        return f'{head[:-1]}, "photographs": [\n{rows}\n]}}\n'


def find(folder: Path) -> list[Path]:
    """The shards right in `folder`, in order."""
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))


def read_index(folder: Path) -> Index:
    """That of a folder of shards, compared with what is there.

    Raises:
        InputError: a shard is missing, unknown to the index, cut off, or no tar file.
    """
    shards, path = find(folder), folder / INDEX
    if not path.is_file():
        return Index.of(shards)
    index = Index.parse(path.read_bytes(), str(path))
    there, told = {shard.name for shard in shards}, dict(index.shards)
    if missing := sorted(told.keys() - there):
        raise InputError(f"the shard {folder / missing[0]} is missing: copy the whole folder again")
    if unknown := sorted(there - told.keys()):
        raise InputError(f"{path} does not know the shard {unknown[0]}: copy the whole folder again, or remove "
                         f"{INDEX} to have all shards read through")  # fmt: skip
    first = {member.shard: member for member in sorted(index.members, key=lambda m: m.offset, reverse=True)}
    for number, (name, size) in enumerate(index.shards):
        shard = folder / name
        have = shard.stat().st_size
        if have != size:
            what = "cut off" if have < size else "another"
            raise InputError(f"the shard {shard} is {what}: it has {have:,} bytes and should have {size:,}; copy it "
                             f"again")  # fmt: skip
        if number in first:
            _check_header(shard, first[number])
    return index


class Shards:
    """The photographs of a folder of shards; each is read by its place, by any number of threads at once."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._files = [folder / name for name, _ in index.shards]
        self._members = index.members

    def sizes(self) -> Iterator[int]:
        """Bytes of each photograph."""
        return (member.size for member in self._members)

    def read(self, i: int) -> bytes:
        """The bytes of photograph i. Raises OSError."""
        member = self._members[i]
        # Named: of two threads that open it at once, one has a file that the cache does not keep open.
        file = _opened(self._files[member.shard])
        return os.pread(file.fileno(), member.size, member.offset)


@functools.lru_cache(maxsize=256)
def _opened(path: Path) -> BinaryIO:
    return path.open("rb")  # closed when it leaves the cache and nobody reads it


def in_order(members: Iterator[Member] | Sequence[Member]) -> tuple[Member, ...]:
    """Class by class and by name, as folders are listed."""
    return tuple(sorted(members, key=lambda member: by_folder(member.name)))


def _scan(path: Path, number: int) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                name = PurePosixPath(entry.name)
                if entry.isreg() and is_photograph(name) and ".." not in name.parts:
                    yield Member(name.as_posix(), number, entry.offset_data, entry.size)
            end = tar.offset
    except tarfile.TarError as error:
        raise InputError(
            f"the shard {path} cannot be read ({error}): it must be a tar file, not compressed, of "
            f"class/photograph.jpg; copy it again, or make it again with prepare.py"
        ) from None
    if end >= path.stat().st_size:  # a tar file ends with empty blocks
        raise InputError(f"the shard {path} is cut off: copy it again")


def _check_header(shard: Path, member: Member) -> None:
    """Whether the shard is what the index says, by its first photograph."""
    with shard.open("rb") as file:
        file.seek(member.offset - _BLOCK)
        try:
            entry = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise InputError(f"the shard {shard} is damaged ({error}): copy it again") from None
    if entry.size != member.size:
        raise InputError(f"the shard {shard} is not the one that {INDEX} tells of: copy the whole folder again")
