from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from classifier import artifact, network
from classifier.atomic import replacing
from classifier.errors import InputError
from classifier.images import Preprocessing


@pytest.fixture
def written(tmp_path: Path) -> Path:
    net = network.build("resnet18", 3)
    artifact.write(
        tmp_path / "model", model="resnet18", classes=["a", "b", "c"], preprocessing=Preprocessing(36, 32),
        metrics={"valid:accuracy": 0.5}, provenance={"job": "test"}, state=net.state_dict(),
    )  # fmt: skip
    return tmp_path / "model"


def test_what_is_written_is_read(written: Path) -> None:
    model = artifact.read(written)
    assert (model.model, model.classes, model.preprocessing) == ("resnet18", ("a", "b", "c"), Preprocessing(36, 32))
    assert (dict(model.metrics), dict(model.provenance)) == ({"valid:accuracy": 0.5}, {"job": "test"})
    net = network.load(model)
    assert not net.training
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert sorted(p.name for p in written.iterdir()) == ["model.json", "model.safetensors"]


def test_missing_files(written: Path) -> None:
    (written / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"is no model artifact: model\.safetensors is missing"):
        artifact.read(written)


def test_damaged_weights(written: Path) -> None:
    weights = written / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: its SHA-256"):
        artifact.read(written)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "kennel/9"}, "has format 'kennel/9', this image reads 'kennel/1'"),
        ({"model": "vgg16"}, "names the model 'vgg16'"),
        ({"preprocessing": {"resize": 1}}, "is damaged"),
        ({"classes": None}, "is damaged"),
    ],
)
def test_a_description_that_cannot_be_used(written: Path, change: dict[str, object], words: str) -> None:
    path = written / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        artifact.read(written)


def test_no_json(written: Path) -> None:
    (written / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json is damaged"):
        artifact.read(written)


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
