"""Which files are photographs of a data set, and the fingerprint that tells data sets apart.

Pure Python, of names and sizes alone: a listing of an S3 prefix gives the same as the folder that was uploaded to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import PurePath

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def is_photograph(path: PurePath) -> bool:
    """Whether `path`, relative to its split, lies in a class folder and is named as a photograph."""
    return (
        len(path.parts) > 1
        and not path.parts[0].startswith(".")
        and not path.name.startswith(".")
        and path.suffix.lower() in EXTENSIONS
    )


def by_folder(name: str) -> str:
    """The key that sorts `class/name.jpg` class by class, as folders are listed. Of millions of names a list of parts
    each would take several times the memory."""
    return name.replace("/", "\0")


def fingerprint(photographs: Iterable[tuple[str, PurePath, int]]) -> str:
    """SHA-256 over (split, path relative to it, size in bytes) of every photograph, in whatever order they come."""
    digest = hashlib.sha256()
    for line in sorted(f"{split}/{path.as_posix()}\0{size}\n" for split, path, size in photographs):
        digest.update(line.encode())
    return digest.hexdigest()
