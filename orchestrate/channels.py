"""The inputs of a job: the splits of a data set, and a file of backbone weights, each where the job can read it."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrate.errors import InputError
from orchestrate.session import Session
from orchestrate.storage import check_uri, is_uri, join

SPLITS = ("train", "valid", "test")
_NEEDED = ("train", "valid")
MANIFEST = "manifest.json"
_WEIGHTS = re.compile(r"(resnet\d+)-[0-9a-f]{8,64}\.pth")


@dataclass(frozen=True)
class Weights:
    """`--weights`: the hyperparameter, and the file or URI that goes with it."""

    hyperparameter: str | None = None
    file: str | None = None


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """In place of the hyperparameter's own option: a job cannot read the caller's file, so it becomes a channel."""
    parser.add_argument(
        "--weights", metavar="pretrained|none|FILE|URI", default=argparse.SUPPRESS,
        help="initial backbone weights: those of the image, random ones, or a file MODEL-HASH.pth "
        "of torchvision's (default: pretrained)",
    )  # fmt: skip


def parse_weights(text: str | None, model: str) -> Weights:
    """Raises InputError: no such file, or one whose name does not say that it belongs to `model`."""
    if text in (None, "pretrained", "none"):
        return Weights(text)
    assert text is not None
    if not is_uri(text) and not Path(text).is_file():
        raise InputError(f"--weights {text}: there is no such file; give pretrained, none, or a file MODEL-HASH.pth")
    name = text.rpartition("/")[2]
    found = _WEIGHTS.fullmatch(name)
    if not found or found[1] != model:
        raise InputError(
            f"--weights {text}: the file must be named {model}-HASH.pth (HASH: the first 8 characters or more of its "
            f"SHA-256, as torchvision names its files); for another backbone add --model"
        )
    return Weights("pretrained", text)


def publish(session: Session, data: str, weights: Weights, send: bool = True) -> dict[str, str]:
    """Channel -> URI for a data set (folder or URI) and weights, uploaded where the jobs cannot reach them otherwise.

    `send=False` tells the URIs and uploads nothing.

    Raises:
        InputError: `data` is no data set with train/ and valid/.
    """
    channels = _published_folder(session, Path(data), send) if not is_uri(data) else _of_uri(session, data, send)
    return channels | publish_weights(session, weights, send)


def to_come(session: Session, folder: Path, weights: Weights) -> dict[str, str]:
    """As `publish` will tell of a folder that is not there yet: zeros stand for its fingerprint."""
    target = join(session.root, "data", f"{folder.name}-{'0' * 8}")
    splits = {split: session.storage.publish(folder / split, join(target, split), send=False) for split in SPLITS}
    return splits | publish_weights(session, weights, send=False)


def publish_weights(session: Session, weights: Weights, send: bool = True) -> dict[str, str]:
    """The channel `weights`, when there is a file for it; as `publish`."""
    return {"weights": _published_weights(session, weights.file, send)} if weights.file is not None else {}


def _published_folder(session: Session, folder: Path, send: bool) -> dict[str, str]:
    if not folder.is_dir():
        raise InputError(f"--data {folder}: there is no such folder; python orchestrate/prepare.py makes one")
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    _require(splits, str(folder))
    target = join(session.root, "data", f"{folder.resolve().name}-{_fingerprint(folder)[:8]}")
    return {split: session.storage.publish(folder / split, join(target, split), send) for split in splits}


def _of_uri(session: Session, data: str, send: bool) -> dict[str, str]:
    check_uri(data)
    # A dry run has no credentials to look with.
    splits = [split for split in SPLITS if not send or session.storage.has_any(join(data, split))]
    _require(splits, data)
    return {split: join(data, split) for split in splits}


def _require(splits: list[str], where: str) -> None:
    missing = [split for split in _NEEDED if split not in splits]
    if missing:
        raise InputError(
            f"the data set {where} has no {' and no '.join(f'{m}/' for m in missing)}: "
            f"python orchestrate/prepare.py --source {where} makes one that has"
        )


def _published_weights(session: Session, file: str, send: bool) -> str:
    if is_uri(file):
        if file.startswith("s3:"):
            return file  # as a prefix it names exactly this file
        raise InputError(f"--weights {file}: give a file on this machine as a path, without file://")
    path = Path(file)
    folder = join(session.root, "weights", path.stem)
    if send and session.storage.size(join(folder, path.name)) != path.stat().st_size:
        session.storage.upload(path, join(folder, path.name))
    return folder


def _fingerprint(folder: Path) -> str:
    """prepare's own where it made the folder, else over the names and sizes of the files."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        return str(json.loads(manifest.read_text("utf-8"))["fingerprint"])
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()
