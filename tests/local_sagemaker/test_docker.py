"""The Docker runner with a real engine and an image of two scripts, built from whatever nvidia/cuda image is there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_sagemaker.container import LABEL, DockerRunner, gpus
from local_sagemaker.runners import RunnerError, Work

from .conftest import ROLE, Local, channel, unique, wait_for
from .test_hosts import lines_of_hosts

pytestmark = pytest.mark.engine

TAG = "local-sagemaker-test:latest"
TRAIN = """#!/bin/sh
sed -n 's/.*"code": "\\(.*\\)".*/\\1/p' /opt/ml/input/config/hyperparameters.json > /tmp/code
. /tmp/code
"""
SERVE = """#!/usr/bin/perl
use IO::Socket::INET;
$| = 1;
print "serving\\n";
$SIG{TERM} = sub { exit 0 };
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die;
open(my $file, "<", "/opt/ml/model/weights"); my $weights = <$file>;
while (my $client = $server->accept) {
    my ($request, $length) = (scalar(<$client>), 0);
    while (my $line = <$client>) {
        $length = $1 if $line =~ /^content-length: (\\d+)/i;
        last if $line =~ /^\\r\\n/;
    }
    read($client, my $body, $length);
    my $answer = "$weights $ENV{GREETING} $body";
    my $head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: " . length($answer);
    print $client "$head\\r\\n\\r\\n$answer";
    close($client);
}
"""


@pytest.fixture(scope="module")
def image(docker_client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bases = [tag for found in docker_client.images.list("nvidia/cuda") for tag in found.tags]
    if not bases:
        pytest.skip("there is no nvidia/cuda image on this machine to build from")
    context = tmp_path_factory.mktemp("image")
    for name, text in (("train", TRAIN), ("serve", SERVE)):
        (context / name).write_text(text)
        (context / name).chmod(0o755)
    dockerfile = f"FROM {bases[0]}\nCOPY train serve /usr/local/bin/\nENTRYPOINT []\n"
    (context / "Dockerfile").write_text(dockerfile)
    docker_client.images.build(path=str(context), tag=TAG, rm=True)
    yield TAG
    docker_client.images.remove(TAG, force=True)


def train(local: Local, image: str, code: str, **changes: Any) -> str:
    algorithm = {
        "TrainingImage": image,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    }
    return local.train(code, AlgorithmSpecification=algorithm, **changes)


def containers(docker_client: Any, local: Local) -> list[Any]:
    found = docker_client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    return [container for container in found if container.labels[LABEL].startswith(str(local.state))]


def networks(docker_client: Any, local: Local) -> list[Any]:
    found = docker_client.networks.list(filters={"label": LABEL})
    return [network for network in found if network.attrs["Labels"][LABEL].startswith(str(local.state))]


def test_a_training_job_in_a_container(local: Local, docker_client: Any, image: str, tmp_path: Path) -> None:
    (tmp_path / "photograph").write_text("woof")
    code = (
        "cat /opt/ml/input/data/train/photograph; echo; echo loss=0.5; echo w > /opt/ml/model/weights; "
        "echo $TRAINING_JOB_NAME $MINE ${AWS_ENDPOINT_URL:-none}; "
        "touch /opt/ml/input/data/train/x 2>/dev/null || echo readonly; "
        "echo 3 > /opt/ml/checkpoints/step"
    )
    name = train(
        local,
        image,
        code,
        InputDataConfig=[channel("train", tmp_path.as_uri())],
        Environment={"MINE": "1"},
        CheckpointConfig={"S3Uri": (tmp_path / "checkpoints").as_uri()},
    )
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert local.lines(name) == ["woof", "loss=0.5", f"{name} 1 none", "readonly"]
    assert job["FinalMetricDataList"][0]["Value"] == 0.5
    with tarfile.open(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://")) as tar:
        assert tar.getnames() == ["weights"]
    assert (tmp_path / "checkpoints" / "step").read_text() == "3\n"
    assert containers(docker_client, local) == []
    assert not (local.state / "training-jobs" / name / "ml").exists()


def test_a_container_that_fails(local: Local, docker_client: Any, image: str) -> None:
    job = local.finished(train(local, image, "echo no dogs > /opt/ml/output/failure; exit 4"))
    assert job["FailureReason"] == "AlgorithmError: no dogs, exit code: 4"
    assert containers(docker_client, local) == []


def test_a_device_among_the_artifacts_of_an_isolated_job(local: Local, image: str) -> None:
    code = "ls /sys/class/net; mknod /opt/ml/model/disk b 8 0"
    name = train(local, image, code, EnableNetworkIsolation=True)
    job = local.finished(name)
    assert local.lines(name) == ["lo"]
    assert "disk is neither a file nor a directory" in job["FailureReason"]


def test_a_container_that_ignores_sigterm_is_killed(local: Local, docker_client: Any, image: str) -> None:
    name = train(local, image, "trap : TERM; echo ready; while true; do sleep 1; done")
    local.printed(name, "ready")
    local.sagemaker.stop_training_job(TrainingJobName=name)
    assert local.finished(name)["TrainingJobStatus"] == "Stopped"
    assert containers(docker_client, local) == []


# One line without double quotes: so it passes through the JSON file of hyperparameters unescaped.
TALK = "; ".join(
    [
        "rank=${HOSTNAME#algo-}",
        "if [ $rank = 1 ]",
        "then perl -MIO::Socket::INET -e "
        "'print IO::Socket::INET->new(LocalPort => 7000, Listen => 1)->accept->getline'",
        "else until perl -MIO::Socket::INET -e "
        "'IO::Socket::INET->new(q(algo-1:7000))->print(qq(hello from $ENV{HOSTNAME}$/))' 2> /dev/null",
        "do sleep 0.1",
        "done",
        "fi",
        "grep -o eth0 /opt/ml/input/config/resourceconfig.json",
        "echo $rank > /opt/ml/model/rank-$rank",
        "test -e /sys/class/net/eth0 && getent hosts algo-2 | grep -o algo-2",
    ]
)


@pytest.mark.parametrize("isolated", [False, True])
def test_two_containers_talk_by_name(local: Local, docker_client: Any, image: str, isolated: bool) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    name = train(local, image, TALK, ResourceConfig=resources, EnableNetworkIsolation=isolated)
    job = local.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    printed = lines_of_hosts(local, name)
    assert printed == {"algo-1": ["hello from algo-2", "eth0", "algo-2"], "algo-2": ["eth0", "algo-2"]}
    with tarfile.open(job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://")) as tar:
        assert tar.getnames() == ["rank-1", "rank-2"]
    assert containers(docker_client, local) == []
    assert networks(docker_client, local) == []


def test_a_container_has_room_in_shared_memory_and_knows_its_name(local: Local, image: str) -> None:
    name = train(local, image, "df -k /dev/shm | tail -1 | { read a size c; echo $size; }; getent hosts algo-1")
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    size, host = local.lines(name)
    assert int(size) * 1024 == pytest.approx(psutil.virtual_memory().total / 2, rel=0.01)
    assert host.endswith("algo-1")


def test_gpus_are_asked_of_the_engine_that_has_them() -> None:
    assert gpus({"Runtimes": {"runc": {}}}) == []
    (runtime,) = gpus({"Runtimes": {"runc": {}, "nvidia": {}}})
    assert (runtime["Count"], runtime["Capabilities"]) == (-1, [["gpu"]])
    (device,) = gpus({"Runtimes": {}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]})
    assert (device["Driver"], device["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])


class Line:
    """A way to the engine that can be cut."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._waits = threading.Semaphore(0)  # requests for a container's end
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection of this moment ends, among them one that waits for a container's end; new ones are taken."""
        assert self._waits.acquire(timeout=60)
        ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def forget_waits(self) -> None:
        while self._waits.acquire(blocking=False):
            pass

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect("/var/run/docker.sock")
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                if data.startswith(b"POST") and b"/wait" in data.partition(b"\r\n")[0]:
                    self._waits.release()
            target.shutdown(socket.SHUT_WR)


