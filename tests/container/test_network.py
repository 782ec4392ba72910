from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from classifier import artifact, network
from classifier.config import MODELS
from classifier.errors import InputError
from classifier.preprocessing import Preprocessing


def saved(state: dict[str, torch.Tensor], directory: Path, model: str) -> Path:
    """As torch.hub names files: by the hash of what is in them."""
    path = directory / "new"
    torch.save(state, path)
    return path.rename(directory / f"{model}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_head_for_the_classes(model: str) -> None:
    net = network.build(model, 7)
    network.freeze_backbone(net)
    assert net.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}


def test_pretrained_weights_fill_the_backbone_and_leave_the_head(tmp_path: Path) -> None:
    donor = network.build("resnet18", 10)
    saved({k: v.half() if v.is_floating_point() else v for k, v in donor.state_dict().items()}, tmp_path, "resnet18")
    net = network.build("resnet18", 3)
    head = net.state_dict()["fc.weight"].clone()
    network.load_pretrained(net, network.find_pretrained("resnet18", [tmp_path / "nowhere", tmp_path]))
    assert torch.equal(net.state_dict()["fc.weight"], head)
    expected = donor.state_dict()["layer3.0.conv1.weight"].half().float()
    assert torch.equal(net.state_dict()["layer3.0.conv1.weight"], expected)


def test_weights_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pretrained weights for resnet34 in .*weights=none"):
        network.find_pretrained("resnet34", [tmp_path])
    path = saved(network.build("resnet18", 2).state_dict(), tmp_path, "resnet34")
    with pytest.raises(InputError, match="are of another network"):
        network.load_pretrained(network.build("resnet34", 2), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="are damaged: their SHA-256 begins with"):
        network.find_pretrained("resnet34", [tmp_path])
    text = tmp_path / f"resnet50-{hashlib.sha256(b'hello').hexdigest()[:8]}.pth"
    text.write_bytes(b"hello")
    with pytest.raises(InputError, match="are no state_dict of a torchvision ResNet"):
        network.load_pretrained(network.build("resnet50", 2), network.find_pretrained("resnet50", [tmp_path]))


def test_an_artifact_becomes_a_network_that_predicts(tmp_path: Path) -> None:
    trained = network.build("resnet18", 3)
    artifact.write(
        tmp_path, model="resnet18", classes=["a", "b", "c"], preprocessing=Preprocessing(36, 32), metrics={},
        provenance={}, state=trained.state_dict(),
    )  # fmt: skip
    net = network.load(artifact.read(tmp_path))
    assert not net.training
    pictures = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(pictures), trained.eval()(pictures))


def test_the_real_weights_load(resnet18_weights: Path) -> None:
    net = network.build("resnet18", 5)
    network.load_pretrained(net, network.find_pretrained("resnet18", [resnet18_weights.parent]))
    assert float(net.state_dict()["conv1.weight"].abs().sum()) > 0
