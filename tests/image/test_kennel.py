"""Kennel's own image, beyond the contract: what is in it, and how few rights it needs."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import contract_serving
from conftest import ROOT
from image import training
from image.containers import Container, docker
from image.subject import Subject

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("kennel")]

# docs/01-the-contract.md says what each is good for.
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=2g",
    "--pids-limit=256",
)
# Asks the server from inside, where no network leads: content type and body on stdin, one JSON line a photograph.
ASK = """
import base64, json, sys, urllib.request
for line in sys.stdin:
    kind, body = line.rsplit(maxsplit=1)
    headers = {"Content-Type": kind}
    asked = urllib.request.Request("http://127.0.0.1:8080/invocations", base64.b64decode(body), headers)
    print(urllib.request.urlopen(asked, timeout=60).read().decode())
"""
KILL_WORKERS = """
import psutil
java = next(p for p in psutil.process_iter() if p.name() == "java")
for worker in java.children(recursive=True):
    worker.kill()
"""


@pytest.fixture(scope="module")
def kennel(config: dict[str, Any]) -> None:
    title = (config["Labels"] or {}).get("org.opencontainers.image.title")
    if title != "kennel":
        pytest.skip(f"the image is not Kennel's: its label org.opencontainers.image.title is {title!r}")


def run(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    return docker("run", "--rm", "--network=none", image, *command, timeout_s=120)


def test_train_is_the_default_and_both_programs_become_process_1(config: dict[str, Any], image: str) -> None:
    assert (config["Entrypoint"], config["Cmd"]) == (["/usr/bin/env"], ["train"])
    assert run(image, "sh", "-c", "command -v train; command -v serve").stdout.split() == [
        "/opt/kennel/bin/train",
        "/opt/kennel/bin/serve",
    ]
    assert "serve" in run(image, "serve", "--help").stdout


def test_a_run_without_a_job_says_what_is_missing(image: str) -> None:
    ended = run(image)
    assert ended.returncode == 1
    assert "the channel `train` is missing (given: none)" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    ended = run(image, "serve")
    assert ended.returncode == 1
    assert "/opt/ml/model is no model artifact: model.json is missing" in ended.stderr


def test_the_packages_are_there_and_the_host_side_is_not(image: str) -> None:
    names = ("torch", "torchvision", "smdebug.pytorch", "sagemaker_training", "mms", "sagemaker_inference", "boto3")
    code = (
        f"import importlib, importlib.util; [importlib.import_module(n) for n in {names!r}]; "
        "absent = [n for n in ('sagemaker', 'docker', 'pytest', 'orchestrate') if importlib.util.find_spec(n)]; "
        "assert not absent, absent; import torch; print(torch.version.cuda)"
    )
    ended = run(image, "env", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python", "python3", "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1].startswith(("12.", "None"))  # None: the build for the CPU


def test_no_compiler_and_no_leftovers(image: str) -> None:
    found = run(image, "sh", "-c", "command -v gcc cc pip uv javac; find /opt -name tests -path '*kennel*'; ls /build")
    assert found.stdout == ""


def test_the_weights_in_the_image_are_what_their_names_say(image: str) -> None:
    listed = run(image, "sh", "-c", "cd /opt/kennel/weights && sha256sum *.pth")
    assert listed.returncode == 0, listed.stderr
    for line in listed.stdout.splitlines():
        digest, name = line.split()
        assert digest.startswith(name.removesuffix(".pth").rpartition("-")[2])


def test_the_code_is_that_of_this_checkout(image: str) -> None:
    names = ("classifier/images.py", "serve.py", "train.py", "serving/netty.py")
    shown = run(image, "sha256sum", *(f"/opt/kennel/{name}" for name in names)).stdout.split()[::2]
    ours = [hashlib.sha256((ROOT / "container_src" / name).read_bytes()).hexdigest() for name in names]
    assert shown == ours, "build the image again: `make image`"


@pytest.fixture(scope="module")
def hardened(tested: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A ready server of an ordinary user with a read-only root file system, without a right or a network."""
    model = tmp_path_factory.mktemp("hardened") / "model"
    contract_serving.write_artifact(model)
    container = Container.start(
        tested.image,
        "serve",
        # The reference's answers, not those of what is fastest on this processor.
        [
            *HARDENED,
            "--user=10001:10001",
            "--network=none",
            f"-v={model}:/opt/ml/model:ro",
            "--health-interval=1s",
            "--env=KENNEL_ENGINE=fp32",
        ],
    )
    try:
        assert wait_for_health(container, "healthy"), container.log()
        yield container
    finally:
        container.remove()


