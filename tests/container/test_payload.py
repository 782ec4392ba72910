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
TINY = jpeg(0.5, np.random.default_rng(2), (8, 8), "PNG")
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
ALL_OR_SOME = "probabilities=all answers with every class: leave out top_k and threshold"
NPY_HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 9, 3), }"
DAMAGED = "the npy array's header is damaged; write it with numpy.save"
NO_UNICODE = "the body is no JSON: it is not Unicode, or a number in it has thousands of digits"
NEEDS_ONE = (
    'the JSON needs one of {"image": "<base64>"}, {"images": ["<base64>", ...]} and '
    '{"instances": [{"b64": "<base64>"}, ...]}'
)


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


def lists(photographs: int) -> bytes:
    return encoded(images=[text(TINY)] * photographs)


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
    assert request.photograph is None
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
        (b"", JPEG, 400, "...empty"),
        (None, JPEG, 400, "the body is empty; send the bytes of one photograph"),
        (b"hello", JPEG, 400, "...no image"),
        (BODY[:500], JPEG, 400, "...damaged"),
        (bytes(200_001), JPEG, 413, "...has 200,001 bytes, at most 200,000 are accepted; send a smaller photograph"),
        (
            BODY,
            {},
            415,
            "content type '(none)' is not supported; send one of image/*, application/x-image, "
            "application/octet-stream, application/json, application/x-npy",
        ),
        (BODY, {"Content-Type": "text/csv"}, 415, "...'text/csv'"),
        (None, {"Content-Type": "multipart/form-data; boundary=x"}, 415, "...'multipart/form-data'"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", {"Content-Type": "image/heic"}, 415, "...a HEIC (HEIF) image"),
        (b"<!DOCTYPE html><html></html>", JPEG, 415, "...an HTML page"),
        (b"{", JSON, 400, "...is no JSON"),
        (b"\xff\xfe\x00", JSON, 400, NO_UNICODE),
        (b'{"image":\n ?}', JSON, 400, "the body is no JSON: Expecting value: line 2 column 2 (char 11)"),
        (b"[" * 100_000, JSON, 400, "the body is JSON with too many levels"),
        (b'{"image": ' + b"9" * 10_000 + b"}", JSON, 400, NO_UNICODE),
        (b'[["b64"]]', JSON, 400, NEEDS_ONE),
        (encoded(image=text(BODY), images=[]), JSON, 400, "...needs one of"),
        (encoded(image=7), JSON, 400, 'image must be a photograph in base64, as text or as {"b64": text}'),
        (encoded(image="%%%"), JSON, 400, "image is no base64; encode the photograph's bytes"),
        (encoded(image=text(TINY) + "%"), JSON, 400, "...image is no base64"),
        (encoded(image=f"data:image/png;base64,AAAA,{text(TINY)}"), JSON, 400, "...image is no base64"),
        (encoded(image="é"), JSON, 400, "...image is no base64"),
        (encoded(image=""), JSON, 400, "image is empty; send the bytes of a photograph"),
        (encoded(image=text(b"woof")), JSON, 400, "...no image"),
        (encoded(image=text(BODY), topk=3), JSON, 400, "...'topk' is not known; beside 'image' it may have top_k, thr"),
        (
            encoded(image=text(BODY), top_k=[3]),
            JSON,
            400,
            "option top_k is not valid: it must be text, a number, true or false",
        ),
        (
            encoded(image=text(BODY), top_k=True),
            JSON,
            400,
            "option top_k='true' is not valid: it must be a whole number from 1",
        ),
        (encoded(images=text(BODY)), JSON, 400, "the JSON's 'images' must be a list of 1 to 64 photographs"),
        (encoded(images=[]), JSON, 400, "...has 0 photographs; send 1 to 64"),
        (encoded(images=[""] * 1065), JSON, 400, "the request has 1,065 photographs; send 1 to 64"),
        (encoded(images=[text(BODY), text(BODY[:400])]), JSON, 400, "...images[1]: the image is damaged"),
        (encoded(instances=[{"b64": text(BODY)}, {"b65": ""}]), JSON, 400, "...instances[1] must be"),
        (encoded(images=[text(BODY), text(b"%PDF-1.7")]), JSON, 415, "...images[1]: the bytes are a PDF document"),
        (array(np.zeros((4, 4, 3))), NPY, 400, "...is float64 [4, 4, 3]; send uint8"),
        (array(np.zeros((4, 4), np.uint8)), NPY, 400, "...is uint8 [4, 4]; send uint8"),
        (
            array(np.zeros((4, 4, 4), np.uint8)),
            NPY,
            400,
            "...is uint8 [4, 4, 4]; send uint8 [height, width, 3] or [n, h",
        ),
        (array(np.zeros((4, 3), np.uint8)), NPY, 400, "...is uint8 [4, 3]; send uint8"),
        (array(np.zeros((1, 1, 4, 4, 3), np.uint8)), NPY, 400, "...is uint8 [1, 1, 4, 4, 3]; send uint8"),
        (array(np.zeros((0, 4, 3), np.uint8)), NPY, 400, "...is uint8 [0, 4, 3]; send uint8"),
        (array(np.zeros((1065, 1, 1, 3), np.uint8)), NPY, 400, "the request has 1,065 photographs; send 1 to 64"),
        (
            array(np.zeros((9, 9, 3), np.uint8))[:-1],
            NPY,
            400,
            "...promises 243 values and has 242; write it with numpy.save",
        ),
        (array(np.zeros((9, 9, 3), np.uint8)).replace(b"(9, 9, 3)", b"(9e9,3,3)"), NPY, 400, DAMAGED),
        (
            b"\x93NUMPY\1\0" + (2000).to_bytes(2, "little") + NPY_HEADER.ljust(1999) + b"\n" + bytes(243),
            NPY,
            400,
            DAMAGED,
        ),
        (array(np.array([{}, {}, {}], object)), NPY, 400, "...is object [3]; send uint8"),
        (b"\x93NUMPY\2\0\xff\xff\xff\x7f{", NPY, 400, DAMAGED),
    ],
)
def test_refusals(body: bytes | None, headers: dict[str, str], status: int, words: str) -> None:
    """`words` are the whole sentence, or after three dots a part of it."""
    told_status, told = refused(body, headers)
    assert told_status == status
    assert words[3:] in told if words.startswith("...") else told == words


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("a=b; TOP_K = 3", Options(top_k=3)),
        ("threshold=.5,features=True,trace=7f3a", Options(threshold=0.5, features=True)),
        ("top_k=1, threshold=1, features=FALSE", Options(top_k=1, threshold=1.0)),
        ("top_k=100, threshold=0", Options(top_k=100)),
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
        ("top_k=1e3", "option top_k='1e3' is not valid: it must be a whole number from 1"),
        ("top_k=0", "option top_k='0' is not valid: it must be a whole number from 1"),
        ("threshold=nan", "option threshold='nan' is not valid: it must be a number from 0 to 1"),
        ("threshold=1.5", "option threshold='1.5' is not valid: it must be a number from 0 to 1"),
        ("threshold=much", "option threshold='much' is not valid: it must be a number from 0 to 1"),
        ("features=yes", "option features='yes' is not valid: it must be true or false"),
        ("probabilities=some", "option probabilities='some' is not valid: it must be all"),
        ("probabilities=all, top_k=2", ALL_OR_SOME),
        ("probabilities=all, threshold=0.1", ALL_OR_SOME),
        (
            "probabilities=all, features=true",
            "probabilities=all and features=true are two answers: ask for one of them",
        ),
        (
            "explain=Afgan hound",
            "option explain='Afgan hound' is not valid: it must be top or one of the model's 3 classes; did you mean "
            "'Afghan hound'?",
        ),
        (
            "explain=a=b",
            "option explain='a=b' is not valid: it must be top or one of the model's 3 classes, as 'Affenpinscher' is",
        ),
        ("explain=top, top_k=1", "explain answers with a picture: leave out the other options"),
    ],
)
def test_options_that_mean_nothing(attributes: str, words: str) -> None:
    assert refused(BODY, JPEG | {ATTRIBUTES: attributes}) == (400, words)


