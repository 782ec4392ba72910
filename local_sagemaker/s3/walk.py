"""The keys of a directory tree in S3's order, without reading what a request does not ask for.

S3 orders keys by their UTF-8 bytes, which is the order of their code points and so of Python's strings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def keys(root: Path, prefix: str = "", after: str = "", fold: bool = False) -> Iterator[str]:
    """The keys of the regular files below `root` that begin with `prefix` and come after `after`, in order.

    With `fold` a directory below the prefix is given once, as `PATH/`, when there is a file in it.
    """
    folder = prefix.rpartition("/")[0]
    start = root / folder if folder else root
    # A prefix such as `a//b` or `../x` is no path.
    if folder and any(part in ("", ".", "..") for part in folder.split("/")):
        return
    yield from _below(start, f"{folder}/" if folder else "", prefix, after, fold)


def _below(directory: Path, at: str, prefix: str, after: str, fold: bool) -> Iterator[str]:
    for name, is_directory in _entries(directory):
        key = at + name
        if not (key.startswith(prefix) or (is_directory and prefix.startswith(key))):
            continue
        if is_directory:
            if key < after and not after.startswith(key):
                continue
            if fold and key.startswith(prefix):
                if any(_below(directory / name, key, prefix, "", False)):
                    yield key
            else:
                yield from _below(directory / name, key, prefix, after, fold)
        elif key > after:
            yield key


def _entries(directory: Path) -> list[tuple[str, bool]]:
    """Files, and directories with a slash, in the order of the keys that they begin; neither links nor odd names."""
    try:
        with os.scandir(directory) as scan:
            found = [
                (entry.name + "/", True) if entry.is_dir(follow_symlinks=False) else (entry.name, False)
                for entry in scan
                if (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
                and _is_text(entry.name)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8, which no key can be
        return False
    return True