def wait_for_health(container: Container, wanted: str) -> bool:
    """Whether the engine finds it `wanted` before it ends, or two minutes are over."""
    deadline = time.monotonic() + 120
    while container.inspect()["State"]["Health"]["Status"] != wanted:
        if not container.running() or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_hardened_serving_predicts(hardened: Container, tmp_path: Path) -> None:
    model = Path(next(m["Source"] for m in hardened.inspect()["Mounts"]))
    expected = contract_serving.expected_predictions(model)
    lines = "".join(f"{kind} {base64.b64encode(body).decode()}\n" for kind, body, _ in expected)
    command = ["docker", "exec", "--interactive", hardened.id, "python3", "-c", ASK]
    asked = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 0, asked.stderr
    answers = asked.stdout.splitlines()
    assert len(answers) == len(expected)
    for answer, (_, _, probabilities) in zip(answers, expected, strict=True):
        predicted = {p["label"]: p["probability"] for p in json.loads(answer)["predictions"]}
        assert predicted == pytest.approx(probabilities, abs=1e-4)


def test_hardened_serving_has_no_rights(hardened: Container) -> None:
    status = docker("exec", hardened.id, "cat", "/proc/1/status").stdout
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert values["Uid"].split() == ["10001"] * 4
    assert {int(values[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert values["NoNewPrivs"] == "1"
    assert docker("exec", hardened.id, "touch", "/opt/kennel/x").returncode != 0
    assert "noexec" in docker("exec", hardened.id, "grep", " /tmp ", "/proc/mounts").stdout


def test_health_follows_the_workers(hardened: Container) -> None:
    """The last of its server: afterwards that has no workers."""
    said = hardened.inspect()["State"]["Health"]["Log"][-1]
    assert (said["ExitCode"], said["Output"]) == (0, "/ping on 127.0.0.1:8080 answers 200\n")
    killed = docker("exec", hardened.id, "python3", "-c", KILL_WORKERS)
    assert killed.returncode == 0, killed.stderr
    assert wait_for_health(hardened, "unhealthy"), hardened.log()
    said = hardened.inspect()["State"]["Health"]["Log"][-1]
    assert (said["ExitCode"], said["Output"]) == (1, "/ping on 127.0.0.1:8080 answers 503\n")


def test_training_needs_no_capability(tested: Subject, tmp_path: Path) -> None:
    """Root, as SageMaker demands, but a root that may only what every user may with what is its own."""
    if os.getuid():
        pytest.skip(
            "needs root: on SageMaker the directories of a job belong to root, and here to the user of the tests"
        )
    # sagemaker-training makes /opt/ml/code, whether or not there is code to be put there.
    hardened = dataclasses.replace(tested, options=(*HARDENED, "--tmpfs=/opt/ml/code"))
    outcome = training.run(hardened, tmp_path / "ml", training.CONDITIONS)
    assert outcome.exit_code == 0, outcome.log
    assert {path.name for path in outcome.files()} == {"model.json", "model.safetensors"}


def test_a_training_job_is_healthy_while_it_runs(tested: Subject) -> None:
    """Nothing listens in it."""
    container = Container.start(tested.image, "cat", ["--network=none", "--interactive"])
    try:
        checked = docker("exec", container.id, "/opt/kennel/bin/healthcheck")
        assert (checked.returncode, checked.stdout) == (0, "no server runs here: nothing to ask\n")
    finally:
        container.remove()
