"""A trained ResNet as a graph of OpenVINO, made of its weights alone: torch, seconds and 300 MB of it, is not needed.

The layers are those of torchvision's `resnet.py` (He et al., "Deep Residual Learning for Image Recognition", 2015, with
the stride in a bottleneck's 3 x 3 convolution), under the names of its state_dict. Pixels go in as they are decoded:
the normalization is a part of the graph, and each batch normalization is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as op

from classifier.engines import Misfit
from classifier.preprocessing import Preprocessing

Weights = Mapping[str, npt.NDArray[Any]]
_EPSILON = 1e-5  # of torch's batch normalization
# The head's matrix product; what is calibrated leaves it as it is.
HEAD = "head"


class _Plan(NamedTuple):
    """`convolutions` of a block, the `strided` one among them, and the blocks of each stage."""

    convolutions: int
    strided: int
    stages: tuple[int, int, int, int]


_PLANS = {
    "resnet18": _Plan(2, 1, (2, 2, 2, 2)),
    "resnet34": _Plan(2, 1, (3, 4, 6, 3)),
    "resnet50": _Plan(3, 2, (3, 4, 6, 3)),
    "resnet101": _Plan(3, 2, (3, 4, 23, 3)),
    "resnet152": _Plan(3, 2, (3, 8, 36, 3)),
}


def resnet(model: str, classes: int, preprocessing: Preprocessing, weights: Weights) -> ov.Model:
    """uint8 [?, crop, crop, 3] -> `logits` [?, classes], `features` [?, d] and `maps` [?, d, h, w], float32.

    The batch is dynamic. Raises Misfit.
    """
    taken = _Taken(weights)
    try:
        graph = _resnet(_PLANS[model], preprocessing, taken)
    except RuntimeError as error:  # OpenVINO's, for shapes that do not go together
        raise Misfit(str(error)) from None
    if unknown := taken.left():
        raise Misfit(f"{unknown[0]} is unknown")
    outputs = graph.output("logits").partial_shape[1].get_length()
    if outputs != classes:
        raise Misfit(f"{outputs} outputs")
    return graph


class _Taken:
    """Weights that know which of them were used."""

    def __init__(self, weights: Weights) -> None:
        self._weights, self._names = weights, set[str]()

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        if name not in self._weights:
            raise Misfit(f"{name} is missing")
        self._names.add(name)
        return self._weights[name].astype(np.float64)

    def left(self) -> list[str]:
        return sorted(n for n in self._weights if n not in self._names and not n.endswith(".num_batches_tracked"))


def _resnet(plan: _Plan, preprocessing: Preprocessing, weights: _Taken) -> ov.Model:
    side = preprocessing.crop
    pixels = op.parameter([-1, side, side, 3], np.uint8, name="pixels")
    mean, std = (np.array(values) * 255 for values in (preprocessing.mean, preprocessing.std))
    x = op.subtract(op.convert(pixels, np.float32), _constant(mean))
    x = op.transpose(op.divide(x, _constant(std)), op.constant(np.array([0, 3, 1, 2])))
    x = op.relu(_convolution(x, weights, "conv1", "bn1", 2))
    x = op.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    for stage, blocks in enumerate(plan.stages, 1):
        for block in range(blocks):
            x = _block(x, weights, f"layer{stage}.{block}.", plan, 2 if stage > 1 and block == 0 else 1)
    features = op.reduce_mean(x, op.constant(np.array([2, 3])), keep_dims=False)
    product = op.matmul(features, _constant(weights["fc.weight"]), False, True, name=HEAD)
    logits = op.add(product, _constant(weights["fc.bias"]))
    results = []
    for name, node in (("logits", logits), ("features", features), ("maps", x)):
        result = op.result(node, name=name)
        result.output(0).set_names({name})
        results.append(result)
    return ov.Model(results, [pixels], "resnet")


def _block(x: Any, weights: _Taken, at: str, plan: _Plan, stride: int) -> Any:
    y = x
    for number in range(1, plan.convolutions + 1):
        strided = stride if number == plan.strided else 1
        y = _convolution(y, weights, f"{at}conv{number}", f"{at}bn{number}", strided)
        if number < plan.convolutions:
            y = op.relu(y)
    if f"{at}downsample.0.weight" in weights:
        x = _convolution(x, weights, f"{at}downsample.0", f"{at}downsample.1", stride)
    return op.relu(op.add(y, x))


def _convolution(x: Any, weights: _Taken, convolution: str, normalization: str, stride: int) -> Any:
    """With the batch normalization after it: it scales each channel, and moves it."""
    kernel, scale = weights[f"{convolution}.weight"], weights[f"{normalization}.weight"]
    scale = scale / np.sqrt(weights[f"{normalization}.running_var"] + _EPSILON)
    moved = weights[f"{normalization}.bias"] - weights[f"{normalization}.running_mean"] * scale
    if kernel.shape[:1] != scale.shape or kernel.ndim != 4:
        raise Misfit(f"{convolution}.weight has the shape {list(kernel.shape)}")
    pad = [kernel.shape[2] // 2] * 2
    y = op.convolution(x, _constant(kernel * scale[:, None, None, None]), [stride] * 2, pad, pad, [1, 1])
    return op.add(y, _constant(moved[:, None, None]))


def _constant(values: npt.NDArray[np.float64]) -> Any:
    return op.constant(values.astype(np.float32))
