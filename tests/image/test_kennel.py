"""What is in the image, apart from what the contract's tests run in it (tests/container, with --image)."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.engine


def run(image: str, *command: str, entrypoint: str | None = None) -> subprocess.CompletedProcess[str]:
    options = ["--rm", "--network=none", *([f"--entrypoint={entrypoint}"] if entrypoint else [])]
    return subprocess.run(
        ["docker", "run", *options, image, *command], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    shown = subprocess.run(["docker", "inspect", image], capture_output=True, check=True).stdout
    values: dict[str, Any] = json.loads(shown)[0]["Config"]
    return values


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
        "absent = [n for n in ('sagemaker', 'optuna', 'pytest', 'orchestrate') if importlib.util.find_spec(n)]; "
        "assert not absent, absent; import torch; print(torch.version.cuda)"
    )
    ended = run(image, "env", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python", "python3", "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1].startswith("12.")


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
    from conftest import ROOT

    path = ROOT / "container_src" / "classifier" / "images.py"
    shown = run(image, "sha256sum", "/opt/kennel/classifier/images.py").stdout.split()[0]
    assert shown == hashlib.sha256(path.read_bytes()).hexdigest(), "build the image again: `make image`"
