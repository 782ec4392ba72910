"""Searches with the real container code, in processes: features once, a job a trial, all in one job, and a training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from photographs import data_set
from terminal import terminal

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[..., "dict[str, Any]"]


def environment() -> dict[str, str]:
    """Nothing of AWS, nor of another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCAL_SAGEMAKER"))}


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script with --local in the test's directory; its --json document."""

    def run(name: str, *arguments: object) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)],
            cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout) if "--json" in arguments else {}
        return document

    return run


@pytest.mark.slow
def test_features_serve_trials_one_job_and_an_ordinary_training(script: Script, tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 8, "valid": 6})
    asked = ("--data", data, "--weights", "none", "--image-size", 64, "--range", "epochs=2:3", "--range",
             "batch-size=4,8", "--json")  # fmt: skip
    try:
        tuned = script("tune", *asked, "--trials", 2)
        assert [trial["status"] for trial in tuned["trials"]] == ["Completed"] * 2, "the container took the fingerprint"
        assert all(len(t["curve"]) == int(t["hyperparameters"]["epochs"]) for t in tuned["trials"])
        together = script("tune", *asked, "--trials", 6, "--in-one-job")
        assert together["features"]["uri"] == tuned["features"]["uri"] and together["features"]["seconds"] == 0
        assert [t["status"] for t in together["trials"]] == ["Completed"] * 6
        assert together["best"]["objective"] == max(t["objective"] for t in together["trials"])
        trained = script("train", "--from-tuning", together["tuning_job"], "--debug", "false", "--json")
        chosen = trained["results"]["model"]["provenance"]["hyperparameters"]
        best = together["best"]["hyperparameters"]
        assert int(chosen["epochs"]) == int(best["epochs"]) and chosen["mode"] == "train"
        # The same head on the same photographs; the features were kept in half precision.
        assert trained["metrics"]["valid:accuracy"] == pytest.approx(together["best"]["objective"], abs=0.12)
    finally:
        script("clean", "--stop-server")


@pytest.mark.slow
def test_a_search_in_one_job_that_is_stopped_keeps_the_best_so_far(script: Script, tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 8, "valid": 6})
    command = [sys.executable, ROOT / "orchestrate" / "tune.py", "--local", "--name", "rex", "--in-one-job", "--data",
               data, "--weights", "none", "--image-size", 32, "--epochs", 300, "--trials", 750]  # fmt: skip
    try:
        with terminal(command, tmp_path, environment()) as seen:
            seen.until("trial 2/750: valid:accuracy=")
            seen.interrupt()
            seen.until("Stop rex?")
            seen.type("y\n")
            seen.until("what has ended of it stays: python orchestrate/tune.py --local --attach rex")
            assert seen.end() == 130
        found = script("tune", "--attach", "rex", "--json")
        assert 2 <= len(found["trials"]) < 750
        assert {trial["status"] for trial in found["trials"]} == {"Completed"}
        assert found["best"]["objective"] == max(trial["objective"] for trial in found["trials"])
        trained = script("train", "--from-tuning", "rex", "--epochs", 1, "--debug", "false", "--json")
        chosen = trained["results"]["model"]["provenance"]["hyperparameters"]
        assert float(chosen["learning-rate"]) == float(found["best"]["hyperparameters"]["learning-rate"])
        with tarfile.open(tmp_path / "runs" / "rex" / "output" / "model.tar.gz") as kept:
            described = kept.extractfile("model.json")
            assert described
            assert json.load(described)["metrics"]["valid:accuracy"] == pytest.approx(found["best"]["objective"])
    finally:
        script("clean", "--stop-server")
