"""Asynchronous endpoints through boto3: where answers and failures lie, and that no accepted request is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import urllib3
from botocore.exceptions import ClientError

from . import hosted
from .conftest import ROLE, Local, unique, wait_for


def code(directory: Path) -> str:
    """A container that writes down what it is asked, and answers `wait...` when there is a file `go`."""
    return f"""
class Slow(Handler):
    def do_POST(self):
        body = self.body()
        with open({str(directory / "asked")!r}, "ab") as file:
            file.write(body[:20] + b"\\n")
        asked = open({str(directory / "asked")!r}, "rb").read().split().count(b"crash")
        while body.startswith(b"wait") and not os.path.exists({str(directory / "go")!r}):
            time.sleep(0.02)
        if body == b"crash" and asked == 1:
            os._exit(7)
        if body == b"refuse":
            self.answer(400, b"no dog")
        elif body == b"hangup":
            self.close_connection = True
        else:
            self.answer(200, f"{{self.headers['Content-Type']}} {{len(body)}}".encode())
serve(Slow)
"""


def asked(directory: Path) -> list[str]:
    return (directory / "asked").read_text().split() if (directory / "asked").exists() else []


def deploy(local: Local, directory: Path, **client: Any) -> str:
    output = {"S3OutputPath": (directory / "out").as_uri(), "S3FailurePath": (directory / "failed").as_uri()}
    settings = {"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1, **client}}
    model = hosted.model(local, code(directory))
    return hosted.endpoint(local, hosted.config(local, hosted.variant(model), AsyncInferenceConfig=settings))


def send(local: Local, name: str, body: bytes | None = None, **more: Any) -> dict[str, Any]:
    given = {**more, **({} if body is None else {"Body": body})}
    answer: dict[str, Any] = local.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, **given)
    return answer


def path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def content(uri: str) -> bytes:
    """What lies at a location, when it does."""
    wait_for(path(uri).is_file, bool)
    return path(uri).read_bytes()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("async")


@pytest.fixture(scope="module")
def name(local: Local, directory: Path) -> str:
    return deploy(local, directory)


def test_an_answer_lies_where_it_was_said(local: Local, name: str, directory: Path) -> None:
    (directory / "input.jpg").write_bytes(bytes(7_000_000))  # more than InvokeEndpoint takes
    answer = send(
        local, name, InputLocation=(directory / "input.jpg").as_uri(), ContentType="image/jpeg", InferenceId="mine"
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    assert path(answer["OutputLocation"]).parent == directory / "out"
    assert path(answer["FailureLocation"]).parent == directory / "failed"
    assert content(answer["OutputLocation"]) == b"image/jpeg 7000000"
    assert not path(answer["FailureLocation"]).exists()


def test_a_payload_may_come_with_the_request(local: Local, name: str, directory: Path) -> None:
    answer = send(
        local, name, b"inline", ContentType="text/plain", S3OutputPathExtension="some/day", Filename="first.txt"
    )
    assert path(answer["OutputLocation"]) == directory / "out" / "some" / "day" / "first.txt"
    assert content(answer["OutputLocation"]) == b"text/plain 6"
    with pytest.raises(ClientError, match=r"\(ValidationError\).*less than or equal to 128000"):
        send(local, name, bytes(128_001))


def test_locations_may_be_in_s3(local: Local, directory: Path) -> None:
    s3 = local.client("s3")
    s3.create_bucket(Bucket="requests", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="requests", Key="in put/one?", Body=b"12345")
    settings = {"OutputConfig": {"S3OutputPath": "s3://requests/out", "S3FailurePath": "s3://requests/failed/"}}
    model = hosted.model(local, code(directory))
    name = hosted.endpoint(local, hosted.config(local, hosted.variant(model), AsyncInferenceConfig=settings))
    sent = [send(local, name, InputLocation=f"s3://requests/in put/{key}")["InferenceId"] for key in ("one?", "two")]

    def look() -> list[str]:
        return [item["Key"] for item in s3.list_objects_v2(Bucket="requests")["Contents"]]

    keys = wait_for(look, lambda found: len(found) == 3)
    assert set(keys) == {"in put/one?", f"out/{sent[0]}.out", f"failed/{sent[1]}-error.out"}
    assert s3.get_object(Bucket="requests", Key=f"out/{sent[0]}.out")["Body"].read() == b"None 5"
    assert b"NoSuchKey" in s3.get_object(Bucket="requests", Key=f"failed/{sent[1]}-error.out")["Body"].read()
    hosted.remove(local, name)


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"refuse", b"no dog"), (b"hangup", b"The container did not answer"), (None, b"does not exist")],
)
def test_a_failure_lies_where_it_was_said(
    local: Local, name: str, directory: Path, body: bytes | None, reason: bytes
) -> None:
    more = {} if body else {"InputLocation": (directory / "nothing").as_uri()}
    answer = send(local, name, body, **more)
    assert reason in content(answer["FailureLocation"])
    assert not path(answer["OutputLocation"]).exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of InputLocation and Body"),
        ({"Body": b"x", "InputLocation": "file:///x"}, "exactly one of InputLocation and Body"),
        ({"InputLocation": "https://bucket.s3.amazonaws.com/x"}, "reads s3:// and file:// locations only"),
        ({"InputLocation": "ftp://x"}, "'inputLocation' failed to satisfy constraint"),
        ({"Body": b"x", "S3OutputPathExtension": "a/../../b"}, "without '..'"),
        ({"Body": b"x", "Filename": "../b"}, "'filename' failed to satisfy constraint"),
        ({"Body": b"x", "RequestTTLSeconds": 59}, "'requestTTLSeconds' failed to satisfy constraint"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 3601}, "'invocationTimeoutSeconds' failed to satisfy"),
        ({"Body": b"x", "EndpointName": "nobody"}, "Endpoint nobody of account 000000000000 not found"),
    ],
)
def test_a_request_that_cannot_be(local: Local, name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(local.client("sagemaker-runtime").exceptions.ValidationError, match=message):
        local.client("sagemaker-runtime").invoke_endpoint_async(**{"EndpointName": name, **given})


def test_a_number_that_is_none(local: Local, name: str) -> None:
    """On the wire; no client sends it."""
    headers = {"X-Amzn-SageMaker-InputLocation": "s3://a/b", "X-Amzn-SageMaker-InvocationTimeoutSeconds": "soon"}
    answer = urllib3.request("POST", f"{local.url}/endpoints/{name}/async-invocations", headers=headers)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "SerializationException")
    assert "invocationTimeoutSeconds" in answer.json()["message"]


def test_each_kind_of_endpoint_has_its_own_operation(local: Local, name: str, directory: Path) -> None:
    with pytest.raises(
        ClientError, match=r"\(ValidationError\).*is an asynchronous endpoint: send .* InvokeEndpointAsync"
    ):
        hosted.ask(local, name)
    other = hosted.endpoint(local, hosted.config(local, hosted.variant(hosted.model(local, code(directory)))))
    with pytest.raises(ClientError, match=r"\(ValidationError\).*is not an asynchronous endpoint"):
        send(local, other, b"x")
    hosted.remove(local, other)


def test_accepted_requests_outlive_the_server(start: Any, tmp_path: Path) -> None:
    """Killed with one request inside the container and others in the queue; one of these is too old afterwards."""
    local: Local = start("--endpoint-stop-s", "1")
    name = deploy(local, tmp_path)
    sent = [send(local, name, f"wait{number}".encode(), InferenceId=f"n{number}") for number in range(4)]
    wait_for(lambda: asked(tmp_path), bool)
    assert asked(tmp_path) == ["wait0"]  # one at a time
    local.kill()
    (old,) = (
        file
        for file in (local.state / "endpoints" / name / "_requests").glob("*.json")
        if json.loads(file.read_text())["InferenceId"] == "n3"
    )
    old.write_text(json.dumps({**json.loads(old.read_text()), "_Accepted": 1.0}))
    (tmp_path / "go").touch()
    local.up()
    assert [content(answer["OutputLocation"]) for answer in sent[:3]] == [b"None 5"] * 3
    assert b"expired" in content(sent[3]["FailureLocation"])
    assert sorted(asked(tmp_path)) == ["wait0", "wait0", "wait1", "wait2"]
    wait_for(lambda: list((local.state / "endpoints" / name / "_requests").iterdir()), lambda left: not left)


def test_a_request_outlives_its_container(local: Local, name: str, directory: Path) -> None:
    answer = send(local, name, b"crash")
    assert content(answer["OutputLocation"]) == b"None 5"
    assert asked(directory).count("crash") == 2


def test_containers_in_a_row(local: Local, tmp_path: Path) -> None:
    data = hosted.packed(code(tmp_path), tmp_path / "model.tar.gz").as_uri()
    containers = [{"Image": "process", "ModelDataUrl": data, "ContainerHostname": host} for host in ("one", "two")]
    model = unique("row")
    local.sagemaker.create_model(ModelName=model, Containers=containers, ExecutionRoleArn=ROLE)
    settings = {"OutputConfig": {"S3OutputPath": tmp_path.as_uri()}}
    name = hosted.endpoint(local, hosted.config(local, hosted.variant(model), AsyncInferenceConfig=settings))
    answer = send(local, name, b"1234567", ContentType="text/csv")
    assert content(answer["OutputLocation"]) == b"application/octet-stream 10"
    assert asked(tmp_path) == ["1234567", "text/csv", "7"]
    hosted.remove(local, name)


def test_what_an_asynchronous_endpoint_cannot_be(local: Local, tmp_path: Path) -> None:
    model = hosted.model(local, code(tmp_path))
    capture = {
        "InitialSamplingPercentage": 1,
        "DestinationS3Uri": "s3://b",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    shadow = [hosted.variant(model, VariantName="S")]
    for more in ({"DataCaptureConfig": capture}, {"ShadowProductionVariants": shadow}):
        with pytest.raises(ClientError, match=f"does not do {next(iter(more))} of an asynchronous endpoint"):
            hosted.config(local, hosted.variant(model), AsyncInferenceConfig={"OutputConfig": {}}, **more)


def test_requests_are_inside_in_parallel_and_go_with_their_endpoint(local: Local, tmp_path: Path) -> None:
    name = deploy(local, tmp_path, MaxConcurrentInvocationsPerInstance=2)
    sent = [send(local, name, f"wait{number}".encode()) for number in range(4)]
    wait_for(lambda: len(asked(tmp_path)), lambda count: count == 2)
    hosted.remove(local, name)
    assert len(asked(tmp_path)) == 2
    assert not any(path(answer["OutputLocation"]).exists() for answer in sent)


def test_a_server_that_ends_leaves_its_requests_to_the_next(start: Any, tmp_path: Path) -> None:
    local: Local = start("--endpoint-stop-s", "1")
    name = deploy(local, tmp_path)
    answer = send(local, name, b"wait")
    wait_for(lambda: asked(tmp_path), bool)
    local.down()
    assert not path(answer["FailureLocation"]).exists()
    (tmp_path / "go").touch()
    local.up()
    assert content(answer["OutputLocation"]) == b"None 4"
