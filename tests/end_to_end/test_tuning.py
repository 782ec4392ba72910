"""Searches with the real container code, in processes: features once, a job a trial, all in one job, and a training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from photographs import data_set

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[..., "dict[str, Any]"]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script with --local in the test's directory; its --json document."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCAL_SAGEMAKER"))}

    def run(name: str, *arguments: object) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)],
            cwd=tmp_path, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
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
