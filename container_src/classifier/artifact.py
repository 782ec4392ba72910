"""The model directory: `model.safetensors` (weights) and `model.json` (all that is needed to use and to trust them).

`openvino/NAME.xml` and `.bin` are the network in a further form, which an engine may take in place of the weights.

No pickle: reading an artifact runs no code of its author. Imports no torch, so that a bad artifact is refused in
milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
# Where further forms of the network lie, and the files of each: OpenVINO's IR.
FORMS = "openvino"
SUFFIXES = (".xml", ".bin")
# Those that this version can use; others are left alone.
ENGINES = frozenset({"int8"})


@dataclass(frozen=True)
class Artifact:
    """`metrics`: what the trainer measured; `provenance`: hyperparameters, versions, data set, time of training.

    `engines`: name of a further form of the network that is there -> what the trainer measured of it.
    """

    model: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    weights_path: Path
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read_engine(self, name: str) -> tuple[bytes, bytes]:
        """Both files of one of `engines`."""
        xml, weights = _files(self.weights_path.parent, name)
        return xml.read_bytes(), weights.read_bytes()


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
        "engines": [],
    }
    _describe(directory, description)


def add_engine(
    directory: Path, name: str, measured: Mapping[str, Any], files: tuple[bytes, bytes] | None = None
) -> None:
    """Writes down what was measured of a further form of the network; its `files`, if it is to be used, beside it."""
    digests = []
    for path, content in zip(_files(directory, name), files or (), strict=False):
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as file:
            file.write_bytes(content)
        digests.append(hashlib.sha256(content).hexdigest())
    description = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    others = [engine for engine in description.get("engines", ()) if engine["name"] != name]
    description["engines"] = [*others, {"name": name, **measured, "sha256": digests}]
    _describe(directory, description)


def read(directory: Path) -> Artifact:
    """Reads and checks the description and the files' checksums; the weights themselves stay on disk.

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
            # Artifacts of earlier images have none.
            engines={e["name"]: e for e in values.get("engines", ()) if e["name"] in ENGINES and e["sha256"]},
        )
        expected = {directory / WEIGHTS: values["weights_sha256"]}
        for name in artifact.engines:
            expected |= zip(_files(directory, name), artifact.engines[name]["sha256"], strict=True)
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
    for file, digest in expected.items():
        if not file.is_file():
            raise InputError(f"{file} is missing, which {DESCRIPTION} tells of; fetch or train the model again")
        if _sha256(file) != digest:
            raise InputError(
                f"{file} is damaged: its SHA-256 is not the one in {DESCRIPTION}; fetch or train the model again"
            )
    return artifact


def _describe(directory: Path, description: Mapping[str, Any]) -> None:
    with replacing(directory / DESCRIPTION) as file:
        file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _files(directory: Path, engine: str) -> tuple[Path, Path]:
    xml, weights = (directory / FORMS / f"{engine}{suffix}" for suffix in SUFFIXES)
    return xml, weights


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
