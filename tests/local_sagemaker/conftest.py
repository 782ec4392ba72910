"""A real server on a temporary state.

`train` runs the Python code in the hyperparameter `code`, `serve` the file serve.py of the model, so that each test
says itself what its container does.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psutil
import pytest
from botocore.config import Config

from local_sagemaker import daemon

ROOT = Path(__file__).resolve().parents[2]
ROLE = "arn:aws:iam::000000000000:role/anyone"
TRAIN = """\
import json
exec(json.load(open("input/config/hyperparameters.json"))["code"])
"""
SERVE = """\
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a head and a small body are two packets, and the second would wait 40 ms
    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))
    def do_GET(self):
        self.answer(200)
    def log_message(self, *args):
        pass

def serve(handler=Handler):
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), handler).serve_forever()

exec(open(os.environ.get("SERVE_CODE", "model/serve.py")).read())  # a multi-model endpoint has no model of its own
"""


@dataclass
class Local:
    """One server and the clients that speak to it."""

    state: Path
    process_path: Path
    options: tuple[str, ...] = ()
    url: str = ""
    _clients: dict[str, Any] = field(default_factory=dict)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local_sagemaker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
        )

    def up(self) -> None:
        places = ["--state", str(self.state), "--process-path", str(self.process_path)]
        done = self.command("up", "--background", "--port", "0", *places, *self.options)
        assert done.returncode == 0, done.stderr
        self.url = json.loads((self.state / "server.json").read_text())["url"]
        self._clients.clear()

    def down(self) -> None:
        done = self.command("down", "--state", str(self.state))
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        """SIGKILL to the server alone, as if the machine had lost it."""
        pid = json.loads((self.state / "server.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: daemon.running_url(self.state), lambda url: url is None)

    def client(self, service: str) -> Any:
        """A boto3 client that leaves all validation to the server."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name="eu-west-1",
                aws_access_key_id="any",
                aws_secret_access_key="any",
                config=Config(parameter_validation=False, retries={"max_attempts": 0}),
            )
        return self._clients[service]

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def train(self, code: str, **changes: Any) -> str:
        """Creates a training job that runs `code`; gives its name."""
        request = {**training_request(code, self.state.parent / "out"), **changes}
        self.sagemaker.create_training_job(**request)
        return str(request["TrainingJobName"])

    def finished(self, name: str) -> dict[str, Any]:
        """The description of a training job when it has ended."""
        described: dict[str, Any] = wait_for(
            lambda: self.sagemaker.describe_training_job(TrainingJobName=name),
            lambda job: job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"),
        )
        return described

    def lines(self, name: str) -> list[str]:
        """What a training job printed."""
        logs = self.client("logs")
        group = "/aws/sagemaker/TrainingJobs"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        events = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True)
        return [event["message"] for event in events["events"]]

    def printed(self, name: str, line: str) -> None:
        """Returns when a running job has printed a line."""

        def look() -> list[str]:
            try:
                return self.lines(name)
            except (self.client("logs").exceptions.ResourceNotFoundException, IndexError):
                return []

        wait_for(look, lambda lines: line in lines)

    def deploy(self, code: str, **variant: Any) -> str:
        """Creates a model, a configuration and an endpoint whose container runs `code`; gives their common name."""
        name = unique("endpoint")
        archive = self.state.parent / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            member = tarfile.TarInfo("serve.py")
            member.size = len(code.encode())
            tar.addfile(member, io.BytesIO(code.encode()))
        container = {"Image": "process", "ModelDataUrl": archive.as_uri(), "Environment": {"GREETING": "hello"}}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        described = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[{**described, **variant}])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def settled(self, name: str) -> dict[str, Any]:
        """The description of an endpoint that is no longer being created."""
        described: dict[str, Any] = wait_for(
            lambda: self.sagemaker.describe_endpoint(EndpointName=name),
            lambda endpoint: endpoint["EndpointStatus"] in ("InService", "Failed"),
        )
        return described


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:8]}"


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool], timeout_s: float = 180) -> Any:
    """What `look` gives when it holds; fails after the time-out."""
    deadline = time.monotonic() + timeout_s
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.05)
    return seen


def training_request(code: str, output: Path) -> dict[str, Any]:
    return {
        "TrainingJobName": unique("job"),
        "RoleArn": ROLE,
        "HyperParameters": {"code": code},
        "AlgorithmSpecification": {
            "TrainingImage": "process",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([-+0-9.e]+)"}],
        },
        "OutputDataConfig": {"S3OutputPath": output.as_uri()},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


def channel(name: str, source: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}}}


def left_over(state: Path) -> list[psutil.Process]:
    """Processes of jobs and endpoints below a state directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SAGEMAKER_BASE_DIR", "").startswith(str(state)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_left_over(state: Path) -> list[psutil.Process]:
    """Kills what is left below a state directory, the server included, and gives it.

    So a test that fails leaves nothing behind either.
    """
    left = left_over(state)
    url = daemon.running_url(state)
    if url is not None:
        left.append(psutil.Process(json.loads((state / "server.json").read_text())["pid"]))
    for process in left:
        process.kill()
    return left


@pytest.fixture(scope="session")
def docker_client() -> Iterator[Any]:
    """The Docker SDK's client of the engine; skips where none answers."""
    docker = pytest.importorskip("docker", reason="the docker package is not installed")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def process_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bin")
    for name, text in (("train", TRAIN), ("serve", SERVE)):
        (directory / name).write_text(f"#!{sys.executable} -u\n{text}")
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def start(process_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Local]]:
    """Starts a server of its own for a test; every one is ended, and has left nothing, at the end."""
    started = []

    def up(*options: str, state: Path | None = None) -> Local:
        server = Local(state or tmp_path_factory.mktemp("local") / "state", process_path, options)
        started.append(server)
        server.up()
        return server

    yield up
    left = []
    for server in started:
        server.command("down", "--state", str(server.state))
        left += end_left_over(server.state)
    assert left == []


@pytest.fixture(scope="session")
def local(start: Callable[..., Local]) -> Local:
    """The server that most tests share; a training job that ignores SIGTERM is killed after one second."""
    return start("--training-stop-s", "1", "--endpoint-stop-s", "1")
