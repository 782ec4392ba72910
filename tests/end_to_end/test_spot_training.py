"""A spot instance is taken away: the real container code goes on from its checkpoint, and the report has all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from contract_training import Job
from local_sagemaker import daemon
from photographs import data_set

ROOT = Path(__file__).resolve().parents[2]
HYPERPARAMETERS = {
    "weights": "none", "freeze-backbone": "false", "image-size": "32", "batch-size": "8", "epochs": "30"
}  # fmt: skip


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), "--local", *map(str, arguments)]


@pytest.mark.slow
def test_train_spot_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", {"train": 12, "valid": 4})
    alone = Job(tmp_path / "ml", {name: data / name for name in ("train", "valid")})
    code, log = alone.run(HYPERPARAMETERS)
    assert code == 0, log

    state = tmp_path / "server"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCAL_SAGEMAKER"))}
    environment = kept | {"LOCAL_SAGEMAKER_STATE": str(state)}
    given = [part for name, value in HYPERPARAMETERS.items() for part in (f"--{name}", value)]
    command = script("train", "--data", data, *given, "--spot", "--name", "rex")
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "epoch 3/30: " in line and not any("epoch 3/30: " in earlier for earlier in seen[:-1]):
                asked = urllib.request.Request(f"{daemon.running_url(state)}/local/interrupt/rex", b"{}",
                                               {"Content-Type": "application/json"})  # fmt: skip
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60).close()
        told = "".join(seen)
        assert process.wait(timeout=600) == 0, told
        assert told.count("checkpoint: going on after step ") == 1, told
    finally:
        process.kill()
        subprocess.run(script("clean", "--stop-server"), cwd=tmp_path, env=environment, check=True, timeout=600,
                       stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    results = tmp_path / "runs" / "rex" / "results"
    assert [e["number"] for e in json.loads((results / "report.json").read_text())["epochs"]] == list(range(1, 31))
    found, expected = (json.loads((folder / "model.json").read_text()) for folder in (results, alone.root / "model"))
    assert found["weights_sha256"] == expected["weights_sha256"]
