"""Running the scripts as people run them, against moto and a local SageMaker with a container of a few lines.

`train` fails with `--weight-decay 1` and lasts `--workers` minutes; `serve` fails with `--label-smoothing 0.9` and
takes `--workers` minutes for an answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_sagemaker import daemon

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-1"
TRAIN = """\
#!/usr/bin/env python3
import json, pathlib, sys, time
given = json.load(open("input/config/hyperparameters.json"))
time.sleep(60 * int(given.get("workers", 0)))
if float(given.get("weight-decay", 0)) == 1:
    sys.exit("the bowl is empty")
print(f"epoch 1/1: train:loss=0.5 valid:loss=0.5 valid:accuracy=0.5", flush=True)
pathlib.Path("model/model.json").write_text(json.dumps({"metrics": {}, "hyperparameters": given}))
"""
SERVE = """\
#!/usr/bin/env python3
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
given = json.load(open("model/model.json"))["hyperparameters"]
if given.get("label-smoothing") == "0.9":
    raise SystemExit("this model bites")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"predictions": [{"label": "a dog", "probability": 1}]}' if self.path == "/invocations" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(60 * int(given.get("workers", 0)))
        self.do_GET()
ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
# The registry of an account of moto's does not exist, which ends build.py after all that it asks AWS.
DOCKER = """\
#!/bin/sh
case "$*" in *imagetools*) echo "ERROR: no such host" >&2; exit 1;; esac
"""


@dataclass(frozen=True)
class Scripts:
    """Runs the scripts with a stack's outputs, as a person would who fills them in."""

    folder: Path
    environment: dict[str, str]
    bucket: str
    role: str

    def run(self, line: str, code: int = 0) -> None:
        """`train --attach NAME`, which must end with `code`."""
        with self._start(line) as process:
            told = process.communicate(timeout=600)
        assert process.returncode == code, f"{line}: exit {process.returncode}\n{told[0]}{told[1]}"

    def interrupt(self, line: str, after: str) -> None:
        """Ctrl-C when the script has printed `after`."""
        with self._start(line) as process:
            assert process.stdout
            seen = next((told for told in process.stdout if after in told), None)
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=300)
        assert seen and process.returncode == 130, f"{line}: exit {process.returncode}\n{told[0]}{told[1]}"

    def _start(self, line: str) -> subprocess.Popen[str]:
        name, *arguments = line.format(s3=f"s3://{self.bucket}/kennel", data=self.folder / "data").split()
        if name not in ("prepare", "build"):
            arguments += ["--output", f"s3://{self.bucket}/kennel", "--role", self.role]
        if name in ("tune", "pipeline") or "--data" in arguments or "--artifact" in arguments:
            arguments += ["--image", "process"]
        if name not in ("prepare", "build", "predict", "report", "doctor"):
            arguments += ["--yes"]
        return subprocess.Popen(
            [sys.executable, str(ROOT / "orchestrate" / f"{name}.py"), *arguments, "--region", REGION],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@contextlib.contextmanager
def account(folder: Path, moto: str) -> Iterator[dict[str, str]]:
    """What a person with an AWS account has set: moto's, with a local SageMaker whose image is TRAIN and SERVE."""
    variables = environment(folder, moto)
    container = programs(folder / "container", train=TRAIN, serve=SERVE)
    with pytest.MonkeyPatch.context() as patch:
        # The server does for a job what SageMaker does, with the S3 that the scripts use.
        for name, value in variables.items():
            patch.setenv(name, value)
        sagemaker = daemon.ensure(folder / "state", container)
    for service in ("SAGEMAKER", "SAGEMAKER_RUNTIME", "APPLICATION_AUTO_SCALING", "CLOUDWATCH_LOGS"):
        variables[f"AWS_ENDPOINT_URL_{service}"] = sagemaker
    yield variables
    daemon.stop(folder / "state")


def programs(folder: Path, **texts: str) -> Path:
    """A directory of executables."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def environment(folder: Path, moto: str) -> dict[str, str]:
    """Of a script whose calls are recorded: moto in AWS's place, nothing of the person who runs the tests."""
    return {
        "PATH": f"{programs(folder / 'docker', docker=DOCKER)}{os.pathsep}{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "PYTHONPATH": str(Path(__file__).parent / "recording"),
        "RECORD_CALLS_TO": str(folder / "calls.jsonl"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        **{f"AWS_ENDPOINT_URL_{name}": moto for name in ("S3", "ECR", "STS", "IAM", "PRICING", "SERVICE_QUOTAS")},
    }
