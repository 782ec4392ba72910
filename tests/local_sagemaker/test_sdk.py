"""The SageMaker SDK 3.x as a client that nobody changed: a region, any credentials and AWS_ENDPOINT_URL.

Its settings file has two lines for what no endpoint reaches: to name its default bucket it asks an address of STS that
is written into it, and it reports each call to AWS.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Local
from .test_clients import environment

SETTINGS = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session: {DefaultS3Bucket: sdk-bucket}
"""
SCRIPT = Path(__file__).with_name("sdk_client.py")
CODE = """
h = json.load(open("input/config/hyperparameters.json"))
print(open("input/data/train/photograph").read())
print("loss=" + h["lr"])
open("model/serve.py", "w").write('''
class H(Handler):
    def do_POST(self):
        self.answer(200, self.body()[::-1], Content_Type="text/plain")
serve(H)
''')
"""


@pytest.mark.slow
def test_train_tune_deploy_and_register(local: Local, tmp_path: Path) -> None:
    pytest.importorskip("sagemaker.core", reason="the sagemaker SDK is not installed")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photograph").write_text("a line of the photograph")
    settings = tmp_path / ".config" / "sagemaker" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, SCRIPT, CODE, tmp_path / "data", tmp_path / "said.json"],
        env=environment(local, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    status, artifact = said.pop("trained")
    assert status == "Completed"
    assert artifact.startswith("s3://sdk-bucket/sdk")
    assert "a line of the photograph" in done.stdout + done.stderr  # train(logs=True) follows the log
    assert said == {
        "bucket": "sdk-bucket",
        "tuned": ["Completed", 2],
        "best": ["Completed", True],
        "answer": "foow",
        "batch": ["Completed", "hpargotohp eht fo enil a"],
        "models left": 0,
        "group": "Completed",
    }
