"""One model trained on two instances of local SageMaker, through the script that people use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from photographs import data_set

ROOT = Path(__file__).resolve().parents[2]
HYPERPARAMETERS = {"weights": "none", "image-size": "32", "batch-size": "8", "epochs": "2", "augment": "true"}


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)]


@pytest.mark.slow
def test_train_on_two_instances_leaves_one_model_and_one_report(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 12, "valid": 4, "test": 3})
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCAL_SAGEMAKER"))}
    environment = kept | {"LOCAL_SAGEMAKER_STATE": str(tmp_path / "server")}
    given = [part for name, value in HYPERPARAMETERS.items() for part in (f"--{name}", value)]
    command = script("train", "--data", data, *given, "--instances", 2, "--name", "rex")
    try:
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=900, check=False)  # fmt: skip
    finally:
        subprocess.run(script("clean", "--stop-server"), cwd=tmp_path, env=environment, check=True, timeout=600,
                       stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    results = tmp_path / "runs" / "rex" / "results"
    model = json.loads((results / "model.json").read_text())
    assert model["provenance"]["processes"] == 2
    report = json.loads((results / "report.json").read_text())
    assert (report["status"], report["missing"]) == ("completed", [])
    assert [rank["rank"] for rank in report["ranks"]] == [0, 1]
    assert [epoch["number"] for epoch in report["epochs"]] == [1, 2]
