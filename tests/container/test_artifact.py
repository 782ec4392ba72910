from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from classifier import artifact
from classifier.atomic import replacing
from classifier.errors import InputError
from classifier.images import Preprocessing

# More than one block that is read at once, not contiguous, and still to be learned.
WEIGHTS = torch.arange(600_000, dtype=torch.float32).view(2, -1).T.requires_grad_()


def write(directory: Path, state: Mapping[str, torch.Tensor]) -> Path:
    artifact.write(
        directory, model="resnet18", classes=["a", "b", "ç"], preprocessing=Preprocessing(36, 32),
        metrics={"valid:accuracy": 0.5}, provenance={"job": "test"}, state=state,
    )  # fmt: skip
    return directory


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(tmp_path / "opt" / "model", {"fc.weight": WEIGHTS})


def description(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    return values


def change(directory: Path, **members: object) -> None:
    (directory / "model.json").write_text(json.dumps(description(directory) | members))


def refused(directory: Path) -> str:
    with pytest.raises(InputError) as caught:
        artifact.read(directory)
    return str(caught.value)


def test_what_is_written_is_read(written: Path) -> None:
    model = artifact.read(written)
    assert (model.model, model.classes, model.preprocessing) == ("resnet18", ("a", "b", "ç"), Preprocessing(36, 32))
    assert (dict(model.metrics), dict(model.provenance)) == ({"valid:accuracy": 0.5}, {"job": "test"})
    assert model.weights_path == written / "model.safetensors" and not model.engines
    assert torch.equal(load_file(model.weights_path)["fc.weight"], WEIGHTS)
    assert sorted(p.name for p in written.iterdir()) == ["model.json", "model.safetensors"]
    write(written, {"fc.weight": WEIGHTS + 1})
    assert torch.equal(load_file(artifact.read(written).weights_path)["fc.weight"], WEIGHTS + 1)


def test_others_read_the_description_as_the_documentation_has_it(written: Path) -> None:
    assert description(written) == {
        "format": "kennel/1",
        "model": "resnet18",
        "classes": ["a", "b", "ç"],
        "preprocessing": Preprocessing(36, 32).to_dict()
        | {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "metrics": {"valid:accuracy": 0.5},
        "weights_sha256": hashlib.sha256((written / "model.safetensors").read_bytes()).hexdigest(),
        "provenance": {"job": "test"},
        "engines": [],
    }
    lines = (written / "model.json").read_text().splitlines(keepends=True)
    assert lines[1] == '  "format": "kennel/1",\n' and lines[-1] == "}\n"


def test_further_forms_of_the_network(written: Path) -> None:
    artifact.add_engine(written, "int8", {"accuracy": 0.4}, (b"<xml/>", b"weights"))
    artifact.add_engine(written, "int4", {"accuracy": 0.1})
    artifact.add_engine(written, "int8", {"accuracy": 0.5}, (b"<net/>", b"others"))
    model = artifact.read(written)
    assert model.read_engine("int8") == (b"<net/>", b"others")
    assert list(model.engines) == ["int8"] and model.engines["int8"]["accuracy"] == 0.5
    assert sorted(p.name for p in (written / "openvino").iterdir()) == ["int8.bin", "int8.xml"]
    assert description(written)["engines"] == [
        {"name": "int4", "accuracy": 0.1, "sha256": []},
        {
            "name": "int8",
            "accuracy": 0.5,
            "sha256": [hashlib.sha256(content).hexdigest() for content in (b"<net/>", b"others")],
        },
    ]


def test_a_form_that_was_measured_and_not_kept_or_is_not_known_is_not_used(written: Path) -> None:
    artifact.add_engine(written, "int8", {"accuracy": 0.1})
    artifact.add_engine(written, "int2", {"accuracy": 0.1}, (b"a", b"b"))
    assert not artifact.read(written).engines


def test_an_artifact_of_an_earlier_image_has_no_forms(written: Path) -> None:
    values = description(written)
    del values["engines"]
    (written / "model.json").write_text(json.dumps(values))
    assert not artifact.read(written).engines
    artifact.add_engine(written, "int8", {}, (b"a", b"b"))
    assert list(artifact.read(written).engines) == ["int8"]


def test_a_form_whose_file_is_missing_or_damaged(written: Path) -> None:
    artifact.add_engine(written, "int8", {}, (b"a", b"b"))
    path = written / "openvino" / "int8.bin"
    path.write_bytes(b"c")
    assert refused(written) == (
        f"{path} is damaged: its SHA-256 is not the one in model.json; fetch or train the model again"
    )
    path.unlink()
    assert refused(written) == f"{path} is missing, which model.json tells of; fetch or train the model again"
    change(written, engines=[{"name": "int8", "sha256": ["one"]}])
    assert f"{written / 'model.json'} is damaged (ValueError: " in refused(written)


def test_missing_files(written: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        (written / name).unlink()
        assert refused(written) == (
            f"{written} is no model artifact: {name} is missing; give the model.tar.gz that `train` wrote"
        )


def test_damaged_weights(written: Path) -> None:
    weights = written / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert refused(written) == (
        f"{weights} is damaged: its SHA-256 is not the one in model.json; fetch or train the model again"
    )


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            {"format": "kennel/9"},
            "has format 'kennel/9', this image reads 'kennel/1': train the model again or serve it with the image that "
            "trained it",
        ),
        ({"model": "vgg16"}, "names the model 'vgg16'; known are resnet18, resnet34, resnet50, resnet101, resnet152"),
        ({"preprocessing": {"resize": 1}}, "is damaged (KeyError: 'crop'); fetch or train the model again"),
        (
            {"classes": None},
            "is damaged (TypeError: 'NoneType' object is not iterable); fetch or train the model again",
        ),
        (
            {"preprocessing": Preprocessing(36, 32).to_dict() | {"method": "nearest"}},
            "was trained on photographs decoded another way (nearest; here: libjpeg-turbo in eighths, whole boxes, "
            "bilinear): train the model again or serve it with the image that trained it",
        ),
    ],
)
def test_a_description_that_cannot_be_used(written: Path, members: dict[str, object], words: str) -> None:
    change(written, **members)
    assert refused(written) == f"{written / 'model.json'} {words}"


def test_no_json(written: Path) -> None:
    (written / "model.json").write_text("{")
    assert refused(written).startswith(f"{written / 'model.json'} is damaged (JSONDecodeError: ")


def test_reading_needs_no_torch(written: Path) -> None:
    code = (
        f"import sys, pathlib; from classifier import artifact; artifact.read(pathlib.Path({str(written)!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("before")
    with pytest.raises(OSError, match="full"), replacing(path) as file:
        file.write_text("half")
        raise OSError("the disk is full")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.json", "before")]
    with replacing(path) as file:
        file.write_text("whole")
        assert path.read_text() == "before"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.json", "whole")]