def test_a_job_whose_engine_is_lost_is_tried_again(
    start: Callable[..., Local], docker_client: Any, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/var/run/docker.sock").exists():
        pytest.skip("the engine of this machine is not behind /var/run/docker.sock")
    line = Line()
    monkeypatch.setenv("DOCKER_HOST", line.url)
    server = start()
    code = (
        "if [ -f /opt/ml/checkpoints/begun ]; then echo again; exit 0; fi; "
        "touch /opt/ml/checkpoints/begun; echo ready; sleep 600"
    )
    kept = {"S3Uri": (tmp_path / "checkpoints").as_uri()}
    name = train(server, image, code, CheckpointConfig=kept, RetryStrategy={"MaximumRetryAttempts": 1})
    server.printed(name, "ready")
    line.cut()
    job = server.finished(name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    begin = ["Starting", "Downloading", "Training"]
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]] == [*begin, *begin, "Uploading", "Completed"]
    assert containers(docker_client, server) == []
    (tmp_path / "checkpoints" / "begun").unlink()
    line.forget_waits()
    name = train(server, image, code, CheckpointConfig=kept)
    server.printed(name, "ready")
    line.cut()
    assert (
        server.finished(name)["FailureReason"] == "InternalServerError: the Docker engine was lost while the job ran."
    )
    assert containers(docker_client, server) == []
    server.down()


def test_entry_point_and_arguments_of_the_request(local: Local, image: str) -> None:
    algorithm = {
        "TrainingImage": image,
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["echo", "-n"],
        "ContainerArguments": ["a", "b"],
    }
    name = local.train("unused", AlgorithmSpecification=algorithm)
    assert local.finished(name)["TrainingJobStatus"] == "Completed"
    assert local.lines(name) == ["a b"]


def test_an_image_that_is_nowhere(local: Local, docker_client: Any) -> None:
    job = local.finished(train(local, "127.0.0.1:1/nobody/nothing:latest", "true"))
    assert "127.0.0.1:1/nobody/nothing:latest is not on this machine and cannot be pulled" in job["FailureReason"]


def test_a_program_that_the_image_has_not(local: Local, docker_client: Any, image: str) -> None:
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": ["no-such-program"]}
    job = local.finished(local.train("unused", AlgorithmSpecification=algorithm))
    assert "does not start" in job["FailureReason"]
    assert "no-such-program" in job["FailureReason"]
    assert containers(docker_client, local) == []


def test_an_endpoint_in_a_container(local: Local, docker_client: Any, image: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("W")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "weights", "weights")
    name = unique("docker")
    container = {
        "Image": image,
        "ModelDataUrl": (tmp_path / "model.tar.gz").as_uri(),
        "Environment": {"GREETING": "hello"},
    }
    local.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "A", "ModelName": name, "InstanceType": "ml.m5.large"}
    local.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    local.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    endpoint = local.settled(name)
    assert endpoint["EndpointStatus"] == "InService", endpoint
    answer = local.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"woof")
    assert answer["Body"].read() == b"W hello woof"
    (running,) = containers(docker_client, local)
    published = running.attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert [port["HostIp"] for port in published] == ["127.0.0.1"]
    local.sagemaker.delete_endpoint(EndpointName=name)
    wait_for(lambda: local.sagemaker.list_endpoints(NameContains=name)["Endpoints"], lambda found: not found)
    assert containers(docker_client, local) == []


def test_containers_of_a_server_that_was_killed_are_removed(
    start: Callable[..., Local], docker_client: Any, image: str
) -> None:
    server = start()
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    name = train(server, image, "echo ready; sleep 600", ResourceConfig=resources)
    server.printed(name, "ready")
    wait_for(lambda: lines_of_hosts(server, name), lambda printed: list(printed.values()) == [["ready"]] * 2)
    server.kill()
    assert len(containers(docker_client, server)) == 2
    assert len(networks(docker_client, server)) == 1
    server.up()
    assert containers(docker_client, server) == []
    assert networks(docker_client, server) == []
    assert "ended while this job ran" in server.finished(name)["FailureReason"]


def test_files_of_the_container_are_handed_back(
    docker_client: Any, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user who is not root sees it: the user is pretended, the engine and the files are real."""
    if os.geteuid() != 0:
        pytest.skip("only root can pretend to be another user")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getegid", lambda: 12345)
    base = tmp_path / "ml"
    (base / "input" / "config").mkdir(parents=True)
    (base / "model").mkdir()
    config = json.dumps({"code": "echo w > /opt/ml/model/weights"}, indent=1)
    (base / "input" / "config" / "hyperparameters.json").write_text(config)
    running = DockerRunner().start(Work("job", image, "train", base), lambda chunk: None)
    assert running.wait(60) == 0
    assert (base / "model" / "weights").stat().st_uid == 12345


def test_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(RunnerError, match=r"no Docker engine answers .*: start it, or name the image 'process'"):
        DockerRunner()


def test_a_serverless_isolated_endpoint_in_a_container(
    local: Local, docker_client: Any, image: str, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("heavy")
    source = {"S3DataType": "S3Prefix", "S3Uri": (tmp_path / "model").as_uri() + "/", "CompressionType": "None"}
    container = {"Image": image, "ModelDataSource": {"S3DataSource": source}, "Environment": {"GREETING": "hello"}}
    name = unique("isolated")
    local.sagemaker.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, EnableNetworkIsolation=True
    )
    limits = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    variant = {"VariantName": "A", "ModelName": name, "ServerlessConfig": limits}
    local.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    local.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    endpoint = local.settled(name)
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    invoke = local.client("sagemaker-runtime").invoke_endpoint
    assert invoke(EndpointName=name, Body=b"dog")["Body"].read() == b"heavy hello dog"
    (running,) = containers(docker_client, local)
    assert running.attrs["HostConfig"]["Memory"] == 1024**3
    # What is sent out of such a network bears an address that nobody can answer to.
    (network,) = running.attrs["NetworkSettings"]["Networks"]
    options = docker_client.networks.get(network).attrs["Options"]
    assert options == {"com.docker.network.bridge.enable_ip_masquerade": "false"}

    running.kill("SIGKILL")
    wait_for(lambda: containers(docker_client, local), lambda found: found and found[0].id != running.id)
    wait_for(lambda: _answer(local, name), lambda answer: answer == b"heavy hello dog")
    local.sagemaker.delete_endpoint(EndpointName=name)
    wait_for(lambda: containers(docker_client, local), lambda found: not found)
    wait_for(lambda: docker_client.networks.list(filters={"label": LABEL}), lambda found: not found)


def _answer(local: Local, name: str) -> bytes:
    runtime = local.client("sagemaker-runtime")
    try:
        return bytes(runtime.invoke_endpoint(EndpointName=name, Body=b"dog")["Body"].read())
    except (runtime.exceptions.ServiceUnavailable, runtime.exceptions.ModelError):
        return b""
