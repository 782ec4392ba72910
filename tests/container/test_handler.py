"""The service, driven through multi-model-server's own loader and request classes, without the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from mms.model_loader import MmsModelLoader
from mms.service import Service as Worker

from classifier import events, handler, variables
from contract_serving import CLASSES, photographs, write_artifact
from serving.watch import Watch


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def worker(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    write_artifact(tmp_path / "model")
    yield load(tmp_path, state, monkeypatch)


def load(root: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv(variables.STATE_DIRECTORY, str(state))
    monkeypatch.setenv(variables.REQUEST_TIMEOUT, "60")
    monkeypatch.setenv(variables.GPUS, "0")
    monkeypatch.delenv(variables.PREDICTORS, raising=False)
    monkeypatch.setenv("KENNEL_ENGINE", "fp32")
    return MmsModelLoader().load("model", str(root / "model"), handler.__name__, None, 4)


def ask(worker: Worker, requests: list[tuple[dict[str, str], bytes]]) -> list[tuple[int, dict[str, Any]]]:
    """(status, answer) of each request of one batch, as the server would send them."""
    batch = [
        {
            "requestId": str(index).encode(),
            "headers": [{"name": k.encode(), "value": v.encode()} for k, v in headers.items()],
            "parameters": [{"name": "body", "contentType": headers.get("Content-Type", ""), "value": bytearray(body)}],
        }
        for index, (headers, body) in enumerate(requests)
    ]
    context = worker.context
    context.request_processor, data, context.request_ids = Worker.retrieve_data_for_inference(batch)
    answers = worker._entry_point(data, context)
    assert len(answers) == len(requests)
    assert {context.get_response_content_type(i) for i in range(len(requests))} == {"application/json"}
    return [(context.get_response_status(i)[0], json.loads(text)) for i, text in enumerate(answers)]


def test_a_batch_is_one_forward_pass_and_a_bad_request_fails_alone(worker: Worker, state: Path) -> None:
    service = worker._entry_point.__self__
    sizes = []
    predict = service._predictor.predict

    def counted(pixels: npt.NDArray[np.uint8]) -> Any:
        sizes.append(len(pixels))
        return predict(pixels)

    service._predictor.predict = counted

    good = [({"Content-Type": kind}, body) for kind, body in photographs()[:3]]
    answers = ask(worker, [good[0], ({"Content-Type": "image/jpeg"}, b"woof"), good[1], ({}, b""), good[2]])
    assert [status for status, _ in answers] == [200, 400, 200, 415, 200]
    assert sizes == [3]
    assert all(list(answers[i][1]) == ["error"] for i in (1, 3))
    for position, request in zip((0, 2, 4), good, strict=True):
        ((_, alone),) = ask(worker, [request])
        together = {p["label"]: p["probability"] for p in answers[position][1]["predictions"]}
        assert together.keys() == set(CLASSES)
        assert together == pytest.approx({p["label"]: p["probability"] for p in alone["predictions"]}, abs=1e-5)


def test_what_goes_wrong_inside_stays_inside(worker: Worker) -> None:
    def fail(pixels: npt.NDArray[np.uint8]) -> None:
        raise RuntimeError("secret detail")

    worker._entry_point.__self__._predictor.predict = fail
    ((status, answer),) = ask(worker, [({"Content-Type": "image/jpeg"}, photographs()[0][1])])
    assert status == 500
    assert answer == {"error": "the prediction failed; the reason is in the endpoint's log"}


def test_a_model_that_cannot_be_loaded_ends_the_worker(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Anything but the end of the process would be a "running" worker to multi-model-server.
    with pytest.raises(SystemExit):
        load(tmp_path, state, monkeypatch)
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["level"]) == ("error", "error") and "model.json is missing" in told["what"]


def test_requests_are_counted_and_on_demand_logged(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(events.LEVEL, "10")
    write_artifact(tmp_path / "model")
    worker = load(tmp_path, state, monkeypatch)
    capsys.readouterr()
    ask(worker, [({"Content-Type": "image/jpeg"}, photographs()[0][1]), ({}, b"")])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["request_id"], line["status"]) for line in lines] == [
        ("request", "0", 200),
        ("request", "1", 415),
    ]
    report = Watch(state, 1.0, 5, 60).report()
    assert report is not None and (report["requests"], report["client_errors"], report["server_errors"]) == (2, 1, 0)
    assert 0 < report["p50_ms"] <= report["p99_ms"]


def test_a_request_that_hangs_ends_the_worker(tmp_path: Path) -> None:
    """Also in C code, here a sleep that Python does not interrupt for signals it does not handle."""
    program = (
        "import ctypes, pathlib, sys, types\n"
        "from classifier.handler import Service\n"
        "from classifier.pulse import Pulse\n"
        "service = Service()\n"
        "service._pulse = Pulse(pathlib.Path(sys.argv[1]), 'worker')\n"
        "service._timeout_s = 1\n"
        "service._answer = lambda data, context: ctypes.CDLL(None).sleep(100)\n"
        "service.handle([], types.SimpleNamespace())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=300, env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGALRM
