"""The serving half of SageMaker's container contract: two ways to run `serve`, and what every server must do."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from classifier import artifact, images, network
from conftest import ROOT
from photographs import jpeg

CLASSES = ("amber", "blue", "green")
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
# Answers are compared with torch's; the fastest engine of a processor is less exact.
EXACT = {"KENNEL_ENGINE": "fp32"}


def write_artifact(directory: Path, classes: Sequence[str] = CLASSES, outputs: int = 0, crop: int = 48) -> Path:
    """An untrained ResNet-18; `outputs` other than the number of classes makes its weights misfit."""
    artifact.write(
        directory,
        model="resnet18",
        classes=classes,
        preprocessing=images.Preprocessing.for_size(crop),
        metrics={},
        provenance={},
        state=network.build("resnet18", outputs or len(classes)).state_dict(),
    )
    return directory


def photographs() -> list[tuple[str, bytes]]:
    """(content type, body) of pictures that differ in colour, size and format."""
    rng = np.random.default_rng(3)
    return [
        ("image/jpeg", jpeg(0.0, rng)),
        ("image/jpeg", jpeg(0.5, rng, (300, 200))),
        ("image/png", jpeg(0.3, rng, format="PNG")),
        ("application/x-image", jpeg(0.7, rng)),
        ("application/x-image", jpeg(0.9, rng, format="PNG")),
        ("image/png; charset=binary", jpeg(0.6, rng)),  # declared wrongly: what the bytes are decides
    ]


@dataclass
class Server:
    """`serve` on a private /opt/ml, as a container of `image`, or as a process when there is none."""

    root: Path
    image: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    pings: list[int | None] = field(default_factory=list)
    options: Sequence[str] = ()
    """of `docker run`"""

    def start(self) -> Server:
        self._log = self.root / "serve.log"
        if self.image is None:
            self.port = free_port()
            command = [str(ROOT / "container_src" / "bin" / "serve")]
            environment = {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.root),
                "SAGEMAKER_BASE_DIR": str(self.root),
                **EXACT,
                "SAGEMAKER_BIND_TO_ADDRESS": "127.0.0.1",
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                **self.variables,
            }
        else:
            self.container = f"kennel-test-{uuid.uuid4().hex[:8]}"
            options = [f"--env={name}={value}" for name, value in {**EXACT, **self.variables}.items()]
            mount = f"-v={self.root / 'model'}:/opt/ml/model:ro"
            command = [
                "docker",
                "run",
                "--rm",
                f"--name={self.container}",
                "-p=127.0.0.1::8080",
                mount,
                *options,
                *self.options,
            ]
            command += [self.image, "serve"]
            environment = dict(os.environ)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=self.root, stdout=log, stderr=log)
        return self

    @property
    def url(self) -> str:
        if self.image is not None:
            shown = subprocess.run(["docker", "port", self.container, "8080/tcp"], capture_output=True, text=True)
            return f"http://{shown.stdout.strip() or '127.0.0.1:1'}"
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log that are JSON."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def ping(self) -> int | None:
        """The status of /ping; None while nothing listens."""
        try:
            return httpx.get(f"{self.url}/ping", timeout=10).status_code
        except httpx.TransportError:
            return None

    def wait_for_ping(self, wanted: int) -> Server:
        """Asks until /ping is `wanted`; what it was before is added to `pings`."""
        deadline = time.monotonic() + 600
        while (status := self.ping()) != wanted:
            self.pings.append(status)
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"/ping is {status}, not {wanted}\n{self.log()}"
            time.sleep(0.1)
        return self

    def descendants(self) -> list[psutil.Process]:
        """The server and its workers (of a process, not of a container)."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def terminate(self) -> None:
        """SIGTERM, as the platform stops a server."""
        if self.image is None:
            self.process.send_signal(signal.SIGTERM)
        else:
            subprocess.run(["docker", "kill", "--signal=TERM", self.container], check=True, capture_output=True)

    def wait(self) -> int:
        """The exit code, within the 30 s that the platform grants."""
        return self.process.wait(timeout=30)

    def stop(self) -> None:
        """For the end of a test, whatever became of it."""
        if self.process.poll() is None:
            self.terminate()
            self.wait()


def free_port() -> int:
    """Below the range that Linux hands out by itself, because multi-model-server takes no port above 32766."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def invoke(url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    return httpx.post(f"{url}/invocations", content=body, headers=dict(headers), timeout=60)


def predict(url: str, body: bytes, content_type: str = "image/jpeg", **headers: str) -> dict[str, float]:
    """label -> probability, in the order of the answer."""
    response = invoke(url, body, {"Content-Type": content_type, **headers})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return {p["label"]: p["probability"] for p in response.json()["predictions"]}


def expected_predictions(model_dir: Path) -> list[tuple[str, bytes, dict[str, float]]]:
    """(content type, body, label -> probability) of the photographs, by torch itself."""
    import torch

    model = artifact.read(model_dir)
    net = network.load(model)
    expected = []
    for content_type, body in photographs():
        pixels = torch.from_numpy(images.load(body, model.preprocessing)[np.newaxis].copy())
        with torch.inference_mode():
            probabilities = net(images.normalize(pixels, model.preprocessing)).softmax(1)[0].tolist()
        expected.append((content_type, body, dict(zip(model.classes, probabilities, strict=True))))
    return expected


def check_predictions(url: str, model_dir: Path) -> None:
    """The server answers what torch answers for the same pixels, best first."""
    for content_type, body, probabilities in expected_predictions(model_dir):
        answered = predict(url, body, content_type)
        assert list(answered.values()) == sorted(answered.values(), reverse=True)
        assert set(answered) == set(probabilities)
        for label, probability in probabilities.items():
            assert abs(answered[label] - probability) < 1e-4, (content_type, label)


def check_top_k(url: str) -> None:
    """Custom attributes choose how many labels come back."""
    _, body = photographs()[0]
    everything = list(predict(url, body))
    assert len(everything) == len(CLASSES)
    assert list(predict(url, body, **{ATTRIBUTES: "top_k=1"})) == everything[:1]
    assert list(predict(url, body, **{ATTRIBUTES: "trace=7f3a, top_k=2"})) == everything[:2]
    assert list(predict(url, body, **{ATTRIBUTES.lower(): "top_k=99"})) == everything
    for bad in ("0", "-1", "two", "1.5", ""):
        response = invoke(url, body, {"Content-Type": "image/jpeg", ATTRIBUTES: f"top_k={bad}"})
        check_refusal(response, 400, "top_k")


def check_bad_requests(url: str) -> None:
    """Each gives the fitting 4xx and one sentence, and the server goes on."""
    (_, body), _, (_, png), *_ = photographs()
    image = {"Content-Type": "image/jpeg"}
    check_refusal(invoke(url, b"", image), 400, "the body is empty")
    check_refusal(invoke(url, b"woof", image), 400, "no image")
    check_refusal(invoke(url, body[: len(body) // 2], image), 400, "damaged")
    check_refusal(invoke(url, png[: len(png) // 2], image), 400, "damaged")
    check_refusal(
        invoke(url, body, {"Content-Type": "text/csv"}), 415, "'text/csv' is not supported; send one of image/"
    )
    check_refusal(invoke(url, body, {}), 415, "(none)")
    check_refusal(invoke(url, body, image | {"Accept": "text/html"}), 406, "text/html")
    check_refusal(invoke(url, body + b"\0" * 7_000_000, image), 413, "at most 6,291,456")
    assert predict(url, body)
    # The largest body that the platform lets through is one we take.
    assert predict(url, body + b"\0" * (6_291_456 - len(body)))
    for accept in ("*/*", "application/*", "application/json", "text/html, application/json;q=0.5"):
        assert predict(url, body, Accept=accept)


def check_refusal(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert "Traceback" not in answer["error"] and "\n" not in answer["error"]


def check_management_is_closed(url: str) -> None:
    """Registering a model is running its code: the port that the world reaches must not offer it."""
    for method, path in (
        ("POST", "/models?url=http://127.0.0.1/evil.mar"),
        ("POST", "/models?model_name=evil&url=/tmp"),
        ("GET", "/models"),
        ("GET", "/models/model"),
        ("PUT", "/models/model?min_worker=0&max_worker=0"),
        ("DELETE", "/models/model"),
    ):
        assert httpx.request(method, url + path, timeout=10).status_code == 404, (method, path)
    assert httpx.get(f"{url}/ping", timeout=10).status_code == 200


def check_execution_parameters(url: str, workers: int) -> None:
    """What batch transform asks before it starts."""
    answer = httpx.get(f"{url}/execution-parameters", timeout=10)
    assert json.loads(answer.text) == {
        "MaxConcurrentTransforms": workers,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 6,
    }
