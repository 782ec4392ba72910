"""Answers, without a server and without a network."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from classifier import answers, explanation, images, payload
from classifier.options import Options

CLASSES = ("a", "Chien, nu é", "c")
RULES = payload.Rules(images.Preprocessing.for_size(32), CLASSES)
PROBABILITIES = np.array([[0.1, 0.65, 0.25], [0.7, 0.2, 0.1]], np.float32)
FEATURES = np.array([[0.5, 1.5, -2.0, 1 / 3], [0, 1, 2, 3]], np.float32)


class Reasons:
    """A predictor that speaks for the left half of everything."""

    def features(self, pixels: images.Pixels) -> npt.NDArray[np.float32]:
        return FEATURES[: len(pixels)]

    def activation_map(self, pixels: images.Pixels, class_index: int) -> npt.NDArray[np.float32]:
        return np.tile(np.array([1, 1, -1, -1], np.float32) * (class_index + 1), (len(pixels), 4, 1))


def answered(several: bool = True, answer_type: str = "application/json", **options: Any) -> answers.Answer:
    pixels = np.zeros((2 if several else 1, 32, 32, 3), np.uint8)
    photograph = np.full((80, 120, 3), 128, np.uint8) if "explain" in options else None
    request = payload.Request(pixels, Options(**options), several, answer_type, photograph)
    answer = answers.answer(request, PROBABILITIES[: len(pixels)], RULES, Reasons())
    assert answer.content_type == answer_type
    return answer


def test_the_best_labels_come_first() -> None:
    best = [{"label": "Chien, nu é", "probability": 0.65}, {"label": "c", "probability": 0.25}]
    assert json.loads(answered(False, top_k=2).body) == {"predictions": best}
    assert json.loads(answered(top_k=2).body)["predictions"][0] == best
    assert len(json.loads(answered(False, top_k=10).body)["predictions"]) == 3
    # As people read it, and without the digits that float32 does not have.
    assert '"label": "Chien, nu é", "probability": 0.65}' in str(answered(False).body)


def test_labels_that_are_as_probable_as_each_other_keep_the_order_of_the_classes() -> None:
    rules = payload.Rules(images.Preprocessing.for_size(32), tuple(f"breed {number:02}" for number in range(60)))
    request = payload.Request(np.zeros((1, 32, 32, 3), np.uint8), Options(), False, "application/json")
    body = json.loads(answers.answer(request, np.full((1, 60), 1 / 60, np.float32), rules, Reasons()).body)
    assert body == {"predictions": [{"label": f"breed {number:02}", "probability": 0.016667} for number in range(5)]}


def test_labels_below_the_threshold_are_left_out() -> None:
    labels = [[p["label"] for p in row] for row in json.loads(answered(threshold=0.25).body)["predictions"]]
    assert labels == [["Chien, nu é", "c"], ["a"]]
    assert json.loads(answered(False, threshold=0.9).body) == {"predictions": []}


def test_features_stand_beside_the_labels() -> None:
    assert json.loads(answered(False, features=True).body)["features"] == pytest.approx(FEATURES[0].tolist())
    assert "0.33333334" in str(answered(False, features=True).body)
    assert np.array(json.loads(answered(features=True).body)["features"]) == pytest.approx(FEATURES)


def test_the_plain_list_of_all_probabilities() -> None:
    """As the usual handlers answer: a row a photograph, also for one photograph."""
    for several in (False, True):
        rows = json.loads(answered(several, probabilities=True).body)
        assert np.array_equal(np.array(rows, np.float32), PROBABILITIES[: 1 + several])


def test_csv() -> None:
    body = answered(answer_type="text/csv", top_k=2).body
    assert str(body).count("\n") == 2 and "\r" not in str(body)
    assert list(csv.reader(io.StringIO(str(body)))) == [
        ["Chien, nu é", "0.65", "c", "0.25"], ["a", "0.7", "Chien, nu é", "0.2"]
    ]  # fmt: skip
    for option, expected in (({"probabilities": True}, PROBABILITIES), ({"features": True}, FEATURES)):
        numbers = np.loadtxt(io.StringIO(str(answered(answer_type="text/csv", **option).body)), delimiter=",")
        assert np.array_equal(numbers.astype(np.float32), expected)


def test_json_lines() -> None:
    for options, several in (({"top_k": 2}, True), ({"features": True}, True), ({}, False)):
        lines = str(answered(several, "application/jsonlines", **options).body).splitlines()
        assert len(lines) == 1 + several
        assert json.loads(lines[0]) == json.loads(answered(False, **options).body)
    assert str(answered(True, "application/jsonlines").body).count("\n") == 2
    rows = str(answered(True, "application/jsonlines", probabilities=True).body).splitlines()
    assert [json.loads(row) for row in rows] == json.loads(answered(probabilities=True).body)


def test_npy() -> None:
    for options, expected in (({}, PROBABILITIES), ({"features": True}, FEATURES)):
        body = answered(answer_type="application/x-npy", **options).body
        assert isinstance(body, bytes)
        values = np.load(io.BytesIO(body), allow_pickle=False)
        assert values.dtype == np.float32 and np.array_equal(values, expected)


@pytest.mark.parametrize(("label", "index"), [("top", 1), ("c", 2)])
def test_an_explanation(label: str, index: int) -> None:
    answer = answered(False, "image/png", explain=label)
    assert isinstance(answer.body, bytes)
    picture = np.asarray(Image.open(io.BytesIO(answer.body))).astype(np.int64)
    assert picture.shape == (80, 120, 3)
    # Evidence is bright, what speaks against the class is the photograph as it was, what is not seen is dark.
    (left, top, width, height) = images.central_box(80, 120, RULES.preprocessing)
    seen = picture[top : top + height, left : left + width]
    assert (np.abs(seen[:, : width // 4] - 128).max(axis=-1) > 40).all()
    assert (np.abs(seen[:, -width // 4 :] - 128) < 12).all()
    assert (picture[:, : left - 1] < 60).all()
    name, _, probability = answer.headers["X-Amzn-SageMaker-Custom-Attributes"].partition(", ")
    assert unquote(name) == f"label={CLASSES[index]}" and name.isascii()
    assert float(probability.partition("=")[2]) == pytest.approx(PROBABILITIES[0, index])


def test_a_class_that_nothing_speaks_for_leaves_the_photograph_as_it_is() -> None:
    photograph = np.full((60, 60, 3), 128, np.uint8)
    drawn = explanation.png(photograph, (0, 0, 60, 60), np.full((4, 4), -1, np.float32))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn))), photograph)
    large = explanation.png(np.zeros((1600, 1200, 3), np.uint8), (0, 200, 1200, 1200), np.ones((7, 7), np.float32))
    assert Image.open(io.BytesIO(large)).size == (768, 1024)
