"""Features of a frozen backbone for the trials of a search: asked for, found again, or made by an `embed` job.

They lie under the session's root in a folder named by a digest of all that they depend on, with `job.json` beside them,
which names the job that makes (or has made) them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from classifier.config import FEATURES_DEPEND_ON, Config
from classifier.fingerprint import fingerprint, is_photograph
from orchestrate import follow, jobs, options, sharding, storage
from orchestrate.channels import SPLITS, Weights
from orchestrate.console import Console
from orchestrate.errors import InputError
from orchestrate.jobs import Machine
from orchestrate.search import Search, Way, features_differ_by, is_frozen
from orchestrate.session import Session

DESCRIPTION = "features.json"
# The hyperparameters that an `embed` job heeds.
_OF_EMBED = (*FEATURES_DEPEND_ON, "max-bad-images", "workers")


@dataclass(frozen=True)
class Key:
    """All that features depend on, as far as it can be told before there are any.

    `weights`: the name of the file; `none` for random ones; for those of the image its URI. `seed` is None where
    nothing random goes into them.
    """

    data_fingerprint: str
    model: str
    weights: str
    image_size: int
    augment: bool
    views: int
    seed: int | None

    @property
    def digest(self) -> str:
        """16 hexadecimal characters of the SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Features:
    """`uri`: of the folder; `seconds`: what the job took that made them now, 0 where they were there before."""

    uri: str
    training_job: str | None = None
    seconds: int = 0


def are_wanted(way: Way, fixed: Mapping[str, str], search: Search) -> bool:
    """Whether trials get features in place of photographs."""
    if way.features or way.cache_features == "on":
        return True
    return way.cache_features == "auto" and is_frozen(fixed, search) and not features_differ_by(fixed, search)


def key_of(data_fingerprint: str, fixed: Mapping[str, str], weights: Weights, image: str) -> Key:
    """Of the features that a search with these fixed hyperparameters needs."""
    config = Config.parse(fixed)
    file = PurePosixPath(weights.file).name if weights.file else None
    return Key(
        data_fingerprint=data_fingerprint,
        model=config.model,
        weights="none" if config.weights == "none" else file or image,
        image_size=config.image_size,
        augment=config.augment,
        views=config.stored_views,
        seed=config.stored_seed,
    )


def fingerprint_of(session: Session, inputs: Mapping[str, str]) -> str:
    """The fingerprint of a data set, as the container computes it from its channels; photographs are not read."""
    return fingerprint(
        (split, PurePosixPath(name), size)
        for split in SPLITS if split in inputs
        for name, size in sharding.photographs(session.storage, inputs[split])
        if is_photograph(PurePosixPath(name))
    )  # fmt: skip


def folder_of(session: Session, key: Key) -> str:
    """The URI under which features of this key lie."""
    return storage.join(session.root, "features", key.digest)


def request(
    session: Session, name: str, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine, key: Key
) -> dict[str, Any]:
    """CreateTrainingJob of mode=embed."""
    given = {name: value for name, value in fixed.items() if name in _OF_EMBED}
    return jobs.embedding(
        session, name, session.require_image(), inputs,
        {**given, "mode": "embed", "data-fingerprint": key.data_fingerprint}, machine, folder_of(session, key),
    )  # fmt: skip


def expected(session: Session, name: str, key: Key) -> str:
    """Where the embed job `name` will leave its features."""
    return storage.join(folder_of(session, key), name, "output", "model")