def test_options_in_json_go_before_those_of_the_header() -> None:
    body = encoded(image=text(BODY), top_k=1, explain="top")
    assert "other options" in refused(body, JSON)[1]
    assert payload.parse(encoded(image=text(BODY), explain=CLASSES[1]), JSON, RULES).options.explain == CLASSES[1]
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
        ("text/csv, application/json", "text/csv"),
        ("text/csv;q=1, application/json", "text/csv"),
        ("application/*, application/jsonlines", "application/jsonlines"),
        ("application/json, text/csv;q=2", "application/json"),
        ("application/json, text/csv;q=oops", "application/json"),
        ("application/json;charset=utf-8;q=0.1, text/csv; Q = 0.2", "text/csv"),
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
    said = refused(encoded(images=[text(BODY)] * 2, explain="top"), JSON)[1]
    assert said == "explain answers for one photograph, the request has 2"
    assert payload.parse(encoded(images=[text(BODY)], explain="top"), JSON, RULES).photograph is not None
    assert payload.parse(array(decoded(OTHER)), NPY | {ATTRIBUTES: "explain=top"}, RULES).photograph is not None


def test_the_photographs_of_a_request_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = decoded(BODY).shape[0] * decoded(BODY).shape[1]
    monkeypatch.setattr("classifier.decoding.MAX_PIXELS", 2 * pixels)
    assert payload.parse(encoded(images=[text(BODY)] * 2), JSON, RULES)
    assert payload.parse(array([decoded(BODY)] * 2), NPY, RULES)
    for headers, body, name in (
        (JSON, encoded(images=[text(BODY)] * 3), "images"),
        (NPY, array([decoded(BODY)] * 3), "array"),
    ):
        status, message = refused(body, headers)
        assert status == 400
        assert message == f"{name}[2]: a request may have {2 * pixels:,} pixels in all; send fewer at a time"


