"""Answers of the endpoint: probabilities -> JSON, CSV, JSON lines, npy, or a picture of the reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from sagemaker_inference import encoder
from sagemaker_inference.content_types import CSV, JSON, NPY

from classifier import explanation, images, negotiation, options
from classifier.images import Pixels
from classifier.options import Options
from classifier.payload import Request, Rules

# InvokeEndpoint hands this header of the container's to its caller.
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
Floats = npt.NDArray[np.float32]


class Reasons(Protocol):
    """What a predictor can tell beside probabilities."""

    def features(self, pixels: Pixels) -> Floats:
        """uint8 [n, crop, crop, 3] -> the backbone's pooled features, float32 [n, d]."""

    def activation_map(self, pixels: Pixels, class_index: int) -> Floats:
        """uint8 [n, crop, crop, 3] -> how much each place speaks for the class, float32 [n, rows, columns]."""


@dataclass(frozen=True)
class Answer:
    """What goes back to the caller."""

    body: str | bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(request: Request, probabilities: Floats, rules: Rules, reasons: Reasons) -> Answer:
    """`probabilities` is [n, classes] for the n photographs of `request`."""
    wanted = request.options
    if wanted.explain:
        return _explanation(request, probabilities[0], rules, reasons)
    features = reasons.features(request.pixels) if wanted.features else None
    numbers = probabilities if features is None else features
    if request.answer_type == NPY or (request.answer_type == CSV and (wanted.probabilities or wanted.features)):
        return Answer(encoder.encode(numbers, request.answer_type), request.answer_type)
    labels = [_labels(row, rules.classes, wanted) for row in probabilities]
    if request.answer_type == CSV:
        return Answer(_csv(labels), CSV)
    whole: object
    if wanted.probabilities:
        whole = each = _shortest(probabilities)
    else:
        members: dict[str, list[Any]] = {
            "predictions": [[{"label": label, "probability": p} for label, p in row] for row in labels]
        }
        if features is not None:
            members["features"] = _shortest(features)
        each = [dict(zip(members, row, strict=True)) for row in zip(*members.values(), strict=True)]
        whole = members if request.several else each[0]
    if request.answer_type == negotiation.JSON_LINES:
        return Answer("".join(f"{_json(one)}\n" for one in each), negotiation.JSON_LINES)
    return Answer(_json(whole), JSON)


def _explanation(request: Request, probabilities: Floats, rules: Rules, reasons: Reasons) -> Answer:
    """The picture, and in a header the class that it is about, as custom attributes go back to the caller."""
    assert request.photograph is not None and request.options.explain is not None
    wanted = request.options.explain
    index = int(probabilities.argmax()) if wanted == options.TOP else rules.classes.index(wanted)
    (activation,) = reasons.activation_map(request.pixels, index)
    height, width, _ = request.photograph.shape
    box = images.central_box(height, width, rules.preprocessing)
    told = f"label={quote(rules.classes[index], safe='')}, probability={float(probabilities[index]):.6f}"
    return Answer(explanation.png(request.photograph, box, activation), negotiation.PNG, {ATTRIBUTES: told})


def _labels(row: Floats, classes: Sequence[str], wanted: Options) -> list[tuple[str, float]]:
    """The most probable first; all there are, if there are fewer than `top_k`."""
    best = np.argsort(-row, kind="stable")[: wanted.top_k]
    return [(classes[i], round(float(row[i]), 6)) for i in best if row[i] >= wanted.threshold]


def _shortest(numbers: Floats) -> list[Any]:
    """Rows of as many digits as tell one float32 from the next, where JSON would write those of float64."""
    return [[float(str(value)) for value in row] for row in numbers]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _csv(rows: Sequence[Sequence[tuple[str, float]]]) -> str:
    """A row a photograph: label, probability, label, probability, ...; the most probable first."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([cell for pair in row for cell in pair] for row in rows)
    return stream.getvalue()
