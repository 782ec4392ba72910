"""Requests are checked against botocore's model and refused as AWS refuses them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from local_sagemaker import validation
from local_sagemaker.errors import ApiError
from local_sagemaker.operations import HANDLERS

from .conftest import Local, training_request


def changed(path: str, value: Any) -> dict[str, Any]:
    """A valid request with one member set, or removed when the value is None."""
    request = training_request("pass", Path("/out"))
    place: Any = request
    *parents, last = path.split("/")
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is None:
        del place[last]
    return request


def test_a_valid_request_passes() -> None:
    validation.check("sagemaker", "CreateTrainingJob", training_request("pass", Path("/out")))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "TrainingJobName",
            "no_underscore",
            "Value 'no_underscore' at 'trainingJobName' .* regular expression pattern: ",
        ),
        ("TrainingJobName", "a\n", "at 'trainingJobName' .* regular expression pattern: "),
        ("TrainingJobName", "../etc", "at 'trainingJobName' .* regular expression pattern: "),
        ("TrainingJobName", "a" * 64, "at 'trainingJobName' .* length less than or equal to 63"),
        ("RoleArn", None, "Value null at 'roleArn' failed to satisfy constraint: Member must not be null"),
        ("RoleArn", "arn:short", "at 'roleArn' .* length greater than or equal to 20"),
        (
            "AlgorithmSpecification/TrainingInputMode",
            "Files",
            r"Member must satisfy enum value set: \[Pipe, File, FastFile\]",
        ),
        ("AlgorithmSpecification/MetricDefinitions", [{"Name": "a", "Regex": ""}], "metricDefinitions.1.member.regex'"),
        ("ResourceConfig/InstanceCount", -1, "instanceCount' .* value greater than or equal to 0"),
        ("ResourceConfig/InstanceType", "ml.m5.tiny", "Value 'ml.m5.tiny' at 'resourceConfig.instanceType' .* enum"),
        ("StoppingCondition/MaxRuntimeInSeconds", 0, "value greater than or equal to 1"),
        ("OutputDataConfig/S3OutputPath", "/out", r"s3OutputPath' .* pattern: \(https\|s3\)://"),
        ("OutputDataConfig/S3OutputPath", "file://host/out", "s3OutputPath' .* pattern: "),
        (
            "HyperParameters",
            {"a": "b" * 2501},
            r"Map value must satisfy constraint: \[Member must have length less than",
        ),
        ("HyperParameters", {"a" * 257: "b"}, r"Map keys must satisfy constraint: \[Member must have length less than"),
        ("Tags", [{"Key": "a", "Value": "!"}], "tags.1.member.value' .* pattern"),
        ("Tags", [{"Key": "a", "Value": "b"}] * 51, "'tags' .* length less than or equal to 50"),
        ("Trainingjobname", "a", "at 'trainingjobname' .* Member is unknown"),
    ],
)
def test_each_kind_of_constraint(path: str, value: Any, message: str) -> None:
    with pytest.raises(ApiError, match="1 validation error detected: ") as refused:
        validation.check("sagemaker", "CreateTrainingJob", changed(path, value))
    assert re.search(message, refused.value.message, re.DOTALL), refused.value.message
    assert (refused.value.code, refused.value.status) == ("ValidationException", 400)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("TrainingJobName", 7, "NUMBER_VALUE can not be converted to a String (at 'trainingJobName')"),
        ("ResourceConfig/InstanceCount", "1", "STRING_VALUE can not be converted to an Integer"),
        ("ResourceConfig/InstanceCount", True, "BOOLEAN_VALUE can not be converted to an Integer"),
        ("ResourceConfig", "one", "STRING_VALUE can not be converted to a structure (at 'resourceConfig')"),
        ("InputDataConfig", {}, "STRUCTURE_VALUE can not be converted to a list"),
        ("HyperParameters", [], "LIST_VALUE can not be converted to a map"),
        (
            "HyperParameters",
            {"epochs": 3},
            "NUMBER_VALUE can not be converted to a String (at 'hyperParameters.epochs')",
        ),
        ("EnableNetworkIsolation", "yes", "STRING_VALUE can not be converted to a Boolean"),
    ],
)
def test_each_wrong_type(path: str, value: Any, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        validation.check("sagemaker", "CreateTrainingJob", changed(path, value))
    assert refused.value.code == "SerializationException"
    assert message in refused.value.message


def test_every_fault_is_named_at_once() -> None:
    request = changed("RoleArn", "short")
    request["TrainingJobName"] = "-"
    with pytest.raises(ApiError, match=r"2 validation errors detected: .*; Value"):
        validation.check("sagemaker", "CreateTrainingJob", request)


@pytest.mark.parametrize("location", ["s3://bucket/prefix", "https://bucket/prefix", "file:///a/b c", "file:///ü"])
def test_locations_that_pass(location: str) -> None:
    validation.check("sagemaker", "CreateTrainingJob", changed("OutputDataConfig/S3OutputPath", location))


def test_every_pattern_of_the_operations_compiles() -> None:
    seen: set[str] = set()

    def walk(shape: Any) -> None:
        if shape.name in seen:
            return
        seen.add(shape.name)
        if "pattern" in shape.metadata:
            validation.pattern(shape.metadata["pattern"])
        inner = list(shape.members.values()) if shape.type_name == "structure" else []
        inner += [shape.member] if shape.type_name == "list" else []
        inner += [shape.key, shape.value] if shape.type_name == "map" else []
        for part in inner:
            walk(part)

    for service, operation in [*HANDLERS, ("sagemaker-runtime", "InvokeEndpoint")]:
        model = validation.operation_model(service, operation)
        if model.input_shape:
            walk(model.input_shape)
    assert len(seen) > 200


def test_a_refusal_over_the_wire(local: Local) -> None:
    with pytest.raises(ClientError) as refused:
        local.train("pass", TrainingJobName="no_underscore")
    answer = refused.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "ValidationException"
    assert answer["Error"]["Message"].startswith(
        "1 validation error detected: Value 'no_underscore' at 'trainingJobName'"
    )


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"X-Amz-Target": "SageMaker.CreateTrainingJob"}, b"{", 400, "SerializationException"),
        ({"X-Amz-Target": "SageMaker.CreateTrainingJob"}, b"[]", 400, "SerializationException"),
        ({"X-Amz-Target": "SageMaker.CreateTrainingJob"}, b'{"a": Infinity}', 400, "SerializationException"),
        ({"X-Amz-Target": "SageMaker.CreateTrainingJob"}, b"[" * 100_000, 400, "SerializationException"),
        ({"X-Amz-Target": "SageMaker.CreateTrainingJob"}, b"\xff", 400, "SerializationException"),
        ({"X-Amz-Target": "SageMaker.CreateDomain"}, b"{}", 400, "UnknownOperationException"),
        ({"X-Amz-Target": "SageMaker.CreateDogs"}, b"{}", 400, "UnknownOperationException"),
        ({"X-Amz-Target": "DynamoDB_20120810.GetItem"}, b"{}", 400, "UnknownOperationException"),
        ({"X-Amz-Target": "SageMaker.ListModels"}, b" " * (4 * 1024 * 1024 + 1), 413, "RequestEntityTooLarge"),
    ],
)
def test_what_is_no_request(local: Local, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    answer = urllib3.request("POST", local.url, headers=headers, body=body)
    assert (answer.status, json.loads(answer.data)["__type"]) == (status, code)


def test_nesting_at_the_edge_of_what_python_reads(local: Local) -> None:
    headers = {"X-Amz-Target": "SageMaker.ListModels"}
    for depth in range(800, 1010, 10):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            body = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
            answer = urllib3.request("POST", local.url, headers=headers, body=body)
            assert answer.status == 400, depth


def test_the_query_protocol(local: Local) -> None:
    assert local.client("sts").get_caller_identity()["Account"] == "000000000000"
    with pytest.raises(ClientError, match=r"\(UnknownOperationException\).*does not do sts:GetFederationToken"):
        local.client("sts").get_federation_token(Name="anyone")
    assert b"<Code>MissingAction</Code>" in urllib3.request("POST", local.url, body=b"").data


def test_another_host_is_refused(local: Local) -> None:
    for host, status in (("evil.example:80", 403), ("localhost", 200), ("127.0.0.1:1", 200)):
        assert urllib3.request("GET", local.url, headers={"Host": host}).status == status


def test_a_service_that_is_not_here(local: Local) -> None:
    answer = urllib3.request("PUT", f"{local.url}/bucket/key", body=b"x")
    assert "does not do PUT /bucket/key" in json.loads(answer.data)["message"]