def check(session: Session, uri: str, key: Key) -> Features:
    """Compares features that were named with what the search asks for.

    Raises:
        InputError: there are none, or others.
    """
    uri = storage.check_uri(uri)
    made = _description(session, uri)
    try:
        found, size = made["key"], made["key"]["preprocessing"]["crop"]
        there = {
            "data-fingerprint": found["data_fingerprint"], "model": found["model"], "weights": found["weights"],
            "image-size": size, "augment": found["augment"], "views": found["views"], "seed": found["seed"],
        }  # fmt: skip
    except (KeyError, TypeError):
        raise InputError(f"{uri}/{DESCRIPTION} is no description of features: give the folder that a job with "
                         f"mode=embed left") from None  # fmt: skip
    asked = dict(zip(there, _in_order(key, there["weights"]), strict=True))
    for name, value in asked.items():
        if there[name] != value:
            what = "other photographs" if name == "data-fingerprint" else f"another {name}"
            raise InputError(f"the features at {uri} are of {what}: {name} is {there[name]} there and {value} here; "
                             f"leave --features out to compute those of this search")  # fmt: skip
    return Features(uri)


def find(session: Session, key: Key) -> Features | None:
    """Those of this key that are there already; None where there are none, or none that are finished."""
    pointer = _pointer(session, key)
    if pointer and pointer.get("features") and session.storage.size(storage.join(pointer["features"], DESCRIPTION)):
        return Features(pointer["features"], pointer["training_job"])
    return None


def embed(
    session: Session, out: Console, inputs: Mapping[str, str], fixed: Mapping[str, str], machine: Machine, key: Key,
    guard: options.Guard,
) -> Features:  # fmt: skip
    """Those that are there, of a job that is at it, or of a new one.

    Raises:
        JobFailed: the job that was to make them did not.
    """
    if found := find(session, key):
        out.say(f"features reused: {found.uri}")
        return found
    pointer = _pointer(session, key)
    name = _unfinished(session, pointer) if pointer else None
    if name:
        out.say(f"embed job {name} has been started for these features before")
    else:
        name = jobs.unique_name("embed")
        jobs.create(session, "CreateTrainingJob", request(session, name, inputs, fixed, machine, key))
        _point(session, key, name, None)
        out.say(f"embed job {name}: the backbone's features of every photograph, once for all trials")
    with guard("give the same command again", name, lambda: follow.stop_training(session, name)):
        made = follow.training(session, name, out, lambda line: _tell(line, out))
    uri = made.artifact.rstrip("/")
    _point(session, key, name, uri)
    out.say(f"features: {uri} ({made.seconds} s)")
    return Features(uri, name, made.seconds)


def _in_order(key: Key, there: str | None) -> list[object]:
    """The values of a key in the order of `check`; weights of the image are compared by the container."""
    weights = None if key.weights == "none" else key.weights if key.weights.endswith(".pth") else there
    return [key.data_fingerprint, key.model, weights, key.image_size, key.augment, key.views, key.seed]


def _tell(line: str, out: Console) -> None:
    if line.startswith("embed"):
        out.say(f"  {line}")


def _description(session: Session, uri: str) -> dict[str, Any]:
    file = storage.join(uri, DESCRIPTION)
    if session.storage.size(file) is None:
        raise InputError(
            f"--features {uri}: there is no {DESCRIPTION}; give the folder that a job with mode=embed left"
        )
    return _json(session, file)


def _pointer(session: Session, key: Key) -> dict[str, Any] | None:
    file = storage.join(folder_of(session, key), "job.json")
    return _json(session, file) if session.storage.size(file) is not None else None


def _point(session: Session, key: Key, name: str, features: str | None) -> None:
    document = {"training_job": name, "features": features, "key": asdict(key)}
    session.storage.write(
        json.dumps(document, indent=2).encode(), storage.join(folder_of(session, key), "job.json")
    )  # fmt: skip


def _json(session: Session, uri: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(session.storage.read(uri))
        return found
    except ValueError:
        raise InputError(f"{uri} is no JSON: remove it, and the features are computed again") from None


def _unfinished(session: Session, pointer: Mapping[str, Any]) -> str | None:
    """The job of a pointer that nobody followed to its end, where it runs still or has ended well."""
    client = session.client("sagemaker")
    name: str = pointer["training_job"]
    try:
        status = client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
    except client.exceptions.ClientError:
        return None  # of another account, or of a server that has forgotten it
    return name if pointer["features"] is None and status in ("InProgress", "Completed") else None
