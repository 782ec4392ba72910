"""Requests, without a server."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classifier import bodies, images, negotiation, payload
from classifier.options import Options
from photographs import jpeg

CLASSES = ("Affenpinscher", "Afghan hound", "Égyptien, nu")
RULES = payload.Rules(images.Preprocessing.for_size(32), CLASSES, max_bytes=200_000)
BODY = jpeg(0.2, np.random.default_rng(0))
OTHER = jpeg(0.7, np.random.default_rng(1), format="PNG")
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def encoded(**members: object) -> bytes:
    return json.dumps(members).encode()


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def decoded(data: bytes) -> images.Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def refused(body: bytes | None, headers: dict[str, str], rules: payload.Rules = RULES) -> tuple[int, str]:
    """The status and the sentence."""
    with pytest.raises(payload.RequestError) as caught:
        payload.parse(body, headers, rules)
    assert "\n" not in caught.value.message + caught.value.phrase
    return caught.value.status_code, caught.value.message


@pytest.mark.parametrize(
    "declared", ["image/jpeg", "Image/WebP; q=1", "application/x-image", "application/octet-stream"]
)
def test_a_photograph_becomes_the_pixels_of_the_one_preprocessing(declared: str) -> None:
    """Whatever subtype it is declared as: its bytes decide."""
    request = payload.parse(bytearray(BODY), {"CONTENT-TYPE": declared}, RULES)
    assert (request.options, request.several, request.answer_type) == (Options(), False, "application/json")
    np.testing.assert_array_equal(request.pixels, images.load(BODY, RULES.preprocessing)[np.newaxis])


@pytest.mark.parametrize(
    "body",
    [
        encoded(images=[text(BODY), text(OTHER)]),
        encoded(instances=[{"b64": text(BODY)}, {"b64": "data:image/png;base64," + text(OTHER)}]),
        encoded(images=[base64.encodebytes(BODY).decode(), text(OTHER)]).decode().encode("utf-16"),
    ],
)
def test_several_photographs_in_json(body: bytes) -> None:
    request = payload.parse(body, JSON | {"Content-Type": "application/json; charset=utf-8"}, RULES)
    assert request.several
    expected = [images.load(data, RULES.preprocessing) for data in (BODY, OTHER)]
    np.testing.assert_array_equal(request.pixels, np.stack(expected))


def test_one_photograph_in_json() -> None:
    request = payload.parse(encoded(image=text(BODY), top_k=2, threshold=0.25, features=True), JSON, RULES)
    assert not request.several and request.pixels.shape == (1, 32, 32, 3)
    assert request.options == Options(top_k=2, threshold=0.25, features=True)


def test_arrays() -> None:
    pixels = decoded(OTHER)
    expected = images.load(OTHER, RULES.preprocessing)
    one = payload.parse(array(pixels), NPY, RULES)
    assert not one.several
    np.testing.assert_array_equal(one.pixels, expected[np.newaxis])
    # Also where it is declared as nothing in particular, and where it lies in memory as Fortran's arrays do.
    two = payload.parse(array(np.asfortranarray([pixels, pixels])), {"Content-Type": "application/octet-stream"}, RULES)
    assert two.several
    np.testing.assert_array_equal(two.pixels, np.stack([expected, expected]))


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", JPEG, 400, "empty"),
        (None, JPEG, 400, "empty"),
        (b"hello", JPEG, 400, "no image"),
        (BODY[:500], JPEG, 400, "damaged"),
        (BODY + bytes(200_000), JPEG, 413, "at most 200,000"),
        (BODY, {}, 415, "image/*, application/x-image, application/octet-stream, application/json, application/x-npy"),
        (BODY, {"Content-Type": "text/csv"}, 415, "'text/csv'"),
        (None, {"Content-Type": "multipart/form-data; boundary=x"}, 415, "'multipart/form-data'"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", {"Content-Type": "image/heic"}, 415, "a HEIC (HEIF) image"),
        (b"<!DOCTYPE html><html></html>", JPEG, 415, "an HTML page"),
        (b"{", JSON, 400, "is no JSON"),
        (b"\xff\xfe\x00", JSON, 400, "is no JSON"),
        (b"[" * 100_000, JSON, 400, "too many levels"),
        (b'{"image": ' + b"9" * 10_000 + b"}", JSON, 400, "JSON"),
        (b'[["b64"]]', JSON, 400, "needs one of"),
        (encoded(image=text(BODY), images=[]), JSON, 400, "needs one of"),
        (encoded(image=7), JSON, 400, "image must be a photograph in base64"),
        (encoded(image="%%%"), JSON, 400, "image is no base64"),
        (encoded(image=""), JSON, 400, "image is empty"),
        (encoded(image=text(b"woof")), JSON, 400, "no image"),
        (encoded(image=text(BODY), topk=3), JSON, 400, "'topk' is not known; beside 'image' it may have top_k, thr"),
        (encoded(image=text(BODY), top_k=[3]), JSON, 400, "option top_k is not valid"),
        (encoded(images=text(BODY)), JSON, 400, "must be a list of 1 to 64"),
        (encoded(images=[]), JSON, 400, "has 0 photographs; send 1 to 64"),
        (encoded(images=[""] * 65), JSON, 400, "1 to 64"),
        (encoded(images=[text(BODY), text(BODY[:400])]), JSON, 400, "images[1]: the image is damaged"),
        (encoded(instances=[{"b64": text(BODY)}, {"b65": ""}]), JSON, 400, "instances[1] must be"),
        (encoded(images=[text(BODY), text(b"%PDF-1.7")]), JSON, 415, "images[1]: the bytes are a PDF document"),
        (array(np.zeros((4, 4, 3))), NPY, 400, "is float64 [4, 4, 3]; send uint8"),
        (array(np.zeros((4, 4), np.uint8)), NPY, 400, "is uint8 [4, 4]; send uint8"),
        (array(np.zeros((65, 1, 1, 3), np.uint8)), NPY, 400, "has 65 photographs"),
        (array(np.zeros((9, 9, 3), np.uint8))[:-1], NPY, 400, "promises 243 values and has 242"),
        (array(np.zeros((9, 9, 3), np.uint8)).replace(b"(9, 9, 3)", b"(9e9,3,3)"), NPY, 400, "header is damaged"),
        (array(np.array([{}, {}, {}], object)), NPY, 400, "is object [3]; send uint8"),
        (b"\x93NUMPY\2\0\xff\xff\xff\x7f{", NPY, 400, "header is damaged"),
    ],
)
def test_refusals(body: bytes | None, headers: dict[str, str], status: int, words: str) -> None:
    told = refused(body, headers)
    assert told[0] == status and words in told[1], told


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("a=b; TOP_K = 3", Options(top_k=3)),
        ("threshold=.5,features=True,trace=7f3a", Options(threshold=0.5, features=True)),
        ("probabilities=all", Options(probabilities=True)),
        ("explain=top", Options(explain="top")),
        ("explain=%C3%89gyptien%2C%20nu", Options(explain="Égyptien, nu")),
    ],
)
def test_options(attributes: str, expected: Options) -> None:
    # multi-model-server puts what it knows of the body among the headers.
    headers = {"content-type": "image/png", ATTRIBUTES.lower(): attributes, "body": {"content-type": "image/png"}}
    assert payload.parse(BODY, headers, RULES).options == expected


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("top_k=²", "option top_k='²' is not valid: it must be a whole number from 1"),
        ("top_k=1e3", "whole number from 1"),
        ("threshold=nan", "a number from 0 to 1"),
        ("threshold=1.5", "a number from 0 to 1"),
        ("features=yes", "true or false"),
        ("probabilities=some", "must be all"),
        ("probabilities=all, top_k=2", "leave out top_k and threshold"),
        ("probabilities=all, features=true", "ask for one of them"),
        ("explain=Afgan hound", "top or one of the model's 3 classes; did you mean 'Afghan hound'?"),
        ("explain=top, top_k=1", "leave out the other options"),
    ],
)
def test_options_that_mean_nothing(attributes: str, words: str) -> None:
    status, message = refused(BODY, JPEG | {ATTRIBUTES: attributes})
    assert status == 400 and words in message


def test_options_in_json_go_before_those_of_the_header() -> None:
    body = encoded(image=text(BODY), top_k=1, explain="top")
    assert "other options" in refused(body, JSON)[1]
    headers = JSON | {ATTRIBUTES: "top_k=3, threshold=0.5"}
    assert payload.parse(encoded(image=text(BODY), top_k=1), headers, RULES).options == Options(1, 0.5)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.4, application/json;q=0.5", "application/json"),
        ("text/html, application/jsonlines, */*;q=0.8", "application/jsonlines"),
        ("*/*, application/x-npy", "application/x-npy"),
        ("application/json;q=0, */*", "text/csv"),
        ("image/avif, image/webp, */*;q=0.8", "application/json"),
        ("application/*;q=oops", "application/json"),
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("image/png", None),
        ("text/csv;q=0", None),
        ("nonsense", None),
    ],
)
def test_accept(accept: str, chosen: str | None) -> None:
    assert negotiation.choose(accept, negotiation.ANSWERS) == chosen
    if chosen:
        assert payload.parse(BODY, JPEG | {"Accept": accept}, RULES).answer_type == chosen
    else:
        status, message = refused(BODY, JPEG | {"Accept": accept})
        assert status == 406
        assert message == (
            f"cannot answer as {accept}; accept application/json, text/csv, application/jsonlines, application/x-npy, "
            f"or image/png with the option explain=top"
        )


def test_the_default_accept_applies_where_the_caller_leaves_it_open() -> None:
    csv, nothing = (payload.Rules(RULES.preprocessing, CLASSES, default_accept=kind) for kind in ("text/csv", "a/b"))
    assert payload.parse(BODY, JPEG, csv).answer_type == "text/csv"
    assert payload.parse(BODY, JPEG | {"Accept": "*/*"}, csv).answer_type == "text/csv"
    assert payload.parse(BODY, JPEG | {"Accept": "application/json"}, csv).answer_type == "application/json"
    assert refused(BODY, JPEG, nothing)[0] == 406
    assert payload.parse(BODY, JPEG | {"Accept": "*/*"}, nothing).answer_type == "application/json"


def test_an_explanation_is_a_picture_of_one_photograph() -> None:
    explain = JPEG | {ATTRIBUTES: "explain=top"}
    for headers in (explain, explain | {"Accept": "*/*"}, explain | {"Accept": "image/*"}):
        request = payload.parse(BODY, headers, RULES)
        assert request.answer_type == "image/png"
        assert request.photograph is not None
        np.testing.assert_array_equal(request.photograph.shape, decoded(BODY).shape)
    status, message = refused(BODY, explain | {"Accept": "application/json"})
    assert status == 406 and message == "cannot answer as application/json; accept image/png"
    assert "one photograph" in refused(encoded(images=[text(BODY)] * 2, explain="top"), JSON)[1]
    assert payload.parse(array(decoded(OTHER)), NPY | {ATTRIBUTES: "explain=top"}, RULES).photograph is not None


def test_the_photographs_of_a_request_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classifier.decoding.MAX_PIXELS", decoded(BODY).shape[0] * decoded(BODY).shape[1] + 5)
    assert payload.parse(encoded(images=[text(BODY)]), JSON, RULES)
    status, message = refused(encoded(images=[text(BODY)] * 2), JSON)
    assert status == 400 and message.startswith("images[1]: a request may have")


def test_as_many_photographs_as_are_allowed() -> None:
    values = np.random.default_rng(0).integers(0, 256, (bodies.MAX_PHOTOGRAPHS, 20, 30, 3), np.uint8)
    assert len(payload.parse(array(values), NPY, RULES).pixels) == bodies.MAX_PHOTOGRAPHS