def test_as_many_photographs_as_are_allowed() -> None:
    values = np.random.default_rng(0).integers(0, 256, (bodies.MAX_PHOTOGRAPHS, 20, 30, 3), np.uint8)
    assert len(payload.parse(array(values), NPY, RULES).pixels) == bodies.MAX_PHOTOGRAPHS
    assert len(payload.parse(lists(bodies.MAX_PHOTOGRAPHS), JSON, RULES).pixels) == bodies.MAX_PHOTOGRAPHS
    assert payload.parse(array(values[:1]), NPY, RULES).several


def test_as_many_bytes_as_are_allowed() -> None:
    exactly = payload.Rules(RULES.preprocessing, CLASSES, max_bytes=len(BODY))
    assert payload.parse(BODY, JPEG, exactly)


def test_an_array_of_the_second_version() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, decoded(OTHER), version=(2, 0))  # type: ignore[no-untyped-call]  # numpy has none
    pixels = payload.parse(stream.getvalue(), NPY, RULES).pixels
    np.testing.assert_array_equal(pixels, payload.parse(array(decoded(OTHER)), NPY, RULES).pixels)


def test_options_in_json_are_values_or_text() -> None:
    for members in ({"threshold": "0.5", "top_k": "3", "features": "true"}, {"threshold": 0.5, "features": True}):
        options = payload.parse(encoded(image=text(BODY), **members), JSON, RULES).options
        assert (options.threshold, options.features) == (0.5, True)


def test_a_large_photograph_is_explained_at_the_size_that_it_is_shown_at() -> None:
    large = jpeg(0.4, np.random.default_rng(0), (3000, 2000))
    request = payload.parse(large, JPEG | {ATTRIBUTES: "explain=top"}, payload.Rules(RULES.preprocessing, CLASSES))
    assert request.photograph is not None
    assert payload.SHOWN <= min(request.photograph.shape[:2]) < 2 * payload.SHOWN


def test_an_error_has_its_status_and_phrase() -> None:
    with pytest.raises(payload.RequestError) as caught:
        payload.parse(b"", JPEG, RULES)
    assert (caught.value.status_code, caught.value.phrase) == (400, "Bad Request")
    assert json.loads(payload.refusal("à bas")) == {"error": "à bas"} and "à" in payload.refusal("à bas")
