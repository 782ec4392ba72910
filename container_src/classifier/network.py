"""Backbone (a ResNet of torchvision) + head (one linear layer), and where their first weights come from."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from classifier.artifact import Artifact
from classifier.errors import InputError

HEAD = "fc"


def build(model: str, classes: int, seed: int = 0) -> torch.nn.Module:
    """A ResNet with `classes` outputs and random weights; takes float [n, 3, h, w], gives logits [n, classes].

    The backbone's weights come from torch's global generator, the head's from `seed` alone.
    """
    import torchvision  # takes a second, and a head on features needs none of it

    network: torch.nn.Module = torchvision.models.get_model(model, weights=None)
    head = network.get_submodule(HEAD)
    assert isinstance(head, torch.nn.Linear)
    setattr(network, HEAD, _linear(head.in_features, classes, seed))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def head(features: int, classes: int, seed: int = 0) -> torch.nn.Module:
    """The head of `build`, with the same first weights under the same names; takes float [n, features]."""
    return torch.nn.Sequential(OrderedDict({HEAD: _linear(features, classes, seed)}))


def backbone(network: torch.nn.Module) -> tuple[torch.nn.Module, int]:
    """`network` with its head taken off, which gives pooled features [n, d], and d."""
    head = network.get_submodule(HEAD)
    assert isinstance(head, torch.nn.Linear)
    setattr(network, HEAD, torch.nn.Identity())
    return network, head.in_features


def fuse(backbone: torch.nn.Module) -> torch.nn.Module:
    """Folds each batch normalization of a ResNet in evaluation mode into the convolution before it.

    The features are the same to within rounding, for a quarter less time on a CPU.
    """
    for module in backbone.eval().modules():
        children = dict(module.named_children())
        names = {f"conv{n}": f"bn{n}" for n in (1, 2, 3)} | {"0": "1"}  # in a block, and where a block is shortened
        for first, second in names.items():
            convolution, normalization = children.get(first), children.get(second)
            if isinstance(convolution, torch.nn.Conv2d) and isinstance(normalization, torch.nn.BatchNorm2d):
                setattr(module, first, torch.nn.utils.fuse_conv_bn_eval(convolution, normalization))
                setattr(module, second, torch.nn.Identity())
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _linear(features: int, classes: int, seed: int) -> torch.nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Linear(features, classes)


def load(artifact: Artifact) -> torch.nn.Module:
    """The trained network of an artifact, in evaluation mode."""
    network = build(artifact.model, len(artifact.classes))
    network.load_state_dict(load_file(artifact.weights_path))
    return network.eval()


def find_pretrained(model: str, directories: Sequence[Path]) -> Path:
    """The first `<model>-<first 8 of sha256>.pth` in `directories`; its content must match its name.

    The naming is that of torch.hub (`check_hash`), which torchvision's published files follow.

    Raises:
        InputError: there is none, or it is damaged.
    """
    for directory in directories:
        for path in sorted(directory.glob(f"{model}-*.pth")):
            expected = path.stem.rpartition("-")[2]
            with path.open("rb") as stream:
                actual = hashlib.sha256(stream.read()).hexdigest()
            if not actual.startswith(expected):
                raise InputError(
                    f"the weights {path} are damaged: their SHA-256 begins with {actual[:8]}, "
                    f"not {expected}; copy the file again"
                )
            return path
    looked = " or ".join(str(d) for d in directories)
    raise InputError(
        f"no pretrained weights for {model} in {looked}: give a channel `weights` that holds "
        f"{model}-<hash>.pth, or set the hyperparameter weights=none to start from random weights"
    )


def load_pretrained(network: torch.nn.Module, path: Path) -> None:
    """Copies the backbone's weights of `path` into `network`; the file's own head is left out.

    Raises:
        InputError: the file holds no state_dict of this backbone.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
            if not name.startswith(HEAD + ".")
        }
        missing, unexpected = network.load_state_dict(state, strict=False)
    except Exception as error:  # torch.load raises pickle, zip and runtime errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the weights {path} are no state_dict of a torchvision ResNet: {reason}") from None
    missing = [name for name in missing if not name.startswith(HEAD + ".")]
    if missing or unexpected:
        odd = (missing + unexpected)[0]
        raise InputError(
            f"the weights {path} are of another network: {odd} is "
            f"{'missing' if missing else 'unknown'}; the file name must name the model it belongs to"
        )


def is_head(name: str) -> bool:
    """Whether a parameter of that name belongs to the head."""
    return name.startswith(HEAD + ".")


def freeze_backbone(network: torch.nn.Module, frozen: bool = True) -> None:
    """Leaves gradients to the head only; or, not `frozen`, to every parameter again."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not frozen or is_head(name)
