"""The whole pipeline with the real container code, in processes: `train`, `serve`, the real server, real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from leftovers import processes_of

ROOT = Path(__file__).resolve().parents[2]


def pipeline(folder: Path, *arguments: object) -> dict[str, Any]:
    """Runs it in `folder`; its --json document."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCAL_SAGEMAKER"))
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "orchestrate" / "pipeline.py"), "--local", "--json", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_generated_photographs(tmp_path: Path) -> None:
    document = pipeline(
        tmp_path, "--source", "synthetic", "--classes", 3, "--per-class", 20, "--size", 64, "--image-size", 64,
        "--weights", "none", "--freeze-backbone", "false", "--trials", 2, "--range", "epochs=1:2",
        "--range", "batch-size=8,16", "--range", "learning-rate=0.0005:0.005:log",
    )  # fmt: skip
    trials = document["tuning"]["trials"]
    assert [trial["status"] for trial in trials] == ["Completed", "Completed"]
    assert document["tuning"]["best"]["objective"] == max(trial["objective"] for trial in trials)

    results = document["training"]["results"]
    trained_with = results["model"]["provenance"]["hyperparameters"]
    best = document["tuning"]["best"]["hyperparameters"]
    assert int(trained_with["epochs"]) == int(best["epochs"])
    assert float(trained_with["learning-rate"]) == pytest.approx(float(best["learning-rate"]))
    assert trained_with["debug"] == "true"
    metrics = document["training"]["metrics"]
    assert 0 <= metrics["test:accuracy"] <= 1 and metrics == results["model"]["metrics"]
    assert "<html" in (tmp_path / results["report"]).read_text("utf-8").lower()

    predictions = document["predictions"]
    assert len(predictions) == 3
    for prediction in predictions:
        labels = [label for label, _ in prediction["labels"]]
        probabilities = [probability for _, probability in prediction["labels"]]
        assert sorted(labels) == results["model"]["classes"]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=0.01)
    with Image.open(tmp_path / document["picture"]) as picture:
        assert picture.width > 600
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_dogs(tmp_path: Path, dogs: Path, resnet18_weights: Path) -> None:
    document = pipeline(
        tmp_path, "--data", dogs, "--weights", resnet18_weights, "--image-size", 160, "--trials", 2,
        "--range", "epochs=5:6", "--range", "learning-rate=0.005:0.02:log", "--range", "batch-size=16,32",
    )  # fmt: skip
    assert document["training"]["metrics"]["test:accuracy"] >= 0.68
    assert document["training"]["results"]["model"]["provenance"]["pretrained_weights"] == resnet18_weights.name
    right = [prediction["labels"][0][0] in prediction["photograph"] for prediction in document["predictions"]]
    assert len(right) == 10 and sum(right) >= 4
    assert processes_of(tmp_path) == []
