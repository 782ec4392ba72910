"""The model directory: `model.safetensors` (weights) and `model.json` (all that is needed to use and to trust them).

No pickle: reading an artifact runs no code of its author. Imports no torch, so that a bad artifact is refused in
milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier.atomic import replacing
from classifier.config import MODELS
from classifier.errors import InputError
from classifier.preprocessing import METHOD, Preprocessing

if TYPE_CHECKING:
    import torch

FORMAT = "kennel/1"
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Artifact:
    """`metrics`: what the trainer measured; `provenance`: hyperparameters, versions, data set, time of training."""

    model: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    weights_path: Path


def write(
    directory: Path,
    *,
    model: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
) -> None:
    """Writes both files, the description last and each under its name only when complete."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / WEIGHTS) as file:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, file)
        digest = _sha256(file)
    description = {
        "format": FORMAT,
        "model": model,
        "classes": list(classes),
        "preprocessing": preprocessing.to_dict(),
        "metrics": dict(metrics),
        "weights_sha256": digest,
        "provenance": dict(provenance),
    }
    with replacing(directory / DESCRIPTION) as file:
        file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read(directory: Path) -> Artifact:
    """Reads and checks the description and the weights' checksum; the weights themselves stay on disk.

    Raises:
        InputError: a file is missing or damaged, or was written by a version that this one does not know.
    """
    path = directory / DESCRIPTION
    for file in (path, directory / WEIGHTS):
        if not file.is_file():
            raise InputError(
                f"{directory} is no model artifact: {file.name} is missing; give the model.tar.gz that `train` wrote"
            )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise InputError(
                f"{path} has format {values['format']!r}, this image reads {FORMAT!r}: "
                f"train the model again or serve it with the image that trained it"
            )
        artifact = Artifact(
            model=values["model"],
            classes=tuple(values["classes"]),
            preprocessing=Preprocessing.from_dict(values["preprocessing"]),
            metrics=values["metrics"],
            provenance=values["provenance"],
            weights_path=directory / WEIGHTS,
        )
        expected = values["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged ({reason}); fetch or train the model again") from None
    if artifact.preprocessing.method != METHOD:
        raise InputError(
            f"{path} was trained on photographs decoded another way ({artifact.preprocessing.method}; here: {METHOD}): "
            f"train the model again or serve it with the image that trained it"
        )
    if artifact.model not in MODELS:
        raise InputError(f"{path} names the model {artifact.model!r}; known are {', '.join(MODELS)}")
    if _sha256(artifact.weights_path) != expected:
        raise InputError(
            f"{artifact.weights_path} is damaged: its SHA-256 is not the one in {DESCRIPTION}; "
            f"fetch or train the model again"
        )
    return artifact


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
