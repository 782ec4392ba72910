"""Damaged requests from a fixed seed: in the handler, and over HTTP; benchmarks/fuzz.py sends thousands."""

from __future__ import annotations

import io
import itertools
import json
import os
import urllib.parse
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from mms.context import Context, RequestProcessor
from PIL import Image

import contract_serving as contract
from benchmarks import mutations
from classifier import images, payload
from classifier.handler import Service

RULES = payload.Rules(images.Preprocessing.for_size(48), contract.CLASSES)
GOOD = [mutations.Case("good", body, {"Content-Type": kind}) for kind, body in contract.photographs()]


class Brightness:
    """A predictor whose answer tells which photograph it was about."""

    def predict(self, pixels: images.Pixels) -> npt.NDArray[np.float32]:
        means = pixels.mean(axis=(1, 2), dtype=np.float64) + 1
        shares: npt.NDArray[np.float32] = (means / means.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    features = predict

    def activation_map(self, pixels: images.Pixels, class_index: int) -> npt.NDArray[np.float32]:
        return pixels[:, ::8, ::8, class_index].astype(np.float32)


def answers(batch: list[mutations.Case]) -> list[tuple[int, bytes]]:
    """(status, body) of one batch in the handler, as the model server would send them."""
    service: Any = Service()
    service._rules, service._predictor = RULES, Brightness()
    context = Context("model", "", None, len(batch), None, "")
    context.request_processor = [RequestProcessor(dict(case.headers)) for case in batch]
    told = service._answer([{"body": bytearray(case.body)} for case in batch], context)
    bodies = (text.encode() if isinstance(text, str) else text for text in told)
    return [(context.get_response_status(at)[0], body) for at, body in enumerate(bodies)]


def test_what_is_damaged_is_refused_and_the_good_in_its_batch_are_answered_right() -> None:
    expected = [answers([case])[0] for case in GOOD]
    assert {status for status, _ in expected} == {200}
    cases = mutations.cases(seed=11)
    statuses = set()
    for number in range(80):
        at = number % len(GOOD)
        damaged = list(itertools.islice(cases, 5))
        told = answers([*damaged[:2], GOOD[at], *damaged[2:]])
        assert told.pop(2) == expected[at]
        for case, (status, body) in zip(damaged, told, strict=True):
            assert (complaint := mutations.complaint(status, body)) is None, (case.kind, complaint, status, body[:300])
            statuses.add(status)
    assert statuses == {200, 400, 406, 415}


@pytest.mark.parametrize("at", range(len(mutations.decompression_bombs())))
def test_decompression_bombs(at: int) -> None:
    ((status, body),) = answers([mutations.Case("bomb", mutations.decompression_bombs()[at])])
    assert status in (400, 415) and mutations.complaint(status, body) is None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[contract.Server]:
    root = tmp_path_factory.mktemp("ml")
    contract.write_artifact(root / "model")
    variables = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    running = contract.Server(root, variables=variables).start()
    try:
        yield running.wait_for_ping(200)
    finally:
        running.stop()


def test_a_server_outlives_strangers(server: contract.Server) -> None:
    processes = {process.pid for process in server.descendants()}
    contract.check_predictions(server.url, server.root / "model")
    kind, body = contract.photographs()[0]
    expected = contract.predict(server.url, body, kind)
    for number, case in enumerate(itertools.islice(mutations.cases(seed=12), 60)):
        response = contract.invoke(server.url, case.body, case.headers)
        assert (told := mutations.complaint(response.status_code, response.content)) is None, (case.kind, told)
        if number % 10 == 0:
            assert contract.predict(server.url, body, kind) == pytest.approx(expected, abs=1e-4)
    contract.check_refusal(
        contract.invoke(server.url, b'{"image": ', {"Content-Type": "application/json"}), 400, "is no JSON"
    )
    for method in ("POST", "PUT", "DELETE"):
        contract.check_refusal(httpx.request(method, f"{server.url}/ping", timeout=60), 405, "GET only")
    assert {process.pid for process in server.descendants()} >= processes
    assert "Traceback" not in server.log()


def test_every_kind_of_answer(server: contract.Server) -> None:
    """Two photographs in, all types out, the same numbers."""
    pictures = [contract.photographs()[at][1] for at in (0, 2)]
    sent = [{"b64": mutations.text(data)} for data in pictures]

    def ask(accept: str, **options: Any) -> httpx.Response:
        body = json.dumps({"instances": sent, **options}).encode()
        response = contract.invoke(server.url, body, {"Content-Type": "application/json", "Accept": accept})
        assert (response.status_code, response.headers["content-type"]) == (200, accept), response.text
        return response

    plain = np.array(ask("application/json", probabilities="all").json())
    assert plain.shape == (2, len(contract.CLASSES)) and plain.sum(axis=1) == pytest.approx(1, abs=1e-5)
    labels = ask("application/json").json()["predictions"]
    assert [row[0]["label"] for row in labels] == [contract.CLASSES[at] for at in plain.argmax(axis=1)]
    lines = [json.loads(line)["predictions"] for line in ask("application/jsonlines").text.splitlines()]
    assert [row[0]["label"] for row in lines] == [row[0]["label"] for row in labels]
    assert [row.split(",")[0] for row in ask("text/csv").text.splitlines()] == [row[0]["label"] for row in labels]
    assert np.load(io.BytesIO(ask("application/x-npy").content)) == pytest.approx(plain, abs=1e-4)
    features = np.load(io.BytesIO(ask("application/x-npy", features=True).content))
    assert features.shape == (2, 512) and features.min() >= 0
    assert np.array(ask("application/json", features=True).json()["features"]) == pytest.approx(features, abs=1e-3)


@pytest.mark.parametrize("wanted", ["top", "green"])
def test_an_explanation(server: contract.Server, wanted: str) -> None:
    kind, body = contract.photographs()[1]
    headers = {"Content-Type": kind, contract.ATTRIBUTES: f"explain={wanted}"}
    response = contract.invoke(server.url, body, headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png"), response.text
    assert Image.open(io.BytesIO(response.content)).size == (300, 200)
    told = dict(part.split("=") for part in response.headers[contract.ATTRIBUTES].split(", "))
    best = next(iter(contract.predict(server.url, body, kind)))
    assert urllib.parse.unquote(told["label"]) == (best if wanted == "top" else wanted)
