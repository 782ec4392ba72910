"""Requests and answers, without a server."""

from __future__ import annotations

import json

import numpy as np
import pytest

from classifier import images, payload
from photographs import jpeg

RULES = payload.Rules(images.Preprocessing.for_size(32), max_bytes=50_000)
BODY = jpeg(0.2, np.random.default_rng(0))
JPEG = {"Content-Type": "image/jpeg"}


def test_a_photograph_becomes_the_pixels_of_the_one_preprocessing() -> None:
    request = payload.parse(bytearray(BODY), JPEG, RULES)
    assert request.top_k == payload.TOP_K
    np.testing.assert_array_equal(request.pixels, images.load(BODY, RULES.preprocessing))


def test_headers_are_compared_without_regard_to_case_and_parameters() -> None:
    headers = {
        "CONTENT-TYPE": "Image/JPEG; q=1",
        "x-amzn-sagemaker-custom-attributes": "a=b; TOP_K = 3",
        # multi-model-server puts what it knows of the body among the headers.
        "body": {"content-type": "image/jpeg"},
    }
    assert payload.parse(BODY, headers, RULES).top_k == 3


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", JPEG, 400, "empty"),
        (None, JPEG, 400, "empty"),
        (b"hello", JPEG, 400, "no image"),
        (BODY[:500], JPEG, 400, "damaged"),
        (BODY + bytes(50_000), JPEG, 413, "at most 50,000"),
        (BODY, {}, 415, "image/jpeg, image/png, application/x-image"),
        (BODY, {"Content-Type": "application/json"}, 415, "'application/json'"),
        (None, {"Content-Type": "multipart/form-data; boundary=x"}, 415, "'multipart/form-data'"),
        (BODY, JPEG | {"Accept": "image/*"}, 406, "cannot answer as image/*; accept application/json"),
        (BODY, JPEG | {"X-Amzn-SageMaker-Custom-Attributes": "top_k=²"}, 400, "top_k='²'"),
        (BODY, JPEG | {"X-Amzn-SageMaker-Custom-Attributes": "top_k=1e3"}, 400, "whole number from 1"),
    ],
)
def test_refusals(body: bytes | None, headers: dict[str, str], status: int, words: str) -> None:
    with pytest.raises(payload.RequestError) as caught:
        payload.parse(body, headers, RULES)
    assert caught.value.status_code == status
    assert words in caught.value.message
    assert "\n" not in caught.value.message + caught.value.phrase


def test_the_default_accept_applies_where_the_caller_leaves_it_open() -> None:
    rules = payload.Rules(RULES.preprocessing, default_accept="text/csv")
    for headers in (JPEG, JPEG | {"Accept": "*/*"}):
        with pytest.raises(payload.RequestError, match="text/csv"):
            payload.parse(BODY, headers, rules)
    assert payload.parse(BODY, JPEG | {"Accept": "application/json"}, rules)


def test_the_answer_holds_the_best_labels_first() -> None:
    probabilities = np.array([0.1, 0.65, 0.25], dtype=np.float32)
    answer = json.loads(payload.answer(probabilities, ("a", "Affenpinscher é", "c"), top_k=2))
    assert answer == {
        "predictions": [{"label": "Affenpinscher é", "probability": 0.65}, {"label": "c", "probability": 0.25}]
    }
    assert len(json.loads(payload.answer(probabilities, "abc", top_k=10))["predictions"]) == 3
