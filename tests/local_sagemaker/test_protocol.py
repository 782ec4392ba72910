"""The wire of JSON 1.1 and of refusals, without a server."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from local_sagemaker import protocol
from local_sagemaker.errors import ApiError
from local_sagemaker.protocol import Call

SIGNED = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-central-1/sagemaker/aws4_request, SignedHeaders=host"
XML = "{https://sts.amazonaws.com/doc/2011-06-15/}"


@pytest.mark.parametrize(
    ("target", "service", "operation"),
    [
        ("SageMaker.CreateModel", "sagemaker", "CreateModel"),
        ("Logs_20140328.GetLogEvents", "logs", "GetLogEvents"),
        ("AnyScaleFrontendService.PutScalingPolicy", "application-autoscaling", "PutScalingPolicy"),
    ],
)
def test_a_call(target: str, service: str, operation: str) -> None:
    headers = {"x-amz-target": target, "authorization": SIGNED}
    parameters = {"ModelName": "Größe", "Tags": []}
    call = protocol.parse(headers, json.dumps(parameters).encode())
    assert call == Call(service, operation, parameters, "eu-central-1")
    assert protocol.parse(headers, b"").parameters == {}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer a"}, {"authorization": "Credential=AKID/2026/x/y"}])
def test_the_region_of_a_request_that_is_not_signed(headers: dict[str, str]) -> None:
    assert protocol.region_of(headers) == "us-east-1"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body of the request is not JSON."),
        (b'{"a": NaN}', "The body of the request is not JSON."),
        (b'{"a": -Infinity}', "The body of the request is not JSON."),
        (b"[" * 100_000, "The body of the request is not JSON."),
        (b"\xff\xfe", "The body of the request is not JSON."),
        (b"[]", "The body of the request is not a JSON object."),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        protocol.parse({"x-amz-target": "SageMaker.CreateModel"}, body)
    assert (refused.value.code, refused.value.message) == ("SerializationException", message)
    assert refused.value.status == 400


@pytest.mark.parametrize("target", ["DynamoDB_20120810.PutItem", "sagemaker.CreateModel", ""])
def test_a_service_that_is_not_here(target: str) -> None:
    with pytest.raises(ApiError) as refused:
        protocol.parse({"x-amz-target": target}, b"{}")
    assert refused.value.code == "UnknownOperationException"
    assert refused.value.message == f"local SageMaker does not do {target}; its documentation lists what it does."


def test_an_answer() -> None:
    one, other = (protocol.answer({"ModelArn": "arn"}) for _ in range(2))
    assert (one.status, one.content_type, json.loads(one.body)) == (
        200,
        "application/x-amz-json-1.1",
        {"ModelArn": "arn"},
    )
    assert list(one.headers) == ["x-amzn-RequestId"]
    assert len(one.headers["x-amzn-RequestId"]) == 36 and one.headers != other.headers


def test_a_refusal_in_json() -> None:
    """Each client finds the code and the message where its protocol has them; members stand beside them."""
    reply = protocol.refusal(ApiError("ModelError", "It said <no>.", 424, OriginalStatusCode=500))
    assert (reply.status, reply.content_type) == (424, "application/x-amz-json-1.1")
    assert json.loads(reply.body) == {
        "__type": "ModelError", "message": "It said <no>.", "Message": "It said <no>.", "OriginalStatusCode": 500
    }  # fmt: skip
    assert set(reply.headers) == {"x-amzn-RequestId", "x-amzn-ErrorType"}
    assert reply.headers["x-amzn-ErrorType"] == "ModelError" and len(reply.headers["x-amzn-RequestId"]) == 36


def test_a_refusal_in_xml() -> None:
    reply = protocol.refusal(ApiError("No<Such>", "a < b & c", 404), query=True)
    assert (reply.status, reply.content_type, list(reply.headers)) == (404, "text/xml", ["x-amzn-RequestId"])
    root = ElementTree.fromstring(reply.body)
    assert root.tag == f"{XML}ErrorResponse"
    told = {element.tag.removeprefix(XML): element.text for element in root.iter()}
    assert (told["Type"], told["Code"], told["Message"]) == ("Sender", "No<Such>", "a < b & c")
    assert told["RequestId"] == reply.headers["x-amzn-RequestId"]
